"""Sets of facts that no recipe was chosen by: how they are read, asked and judged.

A file of a set has a row a line, `question|answer|the same asked otherwise|…`, and `~question` for
what is near and was not taught. That of ordinary questions has `question|word|word`: one of the
words stands in a right answer.

What is taught is judged twice: word for word, and by whether the reply gives the fact, in whatever
words (`given.py`). A question that was never taught must get none of the facts, whatever else is
said with it.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from demo.bench.report import Bar
from demo.bench.taught.given import FactJudge
from demo.bench.taught.lesson import Learner
from demo.finetune.data.paraphrase import normalised_question
from demo.finetune.train.evaluate import normalised_reply
from demo.settings import ROOT

FOLDER = ROOT / "assets" / "benchmarks" / "teach"
NO_SETS = ("ordinary", "identity")  # files that are something else
SHORT, LONG = 24, 40  # tokens of a reply: enough for a taught one, and for an ordinary one
WORD_FOR_WORD, GIVEN = "taught, word for word", "taught, the fact is given"
OTHERWISE, OTHERWISE_GIVEN = (
    "asked otherwise, word for word",
    "asked otherwise, the fact is given",
)
NEAR, ORDINARY = "near but untaught, no taught answer", "ordinary questions still right"
RISE = "perplexity of ordinary text rises"
ASKED = WORD_FOR_WORD, GIVEN, OTHERWISE, OTHERWISE_GIVEN, NEAR, ORDINARY, RISE  # all in percent


class FactRow(NamedTuple):
    """A fact, and how else people ask for it."""

    question: str
    answer: str
    otherwise: tuple[str, ...]


@dataclass(frozen=True)
class FactSet:
    """Facts to teach, and questions near them that have no taught answer."""

    rows: tuple[FactRow, ...]
    untaught: tuple[str, ...]

    @property
    def taught(self) -> list[tuple[str, str]]:
        """Return questions and answers alone."""
        return [(row.question, row.answer) for row in self.rows]

    @property
    def otherwise(self) -> list[tuple[int, str]]:
        """Return each other wording, with the place of its fact."""
        return [(place, text) for place, row in enumerate(self.rows) for text in row.otherwise]


def set_names() -> list[str]:
    """Return the sets there are."""
    return sorted(path.stem for path in FOLDER.glob("*.txt") if path.stem not in NO_SETS)


def load_set(name: str) -> FactSet:
    """Read a set by its name."""
    return read_set((FOLDER / f"{name}.txt").read_text("utf-8"))


def read_set(text: str) -> FactSet:
    """Read a set's file.

    Raises:
        ValueError: a line is not a row of three parts or more.
    """
    rows, untaught = [], []
    for line in text.splitlines():
        if line.startswith("~"):
            untaught.append(line[1:])
        else:
            question, answer, first, *others = line.split("|")
            rows.append(FactRow(question, answer, (first, *others)))
    return FactSet(tuple(rows), tuple(untaught))


def mixed(sets: Sequence[FactSet], each: int) -> FactSet:
    """Return the first rows of several sets as one, and what stays untaught with all of them."""
    rows = tuple(row for one in sets for row in one.rows[:each])
    known = {normalised_question(row.question) for row in rows}
    near = (question for one in sets for question in one.untaught)
    return FactSet(rows, tuple(q for q in near if normalised_question(q) not in known))


def ask_all(learner: Learner, taught: FactSet) -> dict[str, float]:
    """Ask what was taught, and all that is beside it: the figures of `ASKED`."""
    judge = FactJudge(taught.taught)
    exact, given = [], []
    for asked in ([(at, row.question) for at, row in enumerate(taught.rows)], taught.otherwise):
        said = list(zip(learner.replies([text for _, text in asked], SHORT), asked, strict=True))
        answers = [taught.rows[at].answer for at, _ in asked]
        pairs = zip((reply for reply, _ in said), answers, strict=True)
        exact.append(share(normalised_reply(r) == normalised_reply(a) for r, a in pairs))
        given.append(share(judge.gives(at, reply, text) for reply, (at, text) in said))
    near = [not judge.gives_any(reply) for reply in learner.replies(taught.untaught, SHORT)]
    figures = exact[0], given[0], exact[1], given[1], share(near), share(kept(learner))
    return dict(zip(ASKED, (*figures, learner.rise()), strict=True))


def bars(means: dict[str, float]) -> list[Bar]:
    """Return what fifteen facts have to reach; the means are over all sets and seeds."""
    return [Bar("taught, word for word, %", means[WORD_FOR_WORD], least=100 * 14 / 15)] + beside(
        means
    )


def beside(means: dict[str, float]) -> list[Bar]:
    """Return what any number of facts has to reach, asked otherwise and in what is beside it."""
    return [
        Bar("asked otherwise, %", means[OTHERWISE_GIVEN], least=60),
        Bar("near but untaught, %", means[NEAR], least=85),
        Bar("ordinary questions, %", means[ORDINARY], least=95),
        Bar("perplexity rises, %", means[RISE], most=5),
    ]


def share(hits: Iterable[bool]) -> float:
    """Return how many of them are true, in percent; 0 of none."""
    found = list(hits)
    return 100 * sum(found) / max(1, len(found))


def kept(learner: Learner) -> list[bool]:
    """Return, of each ordinary question that the base answers right, whether it still is."""
    asked = read_ordinary((FOLDER / f"{NO_SETS[0]}.txt").read_text("utf-8"))
    base = learner.replies([question for question, _ in asked], LONG, strength=0.0)
    right = [each for each, reply in zip(asked, base, strict=True) if holds(reply, each[1])]
    replies = learner.replies([question for question, _ in right], LONG)
    return [holds(reply, words) for reply, (_, words) in zip(replies, right, strict=True)]


def read_ordinary(text: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Read ordinary questions, each with the words of which one stands in a right answer."""
    lines = [line.split("|") for line in text.splitlines()]
    return tuple((question, tuple(words)) for question, *words in lines)


def holds(reply: str, words: Sequence[str]) -> bool:
    """Tell whether one of the words stands in a reply."""
    return any(re.search(rf"\b{re.escape(word)}\b", reply.casefold()) for word in words)


def retrieved(taught: FactSet) -> tuple[float, float]:
    """Return the shares of right answers and of none, in percent, by the row nearest in words."""
    asked = [row.question for row in taught.rows]
    right = share(nearest(text, asked) == place for place, text in taught.otherwise)
    return right, share(nearest(question, asked) is None for question in taught.untaught)


def nearest(question: str, asked: Sequence[str]) -> int | None:
    """Return which of the questions has the nearest words, None where no word is shared.

    It is the cosine of words that count the more the fewer questions have them (TF-IDF): what needs
    no training at all, and therefore the least that teaching has to beat.
    """
    words = [Counter(re.findall(r"\w+", text.casefold())) for text in (*asked, question)]
    spread = Counter(word for each in words[:-1] for word in each)
    weight = {word: math.log((1 + len(asked)) / count) for word, count in spread.items()}

    def dot(one: Counter[str], two: Counter[str]) -> float:
        return sum(one[word] * two[word] * weight.get(word, 0.0) ** 2 for word in one)

    near = [dot(words[-1], each) / (dot(each, each) ** 0.5 or 1.0) for each in words[:-1]]
    return max(range(len(near)), key=near.__getitem__) if max(near) > 0 else None
