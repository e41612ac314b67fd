"""What a tower reads off scenes it was not trained on, by captions and by linear probes."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from demo.recipes.scenes import COLOURS, SHAPES, easy_vqa_scenes, shape_captions
from demo.vision.clip import Tower
from demo.vision.media import Picture
from demo.vision.tower_files import FOLDER, LOCAL

LABELS = tuple(shape_captions(colour, shape)[0] for colour in COLOURS for shape in SHAPES)


@torch.inference_mode()
def embed_texts(
    model: nn.Module, tokenize: Callable[[list[str]], Tensor], texts: Sequence[str]
) -> Tensor:
    """Captions -> (T, D) fp32 unit vectors."""
    return model.encode_text(tokenize(list(texts)), normalize=True).float()


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
    """Print what the embedded tower reads off easy-VQA's test scenes."""
    import open_clip  # here, because it takes seconds

    parser = argparse.ArgumentParser(prog="python -m demo.recipes.zero_shot", description=__doc__)
    parser.add_argument("--checkpoints", type=Path, required=True)
    folder = parser.parse_args(arguments).checkpoints
    tower, model = Tower.load(None, torch.device("cpu"), folder), f"{LOCAL}{folder / FOLDER}"
    tokenize = open_clip.get_tokenizer(model)
    texts = embed_texts(open_clip.create_model(model).eval(), tokenize, LABELS)
    scenes = [scene for scene in easy_vqa_scenes("test") if scene.captions[0] in LABELS]
    images = tower.embeddings([Picture(scene.rgb) for scene in scenes])
    right = accuracy(images, texts, [scene.captions for scene in scenes])
    print(f"right caption of {len(LABELS)}: {right:.1%} of {len(scenes)} scenes")
    for name, kind in (("shape", SHAPES), ("colour", COLOURS)):
        right, count = _probed(tower, kind)
        print(f"{name}, linear classifier on the features: {right:.1%} of {count} scenes")


if __name__ == "__main__":
    main()
