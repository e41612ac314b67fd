"""Pictures in memory, one shelf a source, each with its own way of showing them differently."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from demo.finetune.lessons import Part
from demo.recipes.augment import content_boxes, random_views
from demo.recipes.concepts import drawing_concepts
from demo.recipes.drawings import drawings
from demo.recipes.photographs import photographs
from demo.recipes.scenes import Scene, easy_vqa_scenes
from demo.recipes.views import (
    coloured,
    drawing_views,
    photograph_views,
    plain_grounds,
    tinted,
    worn,
)
from demo.recipes.vocabulary import Vocabulary

ON_PHOTOGRAPHS = 0.25  # of drawings


class Shelf(Protocol):
    """Pictures of one source.

    Attributes:
        kinds: (N,) the number of each picture's kind in the vocabulary.
        share: how many times each picture is shown an epoch, on average.
        mixes: whether a part of one picture may be pasted into another.
    """

    kinds: Tensor
    share: float
    mixes: bool

    def to(self, device: torch.device) -> Self:
        """The same with the pictures there."""

    def views(self, rows: Tensor, side: int, generator: torch.Generator) -> Tensor:
        """(B,) rows -> (B, 3, side, side) fp32 in 0 to 1, each a random look, where the pictures
        and the generator are.
        """


@dataclass(frozen=True)
class Scenes:
    """easy-VQA's scenes; `pixels` (N, 3, P, P) uint8. Colours are named, so they hardly move."""

    pixels: Tensor
    kinds: Tensor
    share: float = 0.5
    mixes: bool = False

    def to(self, device: torch.device) -> Self:
        return replace(self, pixels=self.pixels.to(device))

    def views(self, rows: Tensor, side: int, generator: torch.Generator) -> Tensor:
        pixels = _picked(self.pixels, rows)
        views = random_views(pixels, content_boxes(pixels), generator)
        return F.interpolate(views, (side, side), mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class Photographs:
    """`pixels` (N, 3, P, P) uint8."""

    pixels: Tensor
    kinds: Tensor
    share: float = 1.0
    mixes: bool = True

    def to(self, device: torch.device) -> Self:
        return replace(self, pixels=self.pixels.to(device))

    def views(self, rows: Tensor, side: int, generator: torch.Generator) -> Tensor:
        views = photograph_views(_picked(self.pixels, rows), side, generator)
        return worn(tinted(views, generator), generator)


@dataclass(frozen=True)
class Drawn:
    """`rgba` (N, 4, P, P) uint8, drawn on plain grounds or on `grounds` (M, 3, p, p) uint8."""

    rgba: Tensor
    kinds: Tensor
    grounds: Tensor | None = None
    share: float = 3.5
    mixes: bool = True

    def to(self, device: torch.device) -> Self:
        grounds = None if self.grounds is None else self.grounds.to(device)
        return replace(self, rgba=self.rgba.to(device), grounds=grounds)

    def views(self, rows: Tensor, side: int, generator: torch.Generator) -> Tensor:
        grounds = plain_grounds(len(rows), generator)
        if self.grounds is not None:
            grounds = F.interpolate(grounds, self.grounds.shape[-2:], mode="bilinear")
            count, device = round(ON_PHOTOGRAPHS * len(rows)), generator.device
            shown = torch.randperm(len(rows), generator=generator, device=device)[:count]
            chosen = torch.randint(len(self.grounds), (count,), generator=generator, device=device)
            grounds[shown] = self.grounds[chosen].float() / 255
        rgba = coloured(_picked(self.rgba, rows), generator)
        views = drawing_views(rgba, grounds, side, generator)
        return worn(tinted(views, generator, 0.7), generator)


def scene_shelf(vocabulary: Vocabulary, part: Part) -> Scenes:
    """easy-VQA's scenes whose questions give away both shape and colour."""
    return Scenes(*_stacked(list(easy_vqa_scenes(part)), vocabulary))


def photograph_shelf(folder: Path, vocabulary: Vocabulary, part: Part) -> Photographs:
    """All photographs in `folder`'s zips."""
    return Photographs(*_stacked(list(photographs(folder)(part)), vocabulary))


def drawing_shelf(
    folder: Path, vocabulary: Vocabulary, styles: Sequence[str], grounds: Tensor | None = None
) -> Drawn:
    """The drawings of `styles` that `demo.recipes.drawings` put into `folder`."""
    concepts, pixels, kinds = drawing_concepts(), [], []
    for style in styles:
        found = drawings(folder, style)
        pixels.append(found.rgba)
        kinds += [vocabulary.number(concepts[icon].name) for icon in found.icons]
    rgba = torch.from_numpy(np.concatenate(pixels)).permute(0, 3, 1, 2).contiguous()
    return Drawn(rgba, torch.tensor(kinds), grounds)


def _picked(pictures: Tensor, rows: Tensor) -> Tensor:
    return pictures[rows.to(pictures.device, non_blocking=True)]


def _stacked(scenes: Sequence[Scene], vocabulary: Vocabulary) -> tuple[Tensor, Tensor]:
    named = [(scene.rgb, vocabulary.number(scene.captions[0])) for scene in scenes]
    known = [(rgb, kind) for rgb, kind in named if kind is not None]
    pixels = torch.from_numpy(np.stack([rgb for rgb, _ in known]))
    return pixels.permute(0, 3, 1, 2).contiguous(), torch.tensor([kind for _, kind in known])
