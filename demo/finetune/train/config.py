"""How a run is set up: what a person chooses, and the whole recipe that follows from it.

`TrainingOptions` are the nine fields of the page and the command line, with their presets; they
also say how the data is split and what shape the adapter has. `TrainSettings` is what the trainer
is given: every number of the optimizer and the schedule. Neither needs torch, so a page can make
both.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Any

from demo.adapter.config import FORMS, AdapterSpec, DeltaSpec, VisualSpec
from demo.errors import DemoError, InputError
from demo.finetune.data.dataset import AIMS, Aim, AskedAim
from demo.llama.config import LlamaConfig


@dataclass(frozen=True)
class TrainSettings:
    """The recipe of one run, complete. Defaults learn easy-VQA on the embedded base.

    Learning rates warm up over `warmup` steps, stay for a share `flat` of all steps, and fall along
    a half cosine. A checkpoint holds these values under these names and can be resumed with the
    same values alone.

    Attributes:
        steps: of the optimizer.
        batch: examples a step.
        rate: the learning rate of the prompts.
        gate_rate: that of the gates.
        visual_rate: that of the visual projection.
        weight_decay: of AdamW.
        warmup: steps until the rates are whole.
        flat: the share of the steps before the rates begin to fall.
        clip: the largest norm of the gradient.
        rehearsed: texts a step that are to stay as they are, where a training set has some.
        seed: of the order of examples.
        evaluate_every: steps between two evaluations of the held-out part.
        patience: evaluations without a lower loss after which the run stops.
        probe_every: steps between two answers to the probe questions.

    Raises:
        ValueError: a count is below 1.
    """

    steps: int
    batch: int = 32
    rate: float = 5e-3
    gate_rate: float = 5e-3
    visual_rate: float = 5e-4
    weight_decay: float = 0.02
    warmup: int = 20
    flat: float = 0.0
    clip: float = 1.0
    rehearsed: int = 2
    seed: int = 0
    evaluate_every: int = 10
    patience: int = 3
    probe_every: int = 25

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.warmup) < 1:
            raise ValueError("steps, batch and warmup are at least 1")
        if min(self.evaluate_every, self.patience, self.probe_every) < 1:
            raise ValueError("evaluate_every, patience and probe_every are at least 1")

    def scale(self, step: int) -> float:
        """Return the share of the learning rates used at `step`, counted from 0."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        falls = max(self.warmup, int(self.flat * self.steps))
        if step < falls:
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (step - falls) / max(1, self.steps - falls)))


HIDDEN = 256  # width of the visual projection
PROJECTION = 0.2  # its learning rate, as a share of the prompts'
# What of a picture reaches the prompts: its global features, or what queries gather of all tokens.
PROJECTORS = ("global", "resampler")
RESAMPLER_HIDDEN, RESAMPLER_BLOCKS, RESAMPLER_HEADS = 512, 2, 16  # as the authors' captioner's
RESAMPLER_RATE = 0.02  # as `PROJECTION`
EVALUATIONS, PROBES = 10, 4  # how often a run evaluates the held-out part, and answers questions

# Field → least, most, and how a message names it.
RANGES: dict[str, tuple[float, float, str]] = {
    "prompts": (1, 64, "Prompts per layer"),
    "layers": (0, 1_000, "Layers"),
    "rate": (1e-6, 0.1, "The learning rate"),
    "steps": (1, 20_000, "Steps"),
    "batch": (1, 256, "Batch"),
    "held_out": (0.0, 0.5, "The held-out share"),
    "seed": (0, 2**32 - 1, "Seed"),
    "window": (16, 8_192, "The window"),
}


@dataclass(frozen=True)
class TrainingOptions:
    """What a person may choose; `settings` makes the recipe of it.

    Checked by hand: pydantic's whole numbers are either without 8.0 or with "8" and True.

    Attributes:
        prompts: a layer.
        layers: that are adapted, from the top; 0, or more than a base has, is all of them.
        rate: the learning rate.
        steps: of the optimizer.
        batch: examples a step.
        held_out: the share of the rows to evaluate on alone.
        zero_init: start with closed gates, which is the paper's way (arXiv 2303.16199, section
            3.2); without it they start open, to compare.
        seed: of the split, the weights and the order.
        form: what is taught: prompts alone (LLaMA-Adapter), biases and norms beside them (V2's
            code), scales too (V2's paper), or a LoRA of rank 16 beside them; one of `FORMS`.
        aim: what the rows teach; "auto" guesses it from them.
        window: tokens that a row may have.
        cut: leave out the last turns of a longer conversation, rather than refuse it.
        projector: what brings a picture to the prompts: one MLP over its global features
            (LLaMA-Adapter, section 3.3), or the authors' resampler over all tokens of the tower.

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
    form: str = "prompts"
    aim: AskedAim = "auto"
    window: int = 512
    cut: bool = False
    projector: str = PROJECTORS[0]

    def __post_init__(self) -> None:
        if self.projector not in PROJECTORS:
            raise InputError(f"The projector of pictures is one of: {', '.join(PROJECTORS)}.")
        if not isinstance(self.zero_init, bool) or not isinstance(self.cut, bool):
            raise InputError("Zero-init gates, and cutting long rows, are either on or off.")
        if self.form not in FORMS:
            raise InputError(f"The form of what is taught is one of: {', '.join(FORMS)}.")
        if self.aim not in (*AIMS, "auto"):
            raise InputError(f"What is taught is one of {', '.join(AIMS)}, or auto.")
        for item in fields(self):
            if item.name not in RANGES:
                continue
            value = getattr(self, item.name)
            low, high, name = RANGES[item.name]
            whole = item.type is int
            number = isinstance(value, int | float) and not isinstance(value, bool)
            good = number and math.isfinite(value) and low <= value <= high
            if not good or (whole and value != int(value)):
                kind = "a whole number from" if whole else "a number from"
                shown = repr(value)[:40]
                raise InputError(f"{name}: {shown}. Please use {kind} {low:g} to {high:,g}.")
            object.__setattr__(self, item.name, int(value) if whole else float(value))

    def spec(self, config: LlamaConfig, feature_size: int | None) -> AdapterSpec:
        """Derive the shape of the adapter.

        Args:
            config: of the base.
            feature_size: of the vision tower, or of its tokens for the resampler; None without
                pictures.
        """
        visual = self.visual(feature_size) if feature_size else None
        layers = min(self.layers or config.layers, config.layers)
        delta = None if self.form == FORMS[0] else DeltaSpec.of_form(self.form, config)
        return AdapterSpec.for_base(
            config, layers=layers, prompts=self.prompts, visual=visual, delta=delta
        )

    def visual(self, size: int) -> VisualSpec:
        """Derive the shape of the projection from the numbers of a picture, or of its tokens."""
        if self.projector == "global":
            return VisualSpec(size, HIDDEN)
        return VisualSpec(
            size, RESAMPLER_HIDDEN, "query-transformer",
            slots=self.prompts, blocks=RESAMPLER_BLOCKS, heads=RESAMPLER_HEADS,
        )  # fmt: skip

    @property
    def eval_rows(self) -> int:
        """Held-out rows of one evaluation: all together cost about a tenth of the steps.

        A step costs three times an evaluation's pass over as many rows.
        """
        return min(64, max(16, 3 * self.steps * self.batch // (10 * EVALUATIONS)))

    @property
    def final_eval_rows(self) -> int:
        """Held-out rows at the end, which are passed over twice."""
        return min(256, max(32, self.steps * self.batch // 5))

    def settings(self, aim: Aim = "style") -> TrainSettings:
        """Make the recipe.

        Args:
            aim: what the rows were found to teach.
        """
        facts = aim == "facts"
        warmup = 20 if not facts else FACTS_WARMUP if self.form == FORMS[0] else SHARED_WARMUP
        return TrainSettings(
            steps=self.steps,
            batch=self.batch,
            rate=self.rate,
            gate_rate=SHARED_GATES * self.rate if facts else self.rate,
            visual_rate=(PROJECTION if self.projector == "global" else RESAMPLER_RATE) * self.rate,
            warmup=min(warmup, max(1, self.steps // 4)),
            flat=FACTS_FLAT if facts else 0.0,
            rehearsed=FACTS_REHEARSED if facts else TrainSettings.rehearsed,
            seed=self.seed,
            evaluate_every=max(1, self.steps // EVALUATIONS),
            probe_every=max(1, self.steps // PROBES),
        )


PRESETS = {
    "taste": TrainingOptions(steps=40),
    "balanced": TrainingOptions(),
    "thorough": TrainingOptions(rate=1e-2, steps=450),
}
# Seeing is learned from more examples a step, and at the rates of text it is not learned at all.
PICTURE_PRESETS = {
    "taste": TrainingOptions(rate=8e-3, steps=40, batch=16),
    "balanced": TrainingOptions(layers=16, rate=1.2e-2, steps=225, batch=16),
    "thorough": TrainingOptions(rate=6e-3, steps=450, batch=16),
}


# Facts are learned by heart: how long that takes follows from their number.
# Name → steps of any run, steps more for each row, and the rate: no two presets have the same.
FACTS_RECIPES = {
    "taste": (8, 2, 3e-2),
    "balanced": (8, 3, 2.5e-2),
    "thorough": (8, 5, 2e-2),
}
# The upper layers learn facts as fast as all of them, and what enters them is computed once.
FACTS_LAYERS, FACTS_PROMPTS = 8, 16  # of each fact
FACTS_GATE = 0.5  # how far gates are open; they do not learn
FACTS_WARMUP = 3
# Where all facts share their prompts: a form of more than prompts, rows of several turns.
SHARED_RECIPES = {
    "taste": (50, 4, 2.5e-2),
    "balanced": (80, 8, 2e-2),
    "thorough": (120, 16, 1.6e-2),
}
SHARED_LAYERS, SHARED_PROMPTS = 16, 32
SHARED_GATES = 2.0  # rate of the gates, as a multiple of the prompts', which begin small
SHARED_WARMUP, FACTS_FLAT = 10, 0.6
FACTS_REHEARSED = 5  # texts a step: four ordinary questions and a passage
FACTS_REHEARSAL = 4.0  # what changes in them weighs so much
MOST_STEPS = 2_000  # that a preset takes for facts


def presets(
    *, pictures: bool, aim: AskedAim = "auto", rows: int = 0, form: str = FORMS[0]
) -> dict[str, TrainingOptions]:
    """Return the presets by name, from the shortest run to the longest.

    Args:
        pictures: whether the rows have pictures.
        aim: what they teach.
        rows: that are learned; the steps for facts follow from their number.
        form: of what is taught.
    """
    if aim == "facts" and not pictures:
        alone = form == FORMS[0]
        return {
            name: TrainingOptions(
                prompts=FACTS_PROMPTS if alone else SHARED_PROMPTS,
                layers=FACTS_LAYERS if alone else SHARED_LAYERS,
                rate=rate,
                steps=min(MOST_STEPS, first + each * rows),
                aim=aim,
                form=form,
            )
            for name, (first, each, rate) in _recipes(form).items()
        }
    found = PICTURE_PRESETS if pictures else PRESETS
    return {name: replace(preset, aim=aim, form=form) for name, preset in found.items()}


BESIDE_PRESETS = ("seed", "window", "cut", "projector")  # fields that no preset says anything about


def _recipes(form: str) -> dict[str, tuple[int, int, float]]:
    return FACTS_RECIPES if form == FORMS[0] else SHARED_RECIPES


def fitted(
    options: TrainingOptions, *, pictures: bool, aim: AskedAim = "auto", rows: int = 0
) -> TrainingOptions:
    """Turn a preset of another kind of data into this kind's; keep what was set by hand.

    Args:
        options: a preset of any kind, or what somebody has set.
        pictures: whether the rows have pictures.
        aim: what they teach.
        rows: that are learned.
    """
    plain = replace(options, **{name: getattr(TrainingOptions, name) for name in BESIDE_PRESETS})
    for name in PRESETS:
        if any(_is_preset(name, replace(plain, form=form)) for form in FORMS):
            fitting = presets(pictures=pictures, aim=aim, rows=rows, form=options.form)[name]
            return replace(fitting, **{name: getattr(options, name) for name in BESIDE_PRESETS})
    return replace(options, aim=aim)


def _is_preset(name: str, options: TrainingOptions) -> bool:
    """Whether options are the preset of a name, for any kind of data and number of rows."""
    first, each, _ = _recipes(options.form)[name]
    rows = max(0, (options.steps - first) // max(1, each))
    kinds = (
        presets(pictures=False, form=options.form),
        presets(pictures=True, form=options.form),
        presets(pictures=False, aim="facts", rows=rows, form=options.form),
    )
    return any(options == replace(kind[name], aim=options.aim) for kind in kinds)


def usable(values: tuple[Any, ...]) -> TrainingOptions:
    """Return what is set, or the defaults where it is wrong: that is said when it is used."""
    try:
        return TrainingOptions(*values)
    except DemoError:
        return TrainingOptions()
