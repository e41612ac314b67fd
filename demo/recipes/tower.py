"""Train a small open_clip model from scratch: `python -m demo.recipes.tower --out FOLDER`.

FOLDER holds `open_clip_config.json`; the weights and a passport are written beside it, so that
open_clip itself can open the result as `local-dir:FOLDER`.
"""

import argparse
import json
import logging
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from demo.files import replace_file
from demo.finetune.lessons import Part
from demo.recipes.augment import content_boxes, random_views
from demo.recipes.contrast import multi_positive_loss
from demo.recipes.scenes import SOURCES, Source
from demo.recipes.zero_shot import LABELS, accuracy, embed_images, embed_texts
from demo.vision.clip import Tower
from demo.vision.media import Picture
from demo.vision.preprocessing import Preprocessing, normalise, resize
from demo.vision.tower_files import (
    CONFIG,
    PASSPORT,
    STATISTICS,
    WEIGHTS,
    file_digest,
    visual_parts,
)

SMALLEST = 0.05  # standard deviation; features have variance 1 within a depth
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """How long and how fast to learn. The seed fixes everything but the order of float sums."""

    epochs: int = 15
    minutes: float = 15.0  # a limit, in wall-clock time; the schedule follows the epochs
    seed: int = 0
    batch: int = 128
    rate: float = 1e-3
    weight_decay: float = 0.05
    warm_up: int = 100  # steps

    def __post_init__(self) -> None:
        if min(self.epochs, self.minutes, self.batch, self.rate, self.warm_up) <= 0:
            raise ValueError("epochs, minutes, batch, rate and warm_up must be above 0")


@dataclass(frozen=True)
class Pictures:
    """Scenes in memory: `pixels` (N, 3, P, P) uint8 and the captions of each, fine to coarse."""

    pixels: Tensor
    captions: tuple[tuple[str, ...], ...]


def collect(sources: list[Source], split: Part, preprocessing: Preprocessing) -> Pictures:
    """All scenes of all sources at the tower's size."""
    pixels, captions = [], []
    for source in sources:
        for scene in source(split):
            pixels.append(np.moveaxis(resize(scene.rgb, preprocessing), 2, 0))
            captions.append(scene.captions)
    return Pictures(torch.from_numpy(np.stack(pixels)), tuple(captions))


def preprocessing_of(folder: Path) -> Preprocessing:
    """The config file's image size and `preprocess_cfg`."""
    config = json.loads((folder / CONFIG).read_text())
    side, chosen = config["model_cfg"]["vision_cfg"]["image_size"], config["preprocess_cfg"]
    chosen = chosen | {"mean": tuple(chosen["mean"]), "std": tuple(chosen["std"])}
    return Preprocessing((side, side), **chosen)


class Lesson:
    """One training run. `model` is open_clip's, image and text tower."""

    def __init__(self, folder: Path, pictures: Pictures, plan: Plan) -> None:
        import open_clip  # here, because it takes seconds

        torch.manual_seed(plan.seed)
        self.model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
        self.model.to(memory_format=torch.channels_last)
        self.tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
        self.preprocessing, self.plan = preprocessing_of(folder), plan
        self.pictures, self.boxes = pictures, content_boxes(pictures.pixels)
        self.generator = torch.Generator().manual_seed(plan.seed)
        self.chooser = random.Random(plan.seed)
        self.clip_loss = open_clip.ClipLoss()
        self.steps = plan.epochs * (len(pictures.pixels) // plan.batch)
        self.optimizer = torch.optim.AdamW(self._groups(), plan.rate, (0.9, 0.98))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)

    def _groups(self) -> list[dict[str, object]]:
        """Weight decay for matrices only, not for norms, biases and the temperature."""
        named = list(self.model.named_parameters())
        matrices = [p for _, p in named if p.ndim > 1]
        rest = [p for _, p in named if p.ndim <= 1]
        decay = self.plan.weight_decay
        return [{"params": matrices, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}]

    def _rate(self, step: int) -> float:
        """Linear warm-up, then a cosine to zero, as a share of the plan's rate."""
        warm = min(1.0, (step + 1) / self.plan.warm_up)
        return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.steps)))

    def epoch(self) -> float:
        """One pass over the pictures in random order; the mean loss."""
        self.model.train()
        order = torch.randperm(len(self.pictures.pixels), generator=self.generator)
        batches = [rows for rows in order.split(self.plan.batch) if len(rows) == self.plan.batch]
        return sum(self._step(rows) for rows in batches) / len(batches)

    def _step(self, rows: Tensor) -> float:
        captions = [self.pictures.captions[row] for row in rows.tolist()]
        texts = sorted({self.chooser.choice(options) for options in captions})
        true = torch.tensor([[text in options for text in texts] for options in captions])
        views = random_views(self.pictures.pixels[rows], self.boxes[rows], self.generator)
        views = normalise(views, self.preprocessing).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            image = self.model.encode_image(views, normalize=True).float()
            text = self.model.encode_text(self.tokenize(texts), normalize=True).float()
        scale = self.model.logit_scale.exp()
        loss = multi_positive_loss(self.clip_loss, image, text, scale, true)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        with torch.no_grad():  # CLIP, section 2.5: the temperature never scales by more than 100
            self.model.logit_scale.clamp_(0, math.log(100))
        return loss.item()

    def score(self, test: Pictures) -> float:
        """Zero-shot accuracy over the 24 captions on `test`, in fp32."""
        self.model.eval()
        images = normalise(test.pixels.float() / 255, self.preprocessing)
        texts = embed_texts(self.model, self.tokenize, LABELS)
        return accuracy(embed_images(self.model, images), texts, test.captions)


def save(model: nn.Module, folder: Path, pictures: Pictures, passport: dict[str, object]) -> None:
    """Write weights, feature statistics, and the passport that vouches for both.

    Matrices are halved; vectors stay fp32: they are few, and small running variances would vanish.
    """
    state = {
        name: (value.half() if value.ndim > 1 else value).contiguous()
        for name, value in model.state_dict().items()
    }
    with replace_file(folder / WEIGHTS) as path:
        save_file(state, path)
    with replace_file(folder / STATISTICS) as path:
        save_file({"statistics": feature_statistics(model, pictures)}, path)
    files = (CONFIG, WEIGHTS, STATISTICS)
    passport = passport | {"sha256": {name: file_digest(folder / name) for name in files}}
    with replace_file(folder / PASSPORT) as path:
        path.write_text(json.dumps(passport, indent=1) + "\n")


def feature_statistics(model: nn.Module, pictures: Pictures) -> Tensor:
    """Mean and standard deviation of `Tower.features` over all pictures, (2, S) fp32."""
    tower = Tower(visual_parts("unfinished", model), torch.device("cpu"))
    features = tower.batch([Picture(p.permute(1, 2, 0).numpy()) for p in pictures.pixels])
    # A number that hardly moves over these pictures must not be blown up by others.
    return torch.stack([features.mean(0), features.std(0).clamp(min=SMALLEST)])


def train(folder: Path, names: list[str], plan: Plan) -> None:
    """Train, log the curve, and write the files into `folder`."""
    preprocessing, sources = preprocessing_of(folder), [SOURCES[name] for name in names]
    pictures = collect(sources, "train", preprocessing)
    test = collect(sources, "test", preprocessing)
    lesson, curve, start = Lesson(folder, pictures, plan), [], time.monotonic()
    for epoch in range(1, plan.epochs + 1):
        loss = lesson.epoch()
        minutes = (time.monotonic() - start) / 60
        last = epoch == plan.epochs or minutes > plan.minutes
        if last or epoch % 5 == 0 or epoch in (1, 2, 3):
            row = {"epoch": epoch, "loss": round(loss, 4), "minutes": round(minutes, 1)}
            curve.append(row | {"zero_shot": round(lesson.score(test), 4)})
            log.info("%s", json.dumps(curve[-1]))
        if last:
            break
    passport = {
        "format": 1,
        "name": "scenes-resnet10t",
        "sees": "single flat shapes (circle, rectangle, triangle) in eight colours",
        "licence": "Apache-2.0",
        "sources": names,
        "scenes": len(pictures.captions),
        "seed": plan.seed,
        "parameters": sum(p.numel() for p in lesson.model.parameters()),
        "curve": curve,
    }
    save(lesson.model, folder, pictures, passport)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m demo.recipes.tower", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder with the config")
    parser.add_argument("--source", action="append", choices=sorted(SOURCES), help="repeatable")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--epochs", type=int, default=Plan.epochs)
    parser.add_argument("--minutes", type=float, default=Plan.minutes, help="stop after so long")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    plan = Plan(epochs=given.epochs, minutes=given.minutes, seed=given.seed)
    train(given.out, given.source or ["easy-vqa"], plan)


if __name__ == "__main__":
    main()
