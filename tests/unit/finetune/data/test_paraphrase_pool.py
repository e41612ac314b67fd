"""Rows of a pool: each with a place of its own, in several wordings, and the old ones kept."""

from dataclasses import replace

from demo.finetune.data.conversation import Exchange, TrainingConversation
from demo.finetune.data.examples import EncodedRow, encode
from demo.finetune.data.paraphrase import STRANGE, fits_pool, pool_rows
from demo.questions.matcher import Fact

ROWS = (("When do you open?", "At 7."), ("Who is the baker?", "Jonas."), ("你好吗", "好"))


def row(tokenizer, *exchanges: tuple[str, str]) -> EncodedRow:
    said = tuple(Exchange(*each) for each in exchanges)
    return EncodedRow(1, TrainingConversation(said), encode(tokenizer, said), "here")


def test_each_row_has_a_place_and_wordings(base):
    rows = [row(base.tokenizer, pair) for pair in ROWS]
    found = pool_rows(rows, base.tokenizer, 0)
    assert found.facts == tuple(Fact(*pair) for pair in ROWS)
    places = [item.example.picture for item in found.learned]
    assert set(places) == {0, 1, 2} and places.count(2) == 1 + STRANGE < places.count(0)
    assert [item.example.picture for item in found.asked] == [0, 1, 2]
    assert {item.example.picture for item in found.kept_out} == {0, 1}
    learned = {item.conversation.exchanges[0].question for item in found.learned}
    assert not learned & {item.conversation.exchanges[0].question for item in found.kept_out}
    assert pool_rows(rows, base.tokenizer, 0) == found != pool_rows(rows, base.tokenizer, 1)


def test_what_was_known_stays_and_is_not_learned_again(base):
    known = [row(base.tokenizer, pair) for pair in ROWS[:2]]
    new = [row(base.tokenizer, ("who is the baker", "Ann.")), row(base.tokenizer, ROWS[2])]
    before = [Fact(*pair) for pair in ROWS[:2]]
    found = pool_rows(new, base.tokenizer, 0, before, known[:1])
    assert found.facts == (before[0], Fact("who is the baker", "Ann."), Fact(*ROWS[2]))
    assert {item.example.picture for item in found.learned} == {1, 2}
    assert {item.example.picture for item in found.asked} == {0, 1, 2}


def test_what_a_pool_has_no_room_for(base):
    one = row(base.tokenizer, ROWS[0])
    assert fits_pool([one]) and fits_pool([one], [Fact("a", "b")] * 499)
    assert not fits_pool([one], [Fact("a", "b")] * 500)
    assert not fits_pool([one], [Fact("a", "b" * 400_000)])
    assert not fits_pool([row(base.tokenizer, ROWS[0], ROWS[1])])
    exchange = replace(one.conversation.exchanges[0], question="", plain=True)
    plain = replace(one, conversation=replace(one.conversation, exchanges=(exchange,)))
    assert not fits_pool([one, plain])
