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
    runtime = Runtime(Settings(runs=tmp_path / "runs", adapters=tmp_path))
    try:
        runtime.start()
        end = time.monotonic() + 60
        while runtime.status().state == "loading" and time.monotonic() < end:
            time.sleep(0.01)
        status = runtime.status()
        assert (status.state, status.message) == (
            "failed",
            "The model could not be loaded; the log says why.",
        )
    finally:
        runtime.close()
