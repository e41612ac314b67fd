"""The converted base: made once, checked, mended, and never half there."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from demo.background_task import ProgressCallback
from demo.errors import CheckpointError
from demo.llama.base import FORMAT, open_base
from demo.llama.weights import quantise
from tests.formats import edit, holder, shards


def test_a_second_opening_converts_nothing(tiny: Path, tiny_cache: Path) -> None:
    first: list[str] = []
    one = open_base(str(tiny), tiny_cache, lambda text, share: first.append(text))
    again: list[str] = []
    two = open_base(str(tiny), tiny_cache, lambda text, share: again.append(text))
    assert "Converting tiny to 8 bits" in first
    assert again == ["Checking the converted model"]
    assert one.fingerprint == two.fingerprint
    assert one.name == two.name == "tiny"
    assert torch.equal(one.weights.stacked_down.CB, two.weights.stacked_down.CB)


def test_progress_runs_from_0_to_1(tiny: Path, tiny_cache: Path) -> None:
    shares: list[float] = []
    open_base(str(tiny), tiny_cache, lambda text, share: shares.append(share or 0.0))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.parametrize("file", ["weights.safetensors", "tokenizer.json", "config.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "empty"])
@pytest.mark.matrix("D13")
def test_a_damaged_cache_is_made_again(
    file: str, damage: str, tiny: Path, tiny_cache: Path, no_progress: ProgressCallback
) -> None:
    before = open_base(str(tiny), tiny_cache, no_progress)
    path = next(tiny_cache.glob(f"*/{file}"))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle] ^= 1
    changed = {"flip": bytes(data), "cut": bytes(data[:middle]), "empty": b""}
    path.unlink()
    if damage != "remove":
        path.write_bytes(changed[damage])
    seen: list[str] = []
    after = open_base(str(tiny), tiny_cache, lambda text, share: seen.append(text))
    assert after.fingerprint == before.fingerprint
    assert after.config == before.config
    assert "Converting tiny to 8 bits" in seen


@pytest.mark.matrix("D13")
def test_what_a_killed_conversion_left_is_gone_with_the_next(
    tiny: Path, tiny_cache: Path, no_progress: ProgressCallback
) -> None:
    open_base(str(tiny), tiny_cache, no_progress)
    config = next(tiny_cache.glob("*/config.json"))
    left = config.with_name(".weights.safetensors.01234567.part")
    left.write_bytes(bytes(1000))
    config.unlink()
    open_base(str(tiny), tiny_cache, no_progress)
    assert not left.exists()


def test_another_format_is_made_again(
    tiny: Path, tiny_cache: Path, no_progress: ProgressCallback
) -> None:
    open_base(str(tiny), tiny_cache, no_progress)
    path = next(tiny_cache.glob("*/config.json"))
    path.write_text(path.read_text().replace(f'"format": {FORMAT}', '"format": 0'))
    open_base(str(tiny), tiny_cache, no_progress)
    assert f'"format": {FORMAT}' in path.read_text()


def test_a_changed_model_is_converted_again(
    tiny: Path, tiny_cache: Path, no_progress: ProgressCallback
) -> None:
    one = open_base(str(tiny), tiny_cache, no_progress)
    edit(holder(tiny, "lm_head.weight"), "lm_head.weight", lambda tensor: tensor * 2)
    two = open_base(str(tiny), tiny_cache, no_progress)
    assert torch.equal(two.weights.output.SCB, one.weights.output.SCB * 2)
    assert one.fingerprint != two.fingerprint


def test_a_change_while_mapped_does_not_reach_the_mapped(
    tiny: Path, tiny_cache: Path, no_progress: ProgressCallback
) -> None:
    """A rebuilt cache is another file: a program that runs keeps the one it opened."""
    base = open_base(str(tiny), tiny_cache, no_progress)
    before = base.weights.embedding.CB.clone()
    next(tiny_cache.glob("*/config.json")).unlink()
    open_base(str(tiny), tiny_cache, no_progress)
    assert torch.equal(base.weights.embedding.CB, before)


def test_only_one_matrix_is_held_at_a_time(
    tiny: Path, tiny_cache: Path, no_progress: ProgressCallback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer gets pieces no larger than one part of one layer."""
    sizes: list[int] = []
    chunks = quantise._chunks

    def watched(*arguments: Any) -> Iterator[bytes]:
        for chunk in chunks(*arguments):
            sizes.append(len(chunk))
            yield chunk

    monkeypatch.setattr(quantise, "_chunks", watched)
    open_base(str(tiny), tiny_cache, no_progress)
    assert max(sizes) == 300 * 36  # the embedding, int8


def test_weights_of_fp16_and_bf16(
    tiny: Path, tiny_cache: Path, no_progress: ProgressCallback
) -> None:
    for path in shards(tiny):
        for name in load_file(path):
            edit(path, name, lambda tensor: tensor.bfloat16())
    half = open_base(str(tiny), tiny_cache, no_progress)
    name = "model.layers.0.mlp.down_proj.weight"
    stored = load_file(holder(tiny, name))[name].float()
    pair = half.weights.down(0)
    assert torch.equal(pair.SCB, stored.abs().amax(1))


def test_moving_keeps_tied_tied(
    tiny_llama_folder: Callable[..., Path], tiny_cache: Path, no_progress: ProgressCallback
) -> None:
    weights = open_base(
        str(tiny_llama_folder(tie_word_embeddings=True)), tiny_cache, no_progress
    ).weights
    moved = weights.to(torch.device("meta"))
    assert moved.output is moved.embedding
    assert moved.stacked_qkv.CB.device.type == "meta"
    assert moved.qkv(0).CB.shape == weights.qkv(0).CB.shape


@pytest.mark.matrix("D14")
def test_refused_full_disk(
    tiny: Path, refusal: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    assert "needs 0 MB in the cache folder, and 0 MB are free. Free some" in refusal(tiny)


def test_refused_cache_that_is_a_file(
    tiny: Path, tmp_path: Path, no_progress: ProgressCallback
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="could not be kept in the cache folder: .*Free"):
        open_base(str(tiny), tmp_path / "file", no_progress)
