"""What released files of LLaMA-Adapter V2 and ImageBind-LLM change beside prompts, as our tensors.

Of N layers, in Meta's names, behind `llama.` (or `llma.`, in older files):

    attention.{wq,wo}.bias, feed_forward.{w1,w2,w3}.bias, {attention,ffn}_norm.weight, norm.weight
    attention.lora_{wq,wk,wv,wo}_{l1,l2}.weight, feed_forward.lora_{w1,w2,w3}_{l1,l2}.weight

and of the chat model, with nothing before them,

    attention.{wq,wk,wv,wo}_{bias,scale}, feed_forward.{w1,w2,w3}_{bias,scale}, and the norms.

Meta's rotary positions turn neighbouring numbers, ours the halves of a head: what comes out of W_q
and W_k is put in our order, as their own rows were (`convert_llama_weights_to_hf.py`).
"""

import torch
from torch import Tensor

from demo.adapter.config import MAX_RANK, DeltaSpec
from demo.adapter.released_tensors import ReleasedTensors
from demo.errors import CheckpointError
from demo.llama.base import Base
from demo.llama.config import LlamaConfig

# Our products, and the matrices in each.
PARTS = {
    "qkv": ("attention.wq", "attention.wk", "attention.wv"),
    "attention_output": ("attention.wo",),
    "gate_up": ("feed_forward.w1", "feed_forward.w3"),
    "down": ("feed_forward.w2",),
}
ROTATED = ("attention.wq", "attention.wk")


def take_changes(
    tensors: ReleasedTensors, base: Base, before: str, *, scaled: bool
) -> tuple[DeltaSpec | None, dict[str, Tensor]]:
    """Take everything beside prompts and pictures → its shape, and tensors by our names.

    Args:
        tensors: what is left of the file.
        base: that they change.
        before: what names begin with.
        scaled: they are the chat model's, whose scales act on what goes in.

    Raises:
        CheckpointError: some are missing or of another shape; the message names the first.
    """
    config, at = base.config, before + "layers.{}."
    first = at.format(0)
    bias = scaled or tensors.has(f"{first}attention.wq.bias")
    norms = tensors.has(f"{first}attention_norm.weight")
    rank = _rank(tensors, f"{first}attention.lora_wq_l1.weight")
    if not (bias or norms or rank):
        return None, {}
    spec = DeltaSpec.for_base(
        config, bias=bias, scale="before" if scaled else "", norms=norms, rank=rank
    )
    state: dict[str, Tensor] = {}
    rows, columns = spec.rows(config.width), spec.columns(config.width)
    for name, matrices in PARTS.items():
        parts = list(zip(matrices, rows[name], strict=True))
        mine, size = f"changes.{name}.", columns[name]
        if bias:
            taken = [_bias(tensors, config, at, part, count, scaled) for part, count in parts]
            state[f"{mine}bias"] = torch.cat(taken, 1)
        if scaled:
            scales = [
                tensors.stack(_names(config, at, f"{part}_scale"), (size,)) for part, _ in parts
            ]
            state[f"{mine}scale"] = torch.stack(scales, 1) - 1
        if rank:
            low, up = zip(
                *(_lora(tensors, config, at, part, (count, size, rank)) for part, count in parts),
                strict=True,
            )
            state[f"{mine}down"], state[f"{mine}up"] = torch.stack(low, 1), torch.cat(up, 1)
    if norms:
        state |= _norms(tensors, base, at, f"{before}norm.weight", optional=scaled)
    return spec, state


def take_gate_factors(tensors: ReleasedTensors, config: LlamaConfig, before: str) -> Tensor | None:
    """Take what files with LoRA multiply each layer's gates by, (N, 1), None for nothing."""
    names = [f"{before}layers.{layer}.attention.new_gate" for layer in range(config.layers)]
    if not any(map(tensors.has, names)):
        return None
    return tensors.stack(names, (1, 1, 1, 1)).flatten(1)


def permuted(rows: Tensor, heads: int) -> Tensor:
    """Put rows (N, H d, ...) of what is rotated from Meta's order in ours."""
    pairs = rows.unflatten(1, (heads, -1, 2))  # (N, H, d / 2, 2, ...)
    return pairs.transpose(2, 3).flatten(1, 3).contiguous()


def _names(config: LlamaConfig, at: str, name: str) -> list[str]:
    return [at.format(layer) + name for layer in range(config.layers)]


def _rank(tensors: ReleasedTensors, name: str) -> int:
    shape = tensors.shape(name)
    if shape and not 1 <= shape[0] <= MAX_RANK:
        raise CheckpointError(
            f"'{tensors.file}' holds '{name}' as {shape}; a LoRA here has a rank of 1 to "
            f"{MAX_RANK}. It is something else, or damaged."
        )
    return shape[0] if shape else 0


def _bias(
    tensors: ReleasedTensors, config: LlamaConfig, at: str, part: str, count: int, scaled: bool
) -> Tensor:
    names = _names(config, at, f"{part}_bias" if scaled else f"{part}.bias")
    if not scaled and not tensors.has(names[0]) and part in ("attention.wk", "attention.wv"):
        return torch.zeros(config.layers, count)  # which have none there
    return _in_our_order(tensors.stack(names, (count,)), config, part)


def _lora(
    tensors: ReleasedTensors, config: LlamaConfig, at: str, part: str, sizes: tuple[int, int, int]
) -> tuple[Tensor, Tensor]:
    count, size, rank = sizes
    block, matrix = part.split(".")
    names = [f"{block}.lora_{matrix}_{half}.weight" for half in ("l1", "l2")]
    low = tensors.stack(_names(config, at, names[0]), (rank, size))
    up = tensors.stack(_names(config, at, names[1]), (count, rank))
    return low, _in_our_order(up, config, part)


def _in_our_order(rows: Tensor, config: LlamaConfig, part: str) -> Tensor:
    if part not in ROTATED:
        return rows
    return permuted(rows, config.heads if part == "attention.wq" else config.kv_heads)


def _norms(
    tensors: ReleasedTensors, base: Base, at: str, last: str, *, optional: bool
) -> dict[str, Tensor]:
    """Take norms as their difference to the base's; the last one may be missing of some files."""
    config, w = base.config, base.weights
    shape = (config.width,)
    of_base = {"attention_norm": w.attention_norm, "ffn_norm": w.ffn_norm}
    state = {
        f"changes.{name}": tensors.stack(_names(config, at, f"{name}.weight"), shape) - norm.cpu()
        for name, norm in of_base.items()
    }
    missing = optional and not tensors.has(last)
    own = w.output_norm.cpu() if missing else tensors.take(last, shape)
    return state | {"changes.output_norm": own - w.output_norm.cpu()}
