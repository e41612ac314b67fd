"""What the recipe of `shapes` teaches, without teaching it."""

import random
from collections import Counter
from dataclasses import replace

import pytest
import torch

from demo.adapter.adapter import Adapter
from demo.adapter.spec import AdapterSpec
from demo.finetune.easy_vqa import Question
from demo.finetune.examples import IGNORED, Example
from demo.llama.cache import Base
from demo.recipes.shapes import STAGES, widened
from demo.recipes.vqa import as_they_come, drawn, question_group, scenes, worded

ROWS = [
    Question(question, answer, picture)
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


def taught(base: Base, example: Example) -> tuple[str, list[str]]:
    """The text, and the replies learned in it."""
    ends = base.tokenizer.stop_ids
    replies, current = [], []
    for label in example.labels:
        if label in ends:
            replies.append(base.tokenizer.decode(current))
            current = []
        elif label != IGNORED:
            current.append(label)
    return base.tokenizer.decode(example.ids), replies


def test_scenes_are_read_off_questions():
    assert scenes(ROWS) == {0: ("teal", "triangle"), 1: ("red", "circle"), 2: ("blue", "rectangle")}
    assert scenes([Question("is there a blue shape?", "no", 5)]) == {}


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


def test_turns_about_another_picture_are_not_learned(base):
    examples = as_they_come(base.tokenizer, ROWS * 20, 0)
    assert {example.picture for example in examples} == {0, 1, 2}
    foreign = 0
    for example in examples:
        text, replies = taught(base, example)
        foreign += text.count("\nassistant\n") > len(replies)
        for reply in replies:
            colour, shape = scenes(ROWS)[example.picture]
            assert reply in ("yes", "no", colour, shape, f"a {colour} {shape}")
    assert foreign


def test_a_widened_adapter_is_the_same_with_more_prompts():
    spec = AdapterSpec(layers=2, prompts=3, width=8, heads=2)
    adapter = Adapter(spec)
    torch.nn.init.constant_(adapter.gate, 0.3)
    wide = widened(adapter, 7)
    assert wide.prompts.shape == (2, 7, 8)
    assert torch.equal(wide.gate, adapter.gate)
    expected = torch.cat([adapter.prompts, adapter.prompts, adapter.prompts[:, :1]], 1)
    assert 0.1 < (wide.prompts - expected).std() < 0.5


def test_every_stage_has_something_to_teach(base):
    for stage in STAGES.values():
        small = replace(stage, steps=2, batch=4)
        examples = small.examples(base.tokenizer, ROWS * 4, 0)
        assert len(examples) >= 8
