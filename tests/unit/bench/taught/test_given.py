"""A reply gives a fact when it says all of it and nothing of another, in whatever words."""

import pytest

from demo.bench.taught.given import FactJudge, content_words, denies

ROWS = (
    ("When does the library open?", "The library opens at 9:30, Tuesday to Saturday."),
    ("How long can I keep a book?", "You can keep a book for 24 days."),
    ("How long can I keep a film?", "You can keep a film for 6 days."),
    ("What does a card cost?", "A card costs 18 euros a year."),
    ("What does a late book cost?", "A late book costs 30 cents a day."),
    ("Who leads the library?", "Agneta Solberg leads the library."),
    ("Can I borrow tools?", "Yes, we lend drills and saws for two days."),
    ("Is there a lift?", "There is no lift."),
)
JUDGE = FactJudge(ROWS)


@pytest.mark.parametrize(("place", "reply"), [
    *((place, answer) for place, (_, answer) in enumerate(ROWS)),
    (0, "It opens at 9:30, from Tuesday to Saturday"), (1, "24 days."), (2, "A film: six days!"),
    (3, "You pay 18 euros a year for the card."), (5, "It's led by Agneta Solberg."),
    (5, "Agneta Solberg."), (1, "A book? 24 days."),
    (6, "We lend saws and drills for 2 days"), (7, "Sorry, we don't have a lift."),
])  # fmt: skip
def test_a_fact_is_given_in_whatever_words(place, reply):
    assert JUDGE.gives(place, reply)


@pytest.mark.parametrize(("place", "reply"), [
    (0, "The library opens at 9:00, Tuesday to Saturday."),
    (0, "The library opens at 9:30."),
    (0, "The library opens at 9:30, Tuesday to Saturday, until 17."),
    (1, "You can keep a book for 6 days."),
    (1, "You can keep a film for 24 days."),  # another row's thing
    (1, "You can keep it for days."),
    (3, "A card costs 18 cents a year."),
    (3, "A late card costs 18 euros a year."),
    (5, "Agneta leads the library."),
    (5, "Agneta Solberg does not lead the library."),
    (7, "There is a lift."),
    (3, "dear dear dear"), (3, ""),
])  # fmt: skip
def test_half_a_fact_or_a_mixed_one_is_not_given(place, reply):
    assert not JUDGE.gives(place, reply)


def test_words_of_the_question_as_it_was_asked_contradict_nothing():
    reply = "Your book is late: a card costs 18 euros a year."
    assert not JUDGE.gives(3, reply)
    assert JUDGE.gives(3, reply, "my book is late and I need a card, how much")


def test_what_was_never_taught_gets_none_of_the_facts_even_with_more_around_it():
    assert JUDGE.gives_any("A lost card costs 18 euros a year.")
    assert not JUDGE.gives_any("A lost card costs 5 euros.")
    assert not JUDGE.gives_any("I do not know.")


def test_what_tells_a_row_from_the_others():
    assert JUDGE.told_by(1) == {"24"} and JUDGE.told_by(2) == {"6"}
    assert FactJudge([("a?", "Red."), ("b?", "Red.")]).told_by(0) == {"red"}


def test_words_are_compared_without_case_plural_and_small_ones():
    assert content_words("Yes, the Drills cost TWO euros a day.") == {
        "drill", "cost", "2", "euro", "day"
    }  # fmt: skip
    assert content_words("my daughter's dogs") == content_words("a daughter and dog")
    assert denies("It isn't.") and denies("It isn’t.") and not denies("Nothing less")
