"""Photographs of 200 everyday kinds, read from Tiny ImageNet's zips; none is copied anywhere."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from demo.finetune.lessons import Part
from demo.recipes.concepts import photograph_concepts
from demo.recipes.scenes import Scene, Source

ZIPS: dict[Part, str] = {"train": "train-*.zip", "test": "val.zip"}


def photographs(folder: Path) -> Source:
    """The pictures in `folder`: `train-*.zip` to learn, `val.zip` to judge by.

    Each zip holds `wnid/number.jpg`; kinds that `photographs.tsv` does not name are left out.

    Raises:
        FileNotFoundError: `folder` has no such zip.
    """

    def source(split: Part) -> Iterator[Scene]:
        paths = sorted(folder.glob(ZIPS[split]))
        if not paths:
            raise FileNotFoundError(f"{folder} has no {ZIPS[split]}")
        concepts = photograph_concepts()
        for path in paths:
            with zipfile.ZipFile(path) as files:
                for name in sorted(files.namelist()):
                    concept = concepts.get(name.split("/")[0])
                    if concept is not None and name.endswith(".jpg"):
                        with Image.open(io.BytesIO(files.read(name))) as picture:
                            rgb = np.array(picture.convert("RGB"))
                        yield Scene(rgb, concept.captions)

    return source
