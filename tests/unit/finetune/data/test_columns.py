"""Which column means what, and what one row then teaches."""

import json

import pytest

from demo.errors import DataError
from demo.finetune.data.columns import Layout, recognise, recognise_table
from demo.finetune.data.conversation import Exchange, TrainingConversation
from demo.finetune.data.read import read_table
from demo.finetune.data.rows import read_row
from demo.finetune.data.samples import FORMATS
from demo.finetune.data.table import TableRow, make_row
from tests.files import packed, png

CHAT = Layout(chat="messages")
PAIR = Layout(question="q", reply="a")


def chat(*turns: tuple[str, object], **more: object) -> TableRow:
    messages = [{"role": role, "content": content} for role, content in turns]
    return make_row(1, {"messages": messages, **more})


def refusal(row: TableRow, layout: Layout) -> str:
    with pytest.raises(DataError) as caught:
        read_row(row, layout)
    return str(caught.value)


@pytest.mark.parametrize(
    ("columns", "name", "used"),
    [
        ("instruction input output", "Alpaca", "instruction output input"),
        ("output instruction text", "Alpaca", "instruction output"),
        ("Prompt Response", "question and reply", "Prompt Response"),
        ("Frage Antwort", "question and reply", "Frage Antwort"),
        ("Question Réponse", "question and reply", "Question Réponse"),
        ("问题 答案", "question and reply", "问题 答案"),
        ("Bild Frage Antwort", "image question", "Frage Antwort Bild"),
        ("prompt completion split", "question and reply", "prompt completion split"),
        ("input output", "question and reply", "input output"),
        ("question context answer", "question and reply", "question answer context"),
        (
            "system_prompt question response",
            "question and reply",
            "question response system_prompt",
        ),
        ("image question answer", "image question", "question answer image"),
        ("file_name question answer", "image question", "question answer file_name"),
        ("messages", "chat", "messages"),
        ("id conversations system", "chat", "conversations system"),
        ("prompt prompt_id messages", "chat", "messages"),
    ],
)
def test_layouts_are_recognised_by_name(columns, name, used):
    layout = recognise(columns.split())
    assert (layout.name, layout.columns) == (name, tuple(used.split()))


@pytest.mark.parametrize(
    "columns",
    [
        "a1 b1",
        "question",
        "answer",
        "text",
        "prompt question answer",
        "image",
        "",
        "frage question antwort",
    ],
)
def test_what_nobody_can_know_is_not_guessed(columns):
    assert recognise(columns.split()) is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"question": "q"}, "which column holds the question and which the reply"),
        ({}, "which column holds the question"),
        ({"chat": "m", "question": "q"}, "either a column of conversations, or"),
        ({"question": "q", "reply": "q"}, "“q” is chosen twice"),
    ],
)
def test_a_mapping_by_hand_is_checked(fields, words):
    with pytest.raises(DataError, match=words):
        Layout(**fields)
    with pytest.raises(DataError, match="no column “a”. It has q, r. Please choose"):
        PAIR.check(["q", "r"])


def test_input_follows_the_question():
    layout = recognise(["instruction", "input", "output"])
    row = make_row(1, {"instruction": "Translate.", "input": "chat", "output": "cat"})
    assert read_row(row, layout).exchanges == (Exchange("Translate.\n\nchat", "cat"),)
    row = make_row(1, {"instruction": "Sing.", "input": None, "output": "la"})
    assert read_row(row, layout).exchanges == (Exchange("Sing.", "la"),)


def test_repairs_are_told():
    row = make_row(1, {"q": " a\r\nb\u200b ", "a": 3, "other": 4})
    talk = read_row(row, PAIR)
    assert talk.exchanges == (Exchange("a\nb", "3"),)
    assert talk.repairs == (
        "“a”: a number, read as text",
        "question: line ends of Windows or old Macs replaced",
        "question: invisible characters removed",
        "question: spaces at its ends removed",
    )
    talk = read_row(make_row(1, {"q": "e\u0301", "a": {"n": 1}}), PAIR)
    assert talk.exchanges == (Exchange("\u00e9", '{"n": 1}'),)
    assert "letters and their accents joined" in talk.repairs[1]
    assert read_row(make_row(1, {"q": "x", "a": "👩‍👩‍👧"}), PAIR).repairs == ()


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ({"q": "", "a": "b"}, "The question is empty."),
        ({"a": "b"}, "The question is empty."),
        ({"q": "b", "a": " \n "}, "The reply is empty, so there is nothing to learn."),
        ({"q": "b", "a": "\u200b"}, "The reply is empty"),
    ],
)
def test_rows_without_a_question_or_a_reply(cells, words):
    assert words in refusal(make_row(1, cells), PAIR)


@pytest.mark.parametrize(
    ("said", "part"),
    [("train", "train"), ("Training", "train"), ("TEST", "test"), ("held-out", "test"), ("", None)],
)
def test_split_says_the_part(said, part):
    layout = Layout(question="q", reply="a", split="split")
    assert read_row(make_row(1, {"q": "x", "a": "y", "split": said}), layout).split == part


def test_split_that_says_something_else():
    layout = Layout(question="q", reply="a", split="split")
    words = refusal(make_row(1, {"q": "x", "a": "y", "split": "maybe"}), layout)
    assert "“split” says “maybe”. It may say train or test." in words


def test_a_picture_must_be_named():
    layout = recognise(["image", "question", "answer"])
    cells = {"image": " a.png", "question": "x", "answer": "y"}
    assert read_row(make_row(1, cells), layout).picture == "a.png"
    assert refusal(make_row(1, {**cells, "image": ""}), layout) == "No picture is named."


def test_every_reply_of_a_conversation_is_learned():
    row = chat(
        ("system", "Be brief."),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "c"),
        ("assistant", "d"),
    )
    assert read_row(row, CHAT) == TrainingConversation(
        (Exchange("a", "b"), Exchange("c", "d")), system="Be brief."
    )


def test_other_spellings_of_conversations():
    share = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    row = make_row(1, {"conversations": share, "system": "Be kind."})
    talk = read_row(row, recognise(["conversations", "system"]))
    assert (talk.exchanges, talk.system) == ((Exchange("a", "b"),), "Be kind.")
    row = chat(
        ("user", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), ("bot", "c")
    )
    assert read_row(row, CHAT).exchanges == (Exchange("ab", "c"),)
    assert read_row(chat(("user", "a"), ("assistant", 5)), CHAT).exchanges == (Exchange("a", "5"),)


def test_a_reply_without_weight_is_context_only():
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b", "weight": 0},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d", "weight": 1},
    ]
    row = make_row(1, {"messages": turns})
    assert read_row(row, CHAT).exchanges == (Exchange("a", "b", False), Exchange("c", "d"))
    assert "no reply of the assistant to learn" in refusal(
        make_row(1, {"messages": turns[:2]}), CHAT
    )


def test_texts_in_a_list_are_turns_one_after_the_other():
    talk = read_row(make_row(1, {"messages": ["a", "b", "c", "d", "e"]}), CHAT)
    assert talk.exchanges == (Exchange("a", "b"), Exchange("c", "d"))
    assert "no turn says who speaks: the user begins, and the assistant replies" in talk.repairs


def test_the_system_replies_where_nobody_else_does():
    turns = [("USER", "a"), ("SYSTEM", "b"), ("USER", "c"), ("SYSTEM", "d")]
    rows = [{"turns": [{"speaker": who, "utterance": what} for who, what in turns], "services": []}]
    table = read_table(json.dumps(rows * 2).encode())
    layout = recognise_table(table)
    assert layout and layout.chat == "turns"
    talk = read_row(table.rows[0], layout)
    assert talk.exchanges == (Exchange("a", "b"), Exchange("c", "d"))
    assert "turns of the system are replies here, as nobody else replies" in talk.repairs
    began = read_row(chat(("system", "s"), *turns), CHAT)
    assert began.system == "s" and began.exchanges == talk.exchanges


def test_a_last_question_without_reply_is_left_out():
    talk = read_row(chat(("user", "a"), ("assistant", "b"), ("user", "c")), CHAT)
    assert talk.exchanges == (Exchange("a", "b"),)
    assert talk.repairs == ("the last question had no reply and was left out",)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (make_row(1, {"messages": None}), "The conversation is empty."),
        (make_row(1, {"messages": "hello"}), "no list of turns. Expected is"),
        (make_row(1, {"messages": []}), "no list of turns"),
        (make_row(1, {"messages": "[" * 5000}), "no list of turns"),
        (make_row(1, {"messages": ["a"]}), "Turn 1 has no role and no content. Expected is"),
        (chat(("tool", "a")), "Turn 1 is from “tool”. Known are system, user and assistant"),
        (chat((7, "a")), "Turn 1 is from “7”"),
        (chat(("user", "")), "Turn 1, the user's, is empty."),
        (make_row(1, {"messages": [{"speaker": "user", "en": "a"}]}), "under no name we know. Exp"),
        (chat(("user", "a"), ("assistant", None)), "Turn 2, the assistant's, is empty."),
        (
            chat(("user", "a"), ("user", "b")),
            "Turn 2 is from the user and should be the",
        ),
        (
            chat(("system", "s"), ("assistant", "a")),
            "from the assistant and should be the user's",
        ),
        (chat(("user", "a"), ("system", "s")), "Turn 2 is from the system and should be"),
        (chat(("user", "a")), "no reply of the assistant to learn"),
        (chat(("user", [{"image_url": "x"}])), "holds something else than text"),
        (chat(*[("user", "a"), ("assistant", "b")] * 33), "66 turns, and 64 is the most"),
    ],
)
def test_conversations_that_cannot_be_taught(row, words):
    assert words in refusal(row, CHAT)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.file)
def test_every_example_of_the_format_help_can_be_used(form):
    data = form.example.encode()
    if form.pictures:
        data = packed({form.file: data, **{name: png() for name in form.pictures}})
    table = read_table(data, form.file)
    layout = recognise(table.columns)
    assert not table.faults
    for row in table.rows:
        talk = read_row(row, layout)
        assert not talk.repairs
        assert talk.picture is None or talk.picture in table.pictures
    assert len(table.rows) >= 2


def test_a_conversation_in_a_sheet_is_read():
    turns = json.dumps([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
    quoted = turns.replace('"', '""')
    table = read_table(f'messages,split\n"{quoted}",train\n'.encode())
    assert read_row(table.rows[0], recognise(table.columns)).exchanges == (Exchange("a", "b"),)


@pytest.mark.parametrize("names", [("en", "de"), ("English", "Deutsch"), ("zh", "French")])
def test_two_languages_are_a_text_and_its_translation(names: tuple[str, str]) -> None:
    layout = recognise(names)
    assert layout and (layout.question, layout.reply) == names
    assert f"“{names[0]}” is asked, and “{names[1]}” replies." in layout.remarks
    assert recognise(("id", "en")) is None and recognise(("en", "de", "fr")) is None


def test_a_label_of_many_kinds_is_no_verdict_wherever_they_stand() -> None:
    rows = [{"Q": f"Who is {n}?", "A": f"It is {n}.", "label": n // 50} for n in range(150)]
    layout = recognise_table(read_table(json.dumps(rows).encode()))
    assert layout and layout.verdict is None
    marks = [{**row, "label": row["label"] % 2} for row in rows]
    layout = recognise_table(read_table(json.dumps(marks).encode()))
    assert layout and layout.verdict == "label"


def test_numbered_answers_are_options_beside_the_right_one() -> None:
    rows = [
        {"Question": "Which is red?", "Answer 1": "grass", "Answer 2": "blood", "correct": "2"},
        {"Question": "Which is wet?", "Answer 1": "rain", "Answer 2": "sand", "correct": "1"},
    ]
    layout = recognise_table(read_table(json.dumps(rows).encode()))
    assert layout and (layout.reply, layout.options) == ("correct", ("Answer 1", "Answer 2"))
    assert layout.first_option == 1


def test_texts_alone_are_learned_as_they_stand() -> None:
    rows = [{"joke": f"A cat walks into bar {n} and asks for milk."} for n in range(4)]
    layout = recognise_table(read_table(json.dumps(rows).encode()))
    assert layout and layout.text == "joke"
    asked = [{"item": f"What is the number {n}?"} for n in range(4)]
    assert recognise_table(read_table(json.dumps(asked).encode())) is None


def test_an_object_alone_in_a_list_is_a_row() -> None:
    rows = [[{"question": f"Who is {n}?", "answer": f"It is {n}."}] for n in range(3)]
    table = read_table(json.dumps(rows).encode())
    assert not table.faults and table.rows[2].cells == {
        "question": "Who is 2?",
        "answer": "It is 2.",
    }
