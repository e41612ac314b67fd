"""AdamW (arXiv 1711.05101) for an adapter, whose parts learn at rates of their own.

torch's own arithmetic without its `Optimizer`: the first one of a process imports the compiler of
graphs, a third of the time that a training needs to begin.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from demo.adapter.adapter import Adapter
from demo.finetune.train_settings import TrainSettings

MOMENTS = "exp_avg", "exp_avg_sq"
BETAS, EPSILON = (0.9, 0.95), 1e-8


class AdamW:
    """Changes an adapter's numbers along their gradients, in place."""

    def __init__(self, adapter: Adapter, settings: TrainSettings) -> None:
        # Prompts, gates, projection, each with its rate before any schedule.
        self._groups: list[tuple[list[nn.Parameter], float]] = [
            ([adapter.prompts], settings.rate),
            ([adapter.gate], settings.gate_rate),
        ]
        if adapter.visual:
            self._groups.append((list(adapter.visual.parameters()), settings.visual_rate))
        self._decay = settings.weight_decay
        self._moments: dict[nn.Parameter, dict[str, Tensor]] = {}

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for part in self._parts():
            part.grad = None

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """One step at `scale` of the rates. What has no gradient stays as it is."""
        for parts, rate in self._groups:
            moved = [part for part in parts if part.grad is not None]
            moments = [self._of(part) for part in moved]
            first, second = ([each[name] for each in moments] for name in MOMENTS)
            adamw(
                moved, [part.grad for part in moved], first, second, [],
                [each["step"] for each in moments],
                amsgrad=False, beta1=BETAS[0], beta2=BETAS[1], lr=rate * scale,
                weight_decay=self._decay, eps=EPSILON, maximize=False,
            )  # fmt: skip

    def tensors(self) -> dict[str, Tensor]:
        """Steps () and moments, shaped as their part, by "number of the part.name".

        The names are those of torch's own state, so what an older version kept can be taken up.
        """
        return {
            f"{index}.{name}": x
            for index, part in enumerate(self._parts())
            for name, x in self._moments.get(part, {}).items()
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes up what `tensors` gave.

        Raises:
            KeyError: moments of a part are missing.
            ValueError: they are of another shape.
        """
        for index, part in enumerate(self._parts()):
            if not any(name.startswith(f"{index}.") for name in tensors):
                continue  # it had no gradient yet
            kept = {"step": tensors[f"{index}.step"].cpu()}
            for name in MOMENTS:
                kept[name] = tensors[f"{index}.{name}"].to(part)
                if kept[name].shape != part.shape:
                    raise ValueError(f"{name} of part {index}: {tuple(kept[name].shape)}")
            self._moments[part] = kept

    def _of(self, part: nn.Parameter) -> dict[str, Tensor]:
        if part not in self._moments:
            none = {name: torch.zeros_like(part) for name in MOMENTS}
            self._moments[part] = {"step": torch.tensor(0.0), **none}
        return self._moments[part]

    def _parts(self) -> list[nn.Parameter]:
        return [part for parts, _ in self._groups for part in parts]
