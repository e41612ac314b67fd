"""ScienceQA (Lu et al. 2022): its problems, how they are asked, and its published rules of scoring.

Accuracy by group is that of the authors' `tools/evaluate_acc.py`: NAT, SOC and LAN by subject, TXT
and IMG with a hint and with a picture, NO with neither, and two groups of grades. A reply counts by
`The answer is (X).` in it; one that names no option is scored as a guess among the options.
"""

import json
import math
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from demo.errors import DataError
from demo.finetune.data.table import Table

LETTERS = "ABCDEFGH"
REPLY = re.compile(r"The answer is \(?([A-H])\b")
SUBJECTS = {"NAT": "natural science", "SOC": "social science", "LAN": "language science"}
SPLITS = {"train": "train", "val": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Problem:
    """One problem.

    Attributes:
        id: in the published file.
        question, hint: its words; the hint is often "".
        choices: the options.
        answer: which of them is right, from 0.
        image: name of its picture, "" without one.
        subject, grade: as published, such as "natural science" and "grade4".
        split: train, val or test.
    """

    id: str
    question: str
    choices: tuple[str, ...]
    answer: int
    hint: str
    image: str
    subject: str
    grade: str
    split: str

    @property
    def prompt(self) -> str:
        """Question, context and options, in the paper's order (section 4.2)."""
        options = " ".join(
            f"({letter}) {text}" for letter, text in zip(LETTERS, self.choices, strict=False)
        )
        return f"Question: {self.question}\nContext: {self.hint or 'N/A'}\nOptions: {options}"

    @property
    def reply(self) -> str:
        """What is trained."""
        return reply_of(self.answer)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of Table 2 that it counts in."""
        found = [name for name, subject in SUBJECTS.items() if subject == self.subject]
        found += [name for name, has in (("TXT", self.hint), ("IMG", self.image)) if has]
        found += [] if self.hint or self.image else ["NO"]
        grade = int(self.grade.removeprefix("grade"))
        return ("average", *found, "G1-6" if grade <= 6 else "G7-12")


def reply_of(choice: int) -> str:
    """Return the reply that names an option, counted from 0."""
    return f"The answer is ({LETTERS[choice]})."


def problems_of(table: Table) -> list[Problem]:
    """Read the problems of a table: the published problems.json, or the Hub's Parquet files.

    Raises:
        DataError: columns are missing, or a row is no problem.
    """
    needed = {"question", "choices", "answer", "hint", "subject", "grade", "split"}
    if missing := sorted(needed - set(table.columns)):
        raise DataError(
            f"This is not ScienceQA: the column “{missing[0]}” is missing. Expected is the "
            "published problems.json, or the id of its data set on the Hub."
        )
    found = []
    for row in table.rows:
        try:
            found.append(_problem(row.cells, row.number))
        except (ValueError, KeyError) as error:
            raise DataError(
                f"{table.counted.capitalize()} {row.number} is no problem of ScienceQA: its "
                "choices, answer, grade or split cannot be read."
            ) from error
    return found


def _problem(cells: Mapping[str, str], number: int) -> Problem:
    choices = tuple(map(str, json.loads(cells["choices"])))
    answer = int(cells["answer"])
    if not 0 <= answer < len(choices) <= len(LETTERS):
        raise ValueError(answer)
    return Problem(
        cells.get("id", "") or str(number),
        cells["question"],
        choices,
        answer,
        cells["hint"],
        cells.get("image", ""),
        cells["subject"],
        cells["grade"],
        SPLITS[cells["split"]],
    )


def choice_of(reply: str, problem: Problem, guess: random.Random) -> int:
    """Return which option a reply names; where it names none, one that is drawn, as published."""
    named = REPLY.findall(reply)
    place = LETTERS.index(named[0]) if len(set(named)) == 1 else len(LETTERS)
    return place if place < len(problem.choices) else guess.randrange(len(problem.choices))


def accuracy(problems: Sequence[Problem], choices: Sequence[int]) -> dict[str, float]:
    """Return the percentage right by group; a group without a problem is left out.

    Args:
        problems: that were asked.
        choices: which option each reply names.
    """
    count: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for problem, choice in zip(problems, choices, strict=True):
        count.update(problem.groups)
        right.update(problem.groups if choice == problem.answer else ())
    return {group: round(100 * right[group] / of, 2) for group, of in count.items()}


def blind(problems: Sequence[Problem], trained: Sequence[Problem]) -> dict[str, dict[str, float]]:
    """Return what is had without understanding: by chance, by place, by length.

    Args:
        problems: to be scored.
        trained: in which the commonest place of the answer is counted, by number of options.
    """
    chance: dict[str, list[float]] = {}
    for problem in problems:
        for group in problem.groups:
            chance.setdefault(group, []).append(100 / len(problem.choices))
    usual: dict[int, Counter[int]] = {}
    for problem in trained:
        usual.setdefault(len(problem.choices), Counter())[problem.answer] += 1
    place = [
        usual[n].most_common(1)[0][0] if (n := len(p.choices)) in usual else 0 for p in problems
    ]
    longest = [max(range(len(p.choices)), key=lambda i: len(p.choices[i])) for p in problems]
    return {
        "random": {group: round(sum(v) / len(v), 2) for group, v in chance.items()},
        "commonest index": accuracy(problems, place),
        "longest option": accuracy(problems, longest),
    }


def interval(right: int, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share, in percent."""
    if not count:
        return 0.0, 100.0
    z, share = 1.959964, right / count
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    low, high = ((middle + sign * half) / (1 + z * z / count) for sign in (-1, 1))
    return round(100 * low, 2), round(100 * high, 2)


def mcnemar(problems: Sequence[Problem], ours: Sequence[int], theirs: Sequence[int]) -> float:
    """Return McNemar's exact two-sided p that `ours` and `theirs` are right equally often."""
    pairs = [(a == p.answer, b == p.answer) for p, a, b in zip(problems, ours, theirs, strict=True)]
    gained, lost = pairs.count((True, False)), pairs.count((False, True))
    count = gained + lost
    tail = sum(math.comb(count, k) for k in range(min(gained, lost) + 1)) / 2**count
    return min(1.0, 2 * tail)


def table_lines(rows: Mapping[str, Any], groups: Sequence[str]) -> list[str]:
    """Draw accuracies by group for a terminal, a row each."""
    wide = max(map(len, rows))
    lines = [" " * wide + "".join(f"{group:>9}" for group in groups)]
    for name, found in rows.items():
        cells = (f"{found[g]:9.2f}" if g in found else f"{'–':>9}" for g in groups)
        lines.append(f"{name:<{wide}}" + "".join(cells))
    return lines
