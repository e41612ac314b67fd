"""One model, saved in every format there is, becomes the same 8-bit tensors."""

import json
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest
import sentencepiece
import torch
from safetensors.torch import load_file
from torch import Tensor

from demo.llama import meta_source
from demo.llama.base import Base, open_base
from demo.llama.convert import Progress
from demo.llama.folder_source import FolderSource
from demo.llama.weights import template

TEXT = "the quick brown fox jumps over the lazy dog and says hello to 12 other animals"
LlamaFolder = Callable[..., Path]


@pytest.fixture(scope="module")
def folder(tiny_llama_folder: LlamaFolder) -> Path:
    """ffn 256 is what Meta's rule makes of a width of 36."""
    return tiny_llama_folder(intermediate_size=256)


@pytest.fixture(scope="module")
def source(folder: Path) -> FolderSource:
    return FolderSource(folder)


@pytest.fixture(scope="module")
def expected(folder: Path, tmp_path_factory: pytest.TempPathFactory, no_progress: Progress) -> Base:
    return open_base(str(folder), tmp_path_factory.mktemp("cache"), no_progress)


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


def assert_same(found: Base, expected: Base) -> None:
    """The fingerprint covers every tensor of the file, and its layout."""
    assert found.config == expected.config
    assert found.fingerprint == expected.fingerprint


def test_rows_are_the_models(source: FolderSource, expected: Base) -> None:
    """The reference itself: dequantised rows are within half a step of the fp32 weights."""
    weights = expected.weights
    parts = {
        "qkv": ("q", "k", "v"),
        "attention_output": ("attention_output",),
        "gate_up": ("gate", "up"),
        "down": ("down",),
    }
    for name, names in parts.items():
        for layer in range(source.config.layers):
            matrix = torch.cat([source.read(part, layer) for part in names])
            pair = getattr(weights, name)(layer)
            step = pair.SCB[:, None] / 127
            assert ((pair.dequantised() - matrix).abs() <= 0.5001 * step).all()
    assert torch.equal(weights.ffn_norm[1], source.read("ffn_norm", 1))
    assert not torch.equal(weights.output.CB, weights.embedding.CB)


def test_sharded_safetensors(
    tiny_llama_folder: LlamaFolder, expected: Base, tmp_path: Path, no_progress: Progress
) -> None:
    sharded = tiny_llama_folder(shard_size="100KB", intermediate_size=256)
    assert len(list(sharded.glob("*.safetensors"))) > 2
    assert_same(open_base(str(sharded), tmp_path, no_progress), expected)


def test_gguf(source: FolderSource, expected: Base, tmp_path: Path, no_progress: Progress) -> None:
    path = write_gguf(tmp_path / "model.gguf", source)
    found = open_base(str(path), tmp_path / "cache", no_progress)
    assert_same(found, expected)
    text = "the quick <|im_end|> brown fox 12"
    assert found.tokenizer.encode_text(text) == expected.tokenizer.encode_text(text)
    assert found.tokenizer.stop_ids == expected.tokenizer.stop_ids


@pytest.mark.parametrize("shards", [1, 2])
def test_meta(
    shards: int, source: FolderSource, expected: Base, tmp_path: Path, no_progress: Progress
) -> None:
    found = open_base(str(write_meta(tmp_path / "7B", source, shards)), tmp_path, no_progress)
    assert_same(found, expected)
    assert found.tokenizer.stop_ids == {2}


def test_tied_output_is_the_embedding(
    tiny_llama_folder: LlamaFolder, tmp_path: Path, no_progress: Progress
) -> None:
    base = open_base(str(tiny_llama_folder(tie_word_embeddings=True)), tmp_path, no_progress)
    assert base.weights.output is base.weights.embedding
    assert len(template(base.config)) == 5 * 2 + 3


def test_every_tensor_begins_at_a_cache_line(expected: Base) -> None:
    for pair in (expected.weights.stacked_qkv, expected.weights.stacked_down):
        assert pair.CB.data_ptr() % 64 == 0
        assert pair.SCB.data_ptr() % 64 == 0
    assert expected.weights.output_norm.data_ptr() % 64 == 0


def test_a_library_can_read_the_file(
    folder: Path, tmp_path: Path, expected: Base, no_progress: Progress
) -> None:
    open_base(str(folder), tmp_path, no_progress)
    tensors = load_file(next(tmp_path.glob("*/weights.safetensors")))
    assert tensors["qkv.CB"].shape == (3, (6 + 2 * 2) * 10, 36)
    assert tensors["qkv.CB"].dtype == torch.int8


def write_gguf(path: Path, source: FolderSource) -> Path:
    """As llama.cpp's converter writes a LLaMA with a byte-level tokenizer."""
    from demo.llama.gguf_source import NAMES

    c = source.config
    writer = gguf.GGUFWriter(path, "llama")
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
    definition = json.loads((source.folder / "tokenizer.json").read_text())
    vocab = sorted(definition["model"]["vocab"], key=definition["model"]["vocab"].get)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocab)
    writer.add_token_types([3 if index < 3 else 1 for index in range(len(vocab))])
    writer.add_token_merges([" ".join(pair) for pair in definition["model"]["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    settings = json.loads((source.folder / "tokenizer_config.json").read_text())
    writer.add_chat_template(settings["chat_template"])
    for part, pattern in NAMES.items():
        for layer in range(c.layers if "{}" in pattern else 1):
            writer.add_tensor(pattern.format(layer), meta_part(source, part, layer).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


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
    train_sentencepiece(folder.parent / "tokenizer.model")
    return folder


def train_sentencepiece(path: Path) -> None:
    """A small model of Meta's kind: BPE with bytes as the last resort, text left as it is."""
    with open(path, "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([TEXT, TEXT[::-1], TEXT.title()] * 9),
            model_writer=file,
            model_type="bpe",
            vocab_size=300,
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            split_digits=True,
            minloglevel=2,
        )
