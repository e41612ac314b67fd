"""Plain text: a file of it becomes rows, each learned as it stands and cut at the window."""

import json

import pytest

from demo.errors import DataError
from demo.finetune.data.columns import recognise_table
from demo.finetune.data.dataset import CheckSettings, Dataset, check
from demo.finetune.data.prose import without_front_matter
from demo.finetune.data.read import read_table
from demo.finetune.data.summary import summarise
from demo.llama.base import Base

KING = "Once there was a king, a queen, and a fool.\nThey lived, as kings do, in a castle.\n"
TURNS = [
    {"role": role, "content": word * 20}
    for word in ("the fox ", "the dog ", "hello ")
    for role in ("user", "assistant")
]


def checked(data: bytes, base: Base, settings: CheckSettings) -> Dataset:
    table = read_table(data)
    layout = recognise_table(table)
    assert layout
    return check(table, layout, base.tokenizer, settings)


def test_paragraphs_become_rows_and_every_word_stays() -> None:
    long = " ".join(f"Sentence number {n} of a paragraph without any break." for n in range(200))
    text = "\n\n".join([KING, *(f"Paragraph {n}. It ends here." for n in range(80)), long])
    table = read_table(text.encode())
    assert table.columns == ("text",) and table.counted == "piece"
    assert 4 < len(table.rows) < 20 and f"{len(table.rows)} pieces" in table.notes[0]
    said = " ".join(row.cells["text"] for row in table.rows)
    assert said.split() == text.split()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("one two three\nfour five six\n" * 9, "only one column"),
        ('"' + '\\"' * 50_000, "only one column|too long|cannot be read"),
        ("=== --- ... 1 2 3 . 4 . 5 .\n" * 9, "only one column"),
    ],
)
def test_what_has_no_sentences_is_no_prose(text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_table(text.encode())


def test_all_words_are_learned_and_the_end_too(base: Base) -> None:
    dataset = checked(KING.encode(), base, CheckSettings(window=256, held_out=0))
    (row,) = dataset.train
    ids = base.tokenizer.encode_text(KING.strip())
    assert row.example.ids == tuple(ids) and row.example.labels[:-1] == tuple(ids[1:])
    assert row.example.labels[-1] in base.tokenizer.stop_ids
    assert dataset.aim == "style" and not dataset.report.conflicts


def test_longer_texts_are_cut_at_the_window_and_stay_in_one_part(base: Base) -> None:
    rows = [{"text": f"text {n} " + "brown fox " * 40} for n in range(6)]
    dataset = checked(json.dumps(rows).encode(), base, CheckSettings(window=32, held_out=0.3))
    parts = [{row.row for row in part} for part in (dataset.train, dataset.held_out)]
    assert parts[0] | parts[1] == set(range(1, 7)) and not parts[0] & parts[1]
    assert all(len(row.example.ids) < 32 for row in dataset.train)
    first = [row for row in (*dataset.train, *dataset.held_out) if row.row == 1]
    joined = [t for row in first for t in (*row.example.ids, row.example.labels[-1])]
    assert base.tokenizer.decode(joined).split() == rows[0]["text"].split()
    assert "6 rows are longer than 32 tokens and were cut." in dataset.report.notes


def test_long_conversations_are_refused_or_cut_at_a_turn_as_chosen(base: Base) -> None:
    data = json.dumps([{"messages": TURNS}, {"messages": TURNS[:2]}]).encode()
    one = len(base.tokenizer.encode_text("the fox " * 20)) * 2 + 30
    dataset = checked(data, base, CheckSettings(window=one, held_out=0))
    assert len(dataset.train) == 1 and "too long" in dataset.report.refused[0].text
    assert any("1 rows are longer" in note and "--cut" in note for note in dataset.report.notes)
    dataset = checked(data, base, CheckSettings(window=one, held_out=0, cut=True))
    assert "cut after turn 2 of 6" in dataset.report.repaired[0].text
    assert len(dataset.train) == 1 and len(dataset.report.duplicates) == 1
    # One turn that is too long by itself cannot be cut.
    with pytest.raises(DataError, match="too long"):
        checked(data, base, CheckSettings(window=16, held_out=0, cut=True))


def test_texts_have_no_length_but_the_windows(base: Base) -> None:
    long = "word " * 4_000
    turns = [("user", "Hi"), ("assistant", "Yo"), ("user", long), ("assistant", long)]
    row = {"messages": [{"role": role, "content": text} for role, text in turns]}
    data = json.dumps([row, {"messages": row["messages"][2:]}]).encode()
    dataset = checked(data, base, CheckSettings(window=64, held_out=0, cut=True))
    assert [turn.reply for turn in dataset.train[0].conversation.exchanges] == ["Yo"]
    (refused,) = dataset.report.refused
    assert "tokens, and 64 are taught at once" in refused.text


def test_the_check_shows_that_all_is_learned(base: Base) -> None:
    table = read_table(json.dumps([{"text": "hello dog"}]).encode())
    layout = recognise_table(table)
    assert layout
    found = summarise(table, layout, base.tokenizer, CheckSettings(held_out=0))
    assert found["layout"] == "plain text" and found["usable"] == 1
    turn = {"question": "", "reply": "hello dog", "learn": True, "plain": True}
    assert found["examples"][0]["turns"] == [turn]
    assert [span["learned"] for span in found["examples"][0]["spans"]] == [False, True]


def test_what_a_page_says_about_itself_is_left_out_and_named() -> None:
    front = "---\ntitle: Hours\ntags:\n  - shop\n- more\n\n---\n"
    text = "## When do you open?\n\nAt nine.\n\n## Where?\n\nBy the station.\n"
    rest, note = without_front_matter(front + text)
    assert rest == text and note.endswith("left out: title, tags.")
    for other in (text, "---\n\nA rule, and words.\n---\n", front, "---\na: 1\n"):
        assert without_front_matter(other) == (other, "")
    table = read_table((front + text).encode(), name="faq.md")
    assert [row.cells["answer"] for row in table.rows] == ["At nine.", "By the station."]
    assert "title, tags" in table.notes[0]
