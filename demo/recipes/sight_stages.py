"""The stages in which `sight` is taught: what each asks, and how it learns."""

from dataclasses import dataclass

from demo.recipes.sight_mix import Mix


@dataclass(frozen=True)
class Stage:
    """One stage: its questions by sort, and how it learns."""

    steps: int
    mix: Mix
    batch: int = 32
    rate: float = 5e-3
    gate_rate: float = 5e-3
    visual_rate: float = 5e-4


STAGES = {
    # For a projection that was fitted: what it says has only to be used.
    "whole": Stage(
        900,
        Mix(
            name=0.25,
            kind=0.08,
            yes_no=0.25,
            scene=0.08,
            easy_vqa=0.24,
            refusal=0.05,
            unrelated=0.05,
            turns=0.1,
        ),
        rate=4e-3,
        gate_rate=4e-3,
        visual_rate=4e-4,
    ),
    # Without: from what is seen to what is asked of it.
    "names": Stage(1_500, Mix(name=0.75, kind=0.25), gate_rate=1e-2, visual_rate=1e-3),
    "match": Stage(
        2_500,
        Mix(name=0.15, kind=0.1, yes_no=0.5, scene=0.1, easy_vqa=0.15),
        rate=4e-3,
        gate_rate=8e-3,
        visual_rate=8e-4,
    ),
    "all": Stage(
        2_500,
        Mix(
            name=0.2,
            kind=0.08,
            yes_no=0.27,
            scene=0.1,
            easy_vqa=0.25,
            refusal=0.06,
            unrelated=0.04,
            turns=0.2,
        ),
        rate=2e-3,
        gate_rate=4e-3,
        visual_rate=3e-4,
    ),
}
