"""A LLaMA in a folder as the Hub has it: config.json and safetensors, in one file or many."""

import re
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from demo.errors import CheckpointError
from demo.llama.config import LlamaConfig
from demo.llama.tokenizer_source import TokenizerFiles, from_folder, read_fields

NAMES = {
    "embedding": "model.embed_tokens.weight",
    "output": "lm_head.weight",
    "output_norm": "model.norm.weight",
    "q": "model.layers.{}.self_attn.q_proj.weight",
    "k": "model.layers.{}.self_attn.k_proj.weight",
    "v": "model.layers.{}.self_attn.v_proj.weight",
    "attention_output": "model.layers.{}.self_attn.o_proj.weight",
    "gate": "model.layers.{}.mlp.gate_proj.weight",
    "up": "model.layers.{}.mlp.up_proj.weight",
    "down": "model.layers.{}.mlp.down_proj.weight",
    "attention_norm": "model.layers.{}.input_layernorm.weight",
    "ffn_norm": "model.layers.{}.post_attention_layernorm.weight",
}
INDEX = "model.safetensors.index.json"


class FolderSource:
    """Reads one folder; satisfies `demo.llama.convert.Source`.

    Args:
        folder: the folder.
        name: what to call the model, the folder's name by default.

    Raises:
        CheckpointError: no model in it, one that is not a LLaMA, or a part of it missing.
    """

    def __init__(self, folder: Path, name: str | None = None) -> None:
        self.folder, self.name = folder, name or folder.resolve().name
        fields = read_fields(folder / "config.json")
        self.config = LlamaConfig.from_hf(fields)
        if fields.get("quantization_config"):
            method = fields["quantization_config"].get("quant_method", "some method")
            raise CheckpointError(
                f"{self.name} is already quantised ({method:.20}). "
                "Use the model's original weights: they are quantised to 8 bits here."
            )
        self._files = {path.name: _open(path) for path in self._shards()}
        self._where = {name: file for file, shard in self._files.items() for name in shard.keys()}  # noqa: SIM118 - not a dict
        self._refuse_extras()

    def _shards(self) -> list[Path]:
        """The weight files, all of them there."""
        if (self.folder / INDEX).is_file():
            names = sorted(set(_weight_map(read_fields(self.folder / INDEX), self.name).values()))
            missing = [name for name in names if not (self.folder / name).is_file()]
            if missing:
                raise CheckpointError(
                    f"{self.name} lacks {missing[0]}, one of its {len(names)} weight files. "
                    "Fetch the model again."
                )
            return [self.folder / name for name in names]
        found = sorted(self.folder.glob("*.safetensors"))
        if not found:
            pickled = any(self.folder.glob("*.bin")) or any(self.folder.glob("*.pt"))
            hint = "Its .bin files are not opened, because they can run code. " if pickled else ""
            raise CheckpointError(
                f"{self.name} holds no weights: no .safetensors file is in the folder. {hint}"
                "Fetch the model's safetensors."
            )
        return found

    def _refuse_extras(self) -> None:
        """A bias or an expert left out would make another model without a word."""
        known = {"lm_head.weight"}  # tied models may hold it too; it is the embedding again
        for pattern in NAMES.values():
            known |= {pattern.format(layer) for layer in range(self.config.layers)}
        extra = sorted(
            name for name in self._where if name not in known and "rotary_emb" not in name
        )
        if extra:
            raise CheckpointError(
                f"{self.name} holds '{extra[0]:.60}', which a LLaMA has not. "
                "Use a LLaMA without biases, experts or other additions."
            )

    def read(self, part: str, layer: int) -> Tensor:
        """One part, fp32; see `Source.read`."""
        name = NAMES[part].format(layer)
        file = self._where.get(name)
        if file is None:
            raise CheckpointError(
                f"{self.name} lacks '{name}'. A weight file is missing or of another model: "
                "fetch the model again."
            )
        tensor = self._files[file].get_tensor(name)
        if tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16):
            raise CheckpointError(
                f"{self.name}: '{name}' is stored as {tensor.dtype}. "
                "Use weights in fp32, fp16 or bf16."
            )
        return tensor.float()

    @cached_property
    def tokenizer(self) -> TokenizerFiles:
        """The tokenizer in the folder."""
        return from_folder(self.folder, self.name)


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path.name} is cut off or damaged ({path.stat().st_size / 1e6:,.1f} MB). "
            "Fetch it again."
        ) from error


def _weight_map(index: dict[str, Any], name: str) -> dict[str, str]:
    """Tensor → file, of files in this folder only."""
    files = index.get("weight_map")
    good = isinstance(files, dict) and all(
        isinstance(file, str) and re.fullmatch(r"[\w.-]+\.safetensors", file)
        for file in files.values()
    )
    if not good or not files:
        raise CheckpointError(f"The index of {name}'s weights is damaged. Fetch the model again.")
    return files
