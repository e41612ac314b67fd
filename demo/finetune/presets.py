"""What a person chooses before an adapter is taught: three presets, and eight fields."""

import math
from dataclasses import dataclass, fields
from typing import Any

from demo.adapter.spec import AdapterSpec, VisualSpec
from demo.errors import DemoError, InputError
from demo.finetune.train_settings import TrainSettings
from demo.llama.config import LlamaConfig

HIDDEN = 256  # width of the visual projection
PROJECTION = 0.2  # its learning rate, as a share of the prompts'
LOOKS, PROBES = 10, 4  # how often a run looks at the held-out part, and answers the questions

# Field → least, most, and how a message names it.
RANGES = {
    "prompts": (1, 64, "Prompts per layer"),
    "layers": (0, 1_000, "Layers"),
    "rate": (1e-6, 0.1, "The learning rate"),
    "steps": (1, 20_000, "Steps"),
    "batch": (1, 256, "Batch"),
    "held_out": (0.0, 0.5, "The held-out share"),
    "seed": (0, 2**32 - 1, "Seed"),
}


@dataclass(frozen=True)
class Choices:
    """What a person may set.

    `layers` counts from the top; 0, or more than a base has, is all of them. `zero_init` starts
    with closed gates, which is the paper's way (arXiv 2303.16199, section 3.2); without it they
    start open, to compare.

    Raises:
        InputError: a value is not a number in its range; the message names the field and the range.
    """

    prompts: int = 10
    layers: int = 0
    rate: float = 2e-2
    steps: int = 130
    batch: int = 8
    held_out: float = 0.1
    zero_init: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if item.type is bool:
                if not isinstance(value, bool):
                    raise InputError("Zero-init gates are either on or off.")
                continue
            low, high, name = RANGES[item.name]
            whole = item.type is int
            number = isinstance(value, int | float) and not isinstance(value, bool)
            good = number and math.isfinite(value) and low <= value <= high
            if not good or (whole and value != int(value)):
                kind = "a whole number from" if whole else "a number from"
                shown = repr(value)[:40]
                raise InputError(f"{name}: {shown}. Please use {kind} {low:g} to {high:,g}.")
            object.__setattr__(self, item.name, item.type(value))

    def spec(self, config: LlamaConfig, feature_size: int | None) -> AdapterSpec:
        """The shape of the adapter; `feature_size` of the vision tower, None without pictures."""
        visual = VisualSpec(feature_size, HIDDEN) if feature_size else None
        layers = min(self.layers or config.layers, config.layers)
        return AdapterSpec.for_base(config, layers=layers, prompts=self.prompts, visual=visual)

    @property
    def looked(self) -> int:
        """Held-out rows of one look: all looks together cost about a tenth of the steps.

        A step costs three times a look's pass over as many rows.
        """
        return min(64, max(16, 3 * self.steps * self.batch // (10 * LOOKS)))

    @property
    def judged(self) -> int:
        """Held-out rows at the end, which are passed over twice."""
        return min(256, max(32, self.steps * self.batch // 5))

    def settings(self) -> TrainSettings:
        """The recipe."""
        return TrainSettings(
            steps=self.steps,
            batch=self.batch,
            rate=self.rate,
            gate_rate=self.rate,
            visual_rate=PROJECTION * self.rate,
            warmup=min(20, max(1, self.steps // 4)),
            seed=self.seed,
            evaluate_every=max(1, self.steps // LOOKS),
            probe_every=max(1, self.steps // PROBES),
        )


PRESETS = {
    "taste": Choices(steps=40),
    "balanced": Choices(),
    "thorough": Choices(rate=1e-2, steps=450),
}
# Looking is learned from more examples a step, and at a rate of text's it is not learned at all.
PICTURE_PRESETS = {
    "taste": Choices(rate=8e-3, steps=40, batch=16),
    "balanced": Choices(layers=16, rate=1.2e-2, steps=225, batch=16),
    "thorough": Choices(rate=6e-3, steps=450, batch=16),
}


def presets(*, pictures: bool) -> dict[str, Choices]:
    """By name, from the shortest run to the longest."""
    return PICTURE_PRESETS if pictures else PRESETS


def fitted(choices: Choices, *, pictures: bool) -> Choices:
    """A preset of the other kind of data becomes this kind's; what was set by hand stays."""
    for name, preset in presets(pictures=not pictures).items():
        if preset == choices:
            return presets(pictures=pictures)[name]
    return choices


def usable(values: tuple[Any, ...]) -> Choices:
    """What is set, or the defaults where something cannot be: that is said when it is used."""
    try:
        return Choices(*values)
    except DemoError:
        return Choices()
