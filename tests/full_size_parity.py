"""Logits of the program on what `tests/full_size.py` made, beside the authors' formulas in fp32.

    python -m tests.full_size_parity FOLDER

after `tests/full_size_use.py`, which converts it. The reference is computed here from Meta's file
and the released adapters themselves, one matrix at a time, with Meta's order of rotary pairs; the
other side is the shipped base, the shipped adapters and the compiled kernels, token by token.
Texts alone: what adapters make of pictures is compared at small widths (`released_parity.py`).
"""

import math
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from demo.adapter.adapter import load_adapter
from demo.llama.base import load_llama, open_base
from demo.llama.decoder import Decoder, SlotSizes
from demo.settings import available_cores
from tests.full_size import Sizes
from tests.released_parity import Given, given_by, off, run

NAMES = ("none", "v1", "v2-bias", "v2-lora")
IDS = [1, 17, 4001, 309, 25_000, 12]
Tensors = Mapping[str, Tensor]


def released(folder: Path, name: str) -> Tensors:
    """Read a released file's tensors by names without `llama.`, fp32."""
    if name == "none":
        return {}
    found = torch.load(folder / f"{name}.pth", weights_only=True)
    tensors = found.get("model", found)
    return {key.removeprefix("llama."): value.float() for key, value in tensors.items()}


class Reference:
    """The plain computation of several adapters at once, so that each matrix is read once."""

    def __init__(self, folder: Path, sizes: Sizes, adapters: list[Tensors]) -> None:
        file = folder / "7B" / "consolidated.00.pth"
        self._base = torch.load(file, mmap=True, weights_only=True)
        self._sizes, self._adapters = sizes, adapters

    def logits(self, ids: list[int]) -> list[Tensor]:
        """Compute the logits (T, V) of each adapter."""
        states = [self._base["tok_embeddings.weight"][ids].float() for _ in self._adapters]
        for layer in range(self._sizes.layers):
            states = self._layer(layer, states)
        out = [self._norm("norm", x, a) for x, a in zip(states, self._adapters, strict=True)]
        weight = self._base["output.weight"].float()
        return [x @ weight.T for x in out]

    def _layer(self, layer: int, states: list[Tensor]) -> list[Tensor]:
        at = f"layers.{layer}."
        normed = self._normed(f"{at}attention_norm", states)
        q, k, v = (self._products(f"{at}attention.w{part}", normed) for part in "qkv")
        prompts = [self._prompts(layer, own) for own in self._adapters]
        keys, values = (
            self._products(f"{at}attention.w{part}", prompts, prompts=True) for part in "kv"
        )
        mixed = [
            self._attend(layer, *parts, own)
            for *parts, own in zip(q, k, v, keys, values, self._adapters, strict=True)
        ]
        states = self._sum(states, self._products(f"{at}attention.wo", mixed))
        normed = self._normed(f"{at}ffn_norm", states)
        gate, up = (self._products(f"{at}feed_forward.w{part}", normed) for part in (1, 3))
        inner = [F.silu(g) * u for g, u in zip(gate, up, strict=True)]
        return self._sum(states, self._products(f"{at}feed_forward.w2", inner))

    def _sum(self, states: list[Tensor], added: list[Tensor]) -> list[Tensor]:
        return [x + y for x, y in zip(states, added, strict=True)]

    def _normed(self, name: str, states: list[Tensor]) -> list[Tensor]:
        return [self._norm(name, x, a) for x, a in zip(states, self._adapters, strict=True)]

    def _norm(self, name: str, x: Tensor, own: Tensors) -> Tensor:
        weight = own.get(f"{name}.weight", self._base[f"{name}.weight"].float())
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * weight

    def _products(self, name: str, inputs: list[Tensor], *, prompts: bool = False) -> list[Tensor]:
        weight = self._base[f"{name}.weight"].float()
        block, matrix = name.rsplit(".", 1)
        found = []
        for x, own in zip(inputs, self._adapters, strict=True):
            y = x @ weight.T
            if not prompts:  # which go through the frozen matrix alone, and have no bias of keys
                low = own.get(f"{block}.lora_{matrix}_l1.weight")
                if low is not None:
                    y = y + x @ low.T @ own[f"{block}.lora_{matrix}_l2.weight"].T
                y = y + own.get(f"{name}.bias", torch.zeros(()))
            found.append(y)
        return found

    def _prompts(self, layer: int, own: Tensors) -> Tensor:
        sizes, rows = self._sizes, own.get("adapter_query.weight")
        place = -1 if rows is None else layer - sizes.layers + len(rows) // sizes.prompts
        if rows is None or place < 0:
            return torch.zeros(0, sizes.width)
        return rows[place * sizes.prompts : (place + 1) * sizes.prompts]

    def _attend(
        self,
        layer: int,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        keys: Tensor,
        values: Tensor,
        own: Tensors,
    ) -> Tensor:
        heads = self._sizes.heads
        q, k, v, keys, values = (
            part.unflatten(-1, (heads, -1)).transpose(0, 1) for part in (q, k, v, keys, values)
        )  # (H, T, d)
        q, k = turned(q), turned(k)
        scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
        hidden = torch.ones(scores.shape[1:], dtype=torch.bool).triu(1)
        out = scores.masked_fill(hidden, -math.inf).softmax(-1) @ v
        if keys.shape[1]:
            at = f"layers.{layer}.attention."
            gate = own[f"{at}gate"].view(-1, 1, 1).tanh()
            gate = gate * own.get(f"{at}new_gate", torch.ones(())).flatten()
            scores = q @ keys.transpose(1, 2) / math.sqrt(q.shape[-1])
            out = out + gate * (scores.softmax(-1) @ values)
        return out.transpose(0, 1).flatten(1)


def turned(x: Tensor) -> Tensor:
    """Turn neighbouring numbers of x (H, T, d) by their positions, as Meta's code does."""
    half = x.shape[-1] // 2
    turns = 10_000.0 ** -(torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(x.shape[1])[:, None] * turns
    pairs = torch.view_as_complex(x.unflatten(-1, (half, 2)).contiguous())
    by = torch.polar(torch.ones_like(angle), angle).to(pairs.dtype)
    return torch.view_as_real(pairs * by).flatten(-2)


def compare(folder: Path, sizes: Sizes, names: tuple[str, ...], ids: list[int]) -> dict[str, float]:
    """Give the largest difference of logits of each adapter, from FOLDER and its own folders."""
    base = open_base(str(folder / "7B"), folder / "cache", lambda message, share: None)
    model = load_llama(base, torch.device("cpu"), 64)
    decoder = Decoder(model, SlotSizes(1, 64, sizes.prompts, kv_bits=32), available_cores())
    expected = Reference(folder, sizes, [released(folder, name) for name in names]).logits(ids)
    gaps = {}
    for name, logits in zip(names, expected, strict=True):
        given = Given()
        if name != "none":
            adapter = load_adapter(folder / "adapters" / f"{name}.safetensors")[0]
            given = given_by(adapter, model)
        gaps[name] = off(run(decoder, ids, 0, given), logits.numpy())
    return gaps


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    with torch.inference_mode():
        for name, gap in compare(Path(sys.argv[1]), Sizes(), NAMES, IDS).items():
            print(f"{name}: logits differ by at most {gap:.1e}")
