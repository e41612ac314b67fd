"""easy-VQA's scenes, one coloured shape each: captions, questions, and drawings in their manner.

`python -m checkpoints.recipes.data.easy_vqa --out assets/samples` draws the page's sample shapes.
"""

import argparse
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from demo.atomic_file import replace_file
from demo.finetune.data.conversation import Exchange, Split
from demo.finetune.data.examples import Example, encode
from demo.finetune.data.samples import EasyVQAQuestion, picture_paths, questions
from demo.llama.tokenizer.tokenizer import Tokenizer

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


SceneSource = Callable[[Split], Iterator[Scene]]


def easy_vqa_scenes(split: Split) -> Iterator[Scene]:
    """Yield the scenes of easy-VQA (https://github.com/vzhou842/easy-VQA), 64 x 64, one shape each.

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
    """Return what one question and its answer say for certain: keys `shape`, `colour`, or neither.

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
    """Return captions from fine to coarse; what is None is left out, and with neither there are
    none.
    """
    if colour and shape:
        thing = f"{colour} {shape}"
        fine = (f"a {thing}", f"a picture of a {thing}", f"one {thing} on a pale background")
        return (*fine, f"there is a {thing}", f"a {shape}", f"a {colour} shape")
    if shape:
        return (f"a {shape}", f"a picture of a {shape}")
    return (f"a {colour} shape", f"a picture of a {colour} shape") if colour else ()


SCENE_SOURCES: Mapping[str, SceneSource] = {"easy-vqa": easy_vqa_scenes}


# easy-VQA has 107 wordings, all in one style. People have more: their questions are answered from
# what easy-VQA's own rows give away about a picture. Wordings, and what the answer is.
DESCRIBE = (
    "What is in this picture?",
    "What is in the picture?",
    "What is this?",
    "What do you see?",
    "What can you see in the image?",
    "Describe the picture.",
    "Describe this image.",
    "What does the picture show?",
)
ASK_SHAPE = (
    "What shape is this?",
    "What shape is it?",
    "Which shape is it?",
    "Which shape do you see?",
    "What shape is in the picture?",
    "What is the shape called?",
    "What is {colour} here?",
    "What is the {colour} thing?",
)
ASK_COLOUR = (
    "Which colour is it?",
    "What colour is it?",
    "What color is it?",
    "What color is this?",
    "What colour is this shape?",
    "Which color do you see?",
    "What is its colour?",
    "What colour is the {shape}?",
)
IS_SHAPE = (
    "Is it a {shape}?",
    "Is this a {shape}?",
    "Can you see a {shape}?",
    "Do you see a {shape}?",
    "Is there a {shape} in the picture?",
    "Does the picture show a {shape}?",
)
IS_COLOUR = (
    "Is it {colour}?",
    "Is anything {colour}?",
    "Is the shape {colour}?",
    "Can you see something {colour}?",
    "Is this {colour}?",
    "Does the picture show a {colour} shape?",
)
IS_BOTH = (
    "Is it a {colour} {shape}?",
    "Is there a {colour} {shape}?",
    "Is this a {colour} {shape}?",
)
NAMING = 0.1  # of drawn questions ask for a name, so that it is not forgotten


def single(tokenizer: Tokenizer, rows: Sequence[EasyVQAQuestion]) -> list[Example]:
    """Return an example of one question and one answer a row, as the benchmark asks."""
    return [encode(tokenizer, [Exchange(r.question, r.answer)], r.picture) for r in rows]


def drawn(
    rows: Sequence[EasyVQAQuestion], seed: int, *, count: int, negated: float
) -> list[EasyVQAQuestion]:
    """Return `count` rows in which yes and no are equally likely, whatever is asked.

    In easy-VQA "is there a blue shape?" is answered no six times in seven, and a model that has
    learned as much from the words gains nothing more by looking until it looks well. Where both
    answers are as likely, every look pays.

    Args:
        rows: what is drawn from, with replacement.
        seed: of the draws.
        count: how many are drawn.
        negated: the share of "is there not a blue shape?", which turns the answer round.
    """
    chance = random.Random(seed)
    groups: dict[tuple[bool, bool, str], list[EasyVQAQuestion]] = defaultdict(list)
    for row in rows:
        groups[question_group(row)].append(row)
    named = [row for row in rows if not question_group(row)[2]]
    yes_no = [group for group in sorted(groups) if group[2]]
    plain, turned = ([g for g in yes_no if g[0] is kind] for kind in (False, True))
    found = []
    for _ in range(count):
        if chance.random() < NAMING:
            found.append(chance.choice(named))
        else:
            asked = turned if chance.random() < negated else plain
            found.append(chance.choice(groups[chance.choice(asked)]))
    return found


def question_group(row: EasyVQAQuestion) -> tuple[bool, bool, str]:
    """Say whether a question is negated, whether it names a shape, and its answer if yes or no."""
    words = row.question.rstrip("?").split()
    negated = "not" in words or "no" in words
    answer = row.answer if row.answer in ("yes", "no") else ""
    return negated, bool(set(words) & set(SHAPES)), answer


def scenes(rows: Sequence[EasyVQAQuestion]) -> dict[int, tuple[str, str]]:
    """Return colour and shape of every picture whose rows give away both."""
    known: dict[int, dict[str, str]] = defaultdict(dict)
    for row in rows:
        known[row.picture].update(facts(row.question, row.answer))
    return {
        picture: (scene["colour"], scene["shape"])
        for picture, scene in known.items()
        if len(scene) == 2
    }


def worded(colour: str, shape: str, chance: random.Random) -> Exchange:
    """Return a question in people's words about a scene; yes and no are equally likely answers."""
    kind = chance.choice((DESCRIBE, ASK_SHAPE, ASK_COLOUR, IS_SHAPE, IS_COLOUR, IS_BOTH))
    asked = {"colour": colour, "shape": shape}
    answer = {DESCRIBE: f"a {colour} {shape}", ASK_SHAPE: shape, ASK_COLOUR: colour}.get(
        kind, "yes"
    )
    if answer == "yes" and chance.random() < 0.5:
        answer = "no"
        wrong = "shape" if kind is IS_SHAPE else "colour"
        if kind is IS_BOTH:
            wrong = chance.choice(("shape", "colour"))
        names = SHAPES if wrong == "shape" else COLOURS
        asked[wrong] = chance.choice([name for name in names if name != asked[wrong]])
    return Exchange(chance.choice(kind).format(**asked), answer)


SIDE = 384
FINE = 4  # drawn this much larger, then shrunk: smooth edges
PAINT = {
    "black": (0, 0, 0),
    "blue": (0, 0, 255),
    "brown": (165, 42, 42),
    "gray": (128, 128, 128),
    "green": (0, 255, 0),
    "red": (255, 0, 0),
    "teal": (0, 128, 128),
    "yellow": (255, 255, 0),
}
SAMPLES = (
    ("teal", "triangle"),
    ("red", "circle"),
    ("blue", "rectangle"),
    ("yellow", "circle"),
    ("green", "triangle"),
    ("black", "circle"),
    ("gray", "rectangle"),
    ("brown", "rectangle"),
)


def draw(colour: str, shape: str, chance: random.Random) -> Image.Image:
    """Draw one shape on a pale background, in the manner of easy-VQA's scenes, but larger."""
    pale = tuple(chance.randint(228, 255) for _ in range(3))
    canvas = Image.new("RGB", (SIDE * FINE, SIDE * FINE), pale)
    wide = chance.uniform(0.26, 0.44)
    high = wide * (chance.choice((0.65, 1.5)) if shape == "rectangle" else 1)
    left, top = chance.uniform(0.08, 0.92 - wide), chance.uniform(0.08, 0.92 - high)
    corners = [(left, top), (left + wide, top + high)]
    box = [(x * canvas.width, y * canvas.height) for x, y in corners]
    pen = ImageDraw.Draw(canvas)
    if shape == "circle":
        pen.ellipse(box, PAINT[colour])
    elif shape == "rectangle":
        pen.rectangle(box, PAINT[colour])
    else:
        (x, y), (end, bottom) = box
        pen.polygon([(x, bottom), (end, bottom), ((x + end) / 2, y)], PAINT[colour])
    return canvas.reduce(FINE)


def drawn_shapes(count: int, seed: int) -> Iterator[np.ndarray]:
    """Yield so many of each shape in each colour, (SIDE, SIDE, 3) uint8."""
    chance = random.Random(seed)
    for colour in PAINT:
        for shape in SHAPES:
            for _ in range(count):
                yield np.asarray(draw(colour, shape, chance))


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and write one PNG a sample."""
    parser = argparse.ArgumentParser(
        prog="python -m checkpoints.recipes.data.easy_vqa", description=__doc__
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    chance = random.Random(given.seed)
    for colour, shape in SAMPLES:
        with replace_file(given.out / f"{colour}-{shape}.png") as path:
            draw(colour, shape, chance).quantize(64).save(path, "PNG", optimize=True)


if __name__ == "__main__":
    main()
