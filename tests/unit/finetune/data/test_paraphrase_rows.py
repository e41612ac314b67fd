"""Facts are learned as they were taught and in other words, the same ones by the same seed."""

import json

import pytest
from tokenizers import Tokenizer as Backend

from demo.errors import CheckpointError
from demo.finetune.data.columns import recognise
from demo.finetune.data.dataset import CheckSettings, check
from demo.finetune.data.dataset_file import load_facts, save_facts
from demo.finetune.data.examples import IGNORED, Example, encode
from demo.finetune.data.paraphrase import (
    AS_TAUGHT,
    BEGINNING,
    KEPT_WORDINGS,
    WORDINGS,
    vary_rows,
)
from demo.finetune.data.read import read_table
from demo.llama.tokenizer.tokenizer import Tokenizer, TokenizerFiles, TokenizerSettings
from tests.fixtures import CHAT_TEMPLATE

DATA = (
    "question,answer,system\nWhen do you open on Monday?,At 7.,\n几点开门？,七点,\n"
    "Who?,Ann,Be short.\n"
)


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer: Backend) -> Tokenizer:
    settings = TokenizerSettings(CHAT_TEMPLATE, bos=None, eos=(2,))
    return Tokenizer(TokenizerFiles(tiny_tokenizer.to_str(), settings))


def test_rows_stand_as_taught_and_in_other_words(tokenizer):
    table = read_table(DATA.encode())
    settings = CheckSettings(held_out=0.4, aim="auto")
    data = check(table, recognise(table.columns), tokenizer, settings)
    assert data.aim == "facts" and len(data.train) == 3 and not data.held_out
    found = vary_rows(data.train, tokenizer, seed=1)
    assert found == vary_rows(data.train, tokenizer, seed=1) != vary_rows(data.train, tokenizer, 2)
    found, kept_out = found
    assert found[: 3 * AS_TAUGHT] == [*data.train] * AS_TAUGHT
    others = found[3 * AS_TAUGHT :]
    assert [row.row for row in kept_out][:1] == [data.train[0].row] and len(kept_out) <= 2
    asked = {row.conversation.exchanges[0].question for row in others}
    assert not asked & {row.conversation.exchanges[0].question for row in kept_out}
    assert sum(row.row == data.train[0].row for row in others) == WORDINGS
    assert not any("几点" in row.conversation.exchanges[0].question for row in others)
    for row in others:
        talk = row.conversation
        whole = encode(tokenizer, talk.exchanges, system=talk.system)
        size, marked = len(row.example.ids), sum(label != IGNORED for label in row.example.labels)
        assert row.example == Example(whole.ids[:size], whole.labels[:size])
        assert marked == min(BEGINNING, sum(label != IGNORED for label in whole.labels))
        whole = next(each.conversation for each in data.train if each.row == row.row)
        assert (talk.exchanges[0].reply, talk.system) == (whole.exchanges[0].reply, whole.system)


def test_conversations_stay_as_they_are(tokenizer):
    said = [("user", "Who?"), ("assistant", "I"), ("user", "Why?"), ("assistant", "So.")]
    turns = [{"role": role, "content": text} for role, text in said]
    line = json.dumps({"messages": turns}).encode()
    table = read_table(line)
    layout = recognise(table.columns)
    guessed = check(table, layout, tokenizer, CheckSettings(aim="auto"))
    assert guessed.aim == "style"
    told = check(table, layout, tokenizer, CheckSettings(aim="facts"))
    assert vary_rows(told.train, tokenizer, 0) == ([*told.train] * AS_TAUGHT, [])


def test_what_was_taught_before_is_kept_and_learned_beside(tokenizer, tmp_path):
    table = read_table(DATA.encode())
    data = check(table, recognise(table.columns), tokenizer, CheckSettings(aim="facts"))
    rows, place = data.train, tmp_path / "taught.jsonl"
    assert load_facts(place, (), tokenizer) == ()
    save_facts(place, rows)
    known = load_facts(place, (), tokenizer)
    assert [row.example for row in known] == [row.example for row in rows]
    assert [row.conversation.system for row in known] == [r.conversation.system for r in rows]
    asked_again = "question,answer\nwhen do you open on monday,At 8.\n"
    again = read_table(asked_again.encode())
    new = check(again, recognise(again.columns), tokenizer, CheckSettings(aim="facts")).train
    left = load_facts(place, new, tokenizer)
    assert [row.example for row in left] == [row.example for row in rows[1:]]
    learned, kept_out = vary_rows(new, tokenizer, 1, left)
    assert learned[:AS_TAUGHT] == [*new] * AS_TAUGHT and set(left) <= set(learned)
    others = [row for row in learned[AS_TAUGHT + len(left) :] if row.where == "taught before"]
    assert 0 < len(others) <= KEPT_WORDINGS and len(kept_out) == 2
    place.write_text("[1]")
    with pytest.raises(CheckpointError, match="taught before is damaged"):
        load_facts(place, (), tokenizer)
