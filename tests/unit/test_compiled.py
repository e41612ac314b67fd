"""Compiled kernels go when a source changes, and only then."""

from pathlib import Path

import pytest

from demo.llama.compiled import drop_stale


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
