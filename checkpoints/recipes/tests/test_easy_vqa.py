"""Questions about easy-VQA's scenes, in its own words and in people's."""

import random
from collections import Counter

import pytest

from checkpoints.recipes.data.easy_vqa import drawn, question_group, scenes, worded
from demo.finetune.data.samples import EasyVQAQuestion

ROWS = [
    EasyVQAQuestion(question, answer, picture)
    for picture, (colour, shape) in enumerate(
        [("teal", "triangle"), ("red", "circle"), ("blue", "rectangle")]
    )
    for question, answer in [
        ("what shape is in the image?", shape),
        ("what color is the shape?", colour),
        *((f"is there a {c} shape?", "yes" if c == colour else "no") for c in ("teal", "red")),
        *((f"is no {s} present?", "no" if s == shape else "yes") for s in ("circle", "triangle")),
        *((f"is a {s} present?", "yes" if s == shape else "no") for s in ("circle", "triangle")),
        *((f"is there not a {c} shape?", "no" if c == colour else "yes") for c in ("blue", "red")),
    ]
]


def test_scenes_are_read_off_questions():
    assert scenes(ROWS) == {0: ("teal", "triangle"), 1: ("red", "circle"), 2: ("blue", "rectangle")}
    assert scenes([EasyVQAQuestion("is there a blue shape?", "no", 5)]) == {}


@pytest.mark.parametrize("seed", range(40))
def test_questions_in_peoples_words_have_true_answers(seed):
    lesson = worded("teal", "triangle", random.Random(seed))
    said = lesson.question.lower()
    true = {"a teal triangle", "triangle", "teal"}
    if lesson.reply == "yes":
        assert "teal" in said or "triangle" in said
    elif lesson.reply == "no":
        assert not ("teal" in said and "triangle" in said)
    else:
        assert lesson.reply in true


def test_drawn_questions_are_answered_yes_as_often_as_no():
    rows = drawn(ROWS, 0, count=1200, negated=0.5)
    counts = Counter(row.answer for row in rows)
    assert 0.85 <= counts["yes"] / counts["no"] <= 1.18
    assert 0.05 <= (1200 - counts["yes"] - counts["no"]) / 1200 <= 0.2
    assert 0.4 <= sum(question_group(row)[0] for row in rows) / 1200 <= 0.5
    assert not any(question_group(row)[0] for row in drawn(ROWS, 0, count=200, negated=0.0))
