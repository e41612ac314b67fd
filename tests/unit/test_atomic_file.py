"""A file is written whole or not at all."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from demo.atomic_file import remove_unfinished, replace_file


def test_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file.txt"
    for text in ("first", "second"):
        with replace_file(target) as path:
            assert path.parent == target.parent
            assert path.suffix != target.suffix
            path.write_text(text)
        assert target.read_text() == text
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
@pytest.mark.matrix("D13")
def test_a_failure_keeps_the_old_file(tmp_path: Path, failure: type[BaseException]) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(failure), replace_file(target) as path:
        path.write_text("half of the n")
        raise failure
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_others_may_read_it_as_far_as_the_umask_allows(tmp_path: Path) -> None:
    plain, weights = tmp_path / "plain", tmp_path / "weights.safetensors"
    plain.touch()
    with replace_file(weights) as path:
        save_file({"a": torch.zeros(1)}, path)  # leaves a file that only its owner may read
    assert os.stat(weights).st_mode == os.stat(plain).st_mode


@pytest.mark.matrix("D13")
def test_what_a_killed_program_began_is_removed_and_nothing_else(tmp_path: Path) -> None:
    others = {tmp_path / name for name in ("a.part", ".a.part", ".a.12345678.part.txt", "b")}
    for path in others:
        path.touch()
        os.utime(path, (1, 1))
    with replace_file(tmp_path / "a") as young:
        remove_unfinished(tmp_path)
        assert young.exists()  # somebody may be writing it
        os.utime(young, (1, 1))
        remove_unfinished(tmp_path)
        assert not young.exists()
        young.touch()
        remove_unfinished(tmp_path, age=0)
        assert not young.exists()
        young.touch()
    assert set(tmp_path.iterdir()) == others | {tmp_path / "a"}
    remove_unfinished(tmp_path / "missing")
