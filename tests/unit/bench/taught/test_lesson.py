"""Lessons on a small base: rows go the program's own road, once and round after round."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from demo.adapter.passport import read_passport
from demo.bench.taught import fact_sets, learners, lesson, rounds
from demo.bench.taught.fact_sets import ASKED, RISE, WORD_FOR_WORD, ask_all, load_set
from demo.bench.taught.learners import OURS, not_behind
from demo.bench.taught.rounds import round_bars, teach_on
from demo.finetune.data.conversation import Exchange
from demo.finetune.data.examples import Example, encode
from demo.finetune.runs.job import Tools
from demo.finetune.train import config
from demo.llama.base import open_base
from demo.llama.decoder import SlotSizes, TorchDecoder
from demo.llama.int8 import Int8Linear
from demo.llama.model import Llama
from tests.small import SmallTower

pytestmark = pytest.mark.compiles
ROWS = [("Who leads it?", "Ada."), ("When is it?", "At 5."), ("Where is it?", "In Bonn.")]


@pytest.fixture
def small(
    tiny_llama_folder: Callable[..., Path], no_progress, tmp_path, monkeypatch, one_thread
) -> Tools:
    """Let lessons have a small random base, and two steps."""
    base = open_base(str(tiny_llama_folder(max_position_embeddings=1024)), tmp_path, no_progress)
    model = Llama(base.config, base.weights, Int8Linear(torch.float32), 1024)
    tools = Tools(base, model, TorchDecoder(model, SlotSizes(2, 1024, 32)), 2, SmallTower)
    taught = partial(lesson.teach, load=lambda *_: tools)
    monkeypatch.setattr(learners, "teach", taught)
    monkeypatch.setattr(rounds, "teach", taught)
    for name in ("SHORT", "LONG"):
        monkeypatch.setattr(fact_sets, name, 1)
    monkeypatch.setattr(rounds, "SHORT", 1)
    monkeypatch.setitem(config.FACTS_RECIPES, "taste", (2, 0, 1e-2))
    return tools


def test_a_set_is_taught_and_asked(small, tmp_path):
    taught = load_set("rowing")
    (ours,) = learners.learners(taught.taught, "taste", 1, tmp_path / "run", lora=False)
    figures = ask_all(ours.learner, taught)
    assert ours.name == OURS and list(figures) == list(ASKED) and ours.costs["steps"] == 2
    assert figures[WORD_FOR_WORD] == 0 and figures[RISE] == 0
    assert 0 < ours.costs["seconds of steps"] < ours.costs["seconds until it can be asked"]
    places = [ours.learner.place(row.question) for row in taught.rows]
    assert sorted(places) == list(range(15))


def test_rounds_go_on_from_what_was_taught_before(small, tmp_path, monkeypatch):
    monkeypatch.setattr(rounds, "EACH", 1)
    course = teach_on(ROWS, "taste", 0, tmp_path / "rounds")
    facts = read_passport(course.last.saved).facts
    assert [tuple(fact) for fact in facts] == ROWS
    assert course.steps == 6 and course.first == 0
    assert [course.last.learner.place(question) for question, _ in ROWS] == [0, 1, 2]


def test_what_rounds_have_to_reach():
    taught = load_set("rowing")
    means = dict.fromkeys(ASKED, 100.0)
    assert [bar.met for bar in round_bars(means, taught)] == [False, True, True, True]
    assert round_bars(means, taught)[0].value == 15


def test_lora_learns_the_same_rows_in_as_many_seconds(small, tmp_path):
    pytest.importorskip("peft", reason="comes with tests/peers.txt")
    found = list(learners.learners(ROWS, "taste", 0, tmp_path / "run", lora=True))
    assert [each.name for each in found] == [
        OURS, learners.FORM, learners.PEFT, learners.PEFT_VARIED,
    ]  # fmt: skip
    peer = found[2]
    assert peer.costs["steps"] >= 1 and len(peer.learner.replies(["Hello?"], 3)) == 1
    example = encode(small.base.tokenizer, [Exchange(*ROWS[0])])
    assert peer.learner.right([example, example]) in ([False] * 2, [True] * 2)
    ids, before = lesson.ordinary_text(small.base.tokenizer), peer.learner.rise()
    assert peer.learner.learn([Example(tuple(ids[:-1]), tuple(ids[1:]))], 0.1) > 0
    assert peer.learner.rise() < before  # of the text that it learned


def test_ours_is_held_against_the_best_lora():
    means = {"x": 80.0, learners.PEFT + "x": 85.0, learners.FORM + "x": 70.0}
    (bar,) = not_behind(means, ["x", "y"][:1])
    assert not bar.met and bar.value == -5
    assert not_behind({"x": 80.0}, ["x"]) == []
