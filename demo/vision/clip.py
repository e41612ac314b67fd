"""A frozen CLIP image tower: one picture in, multi-scale global features out."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from demo.vision.kinds import KINDS, Kind
from demo.vision.media import Picture
from demo.vision.preprocessing import looks, normalise, resize
from demo.vision.recent import RecentTensors
from demo.vision.tower_files import TowerParts, embedded_tower, named_tower
from demo.vision.video import Sight, Video

SCALES = 4  # depths whose global feature is kept, beside the final embedding
CACHE_BYTES = 64_000_000
BATCH = 64
FARTHEST = 6.0  # standard deviations at which a standardised feature is cut


@dataclass(frozen=True)
class Scales:
    """What one forward pass gives: `globals_` (B, S), `patches` (B, tokens, width), and
    `embeddings` (B, E), the final ones as unit vectors; all fp32.
    """

    globals_: Tensor
    patches: Tensor
    embeddings: Tensor


class Tower:
    """The image half of an open_clip model, in fp32, never trained, with a cache by pixels.

    Attributes:
        name: `everyday-resnet18d` for the embedded tower, else the `MODEL:PRETRAINED` it came from.
        fingerprint: sha256 over the weights; an adapter only fits the tower it was taught with.
        feature_size: S, numbers in `features`.
        tokens, token_width: shape of `patches`.
        preprocessing: how pictures are scaled and normalised.
        sees: what it was taught with, "" where nobody says.
    """

    def __init__(self, parts: TowerParts, device: torch.device) -> None:
        self.name, self.preprocessing, self.device = parts.name, parts.preprocessing, device
        self.fingerprint, self.sees = _fingerprint(parts), parts.sees
        self._visual = parts.visual.eval().requires_grad_(False).float().to(device)
        self._class_token = parts.class_token
        self._depths: list[int] | None = None
        self._statistics: Tensor | None = None
        blank = torch.zeros(1, 3, *self.preprocessing.size, device=device)
        found = self._intermediates(blank)
        depths = len(found["image_intermediates"])
        self._depths = sorted({math.ceil(depths * i / SCALES) - 1 for i in range(1, SCALES + 1)})
        seen = self._forward(blank)
        self.feature_size = seen.globals_.shape[1]
        self.tokens, self.token_width = seen.patches.shape[1:]
        if parts.statistics is not None:
            if parts.statistics.shape != (2, self.feature_size):
                raise ValueError("the tower's statistics are those of another tower")
            self._statistics = parts.statistics.float().to(device)
        if parts.probe is not None and parts.probe.weights.shape != (self.feature_size,):
            raise ValueError("the tower's probe is that of another tower")
        self._probe = parts.probe
        self._recent = RecentTensors(CACHE_BYTES)

    @classmethod
    def load(cls, spec: str | None, device: torch.device, checkpoints: Path) -> Self:
        """Open the embedded tower (`spec` None) from `checkpoints`, or any tower of open_clip.

        Args:
            spec: `MODEL:PRETRAINED` such as `ViT-L-14:openai`, PRETRAINED being one of open_clip's
                tags or a file; `hf-hub:ORGANISATION/NAME`; or `local-dir:FOLDER`.

        Raises:
            CheckpointError: no such model or tag, or files that are missing, damaged or misfit.
            FetchError: the weights could not be downloaded.
        """
        return cls(embedded_tower(checkpoints) if spec is None else named_tower(spec), device)

    def features(self, sight: Sight, *, several: bool = False) -> Tensor:
        """Multi-scale global features, (S,) fp32 on the CPU (LLaMA-Adapter, section 3.3).

        The class token of a transformer, or the mean over positions of a CNN, at four depths, then
        the final embedding, each normalised to mean 0 and variance 1 so that no depth drowns the
        others. The embedded tower then standardises each number by its training pictures. A
        video's are the mean of its frames'.

        Args:
            several: the mean of four looks (`preprocessing.looks`), as different pictures as one
                camera might have taken: a small tower is less often wrong, and takes four times as
                long.
        """

        def compute() -> Tensor:
            return self.batch(_shown(sight), several=several).mean(0)

        return self._recent.get(f"features {several} {sight.digest}", compute)

    def patches(self, sight: Sight) -> Tensor:
        """Local features of the last depth, (tokens, width) fp32 on the CPU, each normalised; a
        video's are the mean of its frames'.
        """

        def compute() -> Tensor:
            return self._forward(self._images(_shown(sight))).patches.mean(0).cpu()

        return self._recent.get(f"patches {sight.digest}", compute)

    def batch(self, pictures: Sequence[Picture], *, several: bool = False) -> Tensor:
        """`features` of many pictures, (N, S) fp32 on the CPU; neither read from nor put in the
        cache, which a whole data set would only flush.
        """
        parts = [pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)]
        features = [self._standardised(self._globals(self._images(p), several)) for p in parts]
        return torch.cat(features).cpu() if features else torch.zeros(0, self.feature_size)

    def batch_patches(self, pictures: Sequence[Picture]) -> Tensor:
        """`patches` of many pictures, (N, tokens, width) fp32 on the CPU; not cached either."""
        parts = [pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)]
        patches = [self._forward(self._images(part)).patches for part in parts]
        empty = torch.zeros(0, self.tokens, self.token_width)
        return torch.cat(patches).cpu() if patches else empty

    def seen(self, sight: Sight, kind: Kind) -> Tensor:
        """What an adapter's projection of that kind takes, (seen_size(kind),) fp32 on the CPU:
        `features`, for a memory of several looks, or `patches` one after the other. Cached as they
        are.

        Raises:
            ValueError: no such kind.
        """
        if _by_patches(kind):
            return self.patches(sight).flatten()
        return self.features(sight, several=kind == "key-value-memory")

    def batch_seen(self, pictures: Sequence[Picture], kind: Kind) -> Tensor:
        """`seen` of many pictures, (N, seen_size(kind)) fp32 on the CPU, not cached."""
        if _by_patches(kind):
            return self.batch_patches(pictures).flatten(1)
        return self.batch(pictures, several=kind == "key-value-memory")

    def batch_with_embeddings(
        self, pictures: Sequence[Picture], kind: Kind
    ) -> tuple[Tensor, Tensor]:
        """`batch_seen` of at least one picture and `embeddings`, from one look at each."""
        seen, embeddings = [], []
        for start in range(0, len(pictures), BATCH):
            found = self._forward(self._images(pictures[start : start + BATCH]))
            whole = not _by_patches(kind)
            seen.append(self._standardised(found.globals_) if whole else found.patches.flatten(1))
            embeddings.append(found.embeddings)
        return torch.cat(seen).cpu(), torch.cat(embeddings).cpu()

    def seen_size(self, kind: Kind) -> int:
        """Numbers in `seen`."""
        return self.tokens * self.token_width if _by_patches(kind) else self.feature_size

    @torch.no_grad()
    def embeddings(self, pictures: Sequence[Picture]) -> Tensor:
        """The final embedding alone, (N, D) fp32 unit vectors on the CPU.

        What the model's text half is compared with; `features` is what adapters see.
        """
        vectors = self._visual(self._images(pictures)).float()  # (N, D)
        return F.normalize(vectors, dim=1).cpu()

    def familiarity(self, sight: Sight) -> float | None:
        """How much a picture is like those the tower was taught with, by its `features`.

        0 and above is familiar, below 0 is unlike them. None: nobody fitted a probe to this tower.
        """
        if self._probe is None:
            return None
        return float(self._probe.scores(self.features(sight)[None]))

    def _images(self, pictures: Sequence[Picture]) -> Tensor:
        """(B, 3, P, P) fp32, normalised, on the tower's device."""
        pixels = np.stack([resize(picture.rgb, self.preprocessing) for picture in pictures])
        images = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2)  # (B, 3, P, P)
        return normalise(images.float() / 255, self.preprocessing)

    def _globals(self, images: Tensor, several: bool) -> Tensor:
        """(B, 3, P, P) -> (B, S) before they are standardised."""
        if not several:
            return self._forward(images).globals_
        found = self._forward(looks(images).flatten(0, 1)).globals_  # (4 B, S)
        return found.unflatten(0, (-1, len(images))).mean(0)

    # Not inference_mode: adapters are trained on these tensors, and autograd refuses that mode's.
    @torch.no_grad()
    def _forward(self, images: Tensor) -> Scales:
        """(B, 3, P, P) -> the features before they are standardised."""
        found = self._intermediates(images)
        maps = [level.flatten(2).mT for level in found["image_intermediates"]]  # (B, tokens, width)
        if self._class_token:
            whole = [prefix[:, 0] for prefix in found["image_intermediates_prefix"]]
        else:
            whole = [level.mean(1) for level in maps]
        whole = [*whole, found["image_features"]]
        # (B, S): the kept depths' widths and the embedding's, one after the other
        globals_ = torch.cat([_normal(vector.float()) for vector in whole], 1)
        embeddings = F.normalize(found["image_features"].float(), dim=1)
        return Scales(globals_, _normal(maps[-1].float()), embeddings)

    def _intermediates(self, images: Tensor) -> dict[str, list[Tensor] | Tensor]:
        # Only open_clip's own transformer has a class token to ask for; the others are averaged.
        return self._visual.forward_intermediates(
            images, indices=self._depths, output_extra_tokens=self._class_token
        )

    def _standardised(self, features: Tensor) -> Tensor:
        if self._statistics is None:
            return features
        mean, spread = self._statistics
        # A picture unlike all training ones may lie a hundred deviations off, and a projection
        # taught within a few would answer it with numbers that drown the text.
        return ((features - mean) / spread).clamp(-FARTHEST, FARTHEST)


def _shown(sight: Sight) -> Sequence[Picture]:
    return sight.frames if isinstance(sight, Video) else (sight,)


def _by_patches(kind: Kind) -> bool:
    if kind not in KINDS:
        raise ValueError(f"no projection is of the kind {kind!r}")
    return kind == "query-resampler"


def _normal(values: Tensor) -> Tensor:
    return F.layer_norm(values, values.shape[-1:])


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
