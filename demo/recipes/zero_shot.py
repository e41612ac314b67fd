"""What a tower reads off pictures it was not trained on, by captions and by linear probes."""

import argparse
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demo.recipes.concepts import drawing_concepts, photograph_concepts
from demo.recipes.drawings import UNSEEN, drawings
from demo.recipes.photographs import photographs
from demo.recipes.scenes import COLOURS, SHAPES, easy_vqa_scenes, shape_captions
from demo.vision.clip import Tower
from demo.vision.media import Picture
from demo.vision.preprocessing import Preprocessing, looks, normalise, resize
from demo.vision.tower_files import FOLDER, LOCAL

LABELS = tuple(shape_captions(colour, shape)[0] for colour in COLOURS for shape in SHAPES)
SEED = 0  # of the choice of pictures for a quick look


@dataclass(frozen=True)
class Exam:
    """Pictures, the captions to choose from and the right one of each.

    `pixels` (N, 3, P, P) uint8 at the tower's size, `truth` (N,) numbers of `captions`.
    """

    name: str
    captions: tuple[str, ...]
    pixels: Tensor
    truth: Tensor


def scene_exam(preprocessing: Preprocessing, count: int | None = None) -> Exam:
    """easy-VQA's test scenes of known shape and colour, 24 captions."""
    known = [scene for scene in easy_vqa_scenes("test") if scene.captions[0] in LABELS]
    pairs = [(scene.rgb, scene.captions[0]) for scene in known]
    return _exam("scenes", LABELS, pairs, preprocessing, count)


def photograph_exam(folder: Path, preprocessing: Preprocessing, count: int | None = None) -> Exam:
    """The photographs of `val.zip` in `folder`, 200 captions."""
    captions = tuple(concept.name for concept in photograph_concepts().values())
    pairs = [(scene.rgb, scene.captions[0]) for scene in photographs(folder)("test")]
    return _exam("photographs", captions, pairs, preprocessing, count)


def drawing_exam(
    folder: Path, style: str, preprocessing: Preprocessing, count: int | None = None
) -> Exam:
    """One style's drawings on white, 500 captions."""
    concepts, found = drawing_concepts(), drawings(folder, style)
    captions = tuple(concept.name for concept in concepts.values())
    alpha = found.rgba[..., 3:].astype(np.float32) / 255
    rgb = (found.rgba[..., :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)
    pairs = [(p, concepts[icon].name) for p, icon in zip(rgb, found.icons, strict=True)]
    return _exam(style, captions, pairs, preprocessing, count)


def _exam(
    name: str,
    captions: tuple[str, ...],
    pairs: list[tuple[np.ndarray, str]],
    preprocessing: Preprocessing,
    count: int | None,
) -> Exam:
    """The pictures at the tower's size; with `count`, always the same that many of them."""
    if count is not None and count < len(pairs):
        pairs = random.Random(SEED).sample(pairs, count)
    number = {caption: at for at, caption in enumerate(captions)}
    pixels = np.stack([resize(rgb, preprocessing) for rgb, _ in pairs])
    truth = torch.tensor([number[caption] for _, caption in pairs])
    return Exam(name, captions, torch.from_numpy(pixels).permute(0, 3, 1, 2), truth)


def score(
    model: nn.Module,
    tokenize: Callable[[list[str]], Tensor],
    exams: Sequence[Exam],
    preprocessing: Preprocessing,
    side: int | None = None,
    *,
    several: bool = False,
) -> dict[str, float]:
    """Shares of each exam's pictures whose right caption is the nearest, or one of the nearest 5.

    `side` scales the pictures once more, for a model that is still being taught with small ones.
    With `several` the mean of four looks counts, as `sight` sees.
    """
    model.eval()
    found = {}
    for exam in exams:
        texts, right = embed_texts(model, tokenize, exam.captions), []
        for pixels, truth in zip(exam.pixels.split(250), exam.truth.split(250), strict=True):
            images = normalise(pixels.to(texts.device).float() / 255, preprocessing)
            if side is not None and side != images.shape[-1]:
                images = F.interpolate(images, (side, side), mode="bilinear", antialias=True)
            each = looks(images) if several else images[None]
            mean = torch.stack([embed_images(model, look) for look in each]).mean(0)  # (B, D)
            nearest = (mean @ texts.T).topk(5).indices.cpu()  # (B, 5)
            right.append(nearest == truth[:, None])
        shares = torch.cat(right).float().cumsum(1).mean(0)
        found |= {f"{exam.name} top-1": round(float(shares[0]), 4)}
        found |= {f"{exam.name} top-5": round(float(shares[4]), 4)}
    return found


@torch.inference_mode()
def embed_texts(
    model: nn.Module, tokenize: Callable[[list[str]], Tensor], texts: Sequence[str]
) -> Tensor:
    """Captions -> (T, D) fp32 unit vectors."""
    device = next(model.parameters()).device
    return model.encode_text(tokenize(list(texts)).to(device), normalize=True).float()


@torch.inference_mode()
def embed_images(model: nn.Module, images: Tensor) -> Tensor:
    """(B, 3, P, P) normalised pictures -> (B, D) fp32 unit vectors."""
    parts = [model.encode_image(part, normalize=True).float() for part in images.split(250)]
    return torch.cat(parts)


def accuracy(images: Tensor, texts: Tensor, captions: Sequence[tuple[str, ...]]) -> float:
    """Share of pictures whose nearest of the 24 captions `LABELS` is the true one.

    Args:
        images: (B, D) unit vectors.
        texts: (24, D) unit vectors of `LABELS`.
        captions: of each picture, fine to coarse; those whose finest is not in `LABELS` (shape or
            colour unknown) are not counted.
    """
    nearest = (images @ texts.T).argmax(1).tolist()
    pairs = [(LABELS[n], c[0]) for n, c in zip(nearest, captions, strict=True) if c[0] in LABELS]
    return sum(found == true for found, true in pairs) / len(pairs)


def probe(train: Tensor, truth: Tensor, test: Tensor, expected: Tensor, steps: int = 300) -> float:
    """Accuracy on `test` (B, S) of a linear classifier fitted to frozen features `train` (A, S).

    Args:
        truth: (A,) class numbers.
        expected: (B,) class numbers.
        steps: full-batch Adam steps; the features are standardised by the training ones first.
    """
    centre, spread = train.mean(0), train.std(0) + 1e-5
    train, test = (train - centre) / spread, (test - centre) / spread
    layer = nn.Linear(train.shape[1], int(truth.max()) + 1)
    nn.init.zeros_(layer.weight)
    optimizer = torch.optim.Adam(layer.parameters(), 1e-2, weight_decay=1e-4)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(layer(train), truth).backward()
        optimizer.step()
    return float((layer(test).argmax(1) == expected).float().mean())


def _probed(tower: Tower, kind: tuple[str, ...]) -> tuple[float, int]:
    """Accuracy of a linear classifier for the words `kind`, and the number of test scenes."""
    parts = []
    for split in ("train", "test"):
        named = [(s, w) for s in easy_vqa_scenes(split) for w in kind if w in s.captions[0].split()]
        classes = torch.tensor([kind.index(word) for _, word in named])
        parts += [tower.batch([Picture(scene.rgb) for scene, _ in named]), classes]
    return probe(*parts), len(parts[3])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what the embedded tower reads off pictures that it was not taught with."""
    import open_clip  # here, because it takes seconds

    parser = argparse.ArgumentParser(prog="python -m demo.recipes.zero_shot", description=__doc__)
    parser.add_argument("--checkpoints", type=Path, required=True)
    parser.add_argument("--photographs", type=Path, help="folder with Tiny ImageNet's zips")
    parser.add_argument("--drawings", type=Path, help="folder that demo.recipes.drawings filled")
    parser.add_argument("--side", type=int, action="append", help="pixels to try; repeatable")
    given = parser.parse_args(arguments)
    tower = Tower.load(None, torch.device("cpu"), given.checkpoints)
    folder = f"{LOCAL}{given.checkpoints / FOLDER}"
    model, tokenize = open_clip.create_model(folder).eval(), open_clip.get_tokenizer(folder)
    for side in given.side or tower.preprocessing.size[:1]:
        preprocessing = replace(tower.preprocessing, size=(side, side))
        exams = [scene_exam(preprocessing)]
        if given.photographs:
            exams.append(photograph_exam(given.photographs, preprocessing))
        if given.drawings:
            exams.append(drawing_exam(given.drawings, next(iter(UNSEEN)), preprocessing))
        for exam, several in itertools.product(exams, (False, True)):
            shares = score(model, tokenize, [exam], preprocessing, several=several)
            shown = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
            of = f"of {len(exam.truth)}, {len(exam.captions)} captions, {side} pixels"
            print(f"{shown} {of}, {'four looks' if several else 'one look'}")
    for name, kind in (("shape", SHAPES), ("colour", COLOURS)):
        right, count = _probed(tower, kind)
        print(f"{name}, linear classifier on the features: {right:.1%} of {count} scenes")


if __name__ == "__main__":
    main()
