"""easy-VQA, from its package: questions about coloured shapes, and the pictures they are about.

https://github.com/vzhou842/easy-VQA, MIT licence: 4,000 + 1,000 pictures of 64 x 64 pixels,
38,575 + 9,673 questions, 13 answers.
"""

from dataclasses import dataclass
from pathlib import Path

from demo.finetune.lessons import Part
from demo.vision.media import Picture, open_picture


@dataclass(frozen=True)
class Question:
    """One row of easy-VQA; `picture` is a row of its pictures."""

    question: str
    answer: str
    picture: int


def questions(part: Part) -> list[Question]:
    """All rows of a part, in order."""
    import easy_vqa

    rows = easy_vqa.get_train_questions() if part == "train" else easy_vqa.get_test_questions()
    return [Question(*row) for row in zip(*rows, strict=True)]


def picture_paths(part: Part) -> list[Path]:
    """Where the pictures of a part lie; a question's `picture` is the place in this list."""
    import easy_vqa

    training = part == "train"
    paths = easy_vqa.get_train_image_paths() if training else easy_vqa.get_test_image_paths()
    return [Path(paths[index]) for index in range(len(paths))]


def pictures(part: Part) -> list[Picture]:
    """All pictures of a part, opened."""
    return [open_picture(path) for path in picture_paths(part)]
