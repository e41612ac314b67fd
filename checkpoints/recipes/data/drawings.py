"""Drawings of 500 kinds in many styles: emoji and icons from npm, rendered once into arrays.

    python -m checkpoints.recipes.data.drawings --out FOLDER

FOLDER receives the packages as npm has them and one `.npz` a style. Needs `npm`, and `resvg-py`
from PyPI, which the program itself does not.
"""

import argparse
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from checkpoints.recipes.data.concepts import drawing_concepts
from demo.atomic_file import replace_file

# Exact versions: a later one may rename icons.
STYLES = {
    "noto": "@iconify-json/noto@1.2.9",
    "twemoji": "@iconify-json/twemoji@1.2.5",
    "fluent-emoji-flat": "@iconify-json/fluent-emoji-flat@1.2.6",
    "emojione": "@iconify-json/emojione@1.2.3",
    "noto-v1": "@iconify-json/noto-v1@1.2.5",
    "fluent-emoji": "@iconify-json/fluent-emoji@1.2.7",
    "fluent-emoji-high-contrast": "@iconify-json/fluent-emoji-high-contrast@1.2.6",
    "emojione-monotone": "@iconify-json/emojione-monotone@1.2.1",
    "fxemoji": "@iconify-json/fxemoji@1.2.2",
    "streamline-emojis": "@iconify-json/streamline-emojis@1.2.4",
    "mdi": "@iconify-json/mdi@1.2.3",
    "tabler": "@iconify-json/tabler@1.2.41",
    "ph": "@iconify-json/ph@1.2.2",
    "game-icons": "@iconify-json/game-icons@1.2.4",
    "lucide": "@iconify-json/lucide@1.2.137",
    "icon-park-outline": "@iconify-json/icon-park-outline@1.2.4",
}
UNSEEN = {"openmoji": "@iconify-json/openmoji@1.2.29"}  # to judge by, never learned from
SIDE = 96  # pixels


@dataclass(frozen=True)
class Drawings:
    """`rgba` (N, SIDE, SIDE, 4) uint8, transparent around the thing, and the icon of each."""

    rgba: np.ndarray
    icons: tuple[str, ...]


def svg(icons: Mapping[str, Any], name: str) -> str | None:
    """Return one icon of an Iconify set as a whole SVG file; None if the set has no such icon."""
    name = icons.get("aliases", {}).get(name, {}).get("parent", name)
    icon = icons["icons"].get(name)
    if icon is None:
        return None
    wide = icon.get("width", icons.get("width", 16))
    high = icon.get("height", icons.get("height", 16))
    box = f"{icon.get('left', 0)} {icon.get('top', 0)} {wide} {high}"
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">{icon["body"]}</svg>'


def render(icons: Mapping[str, Any]) -> Drawings:
    """Draw every concept that the set has, in the order of the table."""
    import resvg_py  # here, because only this command needs it

    pictures, names = [], []
    for name in drawing_concepts():
        text = svg(icons, name)
        if text is not None:
            drawn = resvg_py.svg_to_bytes(
                svg_string=text, width=SIDE, height=SIDE, skip_system_fonts=True
            )
            image = Image.open(io.BytesIO(bytes(drawn))).convert("RGBA")
            canvas = Image.new("RGBA", (SIDE, SIDE))
            canvas.paste(image, ((SIDE - image.width) // 2, (SIDE - image.height) // 2))
            pictures.append(np.array(canvas))
            names.append(name)
    return Drawings(np.stack(pictures), tuple(names))


def fetch(package: str, folder: Path) -> Mapping[str, Any]:
    """Return an Iconify package's icons; npm puts the package into `folder` if it is not there yet.

    Raises:
        subprocess.CalledProcessError: npm could not fetch it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name, version = package.removeprefix("@").rsplit("@", 1)
    path = folder / f"{name.replace('/', '-')}-{version}.tgz"
    if not path.exists():
        command = ["npm", "pack", "--silent", package]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    with tarfile.open(path) as files:
        icons = files.extractfile("package/icons.json")
        assert icons is not None
        return json.load(icons)


def drawings(folder: Path, style: str) -> Drawings:
    """Return what `main` wrote for one style.

    Raises:
        FileNotFoundError: `folder` was not filled by this command.
    """
    with np.load(folder / f"{style}.npz") as file:
        return Drawings(file["rgba"], tuple(file["icons"].tolist()))


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line, fetch and render all styles."""
    parser = argparse.ArgumentParser(
        prog="python -m checkpoints.recipes.data.drawings", description=__doc__
    )
    parser.add_argument("--out", type=Path, required=True)
    folder = parser.parse_args(arguments).out
    for style, package in (STYLES | UNSEEN).items():
        drawn = render(fetch(package, folder))
        with replace_file(folder / f"{style}.npz") as path, open(path, "wb") as file:
            np.savez_compressed(file, rgba=drawn.rgba, icons=np.array(drawn.icons))
        print(f"{style}: {len(drawn.icons)} drawings")


if __name__ == "__main__":
    main()
