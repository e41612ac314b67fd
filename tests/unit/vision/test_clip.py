"""Towers of every kind that open_clip has, tiny and random, through its real code."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from demo.errors import CheckpointError, FetchError
from demo.vision import clip
from demo.vision.clip import BASIC_COLOURS, Tower, colour_shares, normalise, resize
from demo.vision.clip_loading import Preprocessing
from demo.vision.image import Picture
from demo.vision.video import Video

CPU = torch.device("cpu")
TEXT = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 1, "layers": 1}
VISION = {
    "vit": {"image_size": 32, "patch_size": 8, "width": 16, "head_width": 8, "layers": 6},
    "shallow": {"image_size": 32, "patch_size": 8, "width": 16, "head_width": 8, "layers": 2},
    "timm": {"image_size": 64, "timm_model_name": "test_resnet", "timm_proj": "linear"},
    "resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64},
}
# Four depths (or all, when fewer) and the embedding of 12 numbers.
SIZES = {"vit": 4 * 16 + 12, "shallow": 2 * 16 + 12, "timm": 32 + 48 + 192 + 96 + 12}
SIZES["resnet"] = 32 + 64 + 128 + 256 + 12


def random_picture(seed: int, width: int = 50, height: int = 40) -> Picture:
    chance = np.random.default_rng(seed)
    return Picture(chance.integers(0, 256, (height, width, 3), np.uint8))


def opened(folder: Path) -> Tower:
    return Tower.load(f"local-dir:{folder}", CPU, Path())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, open_clip: ModuleType) -> dict[str, Path]:
    """A folder for each kind of tower, as open_clip's `local-dir:` wants it."""
    made = {}
    for kind, vision in VISION.items():
        torch.manual_seed(0)
        model_cfg = {"embed_dim": 12, "vision_cfg": vision, "text_cfg": TEXT}
        model = open_clip.CLIP(**model_cfg)
        folder = made[kind] = tmp_path_factory.mktemp(kind)
        config = {"model_cfg": model_cfg, "preprocess_cfg": {"resize_mode": "squash"}}
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        state = {name: value.contiguous() for name, value in model.state_dict().items()}
        save_file(state, folder / "open_clip_model.safetensors")
    return made


@pytest.fixture(scope="module")
def towers(folders: dict[str, Path]) -> dict[str, Tower]:
    return {
        kind: Tower.load(f"local-dir:{folder}", CPU, Path()) for kind, folder in folders.items()
    }


@pytest.mark.parametrize("kind", VISION)
def test_tokens_are_all_of_the_last_layer(towers: dict[str, Tower], kind: str) -> None:
    """A class token first: projected it is the embedding itself. Else one for each place."""
    tower, picture = towers[kind], random_picture(1)
    tokens = tower.tokens(picture)
    assert tower.class_token == (kind in ("vit", "shallow"))
    if not tower.class_token:
        depth = {"timm": 96, "resnet": 256}[kind]
        assert tower.token_size == depth and tokens.shape == (2 * 2, depth)
        mean = torch.nn.functional.layer_norm(tokens.mean(0), (depth,))
        assert torch.allclose(tower.adapter_features(picture)[-depth - 12 : -12], mean, atol=1e-5)
        both = tower.batch_tokens([picture, random_picture(2)], bgr=True)
        turned = Picture(np.ascontiguousarray(picture.rgb[..., ::-1]))
        assert torch.allclose(both[0], tower.tokens(turned), atol=1e-5)
        return
    assert tower.token_size == 12 and tokens.shape == (1 + 4 * 4, 12)
    unit = torch.nn.functional.normalize(tokens[:1], dim=1)
    assert torch.allclose(unit, tower.embeddings([picture]), atol=1e-5)
    video = Video((picture, random_picture(2)), (0.0, 1.0), 2.0)
    frames = torch.stack([tower.tokens(frame) for frame in video.frames])
    assert torch.allclose(tower.tokens(video), frames.mean(0), atol=1e-5)


@pytest.mark.parametrize("kind", VISION)
def test_features_are_multi_scale(towers: dict[str, Tower], kind: str) -> None:
    tower, picture = towers[kind], random_picture(1)
    features = tower.adapter_features(picture)
    assert features.shape == (tower.feature_size,) == (SIZES[kind],)
    assert features.dtype == torch.float32
    assert not features.requires_grad
    assert torch.isfinite(features).all()
    last = features[-12:]  # each depth is normalised on its own
    assert abs(float(last.mean())) < 1e-5
    assert float(last.std(correction=0)) == pytest.approx(1, abs=0.02)
    assert not torch.equal(features, tower.adapter_features(random_picture(2)))


@pytest.mark.parametrize("kind", VISION)
def test_last_part_is_open_clips_embedding(
    towers: dict[str, Tower], folders: dict[str, Path], open_clip: ModuleType, kind: str
) -> None:
    name = f"local-dir:{folders[kind]}"
    model, transform = open_clip.create_model_from_pretrained(name)
    picture = random_picture(3)
    with torch.no_grad():
        expected = model.eval().encode_image(transform(Image.fromarray(picture.rgb))[None])[0]
    expected = torch.nn.functional.layer_norm(expected, expected.shape)
    assert torch.allclose(towers[kind].adapter_features(picture)[-12:], expected, atol=1e-4)


def test_class_token_is_used(
    towers: dict[str, Tower], folders: dict[str, Path], open_clip: ModuleType
) -> None:
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folders['vit']}")
    picture = random_picture(4)
    image = transform(Image.fromarray(picture.rgb))[None]
    with torch.no_grad():
        found = model.eval().visual.forward_intermediates(image, output_extra_tokens=True)
    # Depths 2, 3, 5 and 6 of 6: every fourth part, rounded up.
    tokens = [found["image_intermediates_prefix"][depth][0, 0] for depth in (1, 2, 4, 5)]
    expected = torch.cat([torch.nn.functional.layer_norm(token, (16,)) for token in tokens])
    assert torch.allclose(towers["vit"].adapter_features(picture)[:64], expected, atol=1e-4)


def test_features_can_teach_an_adapter(towers: dict[str, Tower]) -> None:
    layer = torch.nn.Linear(SIZES["vit"], 1)
    layer(towers["vit"].adapter_features(random_picture(5))).sum().backward()
    assert layer.weight.grad is not None


def test_batch_equals_one_by_one(towers: dict[str, Tower]) -> None:
    pictures = [random_picture(seed, 30 + seed, 40) for seed in range(5)]
    single = torch.stack([towers["timm"].adapter_features(picture) for picture in pictures])
    assert torch.allclose(towers["timm"].batch_features(pictures), single, atol=1e-4)
    assert towers["timm"].batch_features([]).shape == (0, SIZES["timm"])


@pytest.mark.parametrize("kind", VISION)
def test_augmented_features_are_the_mean_of_four_pictures(
    towers: dict[str, Tower], kind: str
) -> None:
    tower = towers[kind]
    side = tower.preprocessing.size[0]
    pictures = [random_picture(seed, side, side) for seed in (1, 2)]
    four = [[picture, *_other_looks(picture)] for picture in pictures]
    expected = torch.stack([tower.batch_features(each).mean(0) for each in four])
    # Pixels of the nearer look are whole numbers here, and are not for the tower.
    assert torch.allclose(tower.batch_features(pictures, augmented=True), expected, atol=0.05)
    assert not torch.allclose(tower.batch_features(pictures), expected, atol=0.05)
    single = torch.stack([tower.adapter_features(p, augmented=True) for p in pictures])
    assert torch.allclose(single, tower.batch_features(pictures, augmented=True), atol=1e-4)
    plain = tower.adapter_features(pictures[0])  # of the same picture, and kept beside the mean
    assert torch.allclose(plain, tower.batch_features(pictures)[0], atol=1e-4)


def _other_looks(picture: Picture) -> list[Picture]:
    """From nearer, and both mirrored."""
    high, wide = picture.rgb.shape[:2]
    cut = high // 8
    image = Image.fromarray(picture.rgb[cut : high - cut, cut : wide - cut])
    nearer = np.asarray(image.resize((wide, high), Image.Resampling.BICUBIC))
    rows = [nearer, picture.rgb[:, ::-1], nearer[:, ::-1]]
    return [Picture(np.ascontiguousarray(row)) for row in rows]


@pytest.mark.parametrize("kind", VISION)
def test_features_and_embeddings_come_of_one_pass(towers: dict[str, Tower], kind: str) -> None:
    tower, pictures = towers[kind], [random_picture(seed) for seed in range(3)]
    features, embeddings = tower.batch_with_embeddings(pictures)
    assert torch.equal(features, tower.batch_features(pictures))
    assert torch.allclose(embeddings, tower.embeddings(pictures), atol=1e-5)
    assert torch.allclose(embeddings.norm(dim=1), torch.ones(3))


def count_passes(tower: Tower) -> list[int]:
    """How many pictures each further pass of the tower is for, as they come."""
    passes, original = [], tower.batch_features

    def counted(pictures, **options) -> torch.Tensor:
        passes.append(len(pictures))
        return original(pictures, **options)

    tower.batch_features = counted
    return passes


def test_features_are_cached_by_pixels(folders: dict[str, Path]) -> None:
    tower = opened(folders["vit"])
    passes = count_passes(tower)
    first = tower.adapter_features(random_picture(6))
    kept = first.clone()
    first.zero_()  # what a caller does with its copy stays with the caller
    again = tower.adapter_features(random_picture(6))  # another object, the same pixels
    assert len(passes) == 1
    assert torch.equal(again, kept)
    again.zero_()
    assert torch.equal(tower.adapter_features(random_picture(6)), kept)
    tower.adapter_features(random_picture(6), augmented=True)
    tower.adapter_features(random_picture(7))
    assert len(passes) == 3


def test_a_videos_features_are_the_mean_of_its_frames_and_cached(folders: dict[str, Path]) -> None:
    tower = opened(folders["vit"])
    frames = tuple(random_picture(seed) for seed in range(20, 28))
    video = Video(frames, tuple(map(float, range(8))), 8.0)
    expected = tower.batch_features(frames).mean(0)
    several = tower.batch_features(frames, augmented=True).mean(0)
    passes = count_passes(tower)
    again = Video(frames, video.seconds, 8.0)
    for shown in (video, again):
        assert torch.allclose(tower.adapter_features(shown), expected, atol=1e-5)
        found = tower.adapter_features(shown, augmented=True)
        assert torch.allclose(found, several, atol=1e-5)
    assert passes == [8, 8]


def test_many_threads_get_the_same(towers: dict[str, Tower]) -> None:
    pictures = [random_picture(seed) for seed in range(10, 14)] * 4
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(towers["vit"].adapter_features, pictures))
    for features, picture in zip(found, pictures, strict=True):
        assert torch.allclose(features, towers["vit"].batch_features([picture])[0], atol=1e-5)


def test_the_cache_is_bounded_in_bytes(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = {name: random_picture(seed) for seed, name in enumerate("abcde")}
    limits = {"three": 3 * 4 * SIZES["vit"], "none": 4 * SIZES["vit"] - 1}
    made = {}
    for name, limit in limits.items():
        monkeypatch.setattr(clip, "CACHE_BYTES", limit)
        tower = opened(folders["vit"])
        passes, made[name] = count_passes(tower), ""
        for each in "abcadaeb":  # d pushes out b, e pushes out c
            before = len(passes)
            tower.adapter_features(pictures[each])
            made[name] += each * (len(passes) - before)
    assert made == {"three": "abcdeb", "none": "abcadaeb"}


def test_fingerprint_follows_the_weights(
    towers: dict[str, Tower], folders: dict[str, Path]
) -> None:
    again = Tower.load(f"local-dir:{folders['vit']}", CPU, Path())
    assert again.fingerprint == towers["vit"].fingerprint
    assert len({tower.fingerprint for tower in towers.values()}) == len(towers)
    assert str(folders["vit"].parent) not in again.name


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [(50, 40), (40, 61), (33, 33), (7, 90), (1, 1)])
def test_preprocessing_is_open_clips(
    open_clip: ModuleType, mode: str, size: tuple[int, int]
) -> None:
    preprocessing = Preprocessing((24, 24), (0.0,) * 3, (1.0,) * 3, resize_mode=mode)
    picture = random_picture(8, *size)
    transform = open_clip.image_transform(
        24, False, (0.0,) * 3, (1.0,) * 3, resize_mode=mode, interpolation="bicubic"
    )
    expected = (transform(Image.fromarray(picture.rgb)) * 255).round().byte()
    found = torch.from_numpy(resize(picture.rgb, preprocessing).copy()).permute(2, 0, 1)
    assert torch.equal(found, expected)


def test_the_tower_is_given_what_open_clip_would_give_it(open_clip: ModuleType) -> None:
    mean, std = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
    picture, preprocessing = random_picture(9, 50, 40), Preprocessing((24, 24), mean, std)
    transform = open_clip.image_transform(24, False, mean, std, interpolation="bicubic")
    pixels = torch.from_numpy(resize(picture.rgb, preprocessing).copy()).permute(2, 0, 1)[None]
    found = normalise(pixels.float() / 255, preprocessing)
    assert torch.equal(found[0], transform(Image.fromarray(picture.rgb)))


def test_large_photo_is_scaled_well() -> None:
    y, x = np.mgrid[0:1500, 0:2000]
    rgb = np.stack([x // 8 % 256, y // 6 % 256, (x // 500 + y // 500) % 2 * 255], 2).astype(
        np.uint8
    )
    preprocessing = Preprocessing((64, 64), (0.5,) * 3, (0.5,) * 3, resize_mode="squash")
    exact = np.asarray(Image.fromarray(rgb).resize((64, 64), Image.Resampling.BICUBIC), int)
    assert np.abs(resize(rgb, preprocessing) - exact).mean() < 1.5


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ViT-B-32", "'ViT-B-32' names no vision tower. Please write MODEL:PRETRAINED"),
        (":openai", "':openai' names no vision tower."),
        ("ViT-B-33:openai", "open_clip has no model 'ViT-B-33'. Did you mean ViT-B-32"),
        ("ViT-B-32:nonsense", "open_clip knows no weights 'nonsense' for ViT-B-32"),
        ("local-dir:/nowhere/at/all", "The folder given with local-dir: holds no open_clip model"),
    ],
)
def test_bad_specs_are_explained(spec: str, message: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        Tower.load(spec, CPU, Path())
    assert str(caught.value).startswith(message)
    assert "/" not in str(caught.value)


def test_unfitting_file_is_refused(tmp_path: Path) -> None:
    weights = tmp_path / "mine.safetensors"
    save_file({"a": torch.zeros(1)}, weights)
    with pytest.raises(CheckpointError, match="ViT-S-32-alt:mine.safetensors do not fit"):
        Tower.load(f"ViT-S-32-alt:{weights}", CPU, Path())


def test_failed_download_says_what_was_tried(
    monkeypatch: pytest.MonkeyPatch, open_clip: ModuleType
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no route to 10.0.0.1")

    monkeypatch.setattr(open_clip, "download_pretrained", fail)
    with pytest.raises(FetchError) as caught:
        Tower.load("ViT-B-32:laion2b_s34b_b79k", CPU, Path())
    assert "ViT-B-32:laion2b_s34b_b79k" in str(caught.value)
    assert "laion/CLIP-ViT-B-32-laion2B-s34B-b79K" in str(caught.value)
    assert "10.0.0.1" not in str(caught.value)


def test_missing_embedded_tower(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="The vision tower's files are missing"):
        Tower.load(None, CPU, tmp_path)


def test_features_come_with_colours_where_they_are_asked_for(towers: dict[str, Tower]) -> None:
    tower, seen = towers["vit"], random_picture(5)
    plain, coloured = tower.adapter_features(seen), tower.adapter_features(seen, coloured=True)
    assert torch.equal(coloured[: len(plain)], plain)
    assert torch.equal(coloured[len(plain) :], tower.colours([seen])[0])


@pytest.mark.parametrize(
    ("rgb", "name"),
    [
        ((0, 0, 0), "black"),
        ((250, 250, 250), "white"),
        ((128, 128, 128), "gray"),
        ((220, 30, 30), "red"),
        ((240, 140, 20), "orange"),
        ((250, 220, 40), "yellow"),
        ((40, 150, 60), "green"),
        ((40, 80, 220), "blue"),
        ((120, 40, 160), "purple"),
        ((250, 160, 180), "pink"),
        ((140, 80, 30), "brown"),
        ((165, 42, 42), "brown"),
    ],
)
def test_a_colour_has_its_name_on_any_ground(rgb: tuple[int, int, int], name: str) -> None:
    seen = np.full((60, 90, 3), (200, 230, 250), np.uint8)
    seen[20:40, 5:30] = rgb  # not in the middle
    shares = colour_shares(seen)
    assert BASIC_COLOURS[int(shares.argmax())] == name and shares.sum() == pytest.approx(1)
    assert shares.max() > 0.8
    assert BASIC_COLOURS[int(colour_shares(np.full((4, 4, 3), rgb, np.uint8)).argmax())] == name


def test_where_the_ground_is_not_plain_the_middle_counts() -> None:
    seen = np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)
    seen[25:65, 25:65] = (220, 30, 30)
    assert BASIC_COLOURS[int(colour_shares(seen).argmax())] == "red"
