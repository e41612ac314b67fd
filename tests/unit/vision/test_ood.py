"""How a tower tells what it was taught from strangers, on a tiny random tower."""

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from checkpoints.recipes.data.out_of_distribution import LEARNED, NEVER, made, scrambled
from checkpoints.recipes.tower import ood_probe as recipe
from demo.errors import CheckpointError
from demo.vision.clip import Tower, ood_scores
from demo.vision.clip_loading import PASSPORT, STATISTICS, file_digest
from demo.vision.image import Picture
from demo.vision.ood import (
    PROBE_FILE,
    OODProbe,
    load_probe,
    save_probe,
)
from demo.vision.video import Video

CPU = torch.device("cpu")
EMBEDDED = 12
MODEL = {
    "embed_dim": EMBEDDED,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 16, "head_width": 8, "layers": 2},
    "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
}
FEATURES = 2 * 16 + EMBEDDED


def picture(seed: int) -> Picture:
    return Picture(np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8))


def probe(seed: int = 1, bias: float = 0.25, width: int = FEATURES) -> OODProbe:
    return OODProbe(torch.randn(width, generator=torch.Generator().manual_seed(seed)), bias)


@pytest.fixture
def checkpoints(tmp_path: Path, open_clip: ModuleType) -> Path:
    """A folder with a tower as the program ships it, without a probe yet."""
    folder = tmp_path / "checkpoints" / "tower"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    model = open_clip.CLIP(**MODEL)
    config = {"model_cfg": MODEL, "preprocess_cfg": {"resize_mode": "squash"}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    statistics = torch.stack([torch.zeros(FEATURES), torch.ones(FEATURES)])
    save_file({"statistics": statistics}, folder / STATISTICS)
    digests = {path.name: file_digest(path) for path in folder.iterdir()}
    (folder / PASSPORT).write_text(json.dumps({"name": "tiny", "sha256": digests}))
    return folder.parent


def opened(checkpoints: Path) -> Tower:
    return Tower.load(None, CPU, checkpoints)


@pytest.mark.parametrize(
    ("weights", "bias", "message"),
    [
        (torch.ones(2, 3), 0.1, r"weights are \(2, 3\), not \(S,\)"),
        (torch.ones(0), 0.1, r"weights are \(0,\), not \(S,\)"),
        (torch.ones(3) * float("nan"), 0.1, "must be finite"),
        (torch.ones(3), float("inf"), "must be finite"),
    ],
)
def test_a_probe_must_be_one(weights, bias, message):
    with pytest.raises(ValueError, match=message):
        OODProbe(weights, bias)


def test_a_file_keeps_the_probe(tmp_path):
    save_probe(probe(bias=0.1 + 0.2), tmp_path / PROBE_FILE)
    again = load_probe(tmp_path / PROBE_FILE)
    assert torch.equal(again.weights, probe().weights)
    assert again.bias == 0.1 + 0.2


def test_a_tower_without_a_probe_says_nothing(checkpoints):
    assert opened(checkpoints).in_distribution_score(picture(1)) is None
    save_probe(probe(), checkpoints / "tower" / PROBE_FILE)
    # The passport does not vouch for that file: it may be another tower's.
    assert opened(checkpoints).in_distribution_score(picture(1)) is None


def test_familiarity_is_a_weighted_sum_of_the_features(checkpoints):
    before = opened(checkpoints)
    recipe.keep_probe(checkpoints / "tower", probe())
    tower = opened(checkpoints)
    assert tower.fingerprint == before.fingerprint  # adapters fit it as before
    expected = float(before.adapter_features(picture(1)) @ probe().weights) + 0.25
    assert tower.in_distribution_score(picture(1)) == pytest.approx(expected, abs=1e-4)


def test_a_videos_frames_are_looked_at_together_and_once(checkpoints):
    recipe.keep_probe(checkpoints / "tower", probe())
    tower, passes = opened(checkpoints), []
    frames = tuple(picture(seed) for seed in range(3))
    video = Video(frames, (0.0, 1.0, 2.0), 3.0)
    expected = float(tower.batch_features(frames).mean(0) @ probe().weights) + 0.25
    original = tower.batch_features

    def counted(pictures, **looks):
        passes.append(len(pictures))
        return original(pictures, **looks)

    tower.batch_features = counted
    for _ in range(2):
        tower.adapter_features(video)
        assert tower.in_distribution_score(video) == pytest.approx(expected, abs=1e-4)
    assert passes == [3]  # what an adapter sees of it is what is judged


def test_a_probe_of_another_tower_and_a_changed_one_are_refused(checkpoints):
    folder = checkpoints / "tower"
    recipe.keep_probe(folder, probe(width=FEATURES + 1))
    with pytest.raises(ValueError, match="probe is that of another tower"):
        opened(checkpoints)
    recipe.keep_probe(folder, probe())
    save_probe(probe(2), folder / PROBE_FILE)
    with pytest.raises(CheckpointError, match="files were changed"):
        opened(checkpoints)


@pytest.mark.parametrize("writes", [0, 1])
def test_writing_that_breaks_off_leaves_a_tower_that_opens(checkpoints, monkeypatch, writes):
    folder, left = checkpoints / "tower", [None] * writes
    recipe.keep_probe(folder, probe())
    original = recipe._write

    def write(*arguments: object) -> None:
        if not left:
            raise OSError("the disk is full")
        left.pop()
        original(*arguments)

    monkeypatch.setattr(recipe, "_write", write)
    with pytest.raises(OSError, match="full"):
        recipe.keep_probe(folder, probe(2))
    assert (opened(checkpoints).in_distribution_score(picture(1)) is None) == bool(writes)


def test_the_fit_tells_sides_apart_and_counts_every_part_the_same():
    torch.manual_seed(0)
    many, few = torch.randn(400, 6) + 3, torch.randn(20, 6) - torch.tensor([3, -3, 0, 0, 0, 0])
    strange = [torch.randn(50, 6) - 3, torch.randn(200, 6) - torch.tensor([0, 5, 0, 0, 0, 0])]
    found = recipe.fit([many, few], strange)
    assert (ood_scores(found, torch.cat([many, few])) > 0).float().mean() > 0.97
    assert (ood_scores(found, torch.cat(strange)) < 0).float().mean() > 0.97
    again = recipe.fit([many, few.repeat(20, 1)], strange)
    assert torch.allclose(again.weights, found.weights, atol=0.01)


def test_the_threshold_keeps_its_share_of_every_source():
    verdicts = [
        recipe.OODVerdict("a", torch.linspace(0.4, 0.8, 101), True, True),
        recipe.OODVerdict("b", torch.linspace(0.5, 0.9, 33), True, True),
        recipe.OODVerdict("noise", torch.linspace(0.0, 0.5, 11), False, False),
    ]
    for keep in (0.5, 0.95, 1.0):
        threshold = recipe.threshold_for(verdicts, keep)
        assert all(verdict.share(threshold) >= keep for verdict in verdicts[:2])
        assert verdicts[0].share(threshold) <= keep + 0.02
    assert verdicts[2].share(0.25 + 1e-4) == pytest.approx(6 / 11)
    assert verdicts[0].line(0.4) == "a: 100.0% of 101 called familiar"
    assert verdicts[2].line(1).startswith("noise: 100.0% of 11 called unfamiliar; no such picture")


def test_strangers_have_any_size_and_are_always_the_same():
    for sort in [*LEARNED.values(), *NEVER.values()]:
        some, again = made(sort, 6, 1), made(sort, 6, 1)
        assert all(np.array_equal(a, b) for a, b in zip(some, again, strict=True))
        assert len({rgb.tobytes() for rgb in some}) == 6
        assert len({rgb.shape for rgb in some}) > 1
        for rgb in some:
            assert rgb.dtype == np.uint8 and rgb.shape == (len(rgb), len(rgb), 3)


def test_a_scrambled_photograph_keeps_its_colours():
    rgb = picture(1).rgb[:37, :37]
    mixed = scrambled(np.random.default_rng(0), rgb)
    assert mixed.shape == (36, 36, 3) and not np.array_equal(mixed, rgb[:36, :36])
    pixels = [np.sort(p.reshape(-1, 3), axis=0) for p in (mixed, rgb[:36, :36])]
    assert np.array_equal(*pixels)
