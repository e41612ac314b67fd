"""An adapter as a download: the file as it is now, under the name its owner gave it."""

import os
from pathlib import Path

import pytest

from demo.ui.downloads import offer, withdraw


def test_a_download_is_a_copy_of_the_present_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    file = tmp_path / "adapter.safetensors"
    file.write_bytes(b"first")
    one = offer("me", "0f", file, "My adapter/../é")
    assert one.name == "My-adapter.safetensors" and one.read_bytes() == b"first"
    assert offer("me", "0f", file, "My adapter/../é") == one
    assert "me" not in one.parts and offer("you", "0f", file, "x").parents[1] != one.parents[1]
    file.write_bytes(b"second")  # it was taught more
    os.utime(file, (9, 9))
    two = offer("me", "0f", file, "mine")
    assert two.read_bytes() == b"second" and not one.exists()
    withdraw("me", "0f")
    assert not two.exists()
