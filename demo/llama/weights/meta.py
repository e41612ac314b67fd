"""A LLaMA as Meta released it: params.json, consolidated.NN.pth, tokenizer.model."""

from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from demo.errors import CheckpointError
from demo.llama.config import LlamaConfig, half_split
from demo.llama.tokenizer.loading import read_fields
from demo.llama.tokenizer.model_file import read_model_file
from demo.llama.tokenizer.tokenizer import TokenizerFiles
from demo.llama.weights.torch_zip import is_plain, read_torch_zip

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
UNSPLIT = ("output_norm", "attention_norm", "ffn_norm")


class MetaSource:
    """Reads one folder; satisfies `demo.llama.base.BaseSource`.

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
        self._shards = [read_torch_zip(path, mapped=True) for path in paths]
        rows, columns = self._parts("embedding", 0)[0].shape
        # LLaMA 1 and 2 cut the embedding by its width, Llama 3 by its vocabulary.
        self._embedding_dim = 0 if columns == params.get("dim") else 1
        vocab = rows * (len(paths) if self._embedding_dim == 0 else 1)
        self.config = LlamaConfig.from_params(params, vocab=vocab)
        self._check_count()

    def _check_count(self) -> None:
        """Check that all shards are there: each holds the same share of the heads."""
        share = self._parts("q", 0)[0].shape[0]
        wanted = self.config.heads * self.config.head_dim // max(1, share)
        if wanted != len(self._shards):
            raise CheckpointError(
                f"{self.name} has {len(self._shards)} consolidated.NN.pth files where {wanted} "
                "belong. Fetch the missing ones."
            )

    def read(self, part: str, layer: int) -> Tensor:
        """Read one part, fp32, rotary rows in half-split order; see `WeightsSource.read`."""
        pieces = [piece.float() for piece in self._parts(part, layer)]
        if part in UNSPLIT:
            return pieces[0].clone()  # every shard has all of it
        dim = self._embedding_dim if part == "embedding" else int(part in BY_INPUT)
        matrix = torch.cat(pieces, dim)
        if part in ("q", "k"):
            return half_split(matrix, self.config.heads if part == "q" else self.config.kv_heads)
        return matrix

    def _parts(self, part: str, layer: int) -> list[Tensor]:
        """Read what each shard holds of one part."""
        name, dims = NAMES[part].format(layer), 1 if part in UNSPLIT else 2
        found = [shard.get(name) for shard in self._shards]
        pieces = [piece for piece in found if is_plain(piece) and piece.dim() == dims]
        if len(pieces) < len(self._shards):
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
                return read_model_file(folder / "tokenizer.model", self.name)
        raise CheckpointError(
            f"{self.name} has no tokenizer.model, neither beside params.json nor one folder up. "
            "Put it there."
        )
