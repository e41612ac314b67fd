"""Captions from questions, and views that keep what is named."""

import pytest
import torch

from demo.recipes.augment import content_boxes, random_views
from demo.recipes.scenes import facts, shape_captions


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


def square(left: int, top: int, side: int) -> torch.Tensor:
    """A red square on a pale ground, (1, 3, 64, 64) uint8."""
    pixels = torch.full((1, 3, 64, 64), 240, dtype=torch.uint8)
    red = torch.tensor([255, 0, 0], dtype=torch.uint8)
    pixels[0, :, top : top + side, left : left + side] = red[:, None, None]
    return pixels


def test_content_box_is_the_object() -> None:
    expected = torch.tensor([[[8, 24], [40, 56]]]) / 64
    assert torch.equal(content_boxes(square(8, 40, 16)), expected)


def test_views_keep_the_object_and_its_colour() -> None:
    pixels = square(0, 40, 16).expand(200, -1, -1, -1)
    views = random_views(pixels, content_boxes(pixels), torch.Generator().manual_seed(0))
    assert (views.shape, float(views.min()) >= 0, float(views.max()) <= 1) == (
        (200, 3, 64, 64),
        True,
        True,
    )
    inside = (views[:, 0] > 0.8) & (views[:, 1:].amax(1) < 0.2)  # (B, P, P), clearly red
    area = inside.float().mean((1, 2)) * 64 * 64
    assert float(area.min()) > 60  # never cut away or shrunk to nothing
    again = random_views(pixels, content_boxes(pixels), torch.Generator().manual_seed(0))
    assert torch.equal(views, again)
