"""The adapter file: one safetensors file that describes itself.

Tensors are the adapter's own, by name, and nothing of the base. Format version 1:

    prompts (L, K, D) fp32, gate (L, H) fp32, and for images
    visual.mean (S,), visual.deviation (S,), visual.inner.{weight,bias}, visual.outer.{weight,bias}

and for images read by queries (`query-resampler`) also

    visual.position (T, h), visual.queries (Q, h), visual.norm.{weight,bias}, and in each of
    visual.blocks.{0,1} {query_norm,token_norm,query,key_value,mix,mlp_norm,up,down}.{weight,bias}

A memory (`key-value-memory`) has, instead of `visual.inner` and `visual.outer`,

    visual.keys.{weight,bias}, visual.values.weight, visual.outer.weight, visual.sharpness (Q,)

A passport without `slots`, `token_width`, `entries` and `seconds`, which came later, means 1 and
three times 0.
A file is read against this template: any other name, shape or type, or a value that is not finite,
is refused before the adapter is used.
"""

from pathlib import Path

import torch
from safetensors.torch import save

from demo.adapter.adapter import Adapter
from demo.adapter.passport import Passport, opened, read_passport
from demo.errors import CheckpointError
from demo.files import replace_file

LARGEST = 1e4  # no trained prompt, gate or projection comes near; overflow starts beyond


def save_adapter(adapter: Adapter, passport: Passport, path: Path) -> None:
    """Writes the file whole or not at all."""
    if adapter.spec != passport.spec:
        raise ValueError("passport and adapter differ in shape")
    tensors = {k: v.detach().float().cpu().contiguous() for k, v in adapter.state_dict().items()}
    data = save(tensors, metadata={"passport": passport.to_json()})
    with replace_file(path) as unfinished:
        unfinished.write_bytes(data)


def load_adapter(path: Path) -> tuple[Adapter, Passport]:
    """The adapter in fp32 on the CPU, not trainable, and its passport.

    Raises:
        CheckpointError: as `read_passport`, or a tensor that is missing, unknown, of another shape
            or type, or not finite; the message names the first.
    """
    passport = read_passport(path)
    with torch.device("meta"):
        adapter = Adapter(passport.spec)
    template = adapter.state_dict()
    with opened(path, "pt") as file:
        _check_names(set(template), set(file.keys()), path.name)
        tensors = {name: file.get_tensor(name) for name in template}
    for name, expected in template.items():
        _check_tensor(name, tensors[name], expected, path.name)
    adapter.load_state_dict(tensors, strict=True, assign=True)
    return adapter.requires_grad_(False), passport


def _check_names(expected: set[str], found: set[str], file: str) -> None:
    odd = sorted(expected ^ found)
    if odd:
        word = "lacks" if odd[0] in expected else "has the unknown"
        raise CheckpointError(f"'{file}' {word} tensor '{odd[0][:80]}'. It is not a whole adapter.")


def _check_tensor(name: str, found: torch.Tensor, expected: torch.Tensor, file: str) -> None:
    if found.shape != expected.shape or found.dtype != torch.float32:
        raise CheckpointError(
            f"'{file}' holds '{name}' as {tuple(found.shape)} {str(found.dtype)[6:]}; its passport "
            f"says {tuple(expected.shape)} float32. The file is damaged."
        )
    if not torch.isfinite(found).all() or found.abs().max() > LARGEST:
        raise CheckpointError(
            f"'{file}' holds values in '{name}' that are not finite or far too large. "
            "The file is damaged or its training diverged."
        )
