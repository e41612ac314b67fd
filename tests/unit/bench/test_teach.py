"""The sets of the benchmark are whole, kept apart from what is rehearsed, and judged as said."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from demo.bench import teach
from demo.bench.teach import FOLDER, QUESTIONS, bars, holds, nearest, read_ordinary, read_set
from demo.finetune.data.dataset import guess_aim
from demo.finetune.data.paraphrase import normalised_question, wordings
from demo.finetune.runs.job import Tools, begin
from demo.finetune.train import config, loss
from demo.llama.base import open_base
from demo.llama.decoder import SlotSizes, TorchDecoder
from demo.llama.int8 import Int8Linear
from demo.llama.model import Llama
from tests.small import SmallTower

SETS = sorted(path for path in FOLDER.glob("*.txt") if path.stem != QUESTIONS)


@pytest.mark.parametrize("path", SETS, ids=lambda path: path.stem)
def test_a_set_is_whole_and_asked_in_words_that_no_rule_makes(path):
    taught = read_set(path.read_text("utf-8"))
    asked = [row[0] for row in taught.rows]
    assert len(taught.rows) == len(set(asked)) == 15 and len(taught.untaught) == 8
    assert guess_aim([row[:2] for row in taught.rows]) == "facts"
    made = [{normalised_question(w) for w in others} for others in wordings(asked, 12, 0)]
    others = [normalised_question(row[2]) for row in taught.rows]
    assert not any(other in found for other, found in zip(others, made, strict=True))
    assert not {*others, *map(normalised_question, taught.untaught)} & set(
        map(normalised_question, asked)
    )


def test_ordinary_questions_of_the_exam_are_not_rehearsed():
    exam = read_ordinary((FOLDER / f"{QUESTIONS}.txt").read_text("utf-8"))
    lines = loss.QUESTIONS.read_text("utf-8").splitlines()
    rehearsed = {normalised_question(line.split("\t")[0]) for line in lines}
    assert len(exam) == 50 and all(words for _, words in exam) and len(rehearsed) >= 300
    assert not {normalised_question(question) for question, _ in exam} & rehearsed


def test_a_right_answer_holds_one_of_the_words():
    assert holds("It is Paris.", ["paris"]) and holds("8 legs", ["eight", "8"])
    assert not holds("Parisian", ["paris"]) and not holds("", ["a"])


def test_a_line_that_is_no_row_is_refused():
    with pytest.raises(ValueError):
        read_set("question|answer")


def test_what_the_means_have_to_reach():
    good = {
        "taught, word for word": 100.0,
        "asked otherwise, the fact is given": 60.0,
        "near but untaught, no taught answer": 85.0,
        "ordinary questions still right": 95.0,
        "perplexity of ordinary text rises": 5.0,
    }
    assert all(bar.met for bar in bars(good))
    assert not any(bar.met for bar in bars(dict.fromkeys(good, 50.0))[:1])
    assert [bar.met for bar in bars({name: 59.0 for name in good})] == [False] * 5


def test_the_row_with_the_nearest_words():
    asked = ["When do you open?", "What does a rye loaf cost?", "What does a cake cost?"]
    assert nearest("a cake, what is it?", asked) == 2 and nearest("rye loaf price", asked) == 1
    assert nearest("你好", asked) is None and nearest("when", asked) == 0


@pytest.mark.compiles
@pytest.mark.usefixtures("one_thread")
def test_a_set_is_taught_and_asked(
    tiny_llama_folder: Callable[..., Path], no_progress, tmp_path, monkeypatch
):
    base = open_base(str(tiny_llama_folder(max_position_embeddings=1024)), tmp_path, no_progress)
    model = Llama(base.config, base.weights, Int8Linear(torch.float32), 1024)
    tools = Tools(base, model, TorchDecoder(model, SlotSizes(2, 1024, 32)), 2, SmallTower)
    monkeypatch.setattr(teach, "begin", partial(begin, load=lambda settings, prompts: tools))
    monkeypatch.setattr(teach, "SHORT", 1)
    monkeypatch.setattr(teach, "LONG", 1)
    monkeypatch.setitem(config.FACTS_RECIPES, "taste", (2, 0, 1e-2))
    found = teach.measure_set("rowing", "taste", seed=1)
    assert list(found) == list(teach.NAMES) and found["steps"] == 2
    assert found["taught, word for word"] == 0 and found["seconds of steps"] > 0
    assert 0 < found[list(teach.NAMES)[-2]] < 100
