"""Fixtures of the recipes' tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from demo.llama.base import Base, open_base


@pytest.fixture(scope="module")
def small(
    tiny_llama_folder: Callable[..., Path],
    no_progress,
    tmp_path_factory: pytest.TempPathFactory,
    one_thread: None,
) -> Base:
    folder = tiny_llama_folder(max_position_embeddings=512)
    return open_base(str(folder), tmp_path_factory.mktemp("cache"), no_progress)
