"""Wordings of the exam are not those that are taught."""

import random

import pytest

from checkpoints.recipes.sight import questions
from checkpoints.recipes.sight.questions import scene_known, scene_lesson
from checkpoints.recipes.sight.train import rehearsed
from demo.bench.sight import ASIDES


def test_scenes_are_asked_for_colour_and_shape() -> None:
    chance, scene = random.Random(0), scene_known("teal", "triangle")
    said = {scene_lesson(scene, chance).reply for _ in range(500)}
    assert said == {
        *("Yes.", "No.", "It is teal.", "It is a triangle.", "teal", "triangle"),
        "This is a teal triangle.",
    }


@pytest.mark.parametrize(
    ("taught", "elsewhere"),
    [
        (questions.ASKED, questions.ASKED_ELSEWHERE),
        (questions.ASKED_IN_VAIN, questions.IN_VAIN_ELSEWHERE),
    ],
)
def test_the_exam_asks_in_words_that_are_not_taught(taught, elsewhere) -> None:
    every = {text for some in taught.values() for text in some}
    for some in elsewhere.values():
        assert len(some) == 2 and not set(some) & every


def test_what_the_exam_asks_about_other_things_is_not_rehearsed(small) -> None:
    asides = [line.split("\t") for line in ASIDES.read_text("utf-8").splitlines()]
    assert len(asides) == len({question for question, _ in asides}) == 100
    texts = rehearsed(small.tokenizer, ASIDES, [range(4), [], range(4, 7)], 0)
    asked = {small.tokenizer.decode(text.ids) for text in texts}
    assert len(asked) > 300 and {text.picture for text in texts} == set(range(7))
    assert not any(question in text for question, _ in asides for text in asked)
    assert any("What is the capital of Brazil?" in text for text in asked)
