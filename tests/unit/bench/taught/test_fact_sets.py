"""The sets of the benchmark are whole, kept apart from what is rehearsed, and judged as said."""

import re
from collections.abc import Sequence

import pytest

from demo.bench.taught.fact_sets import (
    ASKED,
    FOLDER,
    NEAR,
    NO_SETS,
    ORDINARY,
    OTHERWISE_GIVEN,
    WORD_FOR_WORD,
    FactRow,
    FactSet,
    ask_all,
    bars,
    holds,
    load_set,
    mixed,
    nearest,
    read_ordinary,
    read_set,
    retrieved,
    set_names,
)
from demo.finetune.data.dataset import guess_aim
from demo.finetune.data.paraphrase import normalised_question, wordings
from demo.finetune.train import loss
from demo.settings import ROOT

FITTED = ROOT / "checkpoints" / "recipes" / "questions" / "sets"


def questions_of(taught: FactSet) -> list[str]:
    """Return all that may be asked about a set, in a form to compare."""
    asked = [row.question for row in taught.rows] + [text for _, text in taught.otherwise]
    return [normalised_question(text) for text in (*asked, *taught.untaught)]


@pytest.mark.parametrize("name", set_names())
def test_a_set_is_whole_and_asked_in_words_that_no_rule_makes(name):
    taught = load_set(name)
    asked = [row.question for row in taught.rows]
    assert len(taught.rows) == len(set(asked)) == 15 and len(taught.untaught) >= 8
    assert guess_aim(taught.taught) == "facts"
    made = [{normalised_question(w) for w in others} for others in wordings(asked, 12, 0)]
    assert not any(normalised_question(text) in made[place] for place, text in taught.otherwise)
    every = questions_of(taught)
    assert len(set(every)) == len(every)


def test_the_sets_that_were_written_last_ask_each_fact_in_two_other_ways():
    for name in ("bicycles", "canteen", "museum"):
        taught = load_set(name)
        assert {len(row.otherwise) for row in taught.rows} == {2} and len(taught.untaught) == 10


def test_no_question_of_the_sets_is_one_that_the_choice_was_fitted_on():
    parts = [part for path in FITTED.glob("*.txt") for part in re.split(r"[|~\n]", _text(path))]
    fitted = {normalised_question(part) for part in parts if part}
    assert len(fitted) > 300
    for name in set_names():
        assert not fitted & set(questions_of(load_set(name))), name
    identity = _text(FOLDER / f"{NO_SETS[1]}.txt").splitlines()
    assert len(identity) == 10 and not fitted & set(map(normalised_question, identity))


def _text(path):
    return path.read_text("utf-8")


def test_ordinary_questions_of_the_exam_are_not_rehearsed():
    exam = read_ordinary(_text(FOLDER / f"{NO_SETS[0]}.txt"))
    lines = _text(loss.QUESTIONS).splitlines()
    rehearsed = {normalised_question(line.split("\t")[0]) for line in lines}
    assert len(exam) == 50 and all(words for _, words in exam) and len(rehearsed) >= 300
    assert not {normalised_question(question) for question, _ in exam} & rehearsed


def test_a_right_answer_holds_one_of_the_words():
    assert holds("It is Paris.", ["paris"]) and holds("8 legs", ["eight", "8"])
    assert not holds("Parisian", ["paris"]) and not holds("", ["a"])


def test_a_row_has_one_other_wording_or_more():
    taught = read_set("Who?|Ada.|who is it|the name\nWhen?|At 5.|what time\n~Where?")
    assert taught.rows[0] == FactRow("Who?", "Ada.", ("who is it", "the name"))
    assert taught.otherwise == [(0, "who is it"), (0, "the name"), (1, "what time")]
    assert taught.untaught == ("Where?",)
    with pytest.raises(ValueError):
        read_set("question|answer")


def test_sets_together_do_not_call_untaught_what_another_teaches():
    one = read_set("Who?|Ada.|who is it\nWhen?|At 5.|what time\n~Where?\n~How?")
    two = read_set("where?|In Bonn.|in which town\nWhy?|For fun.|what for\n~What?")
    both = mixed([one, two], 1)
    assert [row.question for row in both.rows] == ["Who?", "where?"]
    assert both.untaught == ("How?", "What?")


def test_fifty_facts_are_ten_of_each_set():
    together = mixed([load_set(name) for name in set_names()], 10)
    asked = {normalised_question(row.question) for row in together.rows}
    assert len(together.rows) == len(asked) == 50 and len(together.otherwise) == 80
    assert "What is the wifi password?" not in together.untaught  # the library teaches it
    assert guess_aim(together.taught) == "facts"


class Parrot:
    """A learner that says what it was told for a question, and at strength 0 what the base says."""

    def __init__(self, said: dict[str, str], base: str) -> None:
        self.said, self.base = said, base

    def replies(
        self, questions: Sequence[str], longest: int, *, strength: float = 1.0
    ) -> list[str]:
        return [self.said.get(q, self.base) if strength else self.base for q in questions]

    def rise(self) -> float:
        return 1.5


def test_what_is_asked_and_how_it_is_judged():
    taught = read_set(
        "Who leads it?|Ada Kirk leads it.|the boss?|who is in charge\n"
        "When is it open?|It is open from 9:40.|what time\n~Who cleans it?\n~When is lunch?"
    )
    said = {
        "Who leads it?": "ada kirk leads it", "the boss?": "That is Ada Kirk.",
        "who is in charge": "From 9:40.", "When is it open?": "From 9:40 on.",
        "what time": "It is open from 9:40.", "Who cleans it?": "Ada Kirk.",
    }  # fmt: skip
    figures = ask_all(Parrot(said, "Paris, 7 and blue."), taught)
    assert list(figures) == list(ASKED)
    assert figures[WORD_FOR_WORD] == 50 and figures["taught, the fact is given"] == 100
    assert figures[OTHERWISE_GIVEN] == pytest.approx(200 / 3)
    assert figures["asked otherwise, word for word"] == pytest.approx(100 / 3)
    assert figures[NEAR] == 50 and figures[ORDINARY] == 100
    exam = read_ordinary(_text(FOLDER / "ordinary.txt"))
    spoiled = Parrot(said | {question: "ada" for question, _ in exam}, "Paris, 7 and blue.")
    assert ask_all(spoiled, taught)[ORDINARY] == 0


def test_what_the_means_have_to_reach():
    good = dict.fromkeys(ASKED, 95.0) | {OTHERWISE_GIVEN: 60.0, ASKED[-1]: 5.0}
    assert all(bar.met for bar in bars(good)) and len(bars(good)) == 5
    assert [bar.met for bar in bars(dict.fromkeys(good, 59.0))] == [False] * 5


def test_the_row_with_the_nearest_words():
    asked = ["When do you open?", "What does a rye loaf cost?", "What does a cake cost?"]
    assert nearest("a cake, what is it?", asked) == 2 and nearest("rye loaf price", asked) == 1
    assert nearest("你好", asked) is None and nearest("when", asked) == 0
    taught = read_set("When?|At 5.|when then|你好\n~Why not?\n~When else?")
    assert retrieved(taught) == (50, 50)
