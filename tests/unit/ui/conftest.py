"""Fixtures of the page's parts: a folder of uploads, a picture, a video."""

from pathlib import Path

import numpy as np
import pytest

from demo.ui.files import Uploads
from demo.ui.strings import ENGLISH
from demo.vision.image import Picture
from demo.vision.video import Video


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Uploads:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return Uploads(ENGLISH)


@pytest.fixture
def picture() -> Picture:
    return Picture(np.full((20, 30, 3), 200, np.uint8))


@pytest.fixture
def video() -> Video:
    frames = tuple(Picture(np.full((9, 16, 3), shade, np.uint8)) for shade in range(8))
    return Video(frames, tuple(0.75 + 1.5 * i for i in range(8)), 12.04)
