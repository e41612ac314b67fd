"""Conversations about pictures: what is learned in them, and what is only context."""

import random
from dataclasses import replace

import pytest

from checkpoints.recipes.sight.conversations import (
    LONGEST,
    SIZES,
    OtherTalk,
    ShownPicture,
    asked,
    conversation,
    encoded,
)
from checkpoints.recipes.sight.forms import asked_freely, kept_wordings, plain_words
from checkpoints.recipes.sight.people import Tree, called, true_words
from checkpoints.recipes.sight.questions import tower_kinds
from checkpoints.recipes.sight.talk import CUT, EXAM, questions
from demo.finetune.data.examples import IGNORED

KINDS = tower_kinds()
TREE = Tree(KINDS, [()] * len(KINDS))


def shown(name: str) -> ShownPicture:
    number = next(at for at, kind in enumerate(KINDS) if kind.name == name)
    return ShownPicture(KINDS[number], number, "red", True)


BANANA, PENGUIN = shown("a banana"), shown("a king penguin")


def lessons(count: int = 400) -> list:
    chance, talk = random.Random(0), OtherTalk.load()
    return [conversation("name", BANANA, PENGUIN, TREE, talk, chance) for _ in range(count)]


def test_people_ask_in_ways_that_the_exam_does_not() -> None:
    chance = random.Random(0)
    found = {plain_words(asked_freely(chance)) for _ in range(4000)}
    assert len(found) > 1500 and not found & kept_wordings()


def test_conversations_have_up_to_six_turns() -> None:
    counts = [len(lesson.turns) for lesson in lessons()]
    assert set(counts) == set(range(1, LONGEST + 1))
    assert 0.4 < counts.count(1) / len(counts) < 0.7


def test_what_was_said_of_another_picture_is_not_learned() -> None:
    of_before = [
        turn for lesson in lessons() for turn in lesson.turns if "king penguin" in turn.reply
    ]
    assert len(of_before) > 30 and not any(turn.learn for turn in of_before)
    assert all(any(turn.learn for turn in lesson.turns) for lesson in lessons())


def test_other_talk_has_the_bases_own_replies() -> None:
    talk, own = OtherTalk.load(), {}
    own |= {question: reply.removesuffix(CUT) for question, reply in talk.lines}
    kept = {line.split("\t")[0] for line in EXAM.read_text("utf-8").splitlines()}
    assert not kept & set(own) and set(own) <= set(questions())
    told = [turn for lesson in lessons() for turn in lesson.turns if turn.question in own]
    assert len(told) > 50 and all(turn.reply == own[turn.question] for turn in told)
    assert all(not turn.reply.endswith(CUT) for turn in talk.whole)


def test_a_reply_that_is_cut_does_not_learn_to_end(small) -> None:
    stops = small.tokenizer.stop_ids
    for lesson in lessons(100):
        example = encoded(small.tokenizer, lesson)
        assert (example.labels[-1] in stops) != lesson.cut
        assert example.labels[-1] != IGNORED


@pytest.mark.parametrize("sure", ["fine", "coarse", "unsure"])
def test_follow_ups_stay_on_what_was_named(sure: str) -> None:
    chance, known = random.Random(1), replace(BANANA.known, sure=sure)
    picture = replace(BANANA, known=known)
    assert asked("again", picture, TREE, chance).reply == f"{called(known)}."
    assert asked("sure", picture, TREE, chance).reply.startswith(f"{called(known)}, ")
    more = asked("more", picture, TREE, chance).reply
    assert more == ("It may be" if sure == "unsure" else "It is") + " a fruit (food)."


def test_sizes_are_compared_where_they_clearly_differ() -> None:
    chance = random.Random(2)
    said = {asked("size", BANANA, TREE, chance).reply for _ in range(200)}
    assert "This is a banana (smaller than a car), so no." in said
    assert all("(bigger than an ant)" in r or "(bigger than a coin)" in r or "smaller" in r
               for r in said)  # fmt: skip
    groups = {kind.group for kind in KINDS}
    assert set(SIZES.groups) <= groups, set(SIZES.groups) - groups
    assert all(0 < least <= most for least, most in SIZES.groups.values())
    nothing = next(at for at, k in enumerate(KINDS) if k.group not in SIZES.groups)
    strange = ShownPicture(KINDS[nothing], nothing, "red", True)
    reply = asked("size", strange, TREE, chance).reply
    assert reply == f"{called(strange.known)}." and true_words(strange.known)
