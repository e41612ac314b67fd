"""A frozen sentence encoder: what two short texts mean is compared by their vectors.

It is all-MiniLM-L6-v2 (sentence-transformers, Apache-2.0), a BERT of six layers that was taught by
its authors to give sentences of like meaning like vectors (arXiv 1908.10084), with matrices in 8
bits. Sight has a tower for pictures, and this is one for questions: frozen, and the same for every
base and adapter.

Sizes: N texts, T tokens, W width, H heads.
"""

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from demo.errors import CheckpointError
from demo.settings import ROOT

FOLDER = ROOT / "checkpoints" / "questions"
HEADS, EPSILON = 12, 1e-12
LONGEST = 96  # tokens that are read of a text
TOGETHER = 32  # texts


class SentenceEncoder:
    """Encodes texts; safe to use from several threads.

    Args:
        folder: of `encoder.safetensors` and `tokenizer.json`.

    Attributes:
        fingerprint: of its weights.

    Raises:
        CheckpointError: the files are missing or damaged.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        try:
            data = (folder / "encoder.safetensors").read_bytes()
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            stored = load(data)
        except (OSError, SafetensorError, ValueError) as error:
            raise CheckpointError(
                f"The sentence encoder in {folder.name} is missing or damaged. Get the program "
                "again."
            ) from error
        except Exception as error:  # tokenizers raises nothing more particular
            raise CheckpointError("The sentence encoder's tokenizer is damaged.") from error
        self.fingerprint = hashlib.sha256(data).hexdigest()[:16]
        self._tokenizer.enable_truncation(LONGEST)
        self._tokenizer.no_padding()
        self._words, self._scale = stored.pop("words.int8"), stored.pop("words.scale").float()
        self._common = (self._words.float() * self._scale[:, None]).mean(0)
        self._weights: dict[str, Tensor] = {}
        for name, x in stored.items():
            if name.endswith(".int8"):
                part = name.removesuffix(".int8")
                self._weights[part] = x.float() * stored[f"{part}.scale"].float()[:, None]
            elif not name.endswith(".scale"):
                self._weights[name] = x.float()
        self._layers = sum(name.endswith(".qkv.weight") for name in self._weights)
        self._lock = threading.Lock()

    @property
    def width(self) -> int:
        """W, the numbers of a vector."""
        return self._words.shape[1]

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return a vector of length 1 for each text, (N, W) fp32 on the CPU.

        On one thread: it is many small products, and others may be at work beside it.
        """
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
        out = torch.zeros(len(ids), self.width)
        with self._lock:
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            try:
                for start in range(0, len(order), TOGETHER):
                    part = order[start : start + TOGETHER]
                    out[part] = self._forward([ids[place] for place in part])
            finally:
                torch.set_num_threads(threads)
        return out

    def word(self, word: str) -> np.ndarray:
        """Return a vector of length 1 for a word by itself, (W,), 0 of none.

        It is the mean of its pieces in the table of embeddings, less what all have in common.
        """
        ids = self._tokenizer.encode(word, add_special_tokens=False).ids
        if not ids:
            return np.zeros(self.width, np.float32)
        mean = (self._words[ids].float() * self._scale[ids][:, None]).mean(0) - self._common
        return F.normalize(mean, dim=0).numpy()

    def _forward(self, texts: list[list[int]]) -> Tensor:
        """Run texts of like length → (N, W)."""
        longest, w = max(map(len, texts)), self._weights
        ids = torch.tensor([text + [0] * (longest - len(text)) for text in texts])
        there = torch.tensor([[i < len(text) for i in range(longest)] for text in texts])
        x = self._words[ids].float() * self._scale[ids][..., None] + w["places"][:longest]
        x = self._norm(x, "begin")
        for layer in range(self._layers):
            x = self._norm(x + self._attend(x, there, layer), f"{layer}.after_attention")
            inner = F.gelu(self._linear(x, f"{layer}.inner"))
            x = self._norm(x + self._linear(inner, f"{layer}.outer"), f"{layer}.after_mlp")
        kept = there[..., None].float()
        return F.normalize((x * kept).sum(1) / kept.sum(1), dim=1)

    def _attend(self, x: Tensor, there: Tensor, layer: int) -> Tensor:
        """Attend within x (N, T, W) to the tokens that are `there` (N, T)."""
        qkv = self._linear(x, f"{layer}.qkv").unflatten(-1, (3, HEADS, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (3, N, H, T, d)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=there[:, None, None])
        return self._linear(mixed.transpose(1, 2).flatten(2), f"{layer}.mixed")

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return F.layer_norm(x, (self.width,), weight, bias, EPSILON)
