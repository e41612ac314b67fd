"""How released files project pictures, as tensors of our projections.

A query transformer, of the authors' caption model and LLaMA-Adapter V2:

    clip_proj, clip_proj_norm, visual_query.weight, visual_blocks.N, visual_proj, visual_proj_norm

and the bridge of ImageBind-LLM: `image_bind_proj`, and `image_bind_{norm,f1,f2,f3}_N` from 1 on.
"""

from itertools import count

import torch
from torch import Tensor

from demo.adapter.adapter import projection
from demo.adapter.config import ChannelOrder, VisualSpec
from demo.adapter.released_tensors import ReleasedTensors

HEADS = 16  # of each block of every released query transformer
BLOCK = "visual_blocks.{}.norm1.weight"
BRIDGE = "image_bind_f1_{}.weight"
# Of our query transformer's modules, what the authors call them.
MODULES = {
    "inner": "clip_proj",
    "inner_norm": "clip_proj_norm",
    "queries": "visual_query.weight",
    "outer": "visual_proj",
    "outer_norm": "visual_proj_norm",
    "blocks": "visual_blocks",
}
BLOCK_MODULES = {
    "attention_norm": "norm1",
    "qkv": "attn.qkv",
    "mixed": "attn.proj",
    "mlp_norm": "norm2",
    "inner": "mlp.fc1",
    "outer": "mlp.fc2",
}
BRIDGE_MODULES = {"norm": "norm", "gate": "f1", "down": "f2", "up": "f3"}


def take_query_transformer(
    tensors: ReleasedTensors, token_size: int, width: int, channels: ChannelOrder
) -> tuple[VisualSpec, dict[str, Tensor]]:
    """Take a query transformer → its shape, and its tensors by our names.

    Args:
        tensors: what is left of the file.
        token_size: numbers of each token of the tower.
        width: D of the base.
        channels: in which order it was shown colours.
    """
    queries = tensors.take(MODULES["queries"], (None, None))
    slots, hidden = queries.shape
    blocks = next(n for n in count() if not tensors.has(BLOCK.format(n)))
    spec = VisualSpec(
        token_size, hidden, "query-transformer", slots=slots, blocks=blocks, heads=HEADS,
        channels=channels,
    )  # fmt: skip
    return spec, _filled(tensors, spec, width, {"queries": queries})


def take_bridge(tensors: ReleasedTensors, width: int) -> tuple[VisualSpec, dict[str, Tensor]]:
    """Take the bridge of ImageBind-LLM → its shape, and its tensors by our names.

    Args:
        tensors: what is left of the file.
        width: D of the base.
    """
    projection_weight = tensors.take("image_bind_proj.weight", (width, None))
    feature_size, hidden = projection_weight.shape[1], (*tensors.shape(BRIDGE.format(1)), 1)[0]
    blocks = next(n for n in count() if not tensors.has(BRIDGE.format(n + 1)))
    spec = VisualSpec(feature_size, hidden, "swiglu-bridge", blocks=blocks)
    return spec, _filled(tensors, spec, width, {"inner.weight": projection_weight})


def _filled(
    tensors: ReleasedTensors, spec: VisualSpec, width: int, state: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Take all that a projection has, by the authors' names."""
    with torch.device("meta"):
        template = projection(spec, width).state_dict()
    size = spec.feature_size
    state |= {"mean": torch.zeros(size), "deviation": torch.ones(size)}
    name_of = _bridge_name if spec.kind == "swiglu-bridge" else _released_name
    for name, expected in template.items():
        if name not in state:
            state[name] = tensors.take(name_of(name), tuple(expected.shape))
    return {f"visual.{name}": value for name, value in state.items()}


def _released_name(name: str) -> str:
    """Give the authors' name of a tensor of our query transformer."""
    module, *rest = name.split(".")
    if module == "blocks":
        number, inside, last = rest
        rest = [number, BLOCK_MODULES[inside], last]
    return ".".join([MODULES[module], *rest])


def _bridge_name(name: str) -> str:
    """Give the authors' name of a tensor of our bridge."""
    module, *rest = name.split(".")
    if module == "inner":
        return f"image_bind_proj.{rest[0]}"
    number, inside, last = rest
    return f"image_bind_{BRIDGE_MODULES[inside]}_{int(number) + 1}.{last}"
