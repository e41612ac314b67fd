"""Memory is given back, and what is not to be lost stays."""

import gc
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from demo.memory import available, bound_libraries, settle, trim
from demo.settings import ROOT

MB = 2**20


def test_the_calls_are_there_or_do_nothing() -> None:
    bound_libraries()
    trim()


@pytest.mark.matrix("H3")
def test_what_is_here_once_all_is_loaded_is_looked_at_no_more() -> None:
    before = gc.get_freeze_count()
    try:
        settle()
        assert gc.get_freeze_count() > before + 1000
        assert len(gc.get_objects()) < gc.get_freeze_count()
    finally:
        gc.unfreeze()


def write_group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


@pytest.mark.matrix("D11")
def test_a_containers_limit_is_what_there_is(tmp_path: Path) -> None:
    def left() -> int:
        return available(tmp_path, tmp_path / "own")

    assert 0 < left() <= psutil.virtual_memory().total
    stat = "anon 300\nfile 1200\nshmem 100"
    write_group(tmp_path, memory__max="2000", memory__current="1500", memory__stat=stat)
    assert left() == 1600  # what was read from files is given back, what lies in memory alone not
    write_group(tmp_path, memory__max="max")
    assert left() > 2000


@pytest.mark.matrix("D11")
def test_the_limit_of_every_group_around_the_program_counts(tmp_path: Path) -> None:
    own, stat = tmp_path / "own", "total_cache 500\ntotal_shmem 0"
    own.write_text("5:devices:/\n4:memory:/box/inner\n0::/other\n")
    for place, most in (("memory/box", "4000"), ("memory/box/inner", "9223372036854771712")):
        write_group(
            tmp_path / place,
            memory__limit_in_bytes=most, memory__usage_in_bytes="1000", memory__stat=stat,
        )  # fmt: skip
    assert available(tmp_path, own) == 3500
    stat = "file 0"
    write_group(tmp_path / "other", memory__max="700", memory__current="600", memory__stat=stat)
    assert available(tmp_path, own) == 100
    write_group(tmp_path / "other", memory__max="500")  # it was lowered meanwhile
    assert available(tmp_path, own) == 0


LIMITED = """
import resource
most = 3 * 2**30
resource.setrlimit(resource.RLIMIT_DATA, (most, most))
from demo.errors import InputError
from demo.memory import available, require
assert available() < most
try:
    require(most)
except InputError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not count so")
@pytest.mark.matrix("D11")
def test_what_ulimit_leaves_is_what_there_is_and_less_than_needed_is_a_sentence() -> None:
    said = subprocess.run(
        [sys.executable, "-c", LIMITED], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert said.startswith("This program needs 3,072 MB of memory, and ")
    assert "MB are free. End other programs" in said
