"""The tower that we ship says of pictures of nothing, and only of those, that they are strange."""

import numpy as np
import pytest
import torch

from checkpoints.recipes.data.easy_vqa import SAMPLES, easy_vqa_scenes
from checkpoints.recipes.data.out_of_distribution import LEARNED, NEVER, made
from demo.settings import ROOT
from demo.vision.clip import Tower
from demo.vision.image import Picture, open_picture

CHECKPOINTS = ROOT / "checkpoints"
PICTURES = ROOT / "assets" / "samples"
DRAWINGS = ("apple", "car", "cat", "fish", "house", "mushroom")
SORTS = {**LEARNED, **NEVER}
SEED = 77  # none that the recipe uses


@pytest.fixture(scope="module")
def tower() -> Tower:
    return Tower.load(None, torch.device("cpu"), CHECKPOINTS)


def strange(tower: Tower, pictures: list[Picture]) -> float:
    """Which share is called unfamiliar."""
    scores = [tower.in_distribution_score(picture) for picture in pictures]
    assert None not in scores
    return float(np.mean([score < 0 for score in scores]))


@pytest.mark.parametrize("sort", SORTS)
def test_pictures_of_nothing_are_strange(tower: Tower, sort: str) -> None:
    assert strange(tower, [Picture(rgb) for rgb in made(SORTS[sort], 20, SEED)]) >= 0.7


def test_scenes_are_not(tower: Tower) -> None:
    scenes = [Picture(scene.rgb) for scene in easy_vqa_scenes("test")]
    assert strange(tower, scenes[::8]) <= 0.05
    shapes = [open_picture(PICTURES / f"{colour}-{shape}.png") for colour, shape in SAMPLES]
    assert strange(tower, shapes) == 0


def test_drawings_are_not_either(tower: Tower) -> None:
    assert strange(tower, [open_picture(PICTURES / f"{name}.png") for name in DRAWINGS]) == 0
