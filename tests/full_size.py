"""A random LLaMA of 7B's shape in Meta's layout, and released adapters and a tower of its sizes.

    python -m tests.full_size FOLDER

makes, with little memory, what somebody has who wants to use the authors' released files:

    7B/params.json, 7B/consolidated.00.pth   fp16, 13 GB; twice as much while it is made
    tokenizer.model                          32,000 pieces of made-up words
    v1.pth, v2-bias.pth, v2-lora.pth         as the authors' scripts write them
    vision.pt                                ViT-L-14, for `--clip ViT-L-14:FOLDER/vision.pt`

Each row of a matrix holds whole numbers of -127 to 127, one of them 127 in size, times a power of
two: its 8 bits lose nothing, and what the program computes can be compared with the numbers here.
`tests/full_size_use.py` starts the program on it.
"""

import json
import random
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tests.formats import train_sentencepiece

# Powers of two that numbers of -127 to 127 are divided by: what a layer adds stays of size one.
SHIFTS = {"tok_embeddings": 7, "wo": 13, "w2": 14}
SHIFT = 12
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Sizes:
    """Of a LLaMA and of the adapters for it, 7B's by default."""

    width: int = 4096  # D
    heads: int = 32  # H
    layers: int = 32  # N
    multiple_of: int = 256
    vocab: int = 32_000
    prompts: int = 10  # K
    rank: int = 16
    visual: int = 768  # of the query transformer
    visual_blocks: int = 8
    tower: str = "ViT-L-14"
    tower_token: int = 768

    @property
    def ffn(self) -> int:
        """Return F by Meta's rule."""
        wanted = 8 * self.width // 3
        return -(-wanted // self.multiple_of) * self.multiple_of

    @property
    def matrices(self) -> dict[str, tuple[int, int]]:
        """Return outputs and inputs of a layer's matrices, by Meta's names."""
        d, f = self.width, self.ffn
        square = {f"attention.w{letter}": (d, d) for letter in "qkvo"}
        return square | {f"feed_forward.w{n}": (d, f) if n == 2 else (f, d) for n in (1, 2, 3)}


def make_all(folder: Path, sizes: Sizes) -> None:
    """Make everything in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    make_tokenizer(folder / "tokenizer.model", sizes.vocab)
    make_llama(folder / "7B", sizes)
    make_adapters(folder, sizes)
    make_tower(folder / "vision.pt", sizes.tower)


def make_llama(folder: Path, sizes: Sizes) -> None:
    """Write `params.json` and `consolidated.00.pth`, whose numbers are never all in memory."""
    folder.mkdir(exist_ok=True)
    params = {"dim": sizes.width, "multiple_of": sizes.multiple_of, "n_heads": sizes.heads}
    params |= {"n_layers": sizes.layers, "norm_eps": 1e-06, "vocab_size": -1}
    (folder / "params.json").write_text(json.dumps(params))
    half = sizes.width // sizes.heads // 2
    turns = 10_000.0 ** -(torch.arange(half) / half)
    # `torch.save` wants all tensors at once, so each lies in a file of its own and is mapped.
    with tempfile.TemporaryDirectory(dir=folder, prefix="parts-") as parts:
        state = {"rope.freqs": turns.half()}
        for number, (name, shape) in enumerate(llama_shapes(sizes)):
            count, path = int(torch.tensor(shape).prod()), str(Path(parts) / str(number))
            mapped = torch.from_file(path, shared=True, size=count, dtype=torch.float16)
            state[name] = mapped.view(shape)
            state[name].copy_(numbers_of(name, shape, number))
        torch.save(state, folder / "consolidated.00.pth")


def llama_shapes(sizes: Sizes) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the name and the shape of every tensor that has weights."""
    yield "tok_embeddings.weight", (sizes.vocab, sizes.width)
    for layer in range(sizes.layers):
        for name, shape in sizes.matrices.items():
            yield f"layers.{layer}.{name}.weight", shape
        for norm in ("attention_norm", "ffn_norm"):
            yield f"layers.{layer}.{norm}.weight", (sizes.width,)
    yield "norm.weight", (sizes.width,)
    yield "output.weight", (sizes.vocab, sizes.width)


def numbers_of(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """Draw the numbers of a tensor, fp16."""
    chance = torch.Generator().manual_seed(seed)
    if len(shape) == 1:
        return (1 + 0.1 * torch.randn(shape, generator=chance)).half()
    whole = torch.randint(-127, 128, shape, generator=chance, dtype=torch.int8)
    whole[:, seed % shape[1]] = 127
    shift = next((n for part, n in SHIFTS.items() if part in name), SHIFT)
    return whole.half().mul_(2.0**-shift)


def make_tokenizer(path: Path, vocab: int) -> None:
    """Train a model of Meta's kind on words that mean nothing."""
    chance = random.Random(0)
    words = ("".join(chance.choices(LETTERS, k=chance.randint(2, 9))) for _ in range(2 * vocab))
    text = list(words)
    lines = [" ".join(text[start : start + 20]) for start in range(0, len(text), 20)]
    train_sentencepiece(path, lines, vocab)


def make_adapters(folder: Path, sizes: Sizes) -> None:
    """Write the three adapters as the authors' scripts do: bare, and beside a `config`."""
    torch.manual_seed(7)
    torch.save(v1_text(sizes), folder / "v1.pth")
    for name, lora in (("v2-bias", False), ("v2-lora", True)):
        config = {"w_bias": True, "w_lora": lora, "lora_rank": 16}
        torch.save({"model": v2(sizes, lora=lora), "config": config}, folder / f"{name}.pth")


def v1_text(sizes: Sizes) -> dict[str, Tensor]:
    """Make version 1 for text: prompts of all layers but two, and gates, the first two closed."""
    gates = {
        f"layers.{layer}.attention.gate": _gate(sizes, opened=layer > 1)
        for layer in range(sizes.layers)
    }
    return gates | {"adapter_query.weight": _prompts(sizes, sizes.layers - 2)}


def v2(sizes: Sizes, *, lora: bool) -> dict[str, Tensor]:
    """Make version 2, BIAS or LORA-BIAS."""
    state = dict(_query_transformer(sizes))
    state["adapter_query.weight"] = _prompts(sizes, sizes.layers - 1)
    state["llama.norm.weight"] = _norm(sizes.width)
    for layer in range(sizes.layers):
        at = f"llama.layers.{layer}."
        state[f"{at}attention.gate"] = _gate(sizes, opened=layer > 0).half()
        for name, (outputs, inputs) in sizes.matrices.items():
            if not name.endswith(("wk", "wv")):
                state[f"{at}{name}.bias"] = 0.05 * torch.randn(outputs)
            if lora:
                block, matrix = name.split(".")
                low, up = (f"{at}{block}.lora_{matrix}_l{half}.weight" for half in (1, 2))
                state[low] = (torch.randn(sizes.rank, inputs) / inputs**0.5).half()
                state[up] = (0.05 * torch.randn(outputs, sizes.rank)).half()
        for norm in ("attention_norm", "ffn_norm"):
            state[f"{at}{norm}.weight"] = _norm(sizes.width)
        if lora:
            state[f"{at}attention.new_gate"] = torch.full((1, 1, 1, 1), 0.9).half()
    return state


def _query_transformer(sizes: Sizes) -> Iterator[tuple[str, Tensor]]:
    size, width = sizes.visual, sizes.width
    for name, outputs, inputs in (
        ("clip_proj", size, sizes.tower_token),
        ("visual_proj", width, size),
    ):
        yield f"{name}.weight", torch.randn(outputs, inputs) / inputs**0.5
        yield f"{name}.bias", 0.01 * torch.randn(outputs)
        yield f"{name}_norm.weight", _norm(outputs)
        yield f"{name}_norm.bias", 0.01 * torch.randn(outputs)
    yield "visual_query.weight", torch.randn(sizes.prompts, size)
    for block in range(sizes.visual_blocks):
        at = f"visual_blocks.{block}."
        for name, outputs, inputs in (
            ("attn.qkv", 3 * size, size),
            ("attn.proj", size, size),
            ("mlp.fc1", 4 * size, size),
            ("mlp.fc2", size, 4 * size),
        ):
            yield f"{at}{name}.weight", torch.randn(outputs, inputs) / inputs**0.5
            yield f"{at}{name}.bias", 0.01 * torch.randn(outputs)
        for norm in ("norm1", "norm2"):
            yield f"{at}{norm}.weight", _norm(size)
            yield f"{at}{norm}.bias", 0.01 * torch.randn(size)


def _prompts(sizes: Sizes, layers: int) -> Tensor:
    return torch.randn(sizes.prompts * layers, sizes.width)


def _gate(sizes: Sizes, *, opened: bool) -> Tensor:
    shape = 1, sizes.heads, 1, 1
    return 0.3 * torch.randn(shape) if opened else torch.zeros(shape).half()


def _norm(size: int) -> Tensor:
    return 1 + 0.1 * torch.randn(size)


def make_tower(path: Path, model: str) -> None:
    """Write random weights of one of open_clip's models, as they are before they are taught."""
    import open_clip

    torch.manual_seed(8)
    made = open_clip.create_model(model, precision="fp16")
    torch.save(made.state_dict(), path)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    make_all(Path(sys.argv[1]), Sizes())
