"""A LLaMA in a folder as the Hub has it: config.json and weights, in one file or many.

The weights are safetensors, or else the `.bin` files of before, which `torch_zip.py` reads.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from demo.errors import CheckpointError
from demo.llama.config import LlamaConfig
from demo.llama.int8 import refuse_extras
from demo.llama.tokenizer.loading import from_folder, read_fields
from demo.llama.tokenizer.tokenizer import TokenizerFiles
from demo.llama.weights.torch_zip import is_plain, read_torch_zip

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
HEAD = NAMES["output"]


class _Kind(NamedTuple):
    """A way to keep weights: the list of several files, and how files are called."""

    listing: str
    files: str
    name: str  # of a file, as a pattern


KINDS = (
    _Kind("model.safetensors.index.json", "*.safetensors", r"[\w.-]+\.safetensors"),
    _Kind("pytorch_model.bin.index.json", "pytorch_model*.bin", r"[\w.-]+\.bin"),
)


class _File(NamedTuple):
    """A file of weights: the names in it, and what gives the tensor of one."""

    names: Iterable[str]
    get: Callable[[str], Any]


class FolderSource:
    """Reads one folder; satisfies `demo.llama.base.BaseSource`.

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
        self._where = {name: file for file, shard in self._files.items() for name in shard.names}
        # A tied model may hold a head too: the embedding again, or one that was taught by itself,
        # which transformers takes whatever the configuration says.
        found = {n for n in self._where if n != HEAD and "rotary_emb" not in n}
        refuse_extras(self.name, found, NAMES, self.config.layers)
        if self.config.tied and HEAD in self._where and NAMES["embedding"] in self._where:
            tied = torch.equal(self._tensor(HEAD), self._tensor(NAMES["embedding"]))
            self.config = dataclasses.replace(self.config, tied=tied)

    def _shards(self) -> list[Path]:
        """List the weight files, and see that all of them are there."""
        for kind in KINDS:
            if (self.folder / kind.listing).is_file():
                names = sorted(
                    set(_weight_map(self.folder / kind.listing, kind, self.name).values())
                )
                missing = [name for name in names if not (self.folder / name).is_file()]
                if missing:
                    raise CheckpointError(
                        f"{self.name} lacks {missing[0]}, one of its {len(names)} weight files. "
                        "Fetch the model again."
                    )
                return [self.folder / name for name in names]
            if found := sorted(self.folder.glob(kind.files)):
                return found
        raise CheckpointError(
            f"{self.name} holds no weights: no .safetensors and no pytorch_model.bin file is in "
            "the folder. Fetch the model's safetensors."
        )

    def read(self, part: str, layer: int) -> Tensor:
        """Read one part, fp32; see `WeightsSource.read`."""
        name = NAMES[part].format(layer)
        if name not in self._where:
            raise CheckpointError(
                f"{self.name} lacks '{name}'. A weight file is missing or of another model: "
                "fetch the model again."
            )
        tensor = self._tensor(name)
        if tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16):
            raise CheckpointError(
                f"{self.name}: '{name}' is stored as {tensor.dtype}. "
                "Use weights in fp32, fp16 or bf16."
            )
        return tensor.float()

    def _tensor(self, name: str) -> Tensor:
        tensor = self._files[self._where[name]].get(name)
        if not isinstance(tensor, Tensor):
            raise CheckpointError(
                f"{self.name}: '{name}' is not a plain tensor of numbers. Fetch the model again."
            )
        return tensor

    @cached_property
    def tokenizer(self) -> TokenizerFiles:
        """The tokenizer in the folder."""
        return from_folder(self.folder, self.name)


def _open(path: Path) -> _File:
    if path.suffix == ".bin":
        tensors = read_torch_zip(path, mapped=True)
        return _File(tensors, lambda name: tensors[name] if is_plain(tensors[name]) else None)
    try:
        file = safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path.name} is cut off or damaged ({path.stat().st_size / 1e6:,.1f} MB). "
            "Fetch it again."
        ) from error
    return _File(file.keys(), file.get_tensor)


def _weight_map(index: Path, kind: _Kind, name: str) -> dict[str, str]:
    """Tensor → file, of files in this folder only."""
    files = read_fields(index).get("weight_map")
    good = isinstance(files, dict) and all(
        isinstance(file, str) and re.fullmatch(kind.name, file) for file in files.values()
    )
    if not good or not files:
        raise CheckpointError(f"The index of {name}'s weights is damaged. Fetch the model again.")
    return files
