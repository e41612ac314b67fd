"""How a tower wants its pictures: size, shape of the cut and normalisation."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

NEARER = 3 / 4  # of the sides, what is seen from nearer
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@dataclass(frozen=True)
class Preprocessing:
    """open_clip's `PreprocessCfg` in short; what an adapter records about its tower.

    `resize_mode` is what happens to a picture that is not square: `shortest` cuts the middle out,
    `longest` pads with `fill_color`, `squash` stretches.
    """

    size: tuple[int, int]  # height, width
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize_mode: Literal["shortest", "longest", "squash"] = "shortest"
    fill_color: int = 0
    channels: Literal["RGB"] = "RGB"

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"size is {self.size}, not two positive numbers")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError("mean and std need three numbers each, std above 0")
        if self.interpolation not in FILTERS:
            raise ValueError(f"interpolation is {self.interpolation}, not bicubic or bilinear")
        if self.resize_mode not in ("shortest", "longest", "squash"):
            raise ValueError(f"resize_mode is {self.resize_mode}")
        if self.channels != "RGB":
            raise ValueError(f"channels is {self.channels}, not RGB")


def resize(rgb: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """(height, width, 3) uint8 of any size -> the tower's size, uint8, antialiased.

    The steps are those of `open_clip.image_transform_v2`; only a much larger picture is first
    shrunk by whole pixels (Pillow's `reducing_gap`), which is several times faster.
    """
    image = Image.fromarray(rgb)
    high, wide = preprocessing.size
    target = _scaled_size(image.size, preprocessing)
    if image.size != target:
        kernel = FILTERS[preprocessing.interpolation]
        image = image.resize(target, kernel, reducing_gap=3.0)
    if image.size == (wide, high):
        return np.asarray(image)
    left, top = round((image.width - wide) / 2), round((image.height - high) / 2)
    # Where the box reaches outside the image, Pillow's crop would leave black.
    canvas = Image.new("RGB", (wide, high), (preprocessing.fill_color,) * 3)
    canvas.paste(image, (-left, -top))
    return np.asarray(canvas)


def _scaled_size(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int]:
    """(width, height) before the cut; the shortened side is rounded as open_clip rounds it."""
    (width, height), (high, wide) = size, preprocessing.size
    if preprocessing.resize_mode == "squash":
        return wide, high
    if preprocessing.resize_mode == "longest" or high != wide:
        ratios = (height / high, width / wide)
        ratio = max(ratios) if preprocessing.resize_mode == "longest" else min(ratios)
        return max(1, round(width / ratio)), max(1, round(height / ratio))
    if width <= height:
        return wide, int(wide * height / width)
    return int(high * width / height), high


def normalise(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """(B, 3, P, P) in 0 to 1 -> the same shape, centred and scaled as the tower was trained."""
    mean = torch.tensor(preprocessing.mean, device=pixels.device)[:, None, None]
    std = torch.tensor(preprocessing.std, device=pixels.device)[:, None, None]
    return (pixels - mean) / std


def looks(images: Tensor) -> Tensor:
    """(B, 3, P, P) -> (4, B, 3, P, P): as they are and from nearer, then both mirrored."""
    size = images.shape[-2:]
    top, left = (round(side * (1 - NEARER) / 2) for side in size)
    middle = images[..., top : size[0] - top, left : size[1] - left]
    nearer = F.interpolate(middle, size, mode="bicubic", antialias=True)
    both = torch.stack([images, nearer])  # (2, B, 3, P, P)
    return torch.cat([both, both.flip(-1)])
