"""Where a recipe's pictures and captions come from: one generator for each source."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from demo.finetune.easy_vqa import picture_paths, questions
from demo.finetune.lessons import Part

SHAPES = ("circle", "rectangle", "triangle")
COLOURS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")


@dataclass(frozen=True)
class Scene:
    """A picture, `rgb` (height, width, 3) uint8, and every caption that is true of it.

    Captions may run from fine ("a teal triangle") to coarse ("a triangle"): a caption that two
    scenes share is true of both, so the first one is the finest.
    """

    rgb: np.ndarray
    captions: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.rgb.ndim != 3 or self.rgb.shape[2] != 3 or self.rgb.dtype != np.uint8:
            raise ValueError(f"rgb is {self.rgb.shape} {self.rgb.dtype}, not (H, W, 3) uint8")
        if not self.captions:
            raise ValueError("a scene needs at least one caption")


Source = Callable[[Part], Iterator[Scene]]


def easy_vqa_scenes(split: Part) -> Iterator[Scene]:
    """The scenes of easy-VQA (https://github.com/vzhou842/easy-VQA), 64 x 64, one shape each.

    The data set has questions and no captions; what its questions and answers give away about a
    picture becomes the captions. A few scenes give away only the shape or only the colour.
    """
    paths = picture_paths(split)
    known: dict[int, dict[str, str]] = {}
    for row in questions(split):
        known.setdefault(row.picture, {}).update(facts(row.question, row.answer))
    for image in sorted(known):
        captions = shape_captions(known[image].get("colour"), known[image].get("shape"))
        if captions:
            with Image.open(paths[image]) as picture:
                yield Scene(np.array(picture.convert("RGB")), captions)


def facts(question: str, answer: str) -> dict[str, str]:
    """What one question and its answer say for certain: keys `shape`, `colour`, or neither.

    "is there not a blue shape?" answered "no" says blue; answered "yes" it says nothing certain.
    """
    words = question.rstrip("?").split()
    if answer in ("yes", "no"):
        denied = "not" in words or "no" in words
        if (answer == "yes") == denied:
            return {}
    else:
        words.append(answer)
    found = {"shape": set(words) & set(SHAPES), "colour": set(words) & set(COLOURS)}
    return {kind: values.pop() for kind, values in found.items() if values}


def shape_captions(colour: str | None, shape: str | None) -> tuple[str, ...]:
    """Captions from fine to coarse; what is None is left out, and with neither there are none."""
    if colour and shape:
        thing = f"{colour} {shape}"
        fine = (f"a {thing}", f"a picture of a {thing}", f"one {thing} on a pale background")
        return (*fine, f"there is a {thing}", f"a {shape}", f"a {colour} shape")
    if shape:
        return (f"a {shape}", f"a picture of a {shape}")
    return (f"a {colour} shape", f"a picture of a {colour} shape") if colour else ()


SOURCES: Mapping[str, Source] = {"easy-vqa": easy_vqa_scenes}
