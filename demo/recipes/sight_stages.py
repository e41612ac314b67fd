"""The stages in which `sight` is taught: what each asks, and how it learns."""

from dataclasses import dataclass, replace

from demo.recipes.sight_mix import Mix

EVERYTHING = Mix(
    name=0.25,
    kind=0.22,
    yes_no=0.24,
    fact=0.07,
    refusal=0.12,
    unrelated=0.1,
    turns=0.1,
)
# To compare a question with its own words takes thousands of them. Many have a turn before: with
# one in ten, a fifth of the names after a verdict were given one too.
VERDICTS = Mix(
    name=0.16,
    kind=0.16,
    yes_no=0.43,
    fact=0.03,
    refusal=0.11,
    unrelated=0.11,
    turns=0.4,
    verdicts=0.7,
    typed=True,
)
# What is told can be put in other words without any learning, but these are copied badly at first.
WORDS = replace(
    VERDICTS, name=0.1, kind=0.18, yes_no=0.4, fact=0.06, refusal=0.13, unrelated=0.13, turns=0.3
)


@dataclass(frozen=True)
class Stage:
    """One stage: its questions by sort, and how it learns.

    `told`: from what a perfect projection would say, and no tower.
    """

    steps: int
    mix: Mix = EVERYTHING
    batch: int = 32
    rate: float = 5e-3
    gate_rate: float = 5e-3
    visual_rate: float = 3e-4
    told: bool = False


STAGES = {
    "reader": Stage(420, rate=1e-2, gate_rate=2e-2, told=True),
    "verdicts": Stage(4000, VERDICTS, batch=64, rate=6e-3, gate_rate=6e-3, told=True),
    "words": Stage(150, WORDS, rate=3e-3, gate_rate=3e-3, told=True),
    "eyes": Stage(400),
}
