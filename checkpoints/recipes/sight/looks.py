"""What the tower makes of real drawings and photographs, kept: `train.py --looks` asks about them.

    python -m checkpoints.recipes.sight.looks --out FILE --drawings FOLDER --photographs FOLDER

A tower is surer of some pictures, and more torn about others, than shares made of its captions
alone are; icons of one colour leave it torn between dozens of kinds. `--drawings` receives npm's
packages, `--photographs` is a folder with Tiny ImageNet's zips.
"""

import argparse
import io
import random
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from checkpoints.recipes.data.concepts import drawing_concepts
from checkpoints.recipes.data.drawings import STYLES, fetch, svg
from checkpoints.recipes.sight.memory import read_captions
from checkpoints.recipes.sight.questions import caption, tower_kinds
from checkpoints.recipes.tower.looks import laid_down, photographs_of, rendered
from demo.atomic_file import replace_file
from demo.model_loading import load_tower
from demo.settings import CHECKPOINTS, Settings
from demo.vision.clip import Tower
from demo.vision.clip_loading import FOLDER, LOCAL
from demo.vision.image import Picture

# The others tell, when all is done, how it fares with a style that it never saw.
LEARNED = (
    "noto", "twemoji", "fluent-emoji-flat", "fluent-emoji", "emojione", "noto-v1", "mdi", "tabler",
    "ph", "game-icons", "icon-park-outline",
)  # fmt: skip
DRAWINGS, PHOTOGRAPHS, GROUNDS = 110, 250, 60  # of a style, of all, behind drawings
INKED = 0.6  # of icons without a colour of their own are given one


def shares_of_pictures(tower: Tower, vectors: Tensor, shown: Sequence[Picture]) -> Tensor:
    """Return shares of kinds and of colours, (N, K + A).

    Args:
        tower: that looks.
        vectors: (K, E) of its captions, times their sharpness.
        shown: N pictures.
    """
    kinds = (tower.embeddings(shown) @ vectors.T).softmax(1)
    return torch.cat([kinds, tower.colours(shown)], 1)


def drawings_of(folder: Path, style: str, grounds: Sequence[np.ndarray]) -> list[Picture]:
    """Draw some of a style's icons, each rendered, inked and laid down by chance."""
    icons, chance = fetch(STYLES[style], folder), random.Random(style)
    texts = [text for name in drawing_concepts() if (text := svg(icons, name)) is not None]
    shown = []
    for text in chance.sample(texts, min(DRAWINGS, len(texts))):
        if "currentColor" in text and chance.random() < INKED:
            ink = "#{:02x}{:02x}{:02x}".format(*(chance.randrange(230) for _ in range(3)))
            text = text.replace("currentColor", ink)
        drawn = rendered(text, int(64 * 2 ** chance.uniform(0.6, 2.6)))
        shown.append(Picture(laid_down(drawn, grounds, chance)))
    return shown


def photographs_from(folder: Path) -> list[Picture]:
    """Give photographs of Tiny ImageNet's second zip, blown up to 256 pixels."""
    with zipfile.ZipFile(folder / "train-1.zip") as archive:
        names = [name for name in archive.namelist() if name.lower().endswith((".jpg", ".jpeg"))]
        chosen = [archive.read(name) for name in random.Random(1).sample(names, PHOTOGRAPHS)]
    images = (Image.open(io.BytesIO(data)).convert("RGB").resize((256, 256)) for data in chosen)
    return [Picture(np.asarray(image)) for image in images]


def main(arguments: Sequence[str] | None = None) -> None:
    """Look at all of them, and write the file."""
    parser = argparse.ArgumentParser(prog="python -m checkpoints.recipes.sight.looks")
    parser.description = (__doc__ or "").splitlines()[0]
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--drawings", type=Path, required=True, help="npm's packages go there")
    parser.add_argument("--photographs", type=Path, required=True, help="Tiny ImageNet's zips")
    given = parser.parse_args(arguments)
    tower = load_tower(Settings())
    texts = [caption(kind) for kind in tower_kinds()]
    vectors = read_captions(f"{LOCAL}{CHECKPOINTS / FOLDER}", tower, texts).vectors
    grounds, found = list(photographs_of(given.photographs, GROUNDS)), []
    for style in LEARNED:
        found.append(
            shares_of_pictures(tower, vectors, drawings_of(given.drawings, style, grounds))
        )
        print(style, flush=True)
    photographs = shares_of_pictures(tower, vectors, photographs_from(given.photographs))
    with replace_file(given.out) as unfinished:
        save_file({"drawing": torch.cat(found), "photo": photographs}, unfinished)


if __name__ == "__main__":
    main()
