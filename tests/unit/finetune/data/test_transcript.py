"""Texts in which each line says who speaks."""

from demo.finetune.data.columns import recognise_table
from demo.finetune.data.read import read_table
from demo.finetune.data.rows import read_row
from demo.finetune.data.transcript import speakers


def taught(text: str) -> list[str]:
    table = read_table(text.encode())
    layout = recognise_table(table)
    assert layout and layout.name == "chat"
    talks = (read_row(row, layout).exchanges for row in table.rows)
    return [" | ".join(f"{turn.question} > {turn.reply}" for turn in talk) for talk in talks]


def test_each_question_called_q_is_a_row_of_its_own() -> None:
    text = "Q: Where, and when?\nA: At nine.\nBring a coat.\nQ: Who?\nA: I.\n\nQ: Why?\nA: So."
    assert taught(text) == ["Where, and when? > At nine.\nBring a coat.", "Who? > I.", "Why? > So."]


def test_speakers_take_turns_until_a_mark_or_an_empty_line() -> None:
    text = "USER: hi, you\nAIRA: yes, I\n<|endoftext|>\nUSER: so\nAIRA: there\nUSER: go\nAIRA: no"
    assert taught(text) == ["hi, you > yes, I", "so > there | go > no"]


def test_a_long_talk_is_cut_before_a_question() -> None:
    talks = taught("".join(f"Customer: q{i}\nAgent: a{i}\n" for i in range(40)))
    assert [talk.count(">") for talk in talks] == [16, 16, 8]
    assert talks[1].startswith("q16 > a16")


def test_a_play_and_a_list_of_facts_are_none() -> None:
    play = "Romeo: It is the east.\nJuliet: Who is there?\n" * 4
    table = read_table(play.encode())
    assert "“" not in "".join(table.notes) and table.columns == ("text",)


def test_speakers_may_stand_in_brackets() -> None:
    text = "(user): hi {0}\n(system): yes {0}, I am\n\n"
    assert taught("".join(map(text.format, range(3))))[1] == "hi 1 > yes 1, I am"
    text = "[Customer]: hi {0}\n[Agent]: yes {0}, I am\n\n"
    assert taught("".join(map(text.format, range(3))))[2] == "hi 2 > yes 2, I am"


def test_one_pair_is_enough_where_both_names_are_known() -> None:
    assert speakers("Q: What is tea?\nA: A drink.") == ("Q", "A")
    assert speakers("Человек: Привет\nБот: Здравствуйте!") == ("Человек", "Бот")
    assert taught("Q1: What is tea?\nA1: A drink.\nQ2: Who?\nA2: I.") == [
        "What is tea? > A drink.",
        "Who? > I.",
    ]
    assert taught("**Q**. What is tea?\n\n**A**. A drink.\nHot.\n\nQ. Who?\n\nA. I.") == [
        "What is tea? > A drink.\nHot.",
        "Who? > I.",
    ]
    titled = read_table(b"# FAQ\n\nQ: Who?\nA: I.")
    assert [len(titled.rows), titled.notes[1]] == [
        1,
        "1 lines before the first speaker are left out.",
    ]
    assert speakers("Q. Who?\nA. I.\nB. You.\nQ. When?\nA. Now.\nB. Then.") is None
    assert speakers("Q: What is tea?\nAnna: A drink.") is None


def test_two_of_any_name_talk_where_the_first_asks_or_both_are_numbered() -> None:
    text = "Speaker 1: Hello there.\nSpeaker 2: Hi.\nSpeaker 1: Bye.\nSpeaker 2: Bye."
    assert taught(text) == ["Hello there. > Hi. | Bye. > Bye."]
    text = "Anna: Open today?\nBo: At eight.\nAnna: And free?\nBo: No."
    assert taught(text) == ["Open today? > At eight. | And free? > No."]
    assert speakers("Name: Bob\nAge: 5\nName: Al\nAge: 6") is None
