"""The tower that we ship says of pictures of nothing, and only of those, that they are strange."""

from pathlib import Path

import numpy as np
import pytest
import torch

from demo.recipes.doodles import DOODLES
from demo.recipes.samples import SAMPLES
from demo.recipes.scenes import easy_vqa_scenes
from demo.recipes.strangers import LEARNED, NEVER, made
from demo.vision.clip import Tower
from demo.vision.media import Picture, open_picture

ROOT = Path(__file__).parents[2]
CHECKPOINTS = ROOT / "checkpoints"
PICTURES = ROOT / "assets" / "samples"
SORTS = {**LEARNED, **NEVER}
SEED = 77  # none that the recipe uses


@pytest.fixture(scope="module")
def tower() -> Tower:
    return Tower.load(None, torch.device("cpu"), CHECKPOINTS)


def strange(tower: Tower, pictures: list[Picture]) -> float:
    """Which share is called unfamiliar."""
    scores = [tower.familiarity(picture) for picture in pictures]
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
    assert strange(tower, [open_picture(PICTURES / f"{name}.png") for name in DOODLES]) == 0
