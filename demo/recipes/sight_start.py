"""What a stage of `sight` starts with: an adapter, its eyes, and the looks it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from demo.adapter.adapter import Adapter
from demo.adapter.file import load_adapter
from demo.adapter.spec import AdapterSpec, VisualSpec
from demo.adapter.visual import Projection
from demo.llama.base import Base
from demo.llama.model import Llama
from demo.recipes.sight_fit import fit
from demo.recipes.sight_lessons import Known
from demo.recipes.sight_memory import captions_of, remember
from demo.recipes.sight_pictures import Seen
from demo.recipes.sight_stages import Stage
from demo.recipes.sight_told import NEXT, Told, open_up, targets, told

EYES = ("memory", "slots", "resampler")
POOL = 40_000  # looks that one stage shows; all are in memory as fp32


@dataclass(frozen=True)
class Recipe:
    """What is the same in all stages; `eyes` is one of `EYES`."""

    layers: int = 16
    prompts: int = 16  # and for a memory those that tell a second guess
    hidden: int = 256
    eyes: str = "memory"
    seed: int = 0

    @property
    def seconds(self) -> int:
        """Prompts for a second guess: only a memory has one."""
        return sum(NEXT) if self.eyes == "memory" else 0

    @property
    def kind(self) -> str:
        """Of the projection."""
        return "query-resampler" if self.eyes == "resampler" else "global-mlp"

    def visual(self, seen: Seen, kinds: int) -> VisualSpec:
        """The projection's shape for those features."""
        size = seen.features.shape[1]
        if self.eyes == "memory":
            return VisualSpec(
                size,
                self.hidden,
                "key-value-memory",
                slots=self.prompts + self.seconds,
                entries=kinds,
                seconds=self.seconds,
            )
        if self.eyes == "slots":
            return VisualSpec(size, self.hidden, slots=self.prompts)
        width = seen.facts["token_width"]
        return VisualSpec(
            size, self.hidden, kind="query-resampler", slots=self.prompts, token_width=width
        )


def new(recipe: Recipe, base: Base, seen: Seen, kinds: int) -> Adapter:
    """An adapter that has learned nothing."""
    visual = recipe.visual(seen, kinds)
    spec = AdapterSpec.for_base(
        base.config,
        layers=recipe.layers,
        prompts=recipe.prompts + recipe.seconds,
        visual=visual,
    )
    adapter = Adapter(spec)
    if recipe.eyes != "memory":
        adapter.visual.measure(seen.features[~seen.held_out][:POOL].float())
    return adapter


def taken_up(before: Adapter, new: Adapter, keep_new: bool) -> Adapter:
    """What was learned before; with the new one's projection where that is to be kept.

    Prompts that the one before did not have stay as the new one has them.

    Raises:
        ValueError: the new one has fewer prompts, or other layers.
    """
    if not keep_new:
        return before
    layers, prompts, width = before.prompts.shape
    if new.prompts[:, :prompts].shape != before.prompts.shape:
        raise ValueError(f"prompts are {layers, prompts, width}, not as the recipe says")
    with torch.no_grad():
        new.prompts[:, :prompts] = before.prompts
        new.gate.copy_(before.gate)
    return new


def opened(
    stage: Stage,
    recipe: Recipe,
    base: Base,
    model: Llama,
    seen: Seen,
    kinds: Sequence[Known],
    tower: Path,
    init: Path | None,
    *,
    fitting: bool,
) -> tuple[Adapter, Projection, Seen]:
    """An adapter for the stage, the projection that it is to keep, and what it is shown.

    Args:
        tower: folder of the tower whose captions a memory sees with.
        init: what the stage before has written.
        fitting: teach another projection than a memory.
    """
    adapter = new(recipe, base, seen, len(kinds))
    shape = adapter.spec.layers, adapter.spec.prompts, recipe.seconds
    centre, aim = (x.cpu() for x in targets(model, base.tokenizer, kinds, *shape))
    open_up(adapter, centre)
    if init:
        keep_new = fitting or recipe.eyes == "memory"
        adapter = taken_up(load_adapter(init)[0], adapter, keep_new)
    projection = adapter.visual
    if recipe.eyes == "memory":
        remember(projection, *captions_of(tower, kinds), aim)
    elif fitting:
        fit(adapter, aim, seen, seed=recipe.seed)
    if stage.told:
        memory = projection if recipe.eyes == "memory" else None
        seen, adapter.visual = told(seen, kinds, recipe.seed, memory), Told(aim, recipe.seconds)
    return adapter.requires_grad_(True), projection, seen
