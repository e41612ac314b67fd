"""Words of a question and of a taught fact, compared in both directions."""

import numpy as np
import pytest

from demo.questions.matcher import EVIDENCE, Words, agreement, evidence, stem

AXES = {word: place for place, word in enumerate(("loaf", "sourdough", "rye", "price", "open"))}


def vector(word: str) -> np.ndarray:
    out = np.zeros(8, np.float32)
    out[AXES.get(stem(word), 7)] = 1
    return out


def found(asked: str, question: str, answer: str) -> dict[str, float]:
    texts = Words(asked), Words(question), Words(answer)
    return dict(zip(EVIDENCE, evidence(*texts, [0.5, 0.5, 0.5, 0.1], vector), strict=True))


def test_another_word_in_the_same_frame_is_seen():
    row = "How much is a sourdough loaf?", "A sourdough loaf is 5 euros 20."
    same, other = found(row[0], *row), found("How much is a rye loaf?", *row)
    assert same["frame"] == 1 and same["exchanged word"] == 1 and same["its words, exactly"] == 1
    assert 0.8 < other["frame"] < 1 and other["exchanged word"] == 0
    assert other["its words not found"] == 1 == other["taught words not found"]
    assert other["frame with an exchanged word"] == other["frame"]


def test_numbers_are_compared_with_the_answer_too():
    row = "Which bus stops here?", "Bus 47 stops here."
    assert found("does the 47 stop here", *row)["a number too many"] == 0
    assert found("does the 48 stop here", *row)["a number too many"] == 1
    other = found("How heavy is the X40?", "How heavy is the X20?", "It weighs 2 kilograms.")
    assert other["another number"] == other["a number is missing"] == 1


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("When do you open?", "time"), ("what day is it on", "time"), ("Where is it", "place"),
        ("Who leads it?", "person"), ("how much is that", "amount"), ("How do I get in?", "manner"),
        ("Is it free?", "whether"), ("What is it?", "what"), ("the door code", ""), ("你好", ""),
        ("你们几点开门?", "time"), ("茶馆在哪里", "place"), ("您是哪位？", "person"),
        ("一壶要多少钱", "amount"), ("怎么订位子", "manner"), ("可以刷卡吗", "whether"),
        ("你叫什么", "what"),
    ],
)  # fmt: skip
def test_what_kind_of_thing_is_asked_for(text, kind):
    assert Words(text).kind == kind


def test_what_has_no_words_is_neither_found_nor_missing():
    nothing = found("who are you?", "When do you open?", "At 7.")
    assert nothing["no content"] == 1 and nothing["its words, found"] == 0.5
    assert all(np.isfinite(list(found("", "", "").values())))
    assert Words("什么时候开门").content == ("开", "门")
    assert stem("loaves") == "loav" and stem("opening") == "open" and stem("is") == "is"


def test_answers_agree_as_far_as_they_say_the_same():
    said = Words("I am Bo, built by Mill Lane.")
    assert agreement(said, Words("i am bo, built by Mill Lane")) == 1
    assert agreement(said, Words("My name is Bo, built by Mill Lane.")) == pytest.approx(0.8)
    assert agreement(said, Words("I am Bo, not built by Mill Lane.")) == 0
    assert agreement(Words("A loaf is 5 euros."), Words("A loaf is 6 euros.")) == 0
    assert agreement(Words("It is."), Words("It was.")) == 0 == agreement(Words(""), Words("At 5"))
