"""What litgpt's adapter of version 2 changes beside its prompts, as our tensors.

Every linear layer gives s (W x + b) there, and norms are its own; of layer N

    transformer.h.N.{attn.attn, attn.proj, mlp.fc_1, mlp.fc_2, mlp.proj}.adapter_{bias,scale} (O,)
    transformer.h.N.{norm_1,norm_2}.weight, transformer.ln_f.weight (D,)

and `lm_head.adapter_{bias,scale}`, for which an adapter here has no place: they are as they began,
or refused.

Before litgpt 0.5.5 (December 2024) a fused matrix had the rows of a group of heads together, its
queries, its key and its value. Since then it is called `attn.qkv` and has all queries first, then
all keys, but prompts are still cut as before: their keys and values come from other rows than those
of W_k and W_v. Where prompts count, such a file cannot be held.
"""

import torch
from torch import Tensor

from demo.adapter.config import DeltaSpec
from demo.adapter.released_tensors import ReleasedTensors
from demo.errors import CheckpointError
from demo.llama.base import Base
from demo.llama.config import LlamaConfig

TOGETHER, IN_TURN = "attn.attn", "attn.qkv"  # where the fused matrix is: before, and since
PARTS = {  # our products, and the layers in each
    "attention_output": ("attn.proj",),
    "gate_up": ("mlp.fc_1", "mlp.fc_2"),
    "down": ("mlp.proj",),
}


def take_litgpt_changes(
    tensors: ReleasedTensors, base: Base, *, opened: bool
) -> tuple[DeltaSpec, dict[str, Tensor]]:
    """Take biases, scales and norms → their shape, and tensors by our names.

    Args:
        tensors: what is left of the file, by names that begin with the layers.
        base: that they change.
        opened: whether any gate lets prompts through.

    Raises:
        CheckpointError: they are not for this base, or do what an adapter here cannot.
    """
    config = base.config
    _check_head(tensors, config)
    together = tensors.has(f"layers.0.{TOGETHER}.adapter_bias")
    if opened and not together and config.kv_heads > 1:
        raise CheckpointError(
            f"'{tensors.file}' is of litgpt 0.5.5 or later, which computes its prompts' keys and "
            "values from other rows than those of W_k and W_v. An adapter here cannot do so; one "
            "of an earlier version is read."
        )
    spec = DeltaSpec.for_base(config, bias=True, scale="after", norms=True)
    rows, state = spec.rows(config.width), dict[str, Tensor]()
    for kind in ("bias", "scale"):
        usual = 1 if kind == "scale" else 0  # ours are differences to what changes nothing
        fused = _all(tensors, config, f"{TOGETHER if together else IN_TURN}.adapter_{kind}")
        fused = _in_turn(fused, config) if together else fused
        state[f"changes.qkv.{kind}"] = fused - usual
        for name, parts in PARTS.items():
            taken = [
                _all(tensors, config, f"{part}.adapter_{kind}", count)
                for part, count in zip(parts, rows[name], strict=True)
            ]
            state[f"changes.{name}.{kind}"] = torch.cat(taken, 1) - usual
    w = base.weights
    for name, theirs, own in (
        ("attention_norm", "norm_1", w.attention_norm),
        ("ffn_norm", "norm_2", w.ffn_norm),
    ):
        state[f"changes.{name}"] = _all(tensors, config, f"{theirs}.weight", config.width) - own
    last = tensors.take("transformer.ln_f.weight", (config.width,))
    state["changes.output_norm"] = last - w.output_norm
    return spec, state


def _all(
    tensors: ReleasedTensors, config: LlamaConfig, name: str, count: int | None = None
) -> Tensor:
    """Take a vector of every layer → (N, `count`), by default that of the fused matrix."""
    size = count or (config.heads + 2 * config.kv_heads) * config.head_dim
    return tensors.stack([f"layers.{n}.{name}" for n in range(config.layers)], (size,))


def _in_turn(rows: Tensor, config: LlamaConfig) -> Tensor:
    """Put rows (N, O) of groups of heads in our order: all queries, then keys, then values."""
    each = config.heads // config.kv_heads
    groups = rows.unflatten(1, (config.kv_heads, each + 2, config.head_dim))
    parts = groups.split((each, 1, 1), 2)
    return torch.cat([part.flatten(1) for part in parts], 1)


def _check_head(tensors: ReleasedTensors, config: LlamaConfig) -> None:
    for kind, usual in (("bias", 0), ("scale", 1)):
        if not tensors.has(name := f"lm_head.adapter_{kind}"):
            continue
        found = tensors.take(name, (None,))  # it may have rows beyond the vocabulary
        if len(found) < config.vocab or (found[: config.vocab] != usual).any():
            raise CheckpointError(
                f"'{tensors.file}' changes the output matrix too ('{name}'), which an adapter "
                "here cannot. litgpt's first version, PEFT's adapters and the authors' V2 files "
                "are read."
            )
