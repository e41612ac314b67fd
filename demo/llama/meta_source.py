"""A LLaMA as Meta released it: params.json, consolidated.NN.pth, tokenizer.model."""

import zipfile
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from demo.errors import CheckpointError
from demo.llama.config import LlamaConfig
from demo.llama.rotary_rows import half_split
from demo.llama.tokenizer_source import TokenizerFiles, from_sentencepiece, read_fields

NAMES = {
    "embedding": "tok_embeddings.weight",
    "output": "output.weight",
    "output_norm": "norm.weight",
    "q": "layers.{}.attention.wq.weight",
    "k": "layers.{}.attention.wk.weight",
    "v": "layers.{}.attention.wv.weight",
    "attention_output": "layers.{}.attention.wo.weight",
    "gate": "layers.{}.feed_forward.w1.weight",
    "up": "layers.{}.feed_forward.w3.weight",
    "down": "layers.{}.feed_forward.w2.weight",
    "attention_norm": "layers.{}.attention_norm.weight",
    "ffn_norm": "layers.{}.ffn_norm.weight",
}
# Model parallelism cuts a matrix by its outputs (dimension 0) or by its inputs (1).
BY_INPUT = ("attention_output", "down")
WHOLE = ("output_norm", "attention_norm", "ffn_norm")


class MetaSource:
    """Reads one folder; satisfies `demo.llama.convert.Source`.

    Args:
        folder: holds params.json and the shards; tokenizer.model lies there or one folder up.
        name: what to call the model, the folder's name by default.

    Raises:
        CheckpointError: a shard is missing or is not a plain list of tensors.
    """

    def __init__(self, folder: Path, name: str | None = None) -> None:
        self.folder, self.name = folder, name or folder.resolve().name
        params = read_fields(folder / "params.json")
        paths = sorted(folder.glob("consolidated.*.pth"))
        self._shards = [_load(path) for path in paths]
        rows, columns = self._parts("embedding", 0)[0].shape
        # LLaMA 1 and 2 cut the embedding by its width, Llama 3 by its vocabulary.
        self._embedding_dim = 0 if columns == params.get("dim") else 1
        vocab = rows * (len(paths) if self._embedding_dim == 0 else 1)
        self.config = LlamaConfig.from_params(params, vocab=vocab)
        self._check_count()

    def _check_count(self) -> None:
        """All shards are there: each holds the same share of the heads."""
        share = self._parts("q", 0)[0].shape[0]
        wanted = self.config.heads * self.config.head_dim // max(1, share)
        if wanted != len(self._shards):
            raise CheckpointError(
                f"{self.name} has {len(self._shards)} consolidated.NN.pth files where {wanted} "
                "belong. Fetch the missing ones."
            )

    def read(self, part: str, layer: int) -> Tensor:
        """One part, fp32, rotary rows in half-split order; see `Source.read`."""
        pieces = [piece.float() for piece in self._parts(part, layer)]
        if part in WHOLE:
            return pieces[0].clone()  # every shard has all of it
        dim = self._embedding_dim if part == "embedding" else int(part in BY_INPUT)
        matrix = torch.cat(pieces, dim)
        if part in ("q", "k"):
            return half_split(matrix, self.config.heads if part == "q" else self.config.kv_heads)
        return matrix

    def _parts(self, part: str, layer: int) -> list[Tensor]:
        """What each shard holds of one part."""
        name, dims = NAMES[part].format(layer), 1 if part in WHOLE else 2
        pieces = [shard.get(name) for shard in self._shards]
        if not all(piece is not None and _is_plain(piece, dims) for piece in pieces):
            raise CheckpointError(
                f"{self.name}: '{name}' is missing from a shard or is not a plain tensor of "
                "numbers. Fetch the consolidated.NN.pth files again."
            )
        return pieces

    @cached_property
    def tokenizer(self) -> TokenizerFiles:
        """From tokenizer.model."""
        for folder in (self.folder, self.folder.resolve().parent):
            if (folder / "tokenizer.model").is_file():
                return from_sentencepiece(folder / "tokenizer.model", self.name)
        raise CheckpointError(
            f"{self.name} has no tokenizer.model, neither beside params.json nor one folder up. "
            "Put it there."
        )


def _is_plain(value: object, dims: int) -> bool:
    """A dense tensor whose numbers are all in the file: not one number shown a million times."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and value.dtype in (torch.float32, torch.float16, torch.bfloat16)
        and value.dim() == dims
        and value.is_contiguous()
    )


def _load(path: Path) -> dict[str, Tensor]:
    """A shard, mapped. `weights_only` keeps a pickle from running code; there is no second try."""
    try:
        with zipfile.ZipFile(path) as archive:
            stored = all(item.compress_type == zipfile.ZIP_STORED for item in archive.infolist())
            # torch does not check the sums that a zip keeps, and a flipped bit is a silent wrong.
            if not stored or archive.testzip() is not None:
                raise ValueError("compressed or damaged")
        shard = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if not isinstance(shard, dict):
            raise ValueError("not a dictionary of tensors")
    # torch.load fails with at least four unrelated types on files it refuses.
    except Exception as error:
        raise CheckpointError(
            f"{path.name} is not a plain PyTorch file of tensors, or it is damaged "
            f"({path.stat().st_size / 1e6:,.1f} MB). Fetch it again."
        ) from error
    return shard
