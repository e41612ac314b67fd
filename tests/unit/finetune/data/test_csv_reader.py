"""Sheets as people write them by hand, and in the encodings of their countries."""

import pytest

from demo.finetune.data.columns import recognise_table
from demo.finetune.data.read import read_table
from demo.finetune.data.rows import read_row
from demo.finetune.data.table import Table


def taught(table: Table) -> list[str]:
    layout = recognise_table(table)
    assert layout
    talks = (read_row(row, layout).exchanges for row in table.rows)
    return [" | ".join(f"{turn.question} > {turn.reply}" for turn in talk) for talk in talks]


def test_spaces_before_double_quotes() -> None:
    text = 'Question,Answer\n"Open?", "Yes, daily."\n"Paid?", "No, free."\n'
    assert taught(read_table(text.encode())) == ["Open? > Yes, daily.", "Paid? > No, free."]


def test_commas_inside_sentences_without_quotes() -> None:
    text = "id,question,answer\n1,Open?,Yes, daily, from 9.\n2,Far?,About 1,500 m.\n3,Dear?,No.\n"
    table = read_table(text.encode())
    assert taught(table) == ["Open? > Yes, daily, from 9.", "Far? > About 1,500 m.", "Dear? > No."]
    assert table.notes[-1].startswith("In 2 rows a comma without double quotes")
    unclear = read_table(b"question,answer\na,b,c\nd,e\n")
    assert "It has 3 cells" in unclear.faults[0].reason


@pytest.mark.parametrize(
    "text",
    [
        "question|answer\nOpen?|Yes, daily\nPaid?|No\n",
        "| question | answer |\n|---|:---:|\n| Open? | Yes, daily |\n| Paid? | No |\n",
        "sep=|\nquestion|answer\nOpen?|Yes, daily\nPaid?|No\n",
        'Our shop\'s list,\nquestion,answer\nOpen?,"Yes, daily"\nPaid?,No\n',
    ],
)
def test_bars_and_headings(text: str) -> None:
    assert taught(read_table(text.encode())) == ["Open? > Yes, daily", "Paid? > No"]


def test_one_column_of_marked_talks() -> None:
    text = '"text"\n"<s>Human: Hi, you\n</s><s>Assistant: Ahoy\n</s>"\n'
    text += '"<s>Human: a</s><s>Assistant: b"\n'
    assert taught(read_table(text.encode())) == ["Hi, you > Ahoy", "a > b"]
    gemma = "text\n<bos><start_of_turn>user Hi<end_of_turn><start_of_turn>model Ahoy<end_of_turn>\n"
    assert taught(read_table(gemma.encode())) == ["Hi > Ahoy"]


@pytest.mark.parametrize(
    ("encoding", "name", "question", "reply"),
    [
        ("cp1251", "Cyrillic", "Когда вы открыты?", "Каждый день с девяти до шести."),
        ("koi8_r", "Cyrillic", "Когда вы открыты?", "Каждый день с девяти до шести."),
        ("gb18030", "Chinese", "你们几点开门?", "我们每天上午九点开门，晚上六点关门。"),
        ("cp932", "Japanese", "駐車場はありますか？", "はい、無料でご利用いただけます。"),
        ("cp949", "Korean", "영업시간이 어떻게 되나요?", "매일 오전 9시부터 오후 6시까지입니다."),
        ("cp1250", "Central", "Mohu zboží vrátit?", "Ano, příští pátek máte otevřeno."),
        (
            "cp1254",
            "Turkish",
            "İade edebilir miyim?",
            "Evet, açığız, yedi gün içinde değişir.",
        ),
        ("cp1252", "Windows-1252", "¿Cuándo abren?", "Todos los días después de la mañana."),
        ("utf-16", "", "Wann öffnen Sie?", "Täglich um neun."),
        ("utf-8-sig", "", "Wann öffnen Sie?", "Täglich um neun."),
    ],
)
def test_encodings_of_old_sheets(encoding: str, name: str, question: str, reply: str) -> None:
    text = "question;answer\n" + f"{question};{reply}\n" * 3
    table = read_table(text.encode(encoding))
    assert taught(table) == [f"{question} > {reply}"] * 3
    assert all(name in note for note in table.notes if "UTF-8" in note)
    assert any("UTF-8" in note for note in table.notes) == bool(name)


def test_marks_of_other_models_are_not_taught_and_html_is_named() -> None:
    rows = "prompt,completion\na, b<|endoftext|>\nc,d</s>\ne,f<br>g\nh,x <s>old</s>\n"
    table = read_table(rows.encode())
    assert taught(table) == ["a > b", "c > d", "e > f<br>g", "h > x <s>old</s>"]
    layout = recognise_table(table)
    assert layout
    assert "reply: HTML is taught as it stands" in read_row(table.rows[2], layout).repairs
    closed = read_table(b"prompt,completion\na,<p>It is&#160;so.</p>\nb,Write `<p>x</p>`.\n")
    assert [read_row(row, layout).repairs for row in closed.rows] == [
        ("reply: HTML is taught as it stands",),
        (),
    ]


def test_lines_of_comment_are_left_out_and_said() -> None:
    head = "// made by hand, 2024\n# for the bot\n"
    rows = "question,answer\nWho?,I\n// more, later, on\n//\nWhy?,So\n//x,a comment in C\n"
    table = read_table(f"{head}{rows}".encode())
    assert [tuple(row.cells.values()) for row in table.rows] == [
        ("Who?", "I"), ("Why?", "So"), ("//x", "a comment in C"),
    ]  # fmt: skip
    assert [row.number for row in table.rows] == [4, 7, 8]
    assert "2 lines that begin with //" in table.notes[-1] and "above" in table.notes[0]
    numbered = read_table(b"#,question,answer\n1,Who?,I\n")
    assert numbered.columns == ("#", "question", "answer")


def test_one_dollar_between_pictures_and_captions_parts_them_and_prices_do_not() -> None:
    rows = (
        "1.jpg#0$A dog, brown and white, runs.\n1.jpg#1$Two, three dogs.\n2.jpg#0$A cat; asleep.\n"
    )
    table = read_table(rows.encode())
    layout = recognise_table(table)
    assert layout and (layout.name, layout.picture) == ("captions", "column 1")
    assert [read_row(row, layout).exchanges[0].reply for row in table.rows] == [
        "A dog, brown and white, runs.", "Two, three dogs.", "A cat; asleep.",
    ]  # fmt: skip
    headed = read_table(f"image$caption\n{rows}".encode())
    assert headed.columns == ("image", "caption") and len(headed.rows) == 3
    prices = read_table(b"question,answer\nWhat is it?,It is $5 a piece.\nAnd two?,They are $9.\n")
    assert prices.columns == ("question", "answer") and "$5" in prices.rows[0].cells["answer"]


@pytest.mark.parametrize(
    "back", ["next one, following", "next (no gender)", "the one that comes after this"]
)
def test_a_first_row_that_explains_names_no_columns(back: str) -> None:
    text = f"siguiente;{back}\nnada;nothing\nalgo;something\n"
    assert taught(read_table(text.encode()))[0] == f"siguiente > {back}"
    named = read_table(b"Question (English);Answer, short\nOpen?;Yes.\n")
    assert named.columns == ("Question (English)", "Answer, short")


def test_a_first_row_of_several_words_is_an_example() -> None:
    for first in ("Stand med samlede fødder,Moa seogi", "say hello,I'm a virtual agent"):
        table = read_table(f"{first}\nLang stand,Apgoobi\nHeste stand,Joochoom seogi\n".encode())
        assert table.columns == ("column 1", "column 2")
        assert len(table.rows) == 3
    named = read_table(b"Danish name,Korean name\nLang stand,Apgoobi\n")
    assert named.columns == ("Danish name", "Korean name")


def test_line_feeds_that_are_written_out_end_lines() -> None:
    table = read_table(b"Question\tAnswer\nWhere?\tIn Lyon.\\n\\nCome by.\nWhat?\tA $\\nu$.\n")
    assert [row.cells["Answer"] for row in table.rows] == ["In Lyon.\n\nCome by.", "A $\\nu$."]
    assert "“\\n” within texts is read as the end of a line." in table.notes
    with_commas = read_table(b"question,answer\nHow?,print('Hi.\\n')\n")
    assert with_commas.rows[0].cells["answer"] == "print('Hi.\\n')"


@pytest.mark.parametrize("name", ["Sr No.", "No.", "S.No.", "Nr.", "Sl. No.", "Num."])
def test_numbers_of_rows_may_be_called_in_short(name: str) -> None:
    table = read_table(f"{name},Utterance,Speaker\n1,Hello there.,Ann\n2,Hi!,Bob\n".encode())
    assert table.columns[0] == name or table.columns == ("messages",)


def test_names_that_stand_there_again_are_no_example() -> None:
    table = read_table(b"Question,Answer,Source\nOpen?,Daily.,a\nquestion,ANSWER,b\nPaid?,No.,c\n")
    assert taught(table) == ["Open? > Daily.", "Paid? > No."]
    (fault,) = table.faults
    assert fault.number == 3 and fault.reason.startswith("It says the columns' names again")
