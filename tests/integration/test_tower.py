"""The tower that we ship: its size, and what it reads off scenes it has never seen."""

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from checkpoints.recipes.data.easy_vqa import SHAPES, Scene, easy_vqa_scenes
from checkpoints.recipes.sight.questions import caption, tower_kinds
from checkpoints.recipes.tower.zero_shot import LABELS, accuracy, embed_texts, probe
from demo.errors import CheckpointError
from demo.settings import ROOT
from demo.vision.clip import Tower
from demo.vision.image import Picture

CHECKPOINTS = ROOT / "checkpoints"
FOLDER = CHECKPOINTS / "tower"


@pytest.fixture(scope="module")
def tower() -> Tower:
    return Tower.load(None, torch.device("cpu"), CHECKPOINTS)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    every = [scene for scene in easy_vqa_scenes("test") if scene.captions[0] in LABELS]
    return every[::12]


@pytest.fixture(scope="module")
def texts(open_clip: ModuleType) -> torch.Tensor:
    """The 24 captions through the shipped text tower, (24, 640) unit vectors."""
    model = open_clip.create_model(f"local-dir:{FOLDER}").eval()
    return embed_texts(model, open_clip.get_tokenizer(f"local-dir:{FOLDER}"), LABELS)


def test_it_is_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 20_000_000


def test_it_describes_itself(tower: Tower) -> None:
    passport = json.loads((FOLDER / "passport.json").read_text())
    assert tower.name == passport["name"] == "imagenet-efficientnet-lite0"
    assert tower.sees == passport["sees"]
    assert tower.preprocessing.channels == "RGB" and tower.preprocessing.size == (256, 256)
    assert tower.feature_size == 24 + 40 + 112 + 320 + 640


def test_every_row_has_a_caption_of_its_own(open_clip: ModuleType) -> None:
    """Names are one token each, so a caption means the same in any sentence."""
    folder = f"local-dir:{FOLDER}"
    model, tokenize = open_clip.create_model(folder).eval(), open_clip.get_tokenizer(folder)
    texts = embed_texts(model, tokenize, [caption(kind) for kind in tower_kinds()])
    alike = (texts @ texts.T).fill_diagonal_(-1)
    assert float(alike.max()) < 0.9999
    said = ("a goldfish", "a photo of a goldfish", "This is a goldfish", "a drawing of a fish")
    first, photo, sentence, drawing = embed_texts(model, tokenize, said)
    assert torch.allclose(first, photo) and torch.allclose(first, sentence)
    assert float(first @ drawing) < 0.999


def test_scenes_are_named(tower: Tower, scenes: list[Scene], texts: torch.Tensor) -> None:
    images = tower.embeddings([Picture(scene.rgb) for scene in scenes])
    assert accuracy(images, texts, [scene.captions for scene in scenes]) >= 0.97


def test_features_hold_the_shape(tower: Tower, scenes: list[Scene]) -> None:
    features = tower.batch_features([Picture(scene.rgb) for scene in scenes])
    truth = torch.tensor([SHAPES.index(scene.captions[0].split()[-1]) for scene in scenes])
    half = len(scenes) // 2
    assert probe(features[:half], truth[:half], features[half:], truth[half:]) >= 0.98


def test_a_photo_of_another_world_stays_bounded(tower: Tower) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    assert tower.adapter_features(Picture(noise)).abs().max() <= 6


def test_changed_files_are_refused(tmp_path: Path) -> None:
    copy = tmp_path / "tower"
    copy.mkdir()
    for path in FOLDER.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    weights = copy / "open_clip_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(CheckpointError, match="files were changed"):
        Tower.load(None, torch.device("cpu"), tmp_path)
    (copy / "passport.json").write_text("{")
    with pytest.raises(CheckpointError, match="files are damaged") as caught:
        Tower.load(None, torch.device("cpu"), tmp_path)
    assert str(tmp_path) not in str(caught.value)


def test_size_of_the_picture_hardly_matters(tower: Tower, texts: torch.Tensor) -> None:
    with Image.open(ROOT / "assets" / "samples" / "teal-triangle.png") as image:
        shapes = [
            image.convert("RGB").resize(size) for size in ((64, 64), (1600, 1200), (150, 200))
        ]
    images = tower.embeddings([Picture(np.asarray(shape)) for shape in shapes])
    assert accuracy(images, texts, [("a teal triangle",)] * 3) == 1
