"""One model, saved in every format there is, becomes the same 8-bit tensors."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from demo.background_task import ProgressCallback
from demo.llama.base import Base, open_base
from demo.llama.int8 import file_entries
from demo.llama.weights.huggingface import FolderSource
from tests.formats import write_gguf, write_meta

LlamaFolder = Callable[..., Path]


@pytest.fixture(scope="module")
def folder(tiny_llama_folder: LlamaFolder) -> Path:
    """ffn 256 is what Meta's rule makes of a width of 36."""
    return tiny_llama_folder(intermediate_size=256)


@pytest.fixture(scope="module")
def source(folder: Path) -> FolderSource:
    return FolderSource(folder)


@pytest.fixture(scope="module")
def expected(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, no_progress: ProgressCallback
) -> Base:
    return open_base(str(folder), tmp_path_factory.mktemp("cache"), no_progress)


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
    tiny_llama_folder: LlamaFolder, expected: Base, tmp_path: Path, no_progress: ProgressCallback
) -> None:
    sharded = tiny_llama_folder(shard_size="100KB", intermediate_size=256)
    assert len(list(sharded.glob("*.safetensors"))) > 2
    assert_same(open_base(str(sharded), tmp_path, no_progress), expected)


def test_gguf(
    source: FolderSource, expected: Base, tmp_path: Path, no_progress: ProgressCallback
) -> None:
    path = write_gguf(tmp_path / "model.gguf", source)
    found = open_base(str(path), tmp_path / "cache", no_progress)
    assert_same(found, expected)
    text = "the quick <|im_end|> brown fox 12"
    assert found.tokenizer.encode_text(text) == expected.tokenizer.encode_text(text)
    assert found.tokenizer.stop_ids == expected.tokenizer.stop_ids


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.matrix("A3")
def test_meta(
    shards: int, source: FolderSource, expected: Base, tmp_path: Path, no_progress: ProgressCallback
) -> None:
    found = open_base(str(write_meta(tmp_path / "7B", source, shards)), tmp_path, no_progress)
    assert_same(found, expected)
    assert found.tokenizer.stop_ids == {2}


def test_tied_output_is_the_embedding(
    tiny_llama_folder: LlamaFolder, tmp_path: Path, no_progress: ProgressCallback
) -> None:
    base = open_base(str(tiny_llama_folder(tie_word_embeddings=True)), tmp_path, no_progress)
    assert base.weights.output is base.weights.embedding
    assert len(file_entries(base.config)) == 5 * 2 + 3


def test_every_tensor_begins_at_a_cache_line(expected: Base) -> None:
    for pair in (expected.weights.stacked_qkv, expected.weights.stacked_down):
        assert pair.CB.data_ptr() % 64 == 0
        assert pair.SCB.data_ptr() % 64 == 0
    assert expected.weights.output_norm.data_ptr() % 64 == 0


def test_a_library_can_read_the_file(
    folder: Path, tmp_path: Path, expected: Base, no_progress: ProgressCallback
) -> None:
    open_base(str(folder), tmp_path, no_progress)
    tensors = load_file(next(tmp_path.glob("*/weights.safetensors")))
    assert tensors["qkv.CB"].shape == (3, (6 + 2 * 2) * 10, 36)
    assert tensors["qkv.CB"].dtype == torch.int8
