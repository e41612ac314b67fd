"""The whole command on a handful of made-up photographs, and the tower that it leaves."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from demo.recipes import tower as recipe
from demo.recipes.concepts import photograph_concepts
from demo.vision.clip import Tower
from demo.vision.media import Picture

VISION = {"timm_model_name": "test_resnet", "timm_model_pretrained": False, "timm_pool": "avg"}
TEXT = {"context_length": 12, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1}
SEEN = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
MODEL = {
    "embed_dim": 16,
    "vision_cfg": VISION | {"timm_proj": "linear", "image_size": 64},
    "text_cfg": TEXT,
}


def photographs(folder: Path) -> Path:
    for name in ("train-0.zip", "val.zip"):
        with zipfile.ZipFile(folder / name, "w") as files:
            for number, kind in enumerate(list(photograph_concepts())[:8]):
                data = io.BytesIO()
                Image.new("RGB", (64, 64), (30 * number, 90, 0)).save(data, "JPEG")
                files.writestr(f"{kind}/0.jpg", data.getvalue())
    return folder


def test_what_is_taught_can_be_opened_and_goes_on(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(recipe, "MEASURED", 8)
    folder = tmp_path / "tower"
    folder.mkdir()
    config = {"model_cfg": MODEL, "preprocess_cfg": SEEN}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    command = ["--out", str(folder), "--no-scenes", "--photographs", str(photographs(tmp_path))]
    threads = torch.get_num_threads()
    recipe.main([*command, "--stages", "64x1", "--batch", "4"])
    passport = json.loads((folder / "passport.json").read_text())
    assert passport["pictures"] == [8]
    assert set(passport["zero_shot"]) == {"photographs top-1", "photographs top-5"}
    opened = Tower.load(None, torch.device("cpu"), tmp_path)
    features = opened.features(Picture(np.zeros((30, 40, 3), np.uint8)))
    assert features.isfinite().all()

    recipe.main([*command, "--stages", "64x1,96x1", "--batch", "4", "--resume"])
    torch.set_num_threads(threads)
    curve = [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
    assert [(row["epoch"], row["side"]) for row in curve] == [(1, 64), (2, 96)]
    assert json.loads((folder / "passport.json").read_text())["curve"] == curve
