"""Questions that lean on the one before them."""

import pytest

from demo.questions.follow_up import completed
from demo.questions.matcher import Words

TAUGHT = [
    Words(text)
    for text in (
        "When is training for beginners?",
        "When is training for juniors?",
        "What does a late book cost?",
        "What does a card cost?",
        "Who leads the club?",
        "茶馆几点开门?",
        "茶馆几点关门?",
    )
]


@pytest.mark.parametrize(
    ("asked", "before", "whole"),
    [
        ("and juniors?", 0, "when is training for juniors"),
        ("And for the juniors?", 0, "when is training for juniors"),
        ("What about veterans", 1, "when is training for veterans"),
        ("ok, and how about a card?", 2, "what does a card cost"),
        ("那关门呢？", 5, "茶馆几点关门"),
    ],
)
def test_new_words_stand_in_the_place_of_what_was_asked_about(asked, before, whole):
    assert completed(asked, TAUGHT[before].text, TAUGHT) == whole


@pytest.mark.parametrize(
    ("asked", "before"),
    [
        ("And juniors?", ""),  # nothing was asked before
        ("And juniors?", "When is training for cooks?"),  # of something else
        ("When is training for juniors?", TAUGHT[0].text),
        ("Android phones?", TAUGHT[0].text),
        ("and", TAUGHT[0].text),
        ("And I wanted to say that I really like what you have been doing here", TAUGHT[0].text),
    ],
)
def test_what_stands_by_itself_stays(asked, before):
    assert completed(asked, before, TAUGHT) == asked


def test_where_nothing_sets_the_question_before_apart_it_is_kept_whole():
    same = [Words("Who leads it?"), Words("When does who leads it rest?")]
    assert completed("and tomorrow?", "Who leads it?", same) == "who leads it tomorrow"
