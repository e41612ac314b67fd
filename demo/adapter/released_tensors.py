"""The tensors of a released file, each checked when it is taken, and the prompts among them."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from demo.adapter.passport import MAX_VALUE
from demo.errors import CheckpointError
from demo.llama.config import LlamaConfig
from demo.llama.weights.torch_zip import is_plain


class ReleasedTensors:
    """A file's tensors, each checked when it is taken, and what nobody took.

    Args:
        file: its name, for messages.
        tensors: what it holds.
    """

    def __init__(self, file: str, tensors: Mapping[str, Any]) -> None:
        self.file, self._left = file, dict(tensors)

    def has(self, name: str) -> bool:
        """Whether a tensor of the name is still to be taken."""
        return name in self._left

    def shape(self, name: str) -> tuple[int, ...]:
        """Give the shape of a tensor that is still to be taken, () for none."""
        value = self._left.get(name)
        return tuple(value.shape) if isinstance(value, Tensor) else ()

    def stack(self, names: Iterable[str], shape: tuple[int, ...]) -> Tensor:
        """Take tensors of one shape → stacked, fp32."""
        return torch.stack([self.take(name, shape) for name in names])

    def take(self, name: str, *shapes: tuple[int | None, ...]) -> Tensor:
        """Take a tensor of one of the shapes, where None is any size → fp32.

        Raises:
            CheckpointError: it is missing, of another shape or not plain, or not finite.
        """
        value = self._left.pop(name, None)
        if value is None:
            raise CheckpointError(f"'{self.file}' lacks '{name}'. It is not a whole adapter.")
        if not is_plain(value) or not any(_matches(value.shape, shape) for shape in shapes):
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            wanted = " or ".join(_spelled(shape) for shape in shapes)
            raise CheckpointError(
                f"'{self.file}' holds '{name}' as {found}; here it has to be {wanted}. Start with "
                "the LLaMA, and the vision tower, that the adapter was made for."
            )
        number = value.float()
        if not torch.isfinite(number).all() or (number.abs() > MAX_VALUE).any():
            raise CheckpointError(
                f"'{self.file}' holds values in '{name}' that are not finite or far too large. "
                "The file is damaged or its training diverged."
            )
        return number

    def check_empty(self) -> None:
        """Check that everything was taken.

        Raises:
            CheckpointError: something is left; the message names the first.
        """
        if self._left:
            first = min(map(str, self._left))[:80]
            raise CheckpointError(
                f"'{self.file}' holds '{first}', which no adapter of its kind has. It is something "
                "else, or for another LLaMA."
            )


def _matches(found: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(found) == len(wanted) and all(
        size in (None, is_) for is_, size in zip(found, wanted, strict=True)
    )


def _spelled(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"


def take_prompts(
    tensors: ReleasedTensors, config: LlamaConfig, query_name: str, gate_name: str, prompts: int
) -> tuple[Tensor, Tensor]:
    """Take gates (L, H) or (L, 1) and prompts (L, K, D).

    Args:
        tensors: what is left of the file.
        config: of the base.
        query_name: of all prompts, one below the other.
        gate_name: of a layer's gate, with {} for the layer.
        prompts: K.

    Raises:
        CheckpointError: they are not for this base; the message names the first that is not.
    """
    query = tensors.take(query_name, (None, config.width))  # (L * K, D)
    layers, rest = divmod(len(query), prompts)
    if rest or not 1 <= layers <= config.layers:
        raise CheckpointError(
            f"'{tensors.file}' holds '{query_name}' with {len(query)} rows, which is not {prompts} "
            f"for each of at most {config.layers} layers. Start with the LLaMA that the adapter "
            "was made for, or say how many prompts a layer has."
        )
    below = config.layers - layers
    gates = [
        tensors.take(gate_name.format(layer), (1, config.heads, 1, 1), (1,)).flatten()
        for layer in range(config.layers)
        if layer >= below or tensors.has(gate_name.format(layer))
    ]
    if len({len(gate) for gate in gates}) > 1:
        raise CheckpointError(
            f"'{tensors.file}' has layers with one gate and others with one a head. It is damaged."
        )
    if any(gate.any() for gate in gates[: len(gates) - layers]):
        raise CheckpointError(
            f"'{tensors.file}' opens gates of layers that have no prompts when each has {prompts}. "
            "Say how many prompts a layer has."
        )
    return torch.stack(gates[-layers:]), query.view(layers, prompts, -1).clone()
