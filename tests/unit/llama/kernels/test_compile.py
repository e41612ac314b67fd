"""Compiled kernels go when a kernel's source changes, and only then; memory begins a cache line."""

import shutil
import sys
from pathlib import Path

import numba as nb
import numpy as np
import psutil
import pytest

from demo.llama.kernels import compile as compiling
from demo.llama.kernels.compile import (
    CACHE_LINE,
    JIT,
    discard,
    drop_stale,
    scratch,
    without_huge_pages,
)

MB = 2**20
SHAPES = ((1,), (7,), (3, 5), (2, 3, 32))


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    (tmp_path / "kernel.py").write_text("one")
    (tmp_path / "dot.py").write_text("two")
    return tmp_path


def test_a_change_of_any_source_drops_what_was_compiled(sources, tmp_path):
    cache = tmp_path / "__pycache__"
    assert drop_stale(cache, sources)
    index, code = cache / "kernel.step-1.py311.nbi", cache / "kernel.step-1.py311.1.nbc"
    index.write_text("index")
    code.write_text("code")
    assert not drop_stale(cache, sources)
    assert index.exists()
    (sources / "dot.py").write_text("three")
    assert drop_stale(cache, sources)
    assert not index.exists()


def test_a_folder_that_cannot_be_written_is_left(sources, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert not drop_stale(tmp_path / "file" / "cache", sources)


def test_only_the_kernels_own_sources_count(tmp_path):
    """In a copy of the package: a comment in the tokenizer or the model keeps what is compiled."""
    package = shutil.copytree(
        compiling.SOURCES.parent, tmp_path / "llama", ignore=shutil.ignore_patterns("__pycache__")
    )
    sources, cache = package / compiling.SOURCES.name, package / "kernels" / "__pycache__"
    drop_stale(cache, sources)
    (cache / "decode.step-1.py311.nbi").write_text("index")
    for name in ("model.py", "tokenizer/chat_template.py", "kernels/decode.py"):
        assert not drop_stale(cache, sources)
        with open(package / name, "a") as file:
            file.write("# a comment\n")
    assert drop_stale(cache, sources)
    assert not list(cache.glob("*.nbi"))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.int32])
def test_an_array_begins_a_line(shape: tuple[int, ...], dtype: type) -> None:
    arrays = [make(shape, dtype) for make in (compiling.empty, compiling.zeros) for _ in range(5)]
    for array in arrays:
        assert (array.shape, array.dtype) == (shape, dtype)
        assert array.ctypes.data % CACHE_LINE == 0
        assert array.flags.c_contiguous and array.flags.writeable
    assert not arrays[-1].any()


@nb.njit(**{**JIT, "cache": False})
def _places(shape, count):  # where arrays begin within a line, and whether they keep what is put in
    total = 0
    for number in range(count):
        array = scratch(shape)
        array[:] = number
        total += array.ctypes.data % CACHE_LINE + (array.size != np.sum(array == number))
    return total


@pytest.mark.parametrize("shape", SHAPES)
def test_so_does_one_inside_compiled_code(shape: tuple[int, ...]) -> None:
    assert _places(shape, 20) == 0


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


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other pages")
@pytest.mark.matrix("D18")
def test_an_array_that_is_written_here_and_there_takes_little() -> None:
    process = psutil.Process()

    def taken(array: np.ndarray) -> int:
        before = process.memory_info().rss
        array[:: 2 * MB] = 1  # one number in each large page
        return process.memory_info().rss - before

    assert taken(without_huge_pages(np.empty(512 * MB, np.uint8))) < 16 * MB


def test_an_array_smaller_than_a_page_is_left_alone() -> None:
    small = np.ones(3)
    discard(small)
    assert without_huge_pages(small).sum() == 3
