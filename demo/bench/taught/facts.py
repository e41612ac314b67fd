"""Facts taught at once: each set of fifteen, and fifty of all sets together."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import mean

from demo.bench.report import Bar, Figure
from demo.bench.taught.fact_sets import (
    ASKED,
    GIVEN,
    NEAR,
    ORDINARY,
    OTHERWISE_GIVEN,
    WORD_FOR_WORD,
    FactSet,
    ask_all,
    bars,
    beside,
    load_set,
    mixed,
    retrieved,
    set_names,
)
from demo.bench.taught.learners import learners, not_behind

FIFTY, EACH = 50, 10  # facts, of each of the five sets
RETRIEVED = (
    "the row with the nearest words: asked otherwise",
    "the row with the nearest words: near but untaught",
)
COMPARED = WORD_FOR_WORD, GIVEN, OTHERWISE_GIVEN, NEAR, ORDINARY
UNITS = dict.fromkeys((*ASKED, *RETRIEVED), "%") | {
    "seconds of steps": "s",
    "seconds until it can be asked": "s",
}
Result = tuple[list[Figure], list[Bar]]


def run_sets(names: list[str], preset: str, seeds: int, *, lora: bool) -> Result:
    """Teach each set by itself, from each seed; a figure's runs are all of them."""
    rows = measured({name: load_set(name) for name in names}, preset, seeds, lora=lora)
    means = means_of(rows)
    return rows, bars(means) + not_behind(means, COMPARED)


def run_fifty(preset: str, seeds: int, *, lora: bool) -> Result:
    """Teach ten facts of each set at once."""
    together = mixed([load_set(name) for name in set_names()], EACH)
    rows = measured({"all sets": together}, preset, seeds, lora=lora)
    means = means_of(rows)
    known = means[WORD_FOR_WORD] * FIFTY / 100
    own = [
        Bar(f"of {FIFTY} taught, word for word", known, least=48),
        Bar("seconds of steps", means["seconds of steps"], most=240),
    ]
    return rows, own + beside(means) + not_behind(means, COMPARED)


def measured(sets: Mapping[str, FactSet], preset: str, seeds: int, *, lora: bool) -> list[Figure]:
    """Teach sets and ask everything."""
    found: dict[str, list[float]] = {}
    for taught in sets.values():
        for seed in range(seeds):
            with tempfile.TemporaryDirectory() as place:
                for each in learners(taught.taught, preset, seed, Path(place), lora=lora):
                    figures = ask_all(each.learner, taught) | each.costs
                    for name, value in figures.items():
                        found.setdefault(each.name + name, []).append(value)
        for name, value in zip(RETRIEVED, retrieved(taught), strict=True):
            found.setdefault(name, []).append(value)
    note = f"{', '.join(sets)}; {preset}"
    return [
        Figure(name, _unit(name), tuple(runs), note if place == 0 else "")
        for place, (name, runs) in enumerate(found.items())
    ]


def means_of(rows: list[Figure]) -> dict[str, float]:
    """Return the mean of each figure's runs, by name."""
    return {row.name: mean(row.runs) for row in rows}


def _unit(name: str) -> str:
    return next((unit for end, unit in UNITS.items() if name.endswith(end)), "")
