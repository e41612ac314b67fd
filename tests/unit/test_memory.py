"""Memory is given back, and what is not to be lost stays."""

import gc
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from demo.memory import available, bound_arenas, discard, settle, trim

MB = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep it")
def test_an_array_gives_its_memory_back_and_can_be_used_again() -> None:
    process, array = psutil.Process(), np.empty(256 * MB, np.uint8)
    array[:] = 1
    full = process.memory_info().rss
    discard(array[100:-100])
    assert full - process.memory_info().rss > 200 * MB
    assert array[0] == 1 and array[-1] == 1  # beyond the ends
    array[:] = 2
    assert array.min() == 2


def test_the_calls_are_there_or_do_nothing() -> None:
    bound_arenas()
    trim()
    discard(np.zeros(1))


@pytest.mark.matrix("H3")
def test_what_is_here_once_all_is_loaded_is_looked_at_no_more() -> None:
    before = gc.get_freeze_count()
    try:
        settle()
        assert gc.get_freeze_count() > before + 1000
        assert len(gc.get_objects()) < gc.get_freeze_count()
    finally:
        gc.unfreeze()


@pytest.mark.matrix("D11")
def test_a_containers_limit_is_what_there_is(tmp_path: Path) -> None:
    assert 0 < available(tmp_path / "none") <= psutil.virtual_memory().total
    (tmp_path / "memory.max").write_text("2000\n")
    (tmp_path / "memory.current").write_text("1500\n")
    (tmp_path / "memory.stat").write_text("anon 300\nfile 1200\n")
    assert available(tmp_path) == 1700  # what was read from files is given back
    (tmp_path / "memory.max").write_text("max\n")
    assert available(tmp_path) > 2000
