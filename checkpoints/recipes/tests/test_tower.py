"""Rows beside a classifier's own, and the space where captions meet pictures, in small."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from checkpoints.recipes.tower import build
from checkpoints.recipes.tower.build import Classifier, common_space, discriminant
from checkpoints.recipes.tower.looks import Looks


def classifier(kinds: int, size: int) -> Classifier:
    torch.manual_seed(0)
    return Classifier(torch.randn(kinds, size), torch.randn(kinds))


def test_the_nearest_caption_is_the_likeliest_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "SPACE", 30)
    every, pooled = classifier(20, 30), torch.rand(200, 30)
    space = common_space(every, pooled)
    images = F.normalize(pooled @ space.weight.T + space.bias, dim=1)
    logits = space.scale * images @ space.captions.T
    assert torch.equal(logits.argmax(1), every.logits(pooled).argmax(1))
    # As sure as the classifier, on the average.
    own = every.logits(pooled).softmax(1).max(1).values.mean()
    assert float(logits.softmax(1).max(1).values.mean()) == pytest.approx(float(own), rel=0.1)


def test_a_discriminant_tells_kinds_from_each_other_and_from_photographs() -> None:
    torch.manual_seed(1)
    means, kinds = 3 * torch.randn(5, 12), torch.arange(5).repeat(40)
    drawn, photographs = means[kinds] + torch.randn(200, 12), torch.randn(300, 12)
    found = discriminant(drawn, kinds, 5, photographs)
    assert float((found.logits(drawn).argmax(1) == kinds).float().mean()) > 0.97
    assert float((found.logits(photographs).max(1).values < 0).float().mean()) > 0.9


def test_every_name_means_rows_that_there_are() -> None:
    spoken = build.phrases()
    assert spoken["goldfish"] == [1] and spoken["tench"] == [0]
    assert len(spoken["dog"]) > 100 and spoken["drawing of a red circle"][0] >= 1500
    assert all(0 <= row < 1524 for rows in spoken.values() for row in rows)


def test_looks_are_kept(tmp_path: Path) -> None:
    looks = Looks(torch.rand(3, 496), torch.rand(3, 1280), torch.tensor([1, -1, 2]))
    looks.save(tmp_path / "some.safetensors")
    twice = Looks.load(tmp_path / "some.safetensors", tmp_path / "some.safetensors")
    assert torch.equal(twice.pooled, looks.pooled.repeat(2, 1)) and len(twice.kinds) == 6
