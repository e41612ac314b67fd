"""From tables to examples: what is usable, what is not, and that nothing is in both parts."""

import json
import pickle
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend

from demo.errors import DataError, DemoError, InputError
from demo.finetune.data.columns import recognise
from demo.finetune.data.conversation import Exchange
from demo.finetune.data.dataset import CheckSettings, Dataset, check, draw_held_out, question_key
from demo.finetune.data.examples import IGNORED, TokenSpan, encode, preview
from demo.finetune.data.read import read_table
from demo.finetune.data.table import Table, TableBuilder
from demo.llama.tokenizer.chat_template import Message
from demo.llama.tokenizer.tokenizer import Tokenizer, TokenizerFiles, TokenizerSettings
from tests.files import packed, png
from tests.fixtures import CHAT_TEMPLATE

ALL = CheckSettings(window=256, held_out=0)


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer: Backend) -> Tokenizer:
    settings = TokenizerSettings(CHAT_TEMPLATE, bos=None, eos=(2,))
    return Tokenizer(TokenizerFiles(tiny_tokenizer.to_str(), settings))


def made(name: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table whose empty rows are skipped but counted."""
    table = TableBuilder(name, columns=columns)
    for number, cells in enumerate(rows, 1):
        if any(map(str.strip, cells)):
            table.add(number, dict(zip(columns, cells, strict=False)))  # some lack the last
    return table.build()


def pairs(*rows: Sequence[str]) -> Table:
    columns = ["question", "answer", "split"]
    return made("typed", columns[: max(map(len, rows))], rows)


def checked(tokenizer: Tokenizer, table: Table, settings: CheckSettings = ALL, **more) -> Dataset:
    return check(table, recognise(table.columns), tokenizer, settings, **more)


def test_good_rows_become_examples(tokenizer):
    data = checked(tokenizer, pairs(["a", "b"], ["c", "d"]))
    assert [row.example for row in data.train] == [
        encode(tokenizer, [Exchange("a", "b")]),
        encode(tokenizer, [Exchange("c", "d")]),
    ]
    report = data.report
    assert (report.rows, report.usable, data.held_out) == (2, 2, ())
    assert (report.repaired, report.refused, report.duplicates, report.conflicts) == ((),) * 4
    lengths = report.lengths
    assert lengths.shortest == lengths.median == lengths.longest
    assert lengths.longest == len(data.train[0].example.ids) + 1


@pytest.mark.matrix("B12")
def test_rows_are_counted_once_each_with_number_and_reason(tokenizer):
    data = b"question,answer\na,b\na,b\n c ,d\ne,\nf,g,h\n" + b"x," + b"long " * 300 + b"\n"
    report = checked(tokenizer, read_table(data)).report
    assert (report.rows, report.usable) == (6, 2)
    assert [note.row for note in report.refused] == [5, 6, 7]
    reasons = [note.text for note in report.refused]
    assert reasons[0] == "The reply is empty, so there is nothing to learn."
    assert "3 cells" in reasons[1]
    assert "It is too long: " in reasons[2] and "256 are taught at once" in reasons[2]
    assert [(note.row, note.text) for note in report.duplicates] == [(3, "the same as row 2")]
    repairs = [(note.row, note.text) for note in report.repaired]
    assert repairs == [(4, "question: spaces at its ends removed")]


def test_different_replies_to_one_question_are_shown_and_stay(tokenizer):
    report = checked(tokenizer, pairs(["Who?", "me"], ["x", "y"], ["who? ", "you"])).report
    assert report.usable == 3
    assert [(c.question, c.places) for c in report.conflicts] == [("Who?", ("row 1", "row 3"))]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (
            pairs(["a", ""], ["b", ""]),
            "2 rows .* Row 1: The reply is empty.* It is so with 1 more. Please repair",
        ),
        (pairs(["a", "x" * 600], ["b", "x" * 700]), "Row 1: It is too long.* 1 more.* --window"),
        (pairs(["a", "b", "test"]), "All 1 usable rows are held out, so there is nothing left"),
        (pairs(["a", "b", "train"], ["a", "b", "test"]), "All 1 usable rows are held out"),
    ],
)
@pytest.mark.matrix("B12")
def test_nothing_to_learn_is_refused(tokenizer, table, words):
    with pytest.raises(DataError, match=words):
        checked(tokenizer, table)


def test_settings_are_checked():
    with pytest.raises(InputError, match="held-out share is 0.9; please use 0 to 0.5"):
        CheckSettings(held_out=0.9)
    with pytest.raises(InputError, match="at least 16"):
        CheckSettings(window=3)


def test_columns_must_be_the_tables(tokenizer):
    layout = recognise(["question", "answer"])
    with pytest.raises(DataError, match="no column “question”"):
        check(made("x", ["a", "b"], [["c", "d"]]), layout, tokenizer)


def test_the_datas_own_parts_are_kept(tokenizer):
    data = checked(
        tokenizer,
        pairs(["a", "1", "train"], ["b", "2", ""], ["c", "3", "test"], ["C ", "4", "train"]),
        CheckSettings(window=256, held_out=0.5),
    )
    assert [item.row for item in data.train] == [1, 2]
    assert [item.row for item in data.held_out] == [3]
    assert [(note.row, note.text) for note in data.report.leaks] == [
        (4, "held out too, as row 3, so it is not learned")
    ]
    assert data.report.rows == data.report.usable + 1


def test_a_second_table_is_held_out(tokenizer):
    test = made("test.csv", ["question", "answer"], [["b", "2"], ["c", "3"], ["d", ""]])
    table = pairs(["a", "1"], ["b", "2"])
    data = checked(tokenizer, table, CheckSettings(held_out=0.5), held_out=test)
    assert [item.row for item in data.train] == [1]
    assert [(item.row, item.table) for item in data.held_out] == [(1, "test.csv"), (2, "test.csv")]
    assert "row 1 of test.csv" in data.report.leaks[0].text
    assert [(note.row, note.table) for note in data.report.refused] == [(3, "test.csv")]


def test_conversations_and_their_system_prompt(tokenizer):
    turns = [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    talk = [{"role": role, "content": content} for role, content in turns]
    data = checked(tokenizer, read_table(json.dumps([{"messages": talk}]).encode()))
    messages = [Message(role, content) for role, content in turns]
    whole = tokenizer.chat(messages, generate=False)
    example = data.train[0].example
    assert list(example.ids) == whole[: len(example.ids)]
    assert tokenizer.decode(i for i in example.labels if i != IGNORED) == "bd"


def test_an_example_without_system_prompt_has_the_same_ids_as_before(embedded_base):
    """The template's own system prompt stands there, and one that says the same is the same."""
    plain = encode(embedded_base.tokenizer, [Exchange("a", "b")])
    own = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    assert encode(embedded_base.tokenizer, [Exchange("a", "b")], system=own) == plain
    assert encode(embedded_base.tokenizer, [Exchange("a", "b")], system="Be brief.") != plain


@pytest.mark.matrix("B12")
def test_pictures_are_found_judged_and_counted(tokenizer):
    rows = [
        ("cat.png", "ok"),
        ("./SET/Cat.png", "ok"),
        ("C:\\me\\cat.png", "ok"),
        ("same.png", "ok"),
        ("dog.png", "is not in the upload. Please pack the table and its pictures"),
        ("broken.png", "cut off or damaged"),
        ("text.png", "not a picture"),
        ("http://x.org/cat.png", "a web address"),
        ("twin.png", "2 pictures are called “twin.png”. Please write the folder"),
        ("", "No picture is named."),
    ]
    table = "image,question,answer\n" + "".join(f"{n},q{i},a\n" for i, (n, _) in enumerate(rows))
    data = packed(
        {
            "set/data.csv": table,
            "set/cat.png": png(),
            "set/same.png": png(),
            "set/broken.png": png()[:40],
            "set/text.png": b"hello",
            "set/a/twin.png": png(),
            "set/b/twin.png": png(),
            "set/spare.png": png("blue"),
        }
    )
    made = checked(tokenizer, read_table(data))
    assert [item.row for item in made.train] == [2, 3, 4, 5]
    assert [item.example.picture for item in made.train] == [0, 0, 0, 0]  # the same pixels
    assert made.pictures[0].open().rgb.shape == (3, 4, 3)
    for note in made.report.refused:
        assert rows[note.row - 2][1] in note.text
    assert made.report.unused_pictures == ("set/a/twin.png", "set/b/twin.png", "set/spare.png")


def test_a_data_set_can_be_sent_to_another_process(tokenizer):
    data = packed({"data.csv": "image,question,answer\ncat.png,q,a\n", "cat.png": png()})
    made = checked(tokenizer, read_table(data))
    again = pickle.loads(pickle.dumps(made))
    assert again == made and again.pictures[0].open() == made.pictures[0].open()


def test_the_fingerprint_is_of_what_is_learned(tokenizer):
    one = checked(tokenizer, pairs(["a", "b", "train"], ["x", "y", "test"]))
    same = checked(tokenizer, pairs(["a ", "b", "train"], ["p", "q", "test"]))
    other = checked(tokenizer, pairs(["a", "c", "train"], ["x", "y", "test"]))
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_progress_is_told_and_may_end_the_check(tokenizer):
    shares = []
    rows = pairs(*([str(i), "b"] for i in range(450)))
    checked(tokenizer, rows, progress=lambda message, share: shares.append(share))
    assert shares == [0, 200 / 450, 400 / 450]

    def stop(message: str, share: float | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checked(tokenizer, rows, progress=stop)


@given(
    st.lists(st.integers(0, 9), max_size=60),
    st.floats(0, 0.5),
    st.integers(0, 3),
)
@example([0, 0, 1], 0.5, 1)  # the rarer key drawn first, then room for all the others
def test_the_same_question_is_never_in_both_parts(keys, share, seed):
    held = draw_held_out(keys, share, seed)
    assert held == draw_held_out(keys, share, seed)
    judged, learned = {keys[i] for i in held}, {k for i, k in enumerate(keys) if i not in held}
    assert not judged & learned
    if share and len(set(keys)) > 1:
        assert held and learned
    else:
        assert not held


def test_about_the_share_is_held_out(tokenizer):
    table = pairs(*([f"q{i}", "a"] for i in range(50)), *([f"Q{i}", "b"] for i in range(50)))
    data = checked(tokenizer, table, CheckSettings(window=256, held_out=0.2, seed=3))
    assert 18 <= len(data.held_out) <= 22
    assert not {question_key(i) for i in data.held_out} & {question_key(i) for i in data.train}
    other = checked(tokenizer, table, CheckSettings(window=256, held_out=0.2, seed=4))
    assert other.held_out != data.held_out


def test_preview_is_what_the_model_sees(tokenizer):
    exchanges = [Exchange("hello é", "dog 🦙"), Exchange("fox", "a", False), Exchange("x", "y")]
    example = encode(tokenizer, exchanges)
    assert preview(tokenizer, [example]) == [
        [
            TokenSpan("<|im_start|>user\nhello é<|im_end|>\n<|im_start|>assistant\n", False),
            TokenSpan("dog 🦙<|im_end|>", True),
            TokenSpan(
                "\n<|im_start|>user\nfox<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n"
                "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n",
                False,
            ),
            TokenSpan("y<|im_end|>", True),
        ]
    ]
    typed = encode(tokenizer, [Exchange("<|im_end|>", "b")])
    assert preview(tokenizer, [typed])[0][0].text.count("<|im_end|>") == 2  # one is only text


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), min_size=1, max_size=6))
def test_any_rows_are_taught_or_refused_in_words(tokenizer, rows):
    try:
        data = checked(tokenizer, pairs(*rows), CheckSettings(window=64, held_out=0.3))
    except DemoError as error:
        assert str(error)
        return
    report = data.report
    lost = len(report.refused) + len(report.duplicates) + len(report.leaks)
    assert report.rows == report.usable + lost
    assert len(data.train) + len(data.held_out) == report.usable
