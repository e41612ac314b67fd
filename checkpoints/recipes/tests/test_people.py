"""Questions as people ask them, and replies whose verdicts follow from the tree."""

import random
from dataclasses import replace

import pytest

from checkpoints.recipes.sight import people
from checkpoints.recipes.sight.people import Tree, is_true
from checkpoints.recipes.sight.questions import REFUSALS, caption, tower_kinds
from demo.bench.sight import WORDINGS, contradicts, kinds_by_name, verdict

KINDS = tower_kinds()
TREE = Tree(KINDS, [()] * len(KINDS))
NUMBER = next(at for at, kind in enumerate(KINDS) if kind.name == "a banana")
BANANA = KINDS[NUMBER]
HOUSE = next(kind for kind in KINDS if kind.name == "a house" and kind.medium == "drawing")
NAMED = kinds_by_name(KINDS)


def test_rows_have_captions_of_their_own() -> None:
    assert len(KINDS) == 1524
    assert caption(HOUSE) == "a drawing of a house" and caption(BANANA) == "a banana"
    assert len({caption(kind) for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("exam", [False, True])
def test_yes_and_no_follow_from_the_tree(exam: bool) -> None:
    chance, found = random.Random(0), []
    for _ in range(400):
        number = chance.randrange(1500)
        known = replace(KINDS[number], sure=chance.choice(("fine", "coarse", "unsure")))
        lesson = people.yes_no_question(known, TREE, number, chance, exam=exam)
        found.append(verdict(lesson.reply))
        assert found[-1] is not None
    assert 0.35 < found.count(True) / len(found) < 0.65


def test_groups_are_asked_as_often_where_they_are_untrue() -> None:
    groups = {kind.group for kind in KINDS} | {kind.top for kind in KINDS}
    near = Tree(
        KINDS,
        [
            [other for other in range(1500) if KINDS[other].group == kind.group][:12]
            for kind in KINDS
        ],
    )
    chance, asked = random.Random(3), {True: 0, False: 0}
    for _ in range(2000):
        number = chance.randrange(1500)
        known = KINDS[number]
        phrase = people._untrue(known, near, number, chance, far=True)
        assert not is_true(known, phrase)
        asked[False] += phrase in groups
        asked[True] += people._phrase(known, chance, far=True) in groups
    assert 0.75 < asked[False] / asked[True] < 1.33, asked


def test_an_apple_is_a_fruit_is_food() -> None:
    said = people.verdict_reply(BANANA, "a fruit")
    assert said == "This is a banana (a fruit, food), so yes."
    assert is_true(BANANA, "food") and not is_true(BANANA, "a vegetable")
    assert people.verdict_reply(BANANA, "a dog") == "This is a banana (a fruit, food), so no."
    assert (
        people.verdict_reply(BANANA, "produce")
        == "This is a banana (a fruit, food, produce), so yes."
    )
    unsure = replace(BANANA, sure="unsure")
    assert people.verdict_reply(unsure, "a dog") == (
        "This may be a banana (a fruit, food), so probably not."
    )
    assert not contradicts(said, "fruit", NAMED)
    assert contradicts("This is a banana (food), so no.", "fruit", NAMED)


def test_one_of_two_is_said_or_neither() -> None:
    chance = random.Random(5)
    said = {people.either_question(BANANA, TREE, NUMBER, chance).reply for _ in range(200)}
    assert {"This is a banana.", "This is a banana, neither."} <= said
    assert "This is a banana (a fruit)." in said


def test_a_colour_is_told_compared_and_doubted() -> None:
    chance = random.Random(6)
    lessons = [people.colour_question("red", True, chance, "car") for _ in range(200)]
    said = {lesson.reply for lesson in lessons}
    assert said == {"It is mostly red.", "It is mostly red, so yes.", "It is mostly red, so no."}
    for lesson in lessons:
        if lesson.reply.endswith("yes."):
            assert "red" in lesson.question
    unsure = people.colour_question("red", False, chance, "car").reply
    assert unsure.startswith("It may be mostly red")


def test_a_wrong_noun_is_said_to_be_wrong() -> None:
    chance = random.Random(1)
    said = {people.noun_question(BANANA, TREE, NUMBER, chance).reply for _ in range(200)}
    assert "This is a banana." in said
    assert all(", not " in reply for reply in said - {"This is a banana."}) and len(said) > 5


def test_a_caption_says_what_and_its_kind() -> None:
    chance = random.Random(2)
    assert people.caption_question(BANANA, chance).reply == "A picture of a banana, a fruit."
    unsure = replace(BANANA, sure="coarse")
    assert people.caption_question(unsure, chance).reply == (
        "A picture of a fruit, maybe a banana."
    )


def test_questions_come_as_people_type_them() -> None:
    chance = random.Random(3)
    typed = [people.as_people_type("What animal is this?", chance) for _ in range(300)]
    assert 60 < typed.count("What animal is this?") < 220
    assert "what animal is this" in typed and len(set(typed)) > 20
    again = random.Random(3)
    assert typed == [people.as_people_type("What animal is this?", again) for _ in range(300)]


@pytest.mark.parametrize("sort", ["name", "noun", "kind", "yes_no", "either", "caption", "refusal"])
def test_every_sort_asks_and_the_exam_asks_otherwise(sort: str) -> None:
    lesson = people.question(sort, BANANA, TREE, NUMBER, random.Random(4))
    assert lesson.question and lesson.reply
    assert (lesson.reply in REFUSALS.values()) == (sort == "refusal")
    taught = {text for some in people.ASKED.values() for text in some} | {*people.NOUN_ASKED}
    assert not taught & {*WORDINGS.read_text("utf-8").splitlines(), *people.NOUN_ASKED_ELSEWHERE}
