"""The formats a LLaMA comes in besides the Hub's, written as their own converters write them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gguf
import torch
from safetensors.torch import load_file, save_file
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from torch import Tensor

from demo.llama.weights import gguf as gguf_source
from demo.llama.weights import meta as meta_source
from demo.llama.weights.huggingface import FolderSource

TEXT = "the quick brown fox jumps over the lazy dog and says hello to 12 other animals"


def interleaved(matrix: Tensor, heads: int) -> Tensor:
    """Hugging Face's rotary rows → Meta's, written as in llama.cpp's `convert_hf_to_gguf.py`."""
    shape = (heads, 2, matrix.shape[0] // heads // 2, *matrix.shape[1:])
    return matrix.reshape(shape).swapaxes(1, 2).reshape(matrix.shape)


def meta_part(source: FolderSource, part: str, layer: int) -> Tensor:
    """A part as Meta and llama.cpp store it."""
    matrix = source.read(part, layer)
    if part in ("q", "k"):
        heads = source.config.heads if part == "q" else source.config.kv_heads
        return interleaved(matrix, heads)
    return matrix


def write_gguf(
    path: Path,
    source: FolderSource,
    *,
    architecture: str = "llama",
    pieces: SentencePieceProcessor | None = None,
    split: str = "gpt-2",
    tensors_a_file: int = 0,
    **changes: Any,
) -> Path:
    """As llama.cpp's converter writes a LLaMA with a byte-level tokenizer, or with `pieces`.

    `tensors_a_file` splits it into several files, of which `path` is none; `changes` are tensors by
    name to add, replace, or leave out when None.
    """
    c = source.config
    writer = gguf.GGUFWriter(path, architecture, split_max_tensors=tensors_a_file)
    writer.add_block_count(c.layers)
    writer.add_context_length(c.context)
    writer.add_embedding_length(c.width)
    writer.add_feed_forward_length(c.ffn)
    writer.add_head_count(c.heads)
    writer.add_head_count_kv(c.kv_heads)
    writer.add_key_length(c.head_dim)
    writer.add_value_length(c.head_dim)
    writer.add_rope_dimension_count(c.head_dim)
    writer.add_layer_norm_rms_eps(c.norm_eps)
    writer.add_rope_freq_base(c.rope_theta)
    if pieces is None:
        _add_byte_level(writer, source.folder, split)
    else:
        _add_sentencepiece(writer, pieces)
    tensors: dict[str, Any] = {}
    for part, pattern in gguf_source.NAMES.items():
        for layer in range(c.layers if "{}" in pattern else 1):
            tensors[pattern.format(layer)] = meta_part(source, part, layer).numpy()
    for name, value in {**tensors, **changes}.items():
        if value is not None:
            writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_byte_level(writer: gguf.GGUFWriter, folder: Path, split: str) -> None:
    definition = json.loads((folder / "tokenizer.json").read_text())
    vocab = sorted(definition["model"]["vocab"], key=definition["model"]["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(vocab)
    writer.add_token_types([3 if index < 3 else 1 for index in range(len(vocab))])
    writer.add_token_merges([" ".join(pair) for pair in definition["model"]["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    writer.add_chat_template(settings["chat_template"])


def _add_sentencepiece(writer: gguf.GGUFWriter, pieces: SentencePieceProcessor) -> None:
    ids = range(pieces.vocab_size())
    kinds = [
        2 if pieces.is_unknown(i) else 3 if pieces.is_control(i) else 6 if pieces.is_byte(i) else 1
        for i in ids
    ]
    writer.add_tokenizer_model("llama")
    writer.add_token_list([pieces.id_to_piece(i) for i in ids])
    writer.add_token_scores([pieces.get_score(i) for i in ids])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(pieces.bos_id())
    writer.add_eos_token_id(pieces.eos_id())


def write_meta(folder: Path, source: FolderSource, shards: int) -> Path:
    """As Meta released LLaMA: parallel shards, and a sentencepiece model one folder up."""
    folder.mkdir()
    c = source.config
    params = {"dim": c.width, "multiple_of": 256, "n_heads": c.heads, "n_layers": c.layers}
    params |= {"n_kv_heads": c.kv_heads, "norm_eps": c.norm_eps, "head_dim": c.head_dim}
    (folder / "params.json").write_text(
        json.dumps({**params, "vocab_size": -1, "max_seq_len": 256})
    )
    files: list[dict[str, Tensor]] = [{"rope.freqs": torch.ones(5)} for _ in range(shards)]
    for part, pattern in meta_source.NAMES.items():
        for layer in range(c.layers if "{}" in pattern else 1):
            matrix = meta_part(source, part, layer)
            by_input = part in ("embedding", "attention_output", "down")
            pieces = [matrix] * shards if matrix.dim() == 1 else matrix.chunk(shards, int(by_input))
            for file, piece in zip(files, pieces, strict=True):
                file[pattern.format(layer)] = piece.clone()
    for index, file in enumerate(files):
        torch.save(file, folder / f"consolidated.{index:02}.pth")
    lines = [TEXT, TEXT[::-1], TEXT.title()] * 9
    train_sentencepiece(folder.parent / "tokenizer.model", lines, vocab=300)
    return folder


def train_sentencepiece(path: Path, lines: Sequence[str], vocab: int, **changes: Any) -> None:
    """A small model of Meta's kind: BPE with bytes as the last resort, text left as it is."""
    options = {
        "model_type": "bpe",
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "split_digits": True,
    }
    with open(path, "wb") as file:
        SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=file,
            vocab_size=vocab,
            minloglevel=2,
            **(options | changes),
        )


def shards(folder: Path) -> list[Path]:
    """The weight files of a folder as the Hub has it."""
    return sorted(folder.glob("*.safetensors"))


def edit(path: Path, name: str, change: Callable[[Tensor], Tensor]) -> None:
    """Rewrite one tensor of a safetensors file."""
    tensors = load_file(path)
    tensors[name] = change(tensors[name])
    save_file(tensors, path)


def holder(folder: Path, name: str) -> Path:
    """Which of a folder's weight files holds a tensor."""
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    return folder / index["weight_map"][name]
