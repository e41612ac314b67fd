"""What the tower reads off pictures by the captions of its text half.

    python -m checkpoints.recipes.tower.zero_shot --checkpoints FOLDER --photographs FOLDER \\
        --drawings FOLDER

`--photographs` holds full-size photographs: `validation.zip`, a file a kind by its WordNet id.
"""

import argparse
import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from checkpoints.recipes.data.concepts import drawing_concepts
from checkpoints.recipes.data.drawings import UNSEEN, drawings
from checkpoints.recipes.data.easy_vqa import COLOURS, SHAPES, easy_vqa_scenes, shape_captions
from checkpoints.recipes.data.wordnet import imagenet_kinds
from demo.vision.clip import Tower
from demo.vision.clip_loading import FOLDER, LOCAL
from demo.vision.image import Picture

LABELS = tuple(shape_captions(colour, shape)[0] for colour in COLOURS for shape in SHAPES)
PHOTOGRAPHS = "validation.zip"


@dataclass(frozen=True)
class Exam:
    """Pictures, the captions to choose from and the right one of each, by number."""

    name: str
    captions: tuple[str, ...]
    pictures: tuple[Picture, ...]
    truth: tuple[int, ...]


def scene_exam(count: int | None = None) -> Exam:
    """Return easy-VQA's test scenes of known shape and colour, 24 captions."""
    known = [scene for scene in easy_vqa_scenes("test") if scene.captions[0] in LABELS][:count]
    truth = tuple(LABELS.index(scene.captions[0]) for scene in known)
    return Exam("scenes", LABELS, tuple(Picture(scene.rgb) for scene in known), truth)


def photograph_exam(folder: Path, count: int | None = None) -> Exam:
    """Return full-size photographs, of which each is named by its WordNet id; 1,000 captions.

    Raises:
        FileNotFoundError: the folder has no such zip.
    """
    kinds = imagenet_kinds()
    number = {kind.wnid: at for at, kind in enumerate(kinds)}
    shown, truth = [], []
    for wnid, picture in photographs(folder, count):
        shown.append(picture)
        truth.append(number[wnid])
    captions = tuple(kind.name for kind in kinds)
    return Exam("photographs", captions, tuple(shown), tuple(truth))


def photographs(folder: Path, count: int | None = None) -> Iterator[tuple[str, Picture]]:
    """Give WordNet ids and photographs, evenly spread where only some are wanted."""
    with zipfile.ZipFile(folder / PHOTOGRAPHS) as files:
        names = sorted(n for n in files.namelist() if n.lower().endswith((".jpg", ".jpeg")))
        for name in names[:: max(1, len(names) // count) if count else 1][:count]:
            image = Image.open(io.BytesIO(files.read(name))).convert("RGB")
            yield Path(name).stem, Picture(np.asarray(image))


def drawing_exam(folder: Path, style: str = next(iter(UNSEEN)), count: int | None = None) -> Exam:
    """Return one style's drawings on white, 500 captions."""
    concepts, found = drawing_concepts(), drawings(folder, style)
    alpha = found.rgba[..., 3:].astype(np.float32) / 255
    rgb = (found.rgba[..., :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)
    captions = tuple(f"a drawing of {concept.name}" for concept in concepts.values())
    step = max(1, len(rgb) // count) if count else 1
    icons = list(concepts)
    truth = tuple(icons.index(icon) for icon in found.icons[::step][:count])
    return Exam(style, captions, tuple(map(Picture, rgb[::step][:count])), truth)


def score(
    tower: Tower, model: nn.Module, tokenize: Callable[[list[str]], Tensor], exam: Exam
) -> tuple[float, float]:
    """Return shares of pictures whose right caption is the nearest, and one of the nearest 5."""
    texts = embed_texts(model, tokenize, exam.captions)
    nearest = (tower.embeddings(exam.pictures) @ texts.T).topk(5).indices  # (N, 5)
    right = nearest == torch.tensor(exam.truth)[:, None]
    return float(right[:, 0].float().mean()), float(right.any(1).float().mean())


@torch.inference_mode()
def embed_texts(
    model: nn.Module, tokenize: Callable[[list[str]], Tensor], texts: Sequence[str]
) -> Tensor:
    """Embed captions, (T, D) fp32 unit vectors."""
    device = next(model.parameters()).device
    return model.encode_text(tokenize(list(texts)).to(device), normalize=True).float()


def accuracy(images: Tensor, texts: Tensor, captions: Sequence[tuple[str, ...]]) -> float:
    """Return the share of pictures whose nearest of the 24 captions `LABELS` is the true one.

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
    """Return the accuracy of a linear classifier that is fitted to frozen features.

    Args:
        train: (A, S) features to fit.
        test: (B, S) features to judge by.
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what the embedded tower reads off pictures that it was not taught with."""
    import open_clip  # here, because it takes seconds

    parser = argparse.ArgumentParser(prog="python -m checkpoints.recipes.tower.zero_shot")
    parser.description = (__doc__ or "").splitlines()[0]
    parser.add_argument("--checkpoints", type=Path, required=True)
    parser.add_argument("--photographs", type=Path, help="folder with full-size photographs")
    parser.add_argument(
        "--drawings", type=Path, help="folder that checkpoints.recipes.data.drawings filled"
    )
    given = parser.parse_args(arguments)
    tower = Tower.load(None, torch.device("cpu"), given.checkpoints)
    folder = f"{LOCAL}{given.checkpoints / FOLDER}"
    model, tokenize = open_clip.create_model(folder).eval(), open_clip.get_tokenizer(folder)
    exams = [scene_exam()]
    if given.photographs:
        exams.append(photograph_exam(given.photographs))
    if given.drawings:
        exams.append(drawing_exam(given.drawings))
    for exam in exams:
        first, five = score(tower, model, tokenize, exam)
        shares = f"first {first:.1%}, in the first five {five:.1%}"
        print(f"{exam.name}: {shares} of {len(exam.truth)}, {len(exam.captions)} captions")


if __name__ == "__main__":
    main()
