"""Which fact is asked for: as taught, in other words, and not at all."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from demo.errors import CheckpointError
from demo.questions.encoder import FOLDER
from demo.questions.matcher import Fact, Matcher, load_matcher, plain, rate, read_network

FACTS = [
    Fact("When do you open?", "We open at 7 every day."),
    Fact("Who bakes the bread?", "Jonas Brandt bakes it at night."),
    Fact("Can I pay by card?", "You can pay by card from 8 euros."),
    Fact("你们几点开门?", "早上七点。"),
]


@pytest.fixture(scope="module")
def matcher() -> Matcher:
    return load_matcher()


def test_a_taught_question_is_its_own_however_it_is_typed(matcher):
    known = matcher.known(FACTS)
    for place, fact in enumerate(FACTS):
        assert matcher.match(f" {fact.question.upper()} ", known) == (place, 1.0)
    assert matcher.match("who bakes   the bread", known) == (1, 1.0)


def test_other_words_find_it_and_other_things_do_not(matcher):
    known = matcher.known(FACTS)
    for place, asked in enumerate(("what time do you open in the morning", "name of the baker")):
        match = matcher.match(asked, known)
        assert match and match.place == place and 0.5 <= match.sure <= 1
    for asked in ("Why is the sky blue?", "Who bakes the pizza?", "2 + 2", "", "?"):
        assert matcher.match(asked, known) is None
    assert matcher.match("When do you open?", matcher.known([])) is None


def test_facts_with_the_same_answer_are_no_rivals(matcher):
    one = matcher.known(FACTS[:3])
    two = matcher.known([*FACTS[:3], Fact("From when are you there?", FACTS[0].answer)])
    places, found = matcher.candidates("opening time", one)
    again, others = matcher.candidates("opening time", two)
    ahead = [f[p.index(0)][3] for p, f in ((places, found), (again, others))]
    assert ahead[0] == pytest.approx(ahead[1], abs=1e-5)


def test_a_question_in_another_script_asks_for_none(matcher):
    chinese = matcher.known([Fact("你的诞生地和创作者是谁？", "你好。"), FACTS[3]])
    assert matcher.match("What is the capital of France?", chinese) is None
    assert matcher.match(FACTS[3].question, chinese) == (1, 1.0)
    asked = "你们几点开门呀"
    match = matcher.match(asked, matcher.known(FACTS))
    assert match is None or match.place == 3
    places, _ = matcher.candidates("什么时候", matcher.known(FACTS))
    assert places == [3]


def test_chinese_questions_are_looked_for_by_their_characters(matcher):
    facts = [Fact(q, "好。") for q in ("茶馆在哪里?", "可以刷卡吗?", "谁是老板?", "有点心吗?")]
    known = matcher.known([*facts, Fact("龙井茶多少钱?", "58元。"), FACTS[3]])
    assert matcher.candidates("一壶龙井要多少", known)[0][0] == 4
    match = matcher.match("你们几点开门呢", known)
    assert match and match.place == 5


def test_facts_whose_answers_say_the_same_are_chosen_together(matcher):
    """A name is taught in many questions; another wording may be meant for any of them."""
    named = [
        Fact(question, f"I am Bo, a helper built by Mill Lane{end}")
        for question, end in (
            ("Who are you?", "."),
            ("What is your name?", "!"),
            ("What are you called?", " itself."),
            ("Tell me about yourself", ", and I help."),
        )
    ]
    asked = "say who you are"
    match = matcher.match(asked, matcher.known(named))
    assert match and match.sure > 0.8
    prices = [Fact(f.question, f"That is {n} euros.") for n, f in enumerate(named, 3)]
    apart = matcher.match(asked, matcher.known(prices))
    assert apart is None or apart.sure < 0.7


def test_ratings_are_the_mean_of_the_networks():
    network = {
        "mean": np.zeros(2), "deviation": np.ones(2), "inner": np.ones((3, 1, 2)),
        "bias": np.zeros((3, 1)), "outer": np.array([[1.0], [2.0], [3.0]]), "offset": np.zeros(3),
    }  # fmt: skip
    assert np.allclose(rate(network, np.array([[0.5, 0.5], [0, 0]])), [2 * np.tanh(1), 0])


@pytest.mark.parametrize("how", ["gone", "torn", "nan", "shape", "name"])
def test_a_damaged_network_is_refused(tmp_path, how):
    path = tmp_path / "matcher.safetensors"
    network = load_file(FOLDER / path.name)
    if how == "nan":
        network["bias"][0, 0] = np.nan
    if how == "shape":
        network["mean"] = network["mean"][1:]
    if how == "name":
        del network["offset"]
    if how != "gone":
        save_file(network, path)
    if how == "torn":
        path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="missing or damaged"):
        read_network(path)


def test_plain():
    assert plain(" When  do you OPEN?! ") == "when do you open" and plain("几点？") == "几点"
    assert torch.is_tensor(load_matcher().known(FACTS[:1]).keys)
