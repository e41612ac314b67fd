"""Captions from questions."""

import pytest

from checkpoints.recipes.data.easy_vqa import facts, shape_captions


@pytest.mark.parametrize(
    ("question", "answer", "known"),
    [
        ("what color is the triangle?", "teal", {"colour": "teal", "shape": "triangle"}),
        ("what shape is in the image?", "circle", {"shape": "circle"}),
        ("is there a red shape?", "yes", {"colour": "red"}),
        ("is there a red shape?", "no", {}),
        ("is there not a blue shape?", "no", {"colour": "blue"}),
        ("is there not a blue shape?", "yes", {}),
        ("is no circle present?", "no", {"shape": "circle"}),
        ("does the image not contain a rectangle?", "yes", {}),
    ],
)
def test_facts(question: str, answer: str, known: dict[str, str]) -> None:
    assert facts(question, answer) == known


def test_captions_run_from_fine_to_coarse() -> None:
    captions = shape_captions("teal", "triangle")
    assert (captions[0], captions[-2:]) == ("a teal triangle", ("a triangle", "a teal shape"))
    assert shape_captions(None, "circle")[0] == "a circle"
    assert shape_captions(None, None) == ()
