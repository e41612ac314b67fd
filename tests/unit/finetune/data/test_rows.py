"""Data as people bring it from other programs: read as it was meant, or refused with the reason."""

import json
from collections.abc import Mapping

import pytest

from demo.errors import DataError
from demo.finetune.data.column_doubts import why_unknown
from demo.finetune.data.columns import QA, Layout, choose, recognise_table, unused_columns
from demo.finetune.data.conversation import Exchange, TrainingConversation
from demo.finetune.data.pictures import PictureStore
from demo.finetune.data.read import CLASSES, read_table
from demo.finetune.data.rows import read_row
from demo.finetune.data.table import Table, TableRow
from tests.files import packed, png

BLUE = png("blue")
Q1 = [{"role": "user", "content": "Q1"}]
REST = [{"role": "user", "content": "Q2"}, {"role": "assistant", "content": "final"}]
ASKED_AND_REPLIED = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
]


def table(rows: object, pictures: Mapping[str, bytes] | None = None) -> Table:
    data = json.dumps(rows).encode()
    return read_table(packed({"data.json": data, **pictures}) if pictures else data)


def taught(rows: object, pictures: Mapping[str, bytes] | None = None) -> list[str]:
    """What each row teaches in one line, or the reason why it does not."""
    found, lines = table(rows, pictures), []
    layout = recognise_table(found)
    assert layout, why_unknown(found.columns)
    store = PictureStore(found.pictures, found.folder)
    for row in found.rows:
        try:
            talk = read_row(row, layout)
            seen = f" [{store.resolve(talk.picture).name}]" if talk.picture else ""
        except DataError as error:
            lines.append(str(error))
            continue
        said = [f"{t.question} > {t.reply if t.learn else f'({t.reply})'}" for t in talk.exchanges]
        lines.append(" | ".join(said) + seen)
    return lines


def first(rows: object) -> TrainingConversation:
    found = table(rows)
    layout = recognise_table(found)
    assert layout
    return read_row(found.rows[0], layout)


def asked(rows: object) -> str:
    """Why a person must say what the columns mean."""
    found = table(rows)
    assert recognise_table(found) is None
    return why_unknown(found.columns)


def test_earlier_turns_are_read_and_not_learned() -> None:
    row = {"instruction": "And on Saturday?", "input": "", "output": "Till 4."}
    pairs = [["When do you open?", "At 9."]]
    assert taught([{**row, "history": pairs}]) == [
        "When do you open? > (At 9.) | And on Saturday? > Till 4."
    ]
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert taught([{**row, "history": turns}]) == ["a > (b) | And on Saturday? > Till 4."]
    assert taught([{**row, "history": []}, {**row, "history": pairs}])[0] == (
        "And on Saturday? > Till 4."
    )
    assert "no list of turns" in taught([{**row, "history": "we spoke"}])[0]


def test_replies_marked_as_bad_are_not_taught() -> None:
    rows = [{"messages": ASKED_AND_REPLIED, "label": mark} for mark in (True, False, "Yes", 0)]
    bad = "The column “label” marks this reply as bad, so it is not taught."
    assert taught(rows) == ["Hi > Hello", bad, "Hi > Hello", bad]
    rows = [{"prompt": "Hi", "completion": "Ho", "label": mark} for mark in (True, False)]
    assert taught(rows) == ["Hi > Ho", bad]
    # A column of that name with something else in it is asked about.
    assert "“label” may say which replies" in asked([{"messages": ASKED_AND_REPLIED, "label": "x"}])


@pytest.mark.parametrize("name", ["rating", "rejected", "score"])
def test_opinions_are_asked_about(name: str) -> None:
    rows = [{"question": "a", "answer": "b", name: "3"}]
    assert f"“{name}” may say which replies are good" in asked(rows)
    layout = choose(table(rows), {"question": "question", "reply": "answer"})
    assert layout and unused_columns(table(rows), layout) == (name,)


def test_chosen_replies_are_taught_and_rejected_ones_named() -> None:
    rows = [{"prompt": "a", "chosen": "b", "rejected": "c"}]
    layout = recognise_table(table(rows))
    assert taught(rows) == ["a > b"] and layout
    assert unused_columns(table(rows), layout) == ("rejected",)
    assert layout.remarks == ("The chosen replies are taught; rejected ones are not used.",)
    whole = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert taught([{"prompt": "a", "chosen": whole, "rejected": whole}]) == ["a > b"]
    assert taught([{"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "x"}]) == ["a > b"]
    assert "another than the one" in taught([{"prompt": "z", "chosen": whole}])[0]
    share = {"conversations": [{"from": "human", "value": "a"}]}
    row = {**share, "chosen": {"from": "gpt", "value": "b"}, "rejected": {"from": "gpt"}}
    assert taught([row]) == ["a > b"]
    parts = [{**turn, "content": [{"type": "text", "value": turn["content"]}]} for turn in whole]
    assert taught([{"chosen_messages": parts, "rejected_messages": parts}]) == ["a > b"]


def test_options_stand_below_the_question() -> None:
    row = {"question": "Largest?", "options": ["ant", "whale"]}
    whale = "Largest?\n\nOptions:\n(A) ant\n(B) whale > "
    assert taught([{**row, "answer": "B"}]) == [f"{whale}B"]
    assert taught([{**row, "answer": "whale"}]) == [f"{whale}whale"]
    assert "“E” is none of the 2 options" in taught([{**row, "answer": "E"}])[0]
    labels = {"question": "q", "choices": {"text": ["x", "y"], "label": ["1", "2"]}}
    assert taught([{**labels, "answerKey": "2"}]) == ["q\n\nOptions:\n(1) x\n(2) y > 2"]
    apart = {"question": "q", "A": "x", "B": "y", "answer": "A"}
    assert taught([apart]) == ["q\n\nOptions:\n(A) x\n(B) y > A"]
    assert (
        "cannot be told apart" in taught([{**row, "options": "ant or whale", "answer": "ant"}])[0]
    )


@pytest.mark.parametrize("count", [26, 27])
def test_there_are_as_many_options_as_letters(count: int) -> None:
    columns = {f"c{number}": f"text {number}" for number in range(count)}
    found = table([{"question": "Which?", "answer": "text 2", **columns}])
    layout = choose(found, {"options": tuple(columns)})
    assert layout
    if count == 26:
        asked = read_row(found.rows[0], layout).exchanges[0].question
        assert asked.endswith("(Y) text 24\n(Z) text 25")
    else:
        with pytest.raises(DataError, match="a list of at most 26 texts"):
            read_row(found.rows[0], layout)


def test_numbers_of_options_become_letters() -> None:
    rows = [{"question": f"q{n}", "choices": ["x", "y"], "answer": n} for n in (0, 1)]
    letters = [line.rpartition(" > ")[2] for line in taught(rows)]
    assert letters == ["The answer is (A).", "The answer is (B)."]
    rows = [{"question": f"q{n}", "choices": ["x", "y"], "answer": n} for n in (1, 2)]
    letters = [line.rpartition(" > ")[2] for line in taught(rows)]
    assert letters == ["The answer is (A).", "The answer is (B)."]
    rows = [{"question": f"q{n}", "choices": ["x", "y"], "answer": n} for n in (0, 5)]
    assert "counted from 0 to 1" in taught(rows)[1]
    numbers = [{"question": "2 + 2?", "choices": ["3", "4"], "answer": "4"}]
    assert taught(numbers)[0].endswith("(B) 4 > 4")


def test_what_a_question_is_about_follows_it() -> None:
    row = {"question": "is it so?", "passage": "It is.", "hint": "Look.", "label": False}
    assert taught([row]) == ["is it so?\n\nIt is.\n\nLook. > false"]


def test_tools_and_sounds_bar_a_row() -> None:
    rows = [{"messages": ASKED_AND_REPLIED, "tools": tools} for tools in ('[{"name": "f"}]', "[]")]
    barred, fine = taught(rows)
    assert "gives the assistant tools" in barred and fine == "Hi > Hello"
    row = {"messages": ASKED_AND_REPLIED, "audios": ["1.mp3"]}
    assert "a sound or a film (“1.mp3”)" in taught([row])[0]
    call = {"role": "assistant", "content": "x", "tool_calls": [{"name": "f"}]}
    assert "calls a tool" in taught([{"messages": [*Q1, call]}])[0]
    for mark in ("<start_function_call>call:f{}<end_function_call>", "<tool_call>{}</tool_call>"):
        assert "uses a tool" in taught([{"question": "Q", "answer": mark}])[0]
    gemma = "<start_of_turn>user\nQ<end_of_turn>\n<start_of_turn>model\n<start_function_call>"
    assert "uses a tool" in taught([{"text": gemma}])[0]
    assert taught([{"question": "What is `<tool_call>`?", "answer": "A mark."}])[0].endswith(
        "A mark."
    )


@pytest.mark.parametrize(
    "mark",
    [
        *({"weight": 0}, {"weight": "0"}, {"loss_weight": 0.0}, {"weight": -1}),
        *({"train": False}, {"trainable": "no"}, {"loss": "False"}, {"Loss-Mask": 0}),
        *({"masked": True}, {"ignore": 1}),
    ],
    ids=str,
)
def test_marks_on_turns_are_read_in_every_spelling(mark: dict[str, object]) -> None:
    draft = {"role": "assistant", "content": "draft", **mark}
    assert taught([{"messages": [*Q1, draft, *REST]}]) == ["Q1 > (draft) | Q2 > final"]
    share = [
        {"from": {"user": "human"}.get(str(turn["role"]), "gpt"), "value": turn["content"], **more}
        for turn, more in zip([*Q1, draft, *REST], ({}, mark, {}, {}), strict=True)
    ]
    assert taught([{"conversations": share}]) == ["Q1 > (draft) | Q2 > final"]


@pytest.mark.parametrize("mark", [{"weight": 1}, {"train": True}, {"loss": None}, {"masked": 0}])
def test_marks_that_say_yes(mark: dict[str, object]) -> None:
    draft = {"role": "assistant", "content": "draft", **mark}
    talk = first([{"messages": [*Q1, draft, *REST]}])
    assert all(turn.learn for turn in talk.exchanges) and not talk.repairs


def test_other_marks_are_named_or_refused() -> None:
    draft = {"role": "assistant", "content": "draft"}
    half = first([{"messages": [*Q1, {**draft, "weight": 0.5}]}])
    assert half.repairs == ("turn 2: its weight 0.5 counts as 1",)
    odd = taught([{"messages": [*Q1, {**draft, "train": "perhaps"}]}])
    assert "Turn 2 has the mark “train”: “perhaps”" in odd[0]
    named = first([{"messages": [*Q1, {**draft, "reasoning_content": "Hm."}]}])
    assert named.repairs == ("turn 2: “reasoning_content” is not used",)


@pytest.mark.parametrize(
    "question",
    [
        "<image>\nWhat colour?",
        "What colour?\n<image>",
        "<|image_1|>What colour?",
        "<image> What colour?",
    ],
)
def test_a_stand_in_for_the_picture_is_never_text(question: str) -> None:
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": "Red."}]
    row = {"id": "1", "image": "a.png", "conversations": turns}
    assert taught([row], {"a.png": png()}) == ["What colour? > Red. [a.png]"]
    assert "no picture is named" in taught([{"conversations": turns}])[0]
    assert "“a.png” is not in the upload" in taught([row])[0]


def test_stand_ins_that_cannot_be_resolved() -> None:
    pair = {"question": "Look: <image> and <image>", "answer": "b", "image": "a.png"}
    assert "points to 2 pictures" in taught([pair], {"a.png": png()})[0]
    assert "replies are text alone" in taught([{"question": "a", "answer": "<image>"}])[0]
    assert "needs a sound" in taught([{"question": "<audio>What?", "answer": "b"}])[0]
    html = "How do I close <video> in HTML?"
    talk = first([{"question": html, "answer": "With </video>."}])
    assert talk.exchanges[0].question == html
    assert talk.repairs == ("question: “<video>” is taught as text",)


def test_gaps_that_were_never_filled() -> None:
    gap = taught([{"question": "Who are you?", "answer": "I am {{name}}."}])[0]
    assert "the gap “{{name}}”, which was never filled" in gap
    talk = first([{"question": "Vue?", "answer": "<p>{{ name }}</p>"}])
    assert talk.repairs == ("reply: “{{ name }}” is taught as text, as in a template",)


def test_a_list_of_one_picture_is_that_picture() -> None:
    pictures = {"a.png": png(), "b.png": BLUE}
    row = {"messages": [{"role": "user", "content": "<image>Hi"}, ASKED_AND_REPLIED[1]]}
    assert taught([{**row, "images": ["a.png"]}], pictures) == ["Hi > Hello [a.png]"]
    assert "about 2 pictures" in taught([{**row, "images": ["a.png", "b.png"]}], pictures)[0]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image"},
        {"type": "image_url", "image_url": {"url": "a.png"}},
        {"type": "image", "path": "a.png"},
        {"type": "image_url", "value": "a.png"},
    ],
)
def test_parts_of_kind_image(part: dict[str, object]) -> None:
    turns = [
        {"role": "user", "content": [part, {"type": "text", "text": "Colour?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Red."}]},
    ]
    named = len(part) > 1
    row = {"messages": turns, **({} if named else {"images": ["a.png"]})}
    assert taught([row], {"a.png": png()}) == ["Colour? > Red. [a.png]"]
    sound = {"role": "user", "content": [{"type": "input_audio", "text": "x"}]}
    assert "a part of kind “input_audio”" in taught([{"messages": [sound, turns[1]]}])[0]


def test_a_picture_of_another_kind_is_said_to_be_one() -> None:
    rows = [{"image": name, "question": "a", "answer": "b"} for name in ("a.heic", "b.bmp")]
    pictures = {"a.heic": b"\0\0\0\x18ftypheic" + bytes(80), "b.bmp": b"BM" + bytes(80)}
    heic, bmp = taught(rows, pictures)
    assert "“a.heic”: This file is a HEIC or AVIF photo" in heic
    assert "“b.bmp”: This file is a BMP picture" in bmp


def test_objects_by_their_id() -> None:
    rows = {str(n): {"question": f"What is {n}?", "answer": str(n)} for n in range(1500)}
    found = table(rows)
    assert len(found.rows) == 1500 and found.rows[7].cells["id"] == "7"
    assert taught(rows)[7] == "What is 7? > 7"
    problem = {"question": "q", "choices": ["x", "y"], "answer": 1, "hint": "", "image": None}
    problems = {"1": {**problem, "split": "train"}, "2": {**problem, "image": "image.png"}}
    fine, barred = taught(problems)
    assert fine == "q\n\nOptions:\n(A) x\n(B) y > The answer is (B)."
    assert "“2/image.png” is not in the upload" in barred


def test_columns_that_a_person_names() -> None:
    found = read_table(b"Vorne;Hinten\nWas?;Ein Test\n")
    assert recognise_table(found) is None
    layout = choose(found, {"question": "Vorne", "reply": "Hinten", "picture": None})
    assert layout and read_row(found.rows[0], layout).exchanges == (Exchange("Was?", "Ein Test"),)
    with pytest.raises(DataError, match="no column “Vornes”. It has Vorne, Hinten"):
        choose(found, {"question": "Vornes", "reply": "Hinten"})
    pairs = table([{"question": "a", "answer": "b", "notes": "c"}])
    layout = choose(pairs, {"reply": "notes"})
    assert layout and read_row(pairs.rows[0], layout).exchanges == (Exchange("a", "c"),)
    assert unused_columns(pairs, layout) == ("answer",)


def test_captions_get_a_question() -> None:
    rows = [{"file_name": "a.png", "text": "A red square."}]
    assert taught(rows, {"a.png": png()}) == ["Describe the picture. > A red square. [a.png]"]
    rows = [{"image": "a.png", "label": "cat"}]
    assert taught(rows, {"a.png": png()}) == ["What is in the picture? > cat [a.png]"]
    coco = {
        "images": [{"id": 9, "file_name": "a.png"}],
        "annotations": [{"id": 1, "image_id": 9, "caption": "A square."}],
    }
    assert taught(coco, {"a.png": png()}) == ["Describe the picture. > A square. [a.png]"]


@pytest.mark.parametrize(
    "text",
    [
        "### Human: Hi### Assistant: Hello!",
        "Human: Hi\nAssistant: Hello!",
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello!<|im_end|>",
        "<|user|>\nHi</s>\n<|assistant|>\nHello!</s>",
        "<s>[INST] Hi [/INST] Hello! </s>",
        "### Instruction:\nHi\n\n### Response:\nHello!",
    ],
)
def test_texts_that_mark_who_speaks(text: str) -> None:
    assert taught([{"text": text}]) == ["Hi > Hello!"]


def test_plain_texts_are_learned_unless_a_column_may_change_them() -> None:
    found = recognise_table(table([{"text": "Once upon a time.", "url": "x"}]))
    assert found and found.text == "text" and "learned as it stands" in found.remarks[0]
    assert "may say which replies are good" in asked([{"text": "Once.", "score": 1}])


def test_turns_in_prompt_and_completion() -> None:
    prompt = [{"role": "user", "content": "Sky?"}]
    reply = [{"role": "assistant", "content": "Blue."}]
    assert taught([{"prompt": prompt, "completion": reply}]) == ["Sky? > Blue."]
    assert taught([{"prompt": "Sky?", "completion": reply}]) == ["Sky? > Blue."]
    assert taught([{"prompt": prompt, "completion": "Blue."}]) == ["Sky? > Blue."]
    before = [*prompt, *reply, {"role": "user", "content": "Sure?"}]
    assert taught([{"prompt": before, "completion": "Yes."}]) == ["Sky? > (Blue.) | Sure? > Yes."]


def test_nothing_is_left_out_beside_turns() -> None:
    prompt = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Sky?"}]
    row = {"prompt": prompt, "completion": "Blue.", "system": "Be brief.", "context": "Dawn."}
    talk = first([row])
    assert talk.system == "Be brief.\n\nBe kind."
    assert talk.repairs == ("“context” is not used beside turns",)


def test_one_of_several_answers_is_taught() -> None:
    row = {"image": "a.png", "question": "Colour?"}
    answers = [["red", "dark red"], ["a", "b", "b"], [{"answer": "blue", "confidence": "yes"}]]
    rows = [{**row, "answer": answer} for answer in answers]
    said = [line.split(" > ")[1] for line in taught(rows, {"a.png": png()})]
    assert said == ["red [a.png]", "b [a.png]", "blue [a.png]"]
    talk = first([{"question": "a", "answers": {"text": ["x"], "answer_start": [3]}}])
    assert talk.exchanges[0].reply == "x"
    assert first([{"question": "a", "answer": ["x", "y", "y"]}]).repairs == (
        "reply: the commonest of 3 answers is taught",
    )


def test_pictures_by_their_number() -> None:
    rows = [{"image_id": 9, "question": "a", "answer": "b"}]
    pictures = {"COCO_train2014_000000000009.png": png(), "COCO_train2014_000000000019.png": BLUE}
    assert taught(rows, pictures) == ["a > b [COCO_train2014_000000000009.png]"]
    rows = [{"image": "a", "question": "a", "answer": "b"}]
    assert taught(rows, {"a.png": png()}) == ["a > b [a.png]"]


def test_a_folder_for_each_class() -> None:
    names = ["train/red_shirt/1.png", "train/hat/2.png", "test/hat/3.png"]
    found = read_table(packed({name: png() for name in names}))
    layout = recognise_table(found)
    assert layout and found.notes == (CLASSES.format(what="zip"),)
    talks = [read_row(row, layout) for row in found.rows]
    assert [(t.exchanges[0].reply, t.split) for t in talks] == [
        ("red shirt", "train"),
        ("hat", "train"),
        ("hat", "test"),
    ]
    assert {t.exchanges[0].question for t in talks} == {"What is in the picture?"}
    for other in (
        ("a/1.png", "a/2.png"),
        ("train2014/1.png", "val2014/2.png"),
        ("1.png", "a/2.png"),
    ):
        with pytest.raises(DataError, match="2 pictures and no table"):
            read_table(packed({name: png() for name in other}))


def test_several_instances_of_one_instruction() -> None:
    seed = {"instruction": "Add.", "instances": [{"input": "1 1", "output": "2"}, {"output": "3"}]}
    assert taught([seed]) == ["Add.\n\n1 1 > 2", "Add. > 3"]


def test_turns_before_a_question_are_read_and_not_learned() -> None:
    said = "<user>: Where is my parcel? <bot>: On its way. <user>: When will it come?"
    layout = Layout(QA, "question", "answer")
    for question in (said, f"{said} <bot>:"):
        read = read_row(TableRow(1, {"question": question, "answer": "Tomorrow."}), layout)
        assert [(e.question, e.reply, e.learn) for e in read.exchanges] == [
            ("Where is my parcel?", "On its way.", False),
            ("When will it come?", "Tomorrow.", True),
        ]
    alone = TableRow(1, {"question": "<user>: Where is it?", "answer": "Here."})
    assert read_row(alone, layout).exchanges[0].question == "Where is it?"
    told = "What does Human: mean in a chat?"
    plain = read_row(TableRow(1, {"question": told, "answer": "A person."}), layout)
    assert plain.exchanges[0].question == told
