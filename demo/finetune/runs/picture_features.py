"""What a tower makes of all pictures of a run, computed once and kept in a file.

Global features of a picture are a thousand numbers, and those of all pictures are held in memory.
All tokens of one are two hundred thousand: they are written as they come, in half precision, and
mapped, so 118,000 pictures need room on the disk (47 GB at ViT-L/14) and none in memory.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import load, load_file, save
from torch import Tensor

from demo.adapter.config import VisualSpec
from demo.adapter.passport import LENGTH
from demo.atomic_file import replace_file
from demo.errors import DataError, DemoError
from demo.finetune.data.pictures import SeenPicture
from demo.finetune.data.table import excerpt
from demo.vision.clip import Tower
from demo.vision.image import Picture

NAME = "features"  # of the tensor
OPENED = 64  # pictures that are open at once


def picture_features(
    file: Path, pictures: Sequence[SeenPicture], tower: Tower, projection: VisualSpec
) -> Tensor:
    """Give features (pictures, S), or tokens (pictures, T, S); a resumed run sees the same bits.

    Args:
        file: where they are kept.
        pictures: at least one.
        tower: that sees them.
        projection: the projection that takes them.

    Raises:
        DataError: a picture cannot be opened; the message names it.
        OSError: they cannot be kept.
    """
    if projection.tokens:
        if not file.exists():
            _write_tokens(file, pictures, tower, bgr=projection.channels == "BGR")
        return load_file(file)[NAME]  # mapped
    if file.exists():
        return load(file.read_bytes())[NAME]
    found = []
    for part in _opened(pictures):
        seen = tower.batch_features(part, augmented=projection.augmented)
        found.append(torch.cat([seen, tower.colours(part)], 1) if projection.attributes else seen)
    features = torch.cat(found)
    with replace_file(file) as unfinished:
        unfinished.write_bytes(save({NAME: features.contiguous()}))
    return features


def _write_tokens(file: Path, pictures: Sequence[SeenPicture], tower: Tower, *, bgr: bool) -> None:
    """Write a safetensors file part by part; the library's own writer wants all at once."""
    with replace_file(file) as unfinished, open(unfinished, "wb") as out:
        for number, part in enumerate(_opened(pictures)):
            tokens = tower.batch_tokens(part, bgr=bgr).half()
            if number == 0:
                out.write(_header((len(pictures), *tokens.shape[1:])))
            out.write(tokens.numpy().tobytes())


def _header(shape: tuple[int, ...]) -> bytes:
    size = 2 * torch.Size(shape).numel()
    fields = {NAME: {"dtype": "F16", "shape": shape, "data_offsets": (0, size)}}
    text = json.dumps(fields).encode()
    text += b" " * (-len(text) % 8)  # so that numbers begin where numbers may
    return LENGTH.pack(len(text)) + text


def _opened(pictures: Sequence[SeenPicture]) -> Iterator[list[Picture]]:
    """Open pictures, some at once; of a folder's, only the beginning was looked at so far."""
    for start in range(0, len(pictures), OPENED):
        yield [_picture(seen) for seen in pictures[start : start + OPENED]]


def _picture(seen: SeenPicture) -> Picture:
    try:
        return seen.open()
    except DemoError as error:
        raise DataError(f"“{excerpt(seen.name)}”: {error} Or leave its rows out.") from error
