"""GGUF files: what is read from them besides matrices, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from demo.background_task import ProgressCallback
from demo.errors import CheckpointError
from demo.llama.base import open_base
from demo.llama.config import rotary_frequencies
from demo.llama.weights.gguf import GGUFSource
from demo.llama.weights.huggingface import FolderSource
from tests.formats import write_gguf


@pytest.fixture(scope="module")
def source(tiny_llama_folder: Callable[..., Path]) -> FolderSource:
    return FolderSource(tiny_llama_folder())


def refusal(path: Path, cache: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_base(str(path), cache, lambda message, share: None)
    assert not list(cache.glob("*/*.safetensors"))
    return str(caught.value)


def test_llama3_factors(source: FolderSource, tmp_path: Path) -> None:
    factors = np.array([1, 1, 2, 4, 8], np.float32)
    path = write_gguf(tmp_path / "m.gguf", source, **{"rope_freqs.weight": factors})
    found = GGUFSource(path).config
    assert found.rope_factors == (1.0, 1.0, 2.0, 4.0, 8.0)
    assert np.allclose(rotary_frequencies(found), rotary_frequencies(source.config) / factors)


def test_tied_without_an_output_matrix(source: FolderSource, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", source, **{"output.weight": None})
    assert GGUFSource(path).config.tied


def test_half_precision(source: FolderSource, tmp_path: Path) -> None:
    name = "blk.1.ffn_down.weight"
    half = source.read("down", 1).half()
    path = write_gguf(tmp_path / "m.gguf", source, **{name: half.numpy()})
    assert torch.equal(GGUFSource(path).read("down", 1), half.float())


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.999])
def test_refused_cut(share: float, source: FolderSource, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "model.gguf", source)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    message = refusal(path, tmp_path / "cache")
    assert message.startswith("model.gguf is cut off or damaged (")
    assert message.endswith(" MB). Fetch it again.")


def test_refused_empty_and_text(tmp_path: Path) -> None:
    for data in (b"", b"GG", b"hello, this is text"):
        path = tmp_path / "model.gguf"
        path.write_bytes(data)
        assert refusal(path, tmp_path / "cache") == (
            "model.gguf is not a GGUF file. Name a GGUF file, a folder with a model, or a Hub id."
        )


def test_refused_architecture(source: FolderSource, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", source, architecture="qwen2")
    assert refusal(path, tmp_path / "cache").startswith("This is a qwen2 model; only the LLaMA")


def test_refused_bias_and_missing(source: FolderSource, tmp_path: Path) -> None:
    bias = {"blk.0.attn_q.bias": np.zeros(60, np.float32)}
    path = write_gguf(tmp_path / "m.gguf", source, **bias)
    message = refusal(path, tmp_path / "cache")
    assert message.startswith("m holds 'blk.0.attn_q.bias', which a LLaMA has not.")
    write_gguf(path, source, **{"blk.2.ffn_up.weight": None})
    assert refusal(path, tmp_path / "cache").startswith("m lacks 'blk.2.ffn_up.weight'.")


def test_refused_shape_and_numbers(source: FolderSource, tmp_path: Path) -> None:
    name, path = "blk.0.ffn_up.weight", tmp_path / "m.gguf"
    write_gguf(path, source, **{name: np.zeros((49, 36), np.float32)})
    message = refusal(path, tmp_path / "cache")
    assert (
        "m: the up weights of layer 0 are (49, 36), and the configuration asks for (50, 36)."
        in message
    )
    write_gguf(path, source, **{name: np.full((50, 36), np.nan, np.float32)})
    assert "the up weights of layer 0 hold numbers that are not finite" in refusal(
        path, tmp_path / "cache"
    )


def test_name(source: FolderSource, tmp_path: Path, no_progress: ProgressCallback) -> None:
    path = write_gguf(tmp_path / "My Model (1).gguf", source)
    base = open_base(str(path), tmp_path / "cache", no_progress)
    assert base.name == "My Model (1)"
    assert next((tmp_path / "cache").iterdir()).name.startswith("My-Model-1-")


def test_a_model_in_several_files(
    source: FolderSource, tmp_path: Path, no_progress: ProgressCallback
) -> None:
    """As large models lie on the Hub; any of the files names the model."""
    whole = open_base(str(write_gguf(tmp_path / "m.gguf", source)), tmp_path / "cache", no_progress)
    (tmp_path / "split").mkdir()
    write_gguf(tmp_path / "split" / "m.gguf", source, tensors_a_file=12)
    parts = sorted((tmp_path / "split").iterdir())
    assert [part.name for part in parts] == [f"m-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    for part in parts[::2]:
        found = open_base(str(part), tmp_path / "cache", no_progress)
        assert (found.name, found.fingerprint) == ("m", whole.fingerprint)
    parts[1].unlink()
    assert refusal(parts[0], tmp_path / "other") == (
        "m is split into 3 files, and m-00002-of-00003.gguf is not beside the others. Fetch it too."
    )
