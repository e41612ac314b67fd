"""What a tower was taught and how near a picture comes to it, on a tiny random tower."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

from demo.errors import CheckpointError
from demo.recipes import familiar as recipe
from demo.recipes.concepts import drawing_concepts, photograph_concepts
from demo.recipes.drawings import UNSEEN
from demo.recipes.zero_shot import scene_exam
from demo.vision.clip import Tower
from demo.vision.familiar import (
    CAPTIONS,
    UNSURE,
    Captions,
    load_captions,
    save_captions,
    with_doubt,
    without_doubt,
)
from demo.vision.media import Picture
from demo.vision.tower_files import PASSPORT, STATISTICS, file_digest
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


def unit(count: int, width: int = EMBEDDED) -> torch.Tensor:
    return F.normalize(torch.randn(count, width, generator=torch.Generator().manual_seed(1)), dim=1)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """A folder with a tower as the program ships it, that keeps no captions yet."""
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
    ("vectors", "threshold", "message"),
    [
        (unit(5)[0], 0.1, r"captions are \(12,\), not"),
        (unit(5)[:0], 0.1, r"captions are \(0, 12\), not"),
        (2 * unit(5), 0.1, "not unit vectors"),
        (unit(5) * float("nan"), 0.1, "not unit vectors"),
        (unit(5), 1.1, "1.1 is no cosine"),
        (unit(5), float("nan"), "nan is no cosine"),
    ],
)
def test_captions_must_be_such(vectors, threshold, message):
    with pytest.raises(ValueError, match=message):
        Captions(vectors, threshold)


def test_a_file_keeps_captions_and_threshold(tmp_path):
    captions = Captions(unit(7).half(), 0.1 + 0.2)
    save_captions(captions, tmp_path / CAPTIONS)
    again = load_captions(tmp_path / CAPTIONS)
    assert torch.equal(again.vectors, captions.vectors)
    assert again.threshold == captions.threshold


def test_a_tower_without_captions_says_nothing(checkpoints):
    assert opened(checkpoints).familiarity(picture(1)) is None
    save_captions(Captions(unit(3).half(), 0.0), checkpoints / "tower" / CAPTIONS)
    # The passport does not vouch for that file: it may be another tower's.
    assert opened(checkpoints).familiarity(picture(1)) is None


def test_familiarity_is_the_nearest_cosine_less_the_threshold(checkpoints):
    before, vectors = opened(checkpoints), unit(7).half()
    recipe.keep_captions(checkpoints / "tower", Captions(vectors, 0.25))
    tower = opened(checkpoints)
    assert tower.fingerprint == before.fingerprint  # adapters fit it as before
    cosines = (tower.embeddings([picture(1)]) @ vectors.float().T)[0]
    expected = float(cosines.max()) - 0.25
    assert tower.familiarity(picture(1)) == pytest.approx(expected, abs=1e-6)
    own = F.normalize(tower.embeddings([picture(1)]), dim=1).half()
    recipe.keep_captions(checkpoints / "tower", Captions(own, 0.9))
    assert opened(checkpoints).familiarity(picture(1)) == pytest.approx(0.1, abs=1e-3)


def test_a_videos_frames_are_looked_at_together_and_once(checkpoints):
    recipe.keep_captions(checkpoints / "tower", Captions(unit(7).half(), 0.25))
    tower, passes = opened(checkpoints), []
    frames = tuple(picture(seed) for seed in range(3))
    video = Video(frames, (0.0, 1.0, 2.0), 3.0)
    mean = F.normalize(tower.embeddings(frames).mean(0), dim=0)
    original = tower.batch_with_embeddings

    def counted(pictures, kind):
        passes.append(len(pictures))
        return original(pictures, kind)

    tower.batch_with_embeddings = counted
    expected = float((unit(7).half().float() @ mean).max()) - 0.25
    for _ in range(2):
        assert tower.familiarity(video) == pytest.approx(expected, abs=1e-6)
        assert torch.allclose(tower.features(video), tower.batch(frames).mean(0), atol=1e-6)
    assert passes == [3]  # what an adapter sees of it came along


def test_captions_of_another_tower_and_changed_ones_are_refused(checkpoints):
    folder = checkpoints / "tower"
    recipe.keep_captions(folder, Captions(unit(7, EMBEDDED + 1).half(), 0.25))
    with pytest.raises(ValueError, match="captions are those of another tower"):
        opened(checkpoints)
    recipe.keep_captions(folder, Captions(unit(7).half(), 0.25))
    save_captions(Captions(unit(8).half(), 0.25), folder / CAPTIONS)
    with pytest.raises(CheckpointError, match="files were changed"):
        opened(checkpoints)


@pytest.mark.parametrize("writes", [0, 1])
def test_writing_that_breaks_off_leaves_a_tower_that_opens(checkpoints, monkeypatch, writes):
    folder, left = checkpoints / "tower", [None] * writes
    recipe.keep_captions(folder, Captions(unit(7).half(), 0.25))
    original = recipe._write

    def write(*arguments: object) -> None:
        if not left:
            raise OSError("the disk is full")
        left.pop()
        original(*arguments)

    monkeypatch.setattr(recipe, "_write", write)
    with pytest.raises(OSError, match="full"):
        recipe.keep_captions(folder, Captions(unit(9).half(), 0.5))
    assert (opened(checkpoints).familiarity(picture(1)) is None) == bool(writes)


def test_the_threshold_keeps_its_share_of_every_source():
    verdicts = [
        recipe.Verdict("a", torch.linspace(0.4, 0.8, 101), True),
        recipe.Verdict("b", torch.linspace(0.5, 0.9, 33), True),
        recipe.Verdict("noise", torch.linspace(0.0, 0.5, 11), False),
    ]
    for keep in (0.5, 0.95, 1.0):
        threshold = recipe.threshold_for(verdicts, keep)
        assert all(verdict.share(threshold) >= keep for verdict in verdicts[:2])
        assert verdicts[0].share(threshold) <= keep + 0.02
    assert verdicts[2].share(0.25 + 1e-4) == pytest.approx(6 / 11)


def test_strangers_have_any_size_and_are_always_the_same(monkeypatch):
    monkeypatch.setattr(recipe, "STRANGERS", 3)
    photographs = np.random.default_rng(0).integers(0, 256, (2, 37, 37, 3), np.uint8)
    made, again = recipe.strangers(photographs), recipe.strangers(photographs)
    for name, rgb in made.items():
        assert np.array_equal(rgb, again[name])
        assert rgb.dtype == np.uint8 and len({p.tobytes() for p in rgb}) == len(rgb)
        side = 36 if name == "scrambled" else 37
        assert rgb.shape[1:] == (side, side, 3)
    piece = np.sort(made["scrambled"][0].reshape(-1, 3), axis=0)
    assert np.array_equal(piece, np.sort(photographs[0, :36, :36].reshape(-1, 3), axis=0))


def test_the_command_sets_a_threshold(checkpoints, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(recipe, "STRANGERS", 4)
    monkeypatch.setattr(recipe, "scene_exam", lambda size: scene_exam(size, 10))
    with zipfile.ZipFile(tmp_path / "val.zip", "w") as files:
        for number, kind in enumerate(list(photograph_concepts())[:8]):
            data = io.BytesIO()
            Image.fromarray(picture(number).rgb).save(data, "JPEG")
            files.writestr(f"{kind}/0.jpg", data.getvalue())
    style, icons = next(iter(UNSEEN)), list(drawing_concepts())[:5]
    rgba = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 4), np.uint8)
    np.savez(tmp_path / f"{style}.npz", rgba=rgba, icons=np.array(icons))
    command = ["--checkpoints", str(checkpoints), "--photographs", str(tmp_path)]
    recipe.main([*command, "--drawings", str(tmp_path), "--keep", "1"])
    told = capsys.readouterr().out
    assert "photographs: 100.0% of 8 called familiar" in told
    assert "rendered text:" in told and "of 4 called unfamiliar" in told
    tower = opened(checkpoints)
    assert tower.familiarity(picture(0)) is not None
    assert len(load_captions(checkpoints / "tower" / CAPTIONS).vectors) > 600
    with pytest.raises(SystemExit):
        recipe.main([*command, "--drawings", str(tmp_path), "--keep", "1.5"])
    with pytest.raises(SystemExit):
        recipe.main([*command, "--drawings", str(tmp_path / "nowhere")])


def test_doubt_is_put_before_a_reply_and_taken_off_again():
    assert with_doubt("a cat") == f"{UNSURE} a cat"
    assert with_doubt("") == ""
    for reply in ("a cat", with_doubt("a cat")):
        assert without_doubt(reply) == "a cat"
