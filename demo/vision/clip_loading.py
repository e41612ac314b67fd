"""Finding, checking and building the image half of an open_clip model."""

import difflib
import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from PIL import Image
from torch import Tensor, nn

from demo.errors import CheckpointError, FetchError
from demo.vision.ood import PROBE_FILE, OODProbe, load_probe

FOLDER = "tower"  # of the embedded tower, in the checkpoints folder
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
STATISTICS, PASSPORT = "feature_statistics.safetensors", "passport.json"
LOCAL, HUB = "local-dir:", "hf-hub:"
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
ELSE = "Please install the program again, or choose another tower with --clip MODEL:PRETRAINED."


@dataclass(frozen=True)
class Preprocessing:
    """open_clip's `PreprocessCfg` under the names that an adapter's passport holds, checked.

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


@dataclass(frozen=True)
class TowerParts:
    """The parts of a tower, from its files.

    Attributes:
        name: as a visitor reads it.
        visual: open_clip's image module.
        preprocessing: how pictures are brought to it.
        class_token: it has a class token to ask for.
        statistics: (2, S) mean and deviation of each feature over the training pictures, or None.
        probe: tells pictures that are unlike the training pictures, None where nobody fitted one.
        sees: what the training pictures were, in words.
    """

    name: str
    visual: nn.Module
    preprocessing: Preprocessing
    class_token: bool
    statistics: Tensor | None = None
    probe: OODProbe | None = None
    sees: str = ""


def own_tower(folder: Path) -> TowerParts:
    """Open a tower that the recipe made, its files checked against its passport.

    Raises:
        CheckpointError: files are missing, cut off or changed.
    """
    from safetensors.torch import load_file

    try:
        passport = json.loads((folder / PASSPORT).read_text())
        good = passport["sha256"] == {
            name: file_digest(folder / name) for name in passport["sha256"]
        }
        if not good:
            raise CheckpointError(f"The vision tower's files were changed. {ELSE}")
        statistics = load_file(folder / STATISTICS)["statistics"]
        # A file that the passport does not vouch for may be left from another tower.
        listed = PROBE_FILE in passport["sha256"]
        probe = load_probe(folder / PROBE_FILE) if listed else None
        parts = visual_parts(passport["name"], _create(f"{LOCAL}{folder}"), statistics)
        return replace(parts, probe=probe, sees=passport.get("sees", ""))
    except CheckpointError:
        raise
    except FileNotFoundError as error:
        raise CheckpointError(f"The vision tower's files are missing. {ELSE}") from error
    except Exception as error:
        # Whatever json, safetensors and open_clip raise: the files are not those we shipped.
        raise CheckpointError(f"The vision tower's files are damaged. {ELSE}") from error


def named_tower(spec: str) -> TowerParts:
    """Open any tower of open_clip; see `Tower.load` for the forms of `spec`.

    Raises:
        CheckpointError: no such model, tag or file, or weights that do not fit the model.
        FetchError: the weights could not be downloaded.
    """
    if spec.startswith((LOCAL, HUB)):
        return _whole_model(spec)
    model, colon, pretrained = spec.partition(":")
    if not (model and colon and pretrained):
        raise CheckpointError(
            f"{spec!r} names no vision tower. Please write MODEL:PRETRAINED, for example "
            "ViT-B-32:laion2b_s34b_b79k or ViT-L-14:openai."
        )
    tag = _checked_tag(model, pretrained)
    if tag:
        _fetch(spec, tag)
    try:
        # OpenAI's weights need the activation they were trained with; open_clip only warns.
        created = _create(model, pretrained, force_quick_gelu=bool(tag.get("quick_gelu")))
    except Exception as error:
        raise CheckpointError(
            f"The weights of {_shown(spec)} do not fit {model}. Please choose that model's."
        ) from error
    return visual_parts(_shown(spec), created)


def visual_parts(name: str, model: Any, statistics: Tensor | None = None) -> TowerParts:
    """Keep the image half of `model`, as open_clip made it; the text half is let go."""
    from open_clip.transformer import VisionTransformer

    # What open_clip put together from the model's config and the weights' own settings.
    chosen = dict(model.visual.preprocess_cfg)
    if chosen.pop("mode") != "RGB":
        raise CheckpointError(f"{name} does not take RGB pictures. Please choose another tower.")
    size = chosen.pop("size")
    chosen["size"] = (size, size) if isinstance(size, int) else tuple(size)
    chosen |= {"mean": tuple(chosen["mean"]), "std": tuple(chosen["std"])}
    token = isinstance(model.visual, VisionTransformer)
    return TowerParts(name, model.visual, Preprocessing(**chosen), token, statistics)


def file_digest(path: Path) -> str:
    """Compute the sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _create(model: str, pretrained: str | None = None, **options: Any) -> nn.Module:
    # Importing open_clip takes seconds, and a page without a picture never needs it.
    import open_clip

    return open_clip.create_model(
        model, pretrained, require_pretrained=True, weights_only=True, **options
    )


def _checked_tag(model: str, pretrained: str) -> dict[str, Any]:
    """open_clip's entry for these weights; empty when `pretrained` is a file."""
    import open_clip

    known = open_clip.list_models()
    if model not in known:
        near = difflib.get_close_matches(model, known, 3, 0.5) or ["ViT-B-32", "ViT-L-14"]
        raise CheckpointError(
            f"open_clip has no model {model!r}. Did you mean {' or '.join(near)}?"
        )
    tag = open_clip.get_pretrained_cfg(model, pretrained)
    if not tag and not Path(pretrained).is_file():
        tags = open_clip.list_pretrained_tags_by_model(model)
        choice = ", ".join(tags) if tags else "a file of your own"
        raise CheckpointError(
            f"open_clip knows no weights {_shown(pretrained)!r} for {model}, and it is not a file "
            f"either. Please use {choice}."
        )
    return dict(tag)


def _fetch(spec: str, tag: dict[str, Any]) -> None:
    """Download the weights, or find them in open_clip's cache."""
    import open_clip

    try:
        open_clip.download_pretrained(tag)
    except Exception as error:
        # The hub's client, urllib and httpx each have their own errors.
        source = tag.get("hf_hub", "").strip("/") or urlsplit(tag.get("url", "")).hostname
        raise FetchError(
            f"The weights of {spec} could not be downloaded (tried {source}). Please check the "
            "connection, or give a file: --clip MODEL:FILE."
        ) from error


def _whole_model(spec: str) -> TowerParts:
    """Open a folder or hub repository that holds its own config; one of ours has a passport."""
    folder = Path(spec.removeprefix(LOCAL))
    if spec.startswith(LOCAL) and (folder / PASSPORT).is_file():
        return own_tower(folder)
    try:
        return visual_parts(_shown(spec), _create(spec))
    except Exception as error:
        if spec.startswith(HUB):
            raise FetchError(
                f"{spec} could not be downloaded, or is no open_clip model. Please check the name "
                "and the connection."
            ) from error
        raise CheckpointError(
            f"The folder given with {LOCAL} holds no open_clip model: {CONFIG} and weights that "
            "fit it are needed."
        ) from error


def _shown(spec: str) -> str:
    """`spec` without the folders of a path: a visitor may read it in the tower's name."""
    head, colon, tail = spec.partition(":")
    if not colon:
        return Path(spec).name if Path(spec).is_absolute() else spec
    return spec if spec.startswith(HUB) else f"{head}:{Path(tail).name}"
