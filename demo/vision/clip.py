"""A frozen CLIP image tower: one picture or video in, multi-scale global features out.

Sizes: B pictures, V views of each, P pixels of a side, S features, E numbers of the embedding.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from cachetools import LRUCache
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import normalize

from demo.vision.clip_loading import (
    FILTERS,
    FOLDER,
    Preprocessing,
    TowerParts,
    named_tower,
    own_tower,
)
from demo.vision.image import Picture
from demo.vision.ood import OODProbe
from demo.vision.video import Video, VisualInput

SCALES = 4  # depths whose global feature is kept, beside the final embedding
CACHE_BYTES = 64_000_000
BATCH = 64
ZOOM = 3 / 4  # of the sides, what is seen from nearer
MAX_DEVIATIONS = 6.0  # at which a standardised feature is cut

# The eleven basic colours of English (Berlin and Kay 1969), by American spelling.
BASIC_COLOURS = (
    "black", "white", "gray", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown",
)  # fmt: skip
BLACK, WHITE, GRAY, RED, PURPLE, PINK, BROWN = 0, 1, 2, 3, 8, 9, 10
HUES = ((14, RED), (40, 4), (68, 5), (165, 6), (255, 7), (295, PURPLE), (345, PINK))  # ends
COLOUR_SIDE = 48  # pixels that colours are counted in
ALIKE = 20  # of 255, by which pixels of one ground differ
PLAIN = 0.7  # of the edge is of one colour where the ground is
LEAST_THING = 0.01  # of the pixels; less is no thing on a ground
MIDDLE = 0.2  # of a side, how far from the middle a thing is looked for


class Tower:
    """The image half of an open_clip model, in fp32, never trained, with a cache by pixels.

    Attributes:
        name: `imagenet-efficientnet-lite0` for the embedded tower, else the `MODEL:PRETRAINED` that
            it came from.
        fingerprint: sha256 over the weights; an adapter only fits the tower it was taught with.
        feature_size: S, numbers in `adapter_features`.
        token_size: E, numbers of each token in `tokens`.
        class_token: the first of them is one, as CLIP's own transformers have it.
        preprocessing: how pictures are scaled and normalised.
        sees: what it was taught with, "" where nobody says.
        statistics: (2, S), means and deviations that features are standardised by, or None.
    """

    def __init__(self, parts: TowerParts, device: torch.device) -> None:
        self.name, self.preprocessing, self.device = parts.name, parts.preprocessing, device
        self.fingerprint, self.sees = _fingerprint(parts), parts.sees
        # Any: open_clip's towers share `forward_intermediates`, but no type that says so.
        self._visual: Any = parts.visual.eval().requires_grad_(False).float().to(device)
        self.class_token = parts.class_token
        self._depths: list[int] | None = None  # all of them, until they are known
        self.statistics: Tensor | None = None
        blank = torch.zeros(1, 3, *self.preprocessing.size, device=device)
        depths = len(self._intermediates(blank)["image_intermediates"])
        self._depths = sorted({math.ceil(depths * i / SCALES) - 1 for i in range(1, SCALES + 1)})
        self.feature_size = self._forward(blank)[0].shape[1]
        self.token_size: int | None = self.token_batch(blank).shape[2]
        if parts.statistics is not None:
            if parts.statistics.shape != (2, self.feature_size):
                raise ValueError("the tower's statistics are those of another tower")
            self.statistics = parts.statistics.float().to(device)
        if parts.probe is not None and parts.probe.weights.shape != (self.feature_size,):
            raise ValueError("the tower's probe is that of another tower")
        self._probe = parts.probe
        self._cache: LRUCache[tuple[str, bool], Tensor] = LRUCache(
            CACHE_BYTES, getsizeof=lambda features: features.nbytes
        )
        self._lock = Lock()  # of the cache

    @classmethod
    def load(cls, spec: str | None, device: torch.device, checkpoints: Path) -> Self:
        """Open the embedded tower, or any tower of open_clip.

        Args:
            spec: None for the embedded tower; `MODEL:PRETRAINED` such as `ViT-L-14:openai`,
                PRETRAINED being one of open_clip's tags or a file; `hf-hub:ORGANISATION/NAME`; or
                `local-dir:FOLDER`.
            device: where it computes.
            checkpoints: the folder with the embedded tower.

        Raises:
            CheckpointError: no such model or tag, or files that are missing, damaged or misfit.
            FetchError: the weights could not be downloaded.
        """
        return cls(own_tower(checkpoints / FOLDER) if spec is None else named_tower(spec), device)

    def adapter_features(
        self, shown: VisualInput, *, augmented: bool = False, coloured: bool = False
    ) -> Tensor:
        """Give the multi-scale global features, (S,) fp32 on the CPU, computed once.

        The class token of a transformer, or the mean over positions of a CNN, at four depths, then
        the final embedding (LLaMA-Adapter, section 3.3), each normalised to mean 0 and variance 1
        so that no depth drowns the others. The embedded tower then standardises each number by its
        training pictures. A video's features are the mean of its frames'.

        Args:
            shown: a picture or a video.
            augmented: take the mean over the views of test-time augmentation
                (`tta_views`): a small tower is less often wrong, and takes four times
                as long.
            coloured: add the shares of the basic colours, (S + 11,), which no tower tells.
        """
        key = shown.digest, augmented
        with self._lock:
            features = self._cache.get(key)
        frames = shown.frames if isinstance(shown, Video) else (shown,)
        # Two threads that miss at once both compute: that costs less than making one wait.
        if features is None:
            features = self.batch_features(frames, augmented=augmented).mean(0)
            with self._lock, suppress(ValueError):  # larger than the whole cache
                self._cache[key] = features
        if coloured:
            return torch.cat([features, self.colours(frames).mean(0)])
        return features.clone()

    @staticmethod
    def colours(pictures: Sequence[Picture]) -> Tensor:
        """Give the shares of the basic colours in each of at least one picture, (B, 11) fp32."""
        return torch.from_numpy(np.stack([colour_shares(picture.rgb) for picture in pictures]))

    def tokens(self, shown: VisualInput, *, bgr: bool = False) -> Tensor:
        """Give all tokens of the last layer, a class token first, (T, E) fp32 on the CPU.

        Those of CLIP's own transformers are normalised and projected into the common space as the
        class token is. Of other towers they are what the last layer gives for each place of the
        picture. A video's are the mean of its frames'.

        Args:
            shown: a picture or a video.
            bgr: show blue for red and red for blue, as some adapters were taught.
        """
        frames = shown.frames if isinstance(shown, Video) else (shown,)
        return self.batch_tokens(frames, bgr=bgr).mean(0)

    def batch_tokens(self, pictures: Sequence[Picture], *, bgr: bool = False) -> Tensor:
        """Give `tokens` of many pictures, (B, T, E) fp32 on the CPU; there must be one."""
        if bgr:
            pictures = [replace(picture, rgb=picture.rgb[..., ::-1]) for picture in pictures]
        return torch.cat([self.token_batch(part).cpu() for part in self._batches(pictures)])

    @torch.no_grad()
    def token_batch(self, images: Tensor) -> Tensor:
        """Give the tokens of images (B, 3, P, P), normalised as the tower's → (B, T, E)."""
        last: dict[str, Any] = {"indices": 1, "intermediates_only": True}
        last["normalize_intermediates"] = True
        if not self.class_token:
            found = self._visual.forward_intermediates(images, **last)
            return found["image_intermediates"][-1].flatten(2).mT.float()
        found = self._visual.forward_intermediates(
            images, output_fmt="NLC", output_extra_tokens=True, **last
        )
        prefix, patches = found["image_intermediates_prefix"][-1], found["image_intermediates"][-1]
        tokens = torch.cat((prefix, patches), 1)
        proj = self._visual.proj
        return (tokens if proj is None else tokens @ proj).float()

    def batch_features(self, pictures: Sequence[Picture], *, augmented: bool = False) -> Tensor:
        """Give `adapter_features` of many pictures, (B, S) fp32 on the CPU.

        The cache is neither read nor written: a whole data set would only flush it.
        """
        found = [self._forward(images, augmented)[0].cpu() for images in self._batches(pictures)]
        return torch.cat(found) if found else torch.zeros(0, self.feature_size)

    def batch_with_embeddings(self, pictures: Sequence[Picture]) -> tuple[Tensor, Tensor]:
        """Give `batch_features` of at least one picture, and `embeddings`, by one forward pass."""
        features, embeddings = zip(*map(self._forward, self._batches(pictures)), strict=True)
        return torch.cat(features).cpu(), F.normalize(torch.cat(embeddings), dim=1).cpu()

    @torch.no_grad()
    def embeddings(self, pictures: Sequence[Picture]) -> Tensor:
        """Give the final embedding alone, (B, E) fp32 unit vectors on the CPU.

        The model's text half is compared with it; adapters take `adapter_features`.
        """
        found = [self._visual(images).float() for images in self._batches(pictures)]
        return F.normalize(torch.cat(found), dim=1).cpu()

    def in_distribution_score(self, shown: VisualInput) -> float | None:
        """Rate how much a picture is like those the tower was taught with.

        0 and above is in distribution, below 0 is out of it. None: nobody fitted a probe to this
        tower. It takes the same features as adapters, so both together cost one forward pass.
        """
        scores = self.in_distribution_scores(self.adapter_features(shown)[None])
        return None if scores is None else float(scores)

    def in_distribution_scores(self, features: Tensor) -> Tensor | None:
        """Rate features (B, S) of many pictures as `in_distribution_score` rates one, (B,)."""
        return None if self._probe is None else ood_scores(self._probe, features)

    def _batches(self, pictures: Sequence[Picture]) -> Iterator[Tensor]:
        """(B, 3, P, P) fp32 each, normalised, on the tower's device."""
        for start in range(0, len(pictures), BATCH):
            part = pictures[start : start + BATCH]
            pixels = np.stack([resize(picture.rgb, self.preprocessing) for picture in part])
            images = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2)  # (B, 3, P, P)
            yield normalise(images.float() / 255, self.preprocessing)

    # Not inference_mode: adapters are trained on these tensors, and autograd refuses that mode's.
    @torch.no_grad()
    def _forward(self, images: Tensor, augmented: bool = False) -> tuple[Tensor, Tensor]:
        """(B, 3, P, P) -> standardised features (B, S), and embeddings as they come (V B, E)."""
        views = tta_views(images).flatten(0, 1) if augmented else images  # (V B, 3, P, P)
        found = self._intermediates(views)
        embeddings = found["image_features"].float()  # (V B, E)
        if self.class_token:
            depths = [extra[:, 0] for extra in found["image_intermediates_prefix"]]
        else:
            depths = [level.flatten(2).mT.mean(1) for level in found["image_intermediates"]]
        features = multi_scale([*depths, embeddings]).unflatten(0, (-1, len(images))).mean(0)
        features = self.standardise(features)
        return features, embeddings

    def standardise(self, features: Tensor) -> Tensor:
        """Bring multi-scale features (B, S) to mean 0 and deviation 1 by the training pictures."""
        if self.statistics is None:
            return features
        mean, deviation = self.statistics
        # A picture unlike all training ones may lie a hundred deviations off, and a projection
        # taught within a few would answer it with numbers that drown the text.
        return ((features - mean) / deviation).clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS)

    def _intermediates(self, images: Tensor) -> dict[str, Any]:
        # Only open_clip's own transformer has a class token to ask for; the others are averaged.
        return self._visual.forward_intermediates(
            images, indices=self._depths, output_extra_tokens=self.class_token
        )


def multi_scale(parts: Sequence[Tensor]) -> Tensor:
    """Join global features of several depths, (B, width) each, every one at mean 0, variance 1."""
    return torch.cat([F.layer_norm(part.float(), part.shape[-1:]) for part in parts], 1)


def resize(rgb: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Bring (height, width, 3) uint8 of any size to the tower's size, uint8, antialiased.

    The pixels are those of `open_clip.image_transform_v2`, a test says so. It is not called because
    it has no `reducing_gap`: Pillow first shrinks a much larger picture by whole pixels, which is
    several times faster, and shipped adapters were taught with the pixels that this makes.
    """
    from open_clip.transform import center_crop_or_pad  # here: importing open_clip takes seconds

    image = Image.fromarray(rgb)
    high, wide = preprocessing.size
    target = _scaled_size(image.size, preprocessing)
    if image.size != target:
        kernel = FILTERS[preprocessing.interpolation]
        image = image.resize(target, kernel, reducing_gap=3.0)
    return np.asarray(center_crop_or_pad(image, [high, wide], preprocessing.fill_color))


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
    """Centre and scale (B, 3, P, P) in 0 to 1 as the tower was trained."""
    return normalize(pixels, list(preprocessing.mean), list(preprocessing.std))


def tta_views(images: Tensor) -> Tensor:
    """Make the views of test-time augmentation, (B, 3, P, P) -> (4, B, 3, P, P).

    They are the pictures as they are and from nearer, then both mirrored.
    """
    size = images.shape[-2:]
    top, left = (round(side * (1 - ZOOM) / 2) for side in size)
    middle = images[..., top : size[0] - top, left : size[1] - left]
    nearer = F.interpolate(middle, size, mode="bicubic", antialias=True)
    both = torch.stack([images, nearer])  # (2, B, 3, P, P)
    return torch.cat([both, both.flip(-1)])


def ood_scores(probe: OODProbe, features: Tensor) -> Tensor:
    """Rate features (B, S) -> (B,) fp32: 0 and above is in distribution, below 0 is not."""
    return features @ probe.weights + probe.bias


def _fingerprint(parts: TowerParts) -> str:
    """sha256 over names, kinds and bytes of all weights, and the statistics."""
    total = hashlib.sha256()
    tensors = parts.visual.state_dict()
    if parts.statistics is not None:
        tensors = tensors | {"statistics": parts.statistics}
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def colour_shares(rgb: np.ndarray) -> np.ndarray:
    """Count the basic colours of the thing in a picture: (H, W, 3) uint8 → shares (11,) fp32.

    On a plain ground the thing is all else; on any other it is looked for in the middle.
    """
    small = Image.fromarray(rgb).resize((COLOUR_SIDE,) * 2, Image.Resampling.BOX)
    pixels = np.asarray(small).astype(np.float32)
    edge = np.concatenate([pixels[:2], pixels[-2:]]).reshape(-1, 3)
    sides = np.concatenate([pixels[:, :2], pixels[:, -2:]], 1).reshape(-1, 3)
    edge = np.concatenate([edge, sides])
    ground = np.median(edge, 0)
    plain = np.abs(edge - ground).max(1) < ALIKE
    thing = np.abs(pixels - ground).max(2) >= 2 * ALIKE
    if plain.mean() < PLAIN or thing.mean() < LEAST_THING:
        place = (np.arange(COLOUR_SIDE) + 0.5) / COLOUR_SIDE - 0.5
        near = np.exp(-(place**2) / (2 * MIDDLE**2))
        weights = np.outer(near, near)
    else:
        weights = thing.astype(np.float64)
    found = np.bincount(basic_colours(pixels).ravel(), weights.ravel(), len(BASIC_COLOURS))
    return (found / found.sum()).astype(np.float32)


def basic_colours(rgb: np.ndarray) -> np.ndarray:
    """Name each colour: (..., 3) from 0 to 255 → (...) places in `BASIC_COLOURS`.

    The borders are hues of HSV in degrees; brown is a dark orange or a dull red, pink a pale
    or bluish red.
    """
    x = np.asarray(rgb, np.float32) / 255
    value, chroma = x.max(-1), x.max(-1) - x.min(-1)
    red, green, blue = np.moveaxis(x, -1, 0)
    safe, pure = np.maximum(chroma, 1e-6), chroma / np.maximum(value, 1e-6)
    hue = np.select(
        [value == red, value == green],
        [(green - blue) / safe % 6, (blue - red) / safe + 2],
        (red - green) / safe + 4,
    )
    found = np.select([60 * hue < end for end, _ in HUES], [name for _, name in HUES], RED)
    hue *= 60
    redder = (hue >= 345) | (hue < 14)
    found = np.where((hue >= 10) & (hue < 45) & (value < 0.7), BROWN, found)
    found = np.where(redder & ((value < 0.45) | (value < 0.7) & (pure < 0.8)), BROWN, found)
    found = np.where(redder & (pure < 0.6) & (value > 0.7), PINK, found)
    found = np.where((hue >= 295) & (hue < 345) & (value < 0.6), PURPLE, found)
    pale = (hue >= 14) & (hue < 60) & (pure < 0.35) & (value >= 0.7)  # beige has no name of its own
    found = np.where(pale, np.where(value > 0.85, WHITE, BROWN), found)
    gray = (chroma < 0.06) | (pure < 0.12)
    found = np.where(gray, np.select([value < 0.25, value > 0.85], [BLACK, WHITE], GRAY), found)
    return np.where(~gray & (value < 0.2), BLACK, found).astype(np.int64)
