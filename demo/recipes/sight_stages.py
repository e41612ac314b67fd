"""The stages in which `sight` is taught: what each asks, and how it learns."""

from dataclasses import dataclass

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
# To compare a question with its own words is learned last, and from many of them. Many have a turn
# before: with one in ten, a fifth of the names after a verdict were given one too.
VERDICTS = Mix(
    name=0.11,
    kind=0.1,
    yes_no=0.53,
    fact=0.03,
    refusal=0.12,
    unrelated=0.11,
    turns=0.4,
    verdicts=0.7,
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
    "verdicts": Stage(300, VERDICTS, rate=8e-3, gate_rate=1e-2, told=True),
    "eyes": Stage(400),
}
