"""Draw the page's sample drawings: `python -m demo.recipes.doodles --out assets/samples`.

Ours, made of a few plain forms, in no style that the tower was taught with.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from demo.files import replace_file

SIDE = 384
FINE = 4  # drawn this much larger, then shrunk: smooth edges
Form = tuple[str, str, tuple[float, ...]]  # what, its colour, and where: 0 to 1, x before y

DOODLES: dict[str, tuple[Form, ...]] = {
    "apple": (
        ("ellipse", "#d92b2b", (0.18, 0.3, 0.6, 0.86)),
        ("ellipse", "#d92b2b", (0.4, 0.3, 0.82, 0.86)),
        ("polygon", "#6b4226", (0.48, 0.4, 0.53, 0.4, 0.56, 0.17, 0.52, 0.16)),
        ("polygon", "#3f9b3f", (0.53, 0.28, 0.62, 0.15, 0.78, 0.13, 0.71, 0.26)),
        ("ellipse", "#f08a80", (0.27, 0.4, 0.36, 0.54)),
    ),
    "fish": (
        ("polygon", "#f28c28", (0.68, 0.5, 0.92, 0.3, 0.92, 0.7)),
        ("polygon", "#e0701a", (0.4, 0.36, 0.6, 0.22, 0.62, 0.4)),
        ("ellipse", "#f6a23c", (0.1, 0.3, 0.76, 0.7)),
        ("polygon", "#e0701a", (0.42, 0.5, 0.58, 0.46, 0.56, 0.6)),
        ("ellipse", "#ffffff", (0.2, 0.4, 0.3, 0.5)),
        ("ellipse", "#202020", (0.235, 0.435, 0.28, 0.48)),
    ),
    "house": (
        ("rectangle", "#f0d9a8", (0.22, 0.45, 0.78, 0.88)),
        ("polygon", "#b5452c", (0.14, 0.47, 0.5, 0.14, 0.86, 0.47)),
        ("rectangle", "#7a4a26", (0.44, 0.62, 0.58, 0.88)),
        ("rectangle", "#8fc7ea", (0.28, 0.54, 0.38, 0.66)),
        ("rectangle", "#8fc7ea", (0.64, 0.54, 0.74, 0.66)),
    ),
    "car": (
        ("polygon", "#2f6fd0", (0.28, 0.46, 0.38, 0.3, 0.64, 0.3, 0.76, 0.46)),
        ("polygon", "#d6ecfa", (0.33, 0.45, 0.4, 0.34, 0.5, 0.34, 0.5, 0.45)),
        ("polygon", "#d6ecfa", (0.53, 0.45, 0.53, 0.34, 0.62, 0.34, 0.7, 0.45)),
        ("rectangle", "#2f6fd0", (0.1, 0.45, 0.9, 0.64)),
        ("ellipse", "#222222", (0.2, 0.55, 0.37, 0.72)),
        ("ellipse", "#bbbbbb", (0.25, 0.6, 0.32, 0.67)),
        ("ellipse", "#222222", (0.62, 0.55, 0.79, 0.72)),
        ("ellipse", "#bbbbbb", (0.67, 0.6, 0.74, 0.67)),
        ("ellipse", "#f5d442", (0.85, 0.48, 0.9, 0.54)),
    ),
    "mushroom": (
        ("rectangle", "#f3e6cf", (0.41, 0.5, 0.59, 0.86)),
        ("pieslice", "#cf2f2f", (0.16, 0.18, 0.84, 0.92, 180, 360)),
        ("ellipse", "#ffffff", (0.3, 0.34, 0.4, 0.43)),
        ("ellipse", "#ffffff", (0.46, 0.24, 0.57, 0.34)),
        ("ellipse", "#ffffff", (0.62, 0.36, 0.72, 0.46)),
    ),
    "cat": (
        ("polygon", "#8d8d94", (0.2, 0.46, 0.24, 0.14, 0.46, 0.3)),
        ("polygon", "#8d8d94", (0.8, 0.46, 0.76, 0.14, 0.54, 0.3)),
        ("ellipse", "#8d8d94", (0.16, 0.24, 0.84, 0.84)),
        ("ellipse", "#f4f4f4", (0.36, 0.54, 0.64, 0.78)),
        ("ellipse", "#9bd15a", (0.29, 0.42, 0.41, 0.53)),
        ("ellipse", "#9bd15a", (0.59, 0.42, 0.71, 0.53)),
        ("ellipse", "#1c1c1c", (0.335, 0.43, 0.365, 0.52)),
        ("ellipse", "#1c1c1c", (0.635, 0.43, 0.665, 0.52)),
        ("polygon", "#e08a8a", (0.46, 0.58, 0.54, 0.58, 0.5, 0.63)),
    ),
}


def draw(forms: Sequence[Form], ground: str = "#ffffff") -> Image.Image:
    """The forms, one over the other, on a plain ground."""
    canvas = Image.new("RGB", (SIDE * FINE, SIDE * FINE), ground)
    pen = ImageDraw.Draw(canvas)
    for what, colour, where in forms:
        places = [place * canvas.width for place in where]
        if what == "pieslice":
            pen.pieslice(places[:4], *where[4:], colour)
        else:
            getattr(pen, what)(places, colour)
    return canvas.reduce(FINE)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and write one PNG a drawing."""
    parser = argparse.ArgumentParser(prog="python -m demo.recipes.doodles", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    for name, forms in DOODLES.items():
        with replace_file(given.out / f"{name}.png") as path:
            draw(forms).quantize(64).save(path, "PNG", optimize=True)


if __name__ == "__main__":
    main()
