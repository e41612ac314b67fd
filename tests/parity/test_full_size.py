"""The model and the adapters of `tests/full_size.py`, small, through the program's own readers."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from demo.adapter.adapter import save_adapter
from demo.adapter.released import read_released
from demo.background_task import ProgressCallback
from demo.llama.base import open_base
from tests.full_size import Sizes, make_adapters, make_llama, make_tokenizer
from tests.full_size_parity import NAMES, compare

SMALL = Sizes(
    width=64, heads=4, layers=4, multiple_of=32, vocab=400, prompts=10, rank=16, visual=32,
    visual_blocks=2, tower_token=20,
)  # fmt: skip
EYES = SimpleNamespace(
    name="eyes",
    fingerprint="eyes print",
    token_size=20,
    class_token=True,
    preprocessing=SimpleNamespace(size=(4, 4)),
)


@pytest.mark.usefixtures("one_thread")
def test_what_is_computed_is_what_the_authors_formulas_say(
    tmp_path: Path, no_progress: ProgressCallback
) -> None:
    make_tokenizer(tmp_path / "tokenizer.model", SMALL.vocab)
    make_llama(tmp_path / "7B", SMALL)
    make_adapters(tmp_path, SMALL)
    assert not [path for path in (tmp_path / "7B").iterdir() if path.is_dir()]
    base = open_base(str(tmp_path / "7B"), tmp_path / "cache", no_progress)
    assert (base.config.ffn, base.config.vocab) == (SMALL.ffn, SMALL.vocab)
    (tmp_path / "adapters").mkdir()
    for name in NAMES[1:]:
        adapter, passport = read_released(tmp_path / f"{name}.pth", base, name, tower=EYES)
        save_adapter(adapter, passport, tmp_path / "adapters" / f"{name}.safetensors")
    with torch.inference_mode():
        gaps = compare(tmp_path, SMALL, NAMES, [1, 17, 300, 30, 25, 12])
    assert max(gaps.values()) <= 1e-4, gaps
