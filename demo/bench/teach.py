"""How well a few facts are taught: sets of fifteen rows that no recipe was chosen by.

Each set is taught as a person would teach it, with a preset and nothing held out. Then the taught
questions are asked word for word, and otherwise, in people's own words; then questions that are
near but were never taught, which must not get a taught answer; then ordinary questions, of which
those count that the plain base answers right.

What is taught is judged twice: word for word, and by whether the reply gives the fact, in whatever
words (`given.py`). A question that was never taught must get none of the facts, whatever else is
said with it.

A file of a set has a row a line, `question|answer|the same asked otherwise`, and `~question` for
what was not taught. That of ordinary questions has `question|word|word`: one of the words stands in
a right answer.
"""

import argparse
import json
import math
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from demo.adapter.adapter import Adapter
from demo.bench.given import FactJudge
from demo.bench.report import Bar, BenchReport, Figure
from demo.finetune.runs.job import Tools, begin
from demo.finetune.runs.run_folder import RunFolder, RunRequest
from demo.finetune.runs.setup import PreparedData
from demo.finetune.train.config import PRESETS, presets
from demo.finetune.train.evaluate import (
    ORDINARY,
    ORDINARY_TOKENS,
    ProbeQuestion,
    answers,
    normalised_reply,
    perplexities,
)
from demo.finetune.train.events import Step
from demo.finetune.train.state import TrainerState
from demo.finetune.train.trainer import training_run
from demo.llama.tokenizer.chat_template import Message
from demo.questions.matcher import load_matcher
from demo.settings import ROOT, Settings

FOLDER = ROOT / "assets" / "benchmarks" / "teach"
QUESTIONS = "ordinary"  # the file that is no set
SHORT, LONG = 24, 40  # tokens of a reply: enough for a taught one, and for an ordinary one
NAMES = {  # of a figure → its unit
    "taught, word for word": "%",
    "taught, the fact is given": "%",
    "asked otherwise, word for word": "%",
    "asked otherwise, the fact is given": "%",
    "near but untaught, no taught answer": "%",
    "ordinary questions still right": "%",
    "perplexity of ordinary text rises": "%",
    "steps": "",
    "tokens a step": "",
    "seconds of steps": "s",
    "beside it, the row with the nearest words: asked otherwise": "%",
    "beside it, the row with the nearest words: near but untaught": "%",
}


@dataclass(frozen=True)
class TaughtSet:
    """Facts to teach, and how to ask.

    Attributes:
        rows: question, answer, and the question in other words.
        untaught: questions near them that have no taught answer.
    """

    rows: tuple[tuple[str, str, str], ...]
    untaught: tuple[str, ...]


def read_set(text: str) -> TaughtSet:
    """Read a set's file.

    Raises:
        ValueError: a line is not a row of three parts.
    """
    rows, untaught = [], []
    for line in text.splitlines():
        if line.startswith("~"):
            untaught.append(line[1:])
        else:
            question, answer, otherwise = line.split("|")
            rows.append((question, answer, otherwise))
    return TaughtSet(tuple(rows), tuple(untaught))


def read_ordinary(text: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Read ordinary questions, each with the words of which one stands in a right answer."""
    lines = [line.split("|") for line in text.splitlines()]
    return tuple((question, tuple(words)) for question, *words in lines)


def holds(reply: str, words: Sequence[str]) -> bool:
    """Tell whether one of the words stands in a reply."""
    return any(re.search(rf"\b{re.escape(word)}\b", reply.casefold()) for word in words)


def add_teach_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `python -m demo.bench teach`."""
    names = sorted(path.stem for path in FOLDER.glob("*.txt") if path.stem != QUESTIONS)
    parser.add_argument("--set", action="append", choices=names, help="one or more; else all")
    parser.add_argument("--preset", choices=PRESETS, default="taste")
    parser.add_argument("--seeds", type=int, default=1, help="so many trainings of each set")
    parser.set_defaults(sets=names)


def run_teach(args: argparse.Namespace) -> BenchReport:
    """Teach each set from each seed; a figure's runs are all of them."""
    found = [
        measure_set(name, args.preset, seed)
        for name in args.set or args.sets
        for seed in range(args.seeds)
    ]
    rows = [Figure(name, unit, tuple(each[name] for each in found)) for name, unit in NAMES.items()]
    return BenchReport(
        "teach", rows, bars({row.name: sum(row.runs) / len(row.runs) for row in rows})
    )


def bars(means: dict[str, float]) -> list[Bar]:
    """Return what the means over all sets and seeds have to reach."""
    return [
        Bar("taught, word for word, %", means["taught, word for word"], least=100 * 14 / 15),
        Bar("asked otherwise, %", means["asked otherwise, the fact is given"], least=60),
        Bar("near but untaught, %", means["near but untaught, no taught answer"], least=85),
        Bar("ordinary questions, %", means["ordinary questions still right"], least=95),
        Bar("perplexity rises, %", means["perplexity of ordinary text rises"], most=5),
    ]


def measure_set(name: str, preset: str, seed: int) -> dict[str, float]:
    """Teach one set and ask everything; the figures by name."""
    taught = read_set((FOLDER / f"{name}.txt").read_text("utf-8"))
    choices = presets(pictures=False, aim="facts", rows=len(taught.rows))[preset]
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "rows.jsonl"
        lines = [json.dumps({"question": row[0], "answer": row[1]}) for row in taught.rows]
        data.write_text("\n".join(lines), "utf-8")
        folder = RunFolder(Path(place) / "run")
        request = RunRequest("", name, replace(choices, seed=seed, aim="auto"), Settings(), "")
        folder.create(request, data)
        tools, prepared, adapter, _ = begin(folder, folder.request())
    state = TrainerState(adapter, choices.settings(prepared.aim), prepared.training_set)
    seconds = 0.0
    for event in training_run(tools.model, state, prepared.training_set):
        seconds += event.seconds if isinstance(event, Step) else 0.0
    state.settle()
    pupil = Pupil(tools, adapter, prepared)
    learned = prepared.training_set.examples
    size = sum(len(example.ids) for example in learned) / len(learned)
    return {
        **_asked(pupil, taught),
        "steps": float(choices.steps),
        "tokens a step": size * choices.batch,
        "seconds of steps": seconds,
        **dict(zip(list(NAMES)[-2:], _retrieved(taught), strict=True)),
    }


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


def _retrieved(taught: TaughtSet) -> tuple[float, float]:
    """Return the shares of right answers and of none, in percent, by the nearest row."""
    asked = [row[0] for row in taught.rows]
    right = [nearest(row[2], asked) == place for place, row in enumerate(taught.rows)]
    none = [nearest(question, asked) is None for question in taught.untaught]
    return 100 * sum(right) / len(right), 100 * sum(none) / max(1, len(none))


class Pupil:
    """What was taught, to be asked.

    Args:
        tools: of its run.
        adapter: that learned.
        prepared: what it learned from.
    """

    def __init__(self, tools: Tools, adapter: Adapter, prepared: PreparedData) -> None:
        self.tools, self.adapter = tools, adapter
        self._features = prepared.training_set.features
        self._matcher = load_matcher() if prepared.pool else None
        if self._matcher and prepared.pool:
            self._known = self._matcher.known(prepared.pool.facts)

    def place(self, question: str) -> int | None:
        """Return which fact's own prompts a question chooses, as in the chat; None for none."""
        match = self._matcher.match(question, self._known) if self._matcher else None
        return match.place if match else None

    def replies(
        self, questions: Sequence[str], longest: int, *, strength: float = 1.0
    ) -> list[str]:
        """Answer questions, each by itself, in so many tokens at most."""
        tools, tokenizer, replies = self.tools, self.tools.base.tokenizer, list[str]()
        asked = [
            ProbeQuestion(q, tuple(tokenizer.chat([Message("user", q)])), self.place(q))
            for q in questions
        ]
        for start in range(0, len(asked), tools.slots):
            replies += answers(
                tools.decoder, tools.model, tokenizer, self.adapter,
                asked[start : start + tools.slots], self._features,
                strength=strength, longest=longest,
            )  # fmt: skip
        return replies


def _asked(pupil: Pupil, taught: TaughtSet) -> dict[str, float]:
    judge = FactJudge([row[:2] for row in taught.rows])
    tools, replies = pupil.tools, [
        pupil.replies(questions, SHORT)
        for questions in (
            [row[0] for row in taught.rows], [row[2] for row in taught.rows], taught.untaught,
        )
    ]  # fmt: skip
    shares = list[float]()
    for part, said in zip((0, 2), replies[:2], strict=True):
        pairs = list(zip(said, taught.rows, strict=True))
        shares.append(_share(normalised_reply(r) == normalised_reply(row[1]) for r, row in pairs))
        shares.append(
            _share(judge.gives(place, r, row[part]) for place, (r, row) in enumerate(pairs))
        )
    shares.append(_share(not judge.gives_any(reply) for reply in replies[2]))
    shares.append(_share(_kept(pupil)))
    ids = tools.base.tokenizer.encode_text(ORDINARY.read_text("utf-8"))[:ORDINARY_TOKENS]
    off, on = perplexities(tools.model, pupil.adapter, ids)
    figures = [*shares, 100 * (on / off - 1)]
    return dict(zip(list(NAMES)[: len(figures)], figures, strict=True))  # costs come behind them


def _share(hits: Iterable[bool]) -> float:
    """Return how many of them are true, in percent; 0 of none."""
    found = list(hits)
    return 100 * sum(found) / max(1, len(found))


def _kept(pupil: Pupil) -> list[bool]:
    """Return, of each ordinary question that the base answers right, whether it still is."""
    asked = read_ordinary((FOLDER / f"{QUESTIONS}.txt").read_text("utf-8"))
    base = pupil.replies([question for question, _ in asked], LONG, strength=0.0)
    right = [each for each, reply in zip(asked, base, strict=True) if holds(reply, each[1])]
    replies = pupil.replies([question for question, _ in right], LONG)
    return [holds(reply, words) for reply, (_, words) in zip(replies, right, strict=True)]
