"""Meta's checkpoints: pickles that are refused, and what else can be wrong."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from demo.errors import CheckpointError
from demo.llama.weights.meta import MetaSource


def meta_folder(folder: Path, tensors: Any, **how: Any) -> Path:
    folder.mkdir(exist_ok=True)
    params = {"dim": 8, "multiple_of": 8, "n_heads": 2, "n_layers": 1, "norm_eps": 1e-5}
    (folder / "params.json").write_text(json.dumps(params))
    torch.save(tensors, folder / "consolidated.00.pth", **how)
    return folder


def embedded(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        MetaSource(folder)
    return str(caught.value)


class RunsCode:
    """A pickle that would make a folder when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran-code",)


@pytest.mark.matrix("A1")
def test_refused_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = "consolidated.00.pth is not a plain PyTorch file of tensors, or it is damaged"
    assert words in embedded(meta_folder(tmp_path / "code", {"a": RunsCode()}))
    assert not Path("ran-code").exists()
    assert words in embedded(meta_folder(tmp_path / "list", [torch.zeros(2)]))
    legacy = meta_folder(
        tmp_path / "legacy", {"a": torch.zeros(2)}, _use_new_zipfile_serialization=False
    )
    assert words in embedded(legacy)


@pytest.mark.matrix("A6", "A10")
def test_refused_compressed_and_flipped(tmp_path: Path) -> None:
    words = "consolidated.00.pth is not a plain PyTorch file of tensors, or it is damaged"
    folder = meta_folder(tmp_path / "7B", {"tok_embeddings.weight": torch.zeros(400, 8)})
    path = folder / "consolidated.00.pth"
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as old:
        members = {item.filename: old.read(item) for item in old.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in members.items():
            new.writestr(name, data)
    assert words in embedded(folder)
    at = whole.index(bytes(2000)) + 500  # inside the zeros
    path.write_bytes(whole[:at] + b"\1" + whole[at + 1 :])
    assert words in embedded(folder)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(10**6, 8),  # four bytes shown eight million times
        torch.zeros(8, 400).T,
        torch.zeros(8, 8, device="meta"),
        torch.eye(8).to_sparse(),
        torch.zeros(8, 8, dtype=torch.int32),
        torch.zeros(8),
    ],
)
@pytest.mark.filterwarnings("ignore:Validating sparse")
@pytest.mark.matrix("A5")
def test_refused_tensors_that_are_not_plain(tensor: torch.Tensor, tmp_path: Path) -> None:
    tensors = {"tok_embeddings.weight": tensor}
    tensors["layers.0.attention.wq.weight"] = torch.zeros(8, 8)
    message = embedded(meta_folder(tmp_path / "7B", tensors))
    assert "'tok_embeddings.weight' is missing from a shard or is not a plain tensor" in message


def test_refused_missing_meta_shard(tmp_path: Path) -> None:
    half = {
        "tok_embeddings.weight": torch.zeros(20, 4),
        "layers.0.attention.wq.weight": torch.zeros(4, 8),
    }
    assert embedded(meta_folder(tmp_path / "13B", half)) == (
        "13B has 1 consolidated.NN.pth files where 2 belong. Fetch the missing ones."
    )


def test_refused_meta_without_a_tokenizer(tmp_path: Path) -> None:
    whole = {
        "tok_embeddings.weight": torch.zeros(20, 8),
        "layers.0.attention.wq.weight": torch.zeros(8, 8),
    }
    source = MetaSource(meta_folder(tmp_path / "7B", whole))
    with pytest.raises(CheckpointError, match="7B has no tokenizer.model, neither beside"):
        _ = source.tokenizer
