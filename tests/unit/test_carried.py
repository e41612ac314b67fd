"""An adapter is taken over to another tower by its projection alone."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from demo.adapter.adapter import Adapter
from demo.adapter.file import load_adapter, save_adapter
from demo.adapter.passport import Passport
from demo.adapter.spec import AdapterSpec, VisualSpec
from demo.recipes import carried

LEARNED, ALL = 300, 340


class Eyes:
    """A tower whose features are a fixed mixture of what is in a picture, four numbers."""

    preprocessing = SimpleNamespace(size=(8, 8))

    def __init__(self, name: str, size: int, seed: int) -> None:
        self.name, self.fingerprint = name, f"{name} print"
        self.mixture = torch.randn(4, size, generator=torch.Generator().manual_seed(seed))

    def batch(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures @ self.mixture


@pytest.fixture
def scenes(monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    made = torch.randn(ALL, 4, generator=torch.Generator().manual_seed(5))
    monkeypatch.setattr(carried, "pictures", lambda part: made)
    monkeypatch.setattr(carried, "FIRST_HELD_OUT", LEARNED)
    smooth = torch.randn(20, 4, generator=torch.Generator().manual_seed(6))
    monkeypatch.setattr(carried, "smooth_shapes", lambda: smooth)
    return made


def shipped(folder: Path, visual: VisualSpec) -> Path:
    torch.manual_seed(2)
    adapter = Adapter(AdapterSpec(layers=2, prompts=3, width=6, heads=2, visual=visual))
    tower = {"tower": "old", "tower_fingerprint": "old print"}
    passport = Passport("seer", "", "base", "base print", adapter.spec, **tower)
    path = folder / "seer.safetensors"
    save_adapter(adapter, passport, path)
    return path


def test_it_says_the_same_through_the_other_eyes(scenes, tmp_path, capsys):
    old, new = Eyes("old", 7, 0), Eyes("new", 9, 1)
    path, out = shipped(tmp_path, VisualSpec(7, 16)), tmp_path / "carried.safetensors"
    carried.carry(path, old, new, out)
    (before, _), (after, passport) = load_adapter(path), load_adapter(out)
    assert (passport.tower, passport.tower_fingerprint) == ("new", "new print")
    assert passport.spec == after.spec and after.spec.visual.feature_size == 9
    assert torch.equal(before.prompts, after.prompts) and torch.equal(before.gate, after.gate)
    with torch.no_grad():
        aim, said = before.visual(old.batch(scenes)), after.visual(new.batch(scenes))
    assert (said - aim)[LEARNED:].square().mean() < 0.1 * aim.var()
    assert capsys.readouterr().out.count("held_out") == carried.EPOCHS // carried.SAID_EVERY


def test_what_cannot_be_carried_is_refused(scenes, tmp_path):
    old, new = Eyes("old", 7, 0), Eyes("new", 9, 1)
    path = shipped(tmp_path, VisualSpec(7, 16, slots=3))
    with pytest.raises(ValueError, match="sees through old, not new"):
        carried.carry(path, new, old, tmp_path / "out")
    with pytest.raises(ValueError, match="no MLP to one vector"):
        carried.carry(path, old, new, tmp_path / "out")
    assert not (tmp_path / "out").exists()
