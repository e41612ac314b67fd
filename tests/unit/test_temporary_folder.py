"""A run's temporary folder goes with it, or with the next one."""

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from demo.settings import ROOT
from demo.temporary_folder import GONE, LOCK, PREFIX, _locked_folder, remove_leftovers, run_folder

KILLED = """
import os, signal
from demo.temporary_folder import run_folder
with run_folder() as folder:
    (folder / "uploads").mkdir()
    (folder / "uploads" / "a.png").write_bytes(bytes(1000))
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def age(folder: Path) -> None:
    os.utime(folder, (1, 1))


def test_everything_temporary_lies_in_it_and_goes(place: Path) -> None:
    with run_folder() as folder:
        assert folder.parent == place
        assert Path(tempfile.mkdtemp()).parent.parent == folder
    assert list(place.iterdir()) == [] and tempfile.gettempdir() == str(place)


@pytest.mark.matrix("M4")
def test_the_next_start_removes_what_a_killed_run_left(place: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED], cwd=ROOT, env=os.environ | {"TMPDIR": str(place)}
    )
    assert killed.returncode == -9
    assert len(list(place.glob(f"{PREFIX}*"))) == 1
    with run_folder() as folder:
        assert list(place.iterdir()) == [folder]


def test_a_removal_that_was_killed_is_ended(place: Path) -> None:
    half = place / f"{PREFIX}x{GONE}"
    (half / "uploads").mkdir(parents=True)
    with run_folder() as folder:
        assert list(place.iterdir()) == [folder]


def test_what_a_child_made_after_its_run_was_killed_goes_too(place: Path) -> None:
    (place / f"{PREFIX}x" / "tmp" / "torchinductor_root").mkdir(parents=True)
    with run_folder() as folder:
        assert list(place.iterdir()) == [folder]


def test_starts_at_one_time_leave_each_others_folders_alone(place: Path) -> None:
    """Each removes leftovers, and a folder that is being made looks like one for a moment."""

    def start(_: int) -> bool:
        folder, lock = _locked_folder()
        (folder / "uploads").mkdir()
        remove_leftovers(place)
        there = (folder / "uploads").exists()
        lock.release()  # as if it were killed
        return there

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(start, range(80)))
    remove_leftovers(place)
    assert list(place.iterdir()) == []


def test_what_is_in_use_or_somebody_elses_stays(place: Path) -> None:
    other, older = place / "other", place / f"{PREFIX}without-a-lock"
    for folder in (other, older):
        folder.mkdir()
        age(folder)
    with run_folder() as used:
        (place / f"{PREFIX}link").symlink_to(used)
        age(used)
        remove_leftovers(place)
        assert (used / LOCK).exists()
    assert other.exists() and older.exists()
