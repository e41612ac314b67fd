"""Draw the page's sample pictures: `python -m demo.recipes.samples --out assets/samples`."""

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from demo.files import replace_file
from demo.recipes.scenes import SHAPES

SIDE = 384
FINE = 4  # drawn this much larger, then shrunk: smooth edges
PAINT = {
    "black": (0, 0, 0),
    "blue": (0, 0, 255),
    "brown": (165, 42, 42),
    "gray": (128, 128, 128),
    "green": (0, 255, 0),
    "red": (255, 0, 0),
    "teal": (0, 128, 128),
    "yellow": (255, 255, 0),
}
SAMPLES = (
    ("teal", "triangle"),
    ("red", "circle"),
    ("blue", "rectangle"),
    ("yellow", "circle"),
    ("green", "triangle"),
    ("black", "circle"),
    ("gray", "rectangle"),
    ("brown", "rectangle"),
)


def draw(colour: str, shape: str, chance: random.Random) -> Image.Image:
    """One shape somewhere on a pale background, in the manner of easy-VQA's scenes, but larger."""
    pale = tuple(chance.randint(228, 255) for _ in range(3))
    canvas = Image.new("RGB", (SIDE * FINE, SIDE * FINE), pale)
    wide = chance.uniform(0.26, 0.44)
    high = wide * (chance.choice((0.65, 1.5)) if shape == "rectangle" else 1)
    left, top = chance.uniform(0.08, 0.92 - wide), chance.uniform(0.08, 0.92 - high)
    corners = [(left, top), (left + wide, top + high)]
    box = [(x * canvas.width, y * canvas.height) for x, y in corners]
    pen = ImageDraw.Draw(canvas)
    if shape == "circle":
        pen.ellipse(box, PAINT[colour])
    elif shape == "rectangle":
        pen.rectangle(box, PAINT[colour])
    else:
        (x, y), (end, bottom) = box
        pen.polygon([(x, bottom), (end, bottom), ((x + end) / 2, y)], PAINT[colour])
    return canvas.reduce(FINE)


def drawn_shapes(count: int, seed: int) -> Iterator[np.ndarray]:
    """So many of each shape in each colour, (SIDE, SIDE, 3) uint8."""
    chance = random.Random(seed)
    for colour in PAINT:
        for shape in SHAPES:
            for _ in range(count):
                yield np.asarray(draw(colour, shape, chance))


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and write one PNG a sample."""
    parser = argparse.ArgumentParser(prog="python -m demo.recipes.samples", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    chance = random.Random(given.seed)
    for colour, shape in SAMPLES:
        with replace_file(given.out / f"{colour}-{shape}.png") as path:
            draw(colour, shape, chance).quantize(64).save(path, "PNG", optimize=True)


if __name__ == "__main__":
    main()
