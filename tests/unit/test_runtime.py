"""Loading that fails: in words, and never for ever."""

import sys
import time
from pathlib import Path

import pytest

from demo.runtime import Runtime
from demo.settings import Settings


@pytest.mark.matrix("M1")
def test_an_import_that_fails_while_loading_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "demo.model_loading", None)  # importing it raises ImportError
    assert failed(tmp_path) == "The model could not be loaded; the log says why."


@pytest.mark.matrix("D11", "M1")
def test_too_little_memory_is_said_before_anything_heavy_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "demo.model_loading", None)
    monkeypatch.setattr("demo.memory.available", lambda: 600 * 2**20)
    assert "MB of memory, and 600 MB are free. End other programs" in failed(tmp_path)


def failed(folder: Path) -> str:
    """What a program that cannot load says."""
    runtime = Runtime(Settings(runs=folder / "runs", adapters=folder))
    try:
        runtime.start()
        end = time.monotonic() + 60
        while runtime.status().state == "loading" and time.monotonic() < end:
            time.sleep(0.01)
        assert runtime.status().state == "failed"
        return runtime.status().message
    finally:
        runtime.close()
