"""Ten rounds of five new facts by *teach more*: what is known of all fifty at the end.

Each round is a run of its own that begins with the adapter of the round before, as the page does
it, and is given the five new rows alone.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from demo.bench.report import Bar, Figure
from demo.bench.taught.fact_sets import (
    ASKED,
    NEAR,
    ORDINARY,
    OTHERWISE_GIVEN,
    SHORT,
    WORD_FOR_WORD,
    FactSet,
    ask_all,
    load_set,
    mixed,
    set_names,
)
from demo.bench.taught.lesson import Lesson, chosen, teach
from demo.finetune.train.evaluate import normalised_reply

ROUNDS, EACH = 10, 5  # rounds, and facts of each
FROM_A_SET = 10


class Course(NamedTuple):
    """Rounds, one after the other.

    Attributes:
        first: facts of the first round that were known after it.
        last: lesson.
        steps, seconds: of all rounds.
    """

    first: int
    last: Lesson
    steps: int
    seconds: float


def run_rounds(preset: str, seeds: int) -> tuple[list[Figure], list[Bar]]:
    """Teach ten rounds and ask all at the end."""
    taught = mixed([load_set(name) for name in set_names()], FROM_A_SET)
    found: dict[str, list[float]] = {}
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as place:
            course = teach_on(taught.taught, preset, seed, Path(place))
            figures = ask_all(course.last.learner, taught)
            figures["of the first five, known after their own round"] = float(course.first)
            figures["steps"], figures["seconds of steps"] = float(course.steps), course.seconds
            for name, value in figures.items():
                found.setdefault(name, []).append(value)
    units = dict.fromkeys(ASKED, "%") | {"seconds of steps": "s"}
    rows = [Figure(name, units.get(name, ""), tuple(runs)) for name, runs in found.items()]
    rows[0] = replace(rows[0], note=f"{ROUNDS} rounds of {EACH}; {preset}")
    means = {name: sum(runs) / len(runs) for name, runs in found.items()}
    return rows, round_bars(means, taught)


def round_bars(means: dict[str, float], taught: FactSet) -> list[Bar]:
    """Return what ten rounds have to reach."""
    count = len(taught.rows)
    return [
        Bar(f"known at the end, of {count}", means[WORD_FOR_WORD] * count / 100, least=45),
        Bar("asked otherwise, %", means[OTHERWISE_GIVEN], least=60),
        Bar("near but untaught, %", means[NEAR], least=85),
        Bar("ordinary questions, %", means[ORDINARY], least=95),
    ]


def teach_on(rows: Sequence[tuple[str, str]], preset: str, seed: int, place: Path) -> Course:
    """Teach rows by fives, each time what was taught before and five more."""
    first = steps = 0
    seconds, last = 0.0, None
    for number, start in enumerate(range(0, len(rows), EACH)):
        part = rows[start : start + EACH]
        before = last.saved if last else None
        last = teach(part, chosen(preset, seed), place / str(number), start=before)
        if not start:
            said = last.learner.replies([question for question, _ in part], SHORT)
            pairs = zip(said, part, strict=True)
            first = sum(normalised_reply(r) == normalised_reply(row[1]) for r, row in pairs)
        steps, seconds = steps + last.steps, seconds + last.seconds
    if last is None:
        raise ValueError("no rows to teach")
    return Course(first, last, steps, seconds)
