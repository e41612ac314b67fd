"""The tower that we ship: its size, and what it reads off scenes it has never seen."""

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from demo.errors import CheckpointError
from demo.recipes.concepts import drawing_concepts
from demo.recipes.samples import SAMPLES
from demo.recipes.scenes import SHAPES, Scene, easy_vqa_scenes
from demo.recipes.zero_shot import LABELS, accuracy, embed_images, embed_texts, probe
from demo.vision.clip import Tower
from demo.vision.media import Picture, open_picture
from demo.vision.preprocessing import looks, normalise, resize

ROOT = Path(__file__).parents[2]
CHECKPOINTS = ROOT / "checkpoints"
FOLDER = CHECKPOINTS / "tower"


@pytest.fixture(scope="module")
def tower() -> Tower:
    return Tower.load(None, torch.device("cpu"), CHECKPOINTS)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    every = [scene for scene in easy_vqa_scenes("test") if scene.captions[0] in LABELS]
    return every[::3]


@pytest.fixture(scope="module")
def texts(open_clip: ModuleType) -> torch.Tensor:
    """The 24 captions through the shipped text tower, (24, 256) unit vectors."""
    model = open_clip.create_model(f"local-dir:{FOLDER}").eval()
    return embed_texts(model, open_clip.get_tokenizer(f"local-dir:{FOLDER}"), LABELS)


def test_it_is_small(open_clip: ModuleType) -> None:
    model = open_clip.create_model(f"local-dir:{FOLDER}")
    assert sum(parameter.numel() for parameter in model.parameters()) <= 12_000_000
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 25_000_000


def test_it_describes_itself(tower: Tower) -> None:
    passport = json.loads((FOLDER / "passport.json").read_text())
    assert tower.name == passport["name"]
    assert tower.sees == passport["sees"]
    assert passport["zero_shot"]["scenes top-1"] >= 0.99
    assert passport["zero_shot"]["photographs top-1"] >= 0.45
    assert tower.preprocessing.channels == "RGB"
    assert tower.feature_size == 64 + 128 + 256 + 512 + 256


def test_scenes_are_named(tower: Tower, scenes: list[Scene], texts: torch.Tensor) -> None:
    images = tower.embeddings([Picture(scene.rgb) for scene in scenes])
    assert accuracy(images, texts, [scene.captions for scene in scenes]) >= 0.99


def test_the_pages_samples_are_named(
    tower: Tower, texts: torch.Tensor, open_clip: ModuleType
) -> None:
    """At four looks, as `sight` sees; at one the blue rectangle is nearer to a yellow one."""
    model = open_clip.create_model(f"local-dir:{FOLDER}").eval()
    files = [ROOT / "assets" / "samples" / f"{colour}-{shape}.png" for colour, shape in SAMPLES]
    assert all(path.stat().st_size <= 40_000 for path in files)
    pixels = np.stack([resize(open_picture(path).rgb, tower.preprocessing) for path in files])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    several = looks(normalise(images, tower.preprocessing))
    mean = torch.stack([embed_images(model, look) for look in several]).mean(0)
    expected = [(f"a {colour} {shape}",) for colour, shape in SAMPLES]
    assert accuracy(mean, texts, expected) == 1


def test_features_hold_the_shape(tower: Tower, scenes: list[Scene]) -> None:
    features = tower.batch([Picture(scene.rgb) for scene in scenes])
    truth = torch.tensor([SHAPES.index(scene.captions[0].split()[-1]) for scene in scenes])
    half = len(scenes) // 2
    assert probe(features[:half], truth[:half], features[half:], truth[half:]) >= 0.98
    assert features.std() == pytest.approx(1, abs=0.2)  # standardised by the training scenes


def test_a_photo_of_another_world_stays_bounded(tower: Tower) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    assert tower.features(Picture(noise)).abs().max() <= 6


def test_it_names_what_we_drew_in_a_style_of_our_own(tower: Tower, open_clip: ModuleType) -> None:
    """Each among 500 captions."""
    folder = f"local-dir:{FOLDER}"
    captions = [concept.name for concept in drawing_concepts().values()]
    model = open_clip.create_model(folder).eval()
    texts = embed_texts(model, open_clip.get_tokenizer(folder), captions)
    files = [ROOT / "assets" / "samples" / f"{name}.png" for name in ("apple", "house")]
    images = tower.embeddings([open_picture(path) for path in files])
    nearest = (images @ texts.T).argmax(1).tolist()
    assert [captions[number] for number in nearest] == ["an apple", "a house"]


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
