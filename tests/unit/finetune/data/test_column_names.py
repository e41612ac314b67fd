"""Names of columns as shops, schools and bots write them, and what is told where none fits."""

import json
from typing import Any

import pytest

from demo.finetune.data.column_doubts import why_unknown
from demo.finetune.data.column_names import languages_of
from demo.finetune.data.columns import BY_MARKS, recognise, recognise_table
from demo.finetune.data.read import read_table
from demo.finetune.data.rows import read_row


def used(columns: str) -> str:
    layout = recognise(columns.split())
    return " ".join(layout.columns) if layout else ""


@pytest.mark.parametrize(
    "columns",
    [
        "pertanyaan jawaban",
        "fråga svar",
        "Întrebare Răspuns",
        "интервью_вопрос ответ",
        "سؤال جواب",
        "คำถาม คำตอบ",
        "câu_hỏi câu_trả_lời",
        "pregunta_faq respuesta",
        "core_question core_answer",
        "question gold_answer",
        "questionText answerText",
        "Preguntas Respuestas",
        "problem solution",
    ],
)
def test_names_in_other_words_and_languages(columns: str) -> None:
    assert used(columns) == columns


def test_ornaments_of_what_is_only_about_a_question() -> None:
    names = "main_node question_tag question_type core_question core_answer answer_id"
    assert used(names) == "core_question core_answer"
    assert used("question answer_type wrong_answer") == ""
    assert used("question_id answer_id") == ""


def test_answers_to_choose_from_in_other_languages() -> None:
    row = {
        "pregunta": "Which is wet?",
        "respuesta_a": "a stone",
        "respuesta_b": "water",
        "respuesta_correcta": "b",
    }
    table = read_table(json.dumps([row]).encode())
    layout = recognise_table(table)
    assert layout and layout.options == ("respuesta_a", "respuesta_b")
    (turn,) = read_row(table.rows[0], layout).exchanges
    assert turn.question.endswith("(A) a stone\n(B) water")
    assert turn.reply == "B"


def test_a_column_of_questions_is_known_by_its_marks() -> None:
    rows = [
        {"id": "q1", "title": "Is it open?", "desc": "Every day but Sunday."},
        {"id": "q2", "title": "Are dogs welcome?", "desc": "Yes, they even get water."},
    ]
    table = read_table(json.dumps(rows).encode())
    layout = recognise_table(table)
    assert layout and (layout.name, layout.question, layout.reply) == (BY_MARKS, "title", "desc")
    assert "“title” holds questions, so “desc” is taken" in layout.remarks[0]
    split = [{**row, "split": "for training"} for row in rows]
    layout = recognise_table(read_table(json.dumps(split).encode()))
    assert layout and layout.reply == "desc"
    more = [{**row, "note": f"Some words about {row['id']}."} for row in rows]
    assert recognise_table(read_table(json.dumps(more).encode())) is None


def test_half_known_pairs() -> None:
    rows = [{"titulo": "Open?", "respuesta": "Yes."}, {"titulo": "Paid?", "respuesta": "No."}]
    layout = recognise_table(read_table(json.dumps(rows).encode()))
    assert layout and (layout.question, layout.reply) == ("titulo", "respuesta")
    assert used("pregunta correcta incorrecta1 incorrecta2") == "pregunta correcta"
    assert used("Pergunta A B C Correta") == "Pergunta Correta A B C"
    marked = [{"question": "Who?", "correct": True}, {"question": "Why?", "correct": False}]
    assert recognise_table(read_table(json.dumps(marked).encode())) is None


def test_a_subset_may_be_another_than_train_and_test() -> None:
    rows = [{"input": "a", "output": "b", "subset": "wiki"}]
    layout = recognise_table(read_table(json.dumps(rows).encode()))
    assert layout and layout.split is None
    dev = {**rows[0], "subset": "dev"}
    layout = recognise_table(read_table(json.dumps([dev]).encode()))
    assert layout and layout.split is None  # a file that is all of one part
    layout = recognise_table(read_table(json.dumps([dev, {**dev, "subset": "train"}]).encode()))
    assert layout and layout.split == "subset"


def test_the_body_of_a_problem_belongs_to_its_question() -> None:
    layout = recognise(["Body", "Question", "Answer"])
    assert layout and (layout.question, layout.input) == ("Question", "Body")


def test_questions_that_nobody_answers_are_not_learned() -> None:
    for rows in (
        [{"question_id": 1, "text": "Name a tree."}, {"question_id": 2, "text": "Name a fish."}],
        [{"image": "a.png", "text": "What is it?"}, {"image": "b.png", "text": "Who is it?"}],
    ):
        table = read_table(json.dumps(rows).encode())
        assert recognise_table(table) is None
        assert "seems to hold one half alone" in why_unknown(table.columns)


def test_what_kind_a_text_is_of_is_asked_about() -> None:
    for name in ("intent", "Sentiment", "emotion", "class", "label"):
        rows = [{"text": "Show all tables.", name: "show"}, {"text": "Add a row.", name: "add"}]
        table = read_table(json.dumps(rows).encode())
        assert recognise_table(table) is None
        assert f"“{name}” as the reply by hand" in why_unknown(table.columns)


def test_cards_have_a_question_and_an_answer() -> None:
    for first, second in (("front", "back"), ("Term", "Definition"), ("User Message", "Bot Reply")):
        layout = recognise(["id", first, second])
        assert layout and (layout.question, layout.reply) == (first, second)


def test_half_a_pair_is_named() -> None:
    assert "“prompt” may be the question, and no column's name says" in why_unknown(
        ["prompt", "ability"]
    )
    assert "“completion” may be the reply" in why_unknown(["completion", "pass_rate"])


@pytest.mark.parametrize(
    "columns",
    [
        ("eng", "rus"),
        ("english", "russian", "category"),
        ("English Term", "Spanish term", "source"),
        ("id", "deu", "fra"),
    ],
)
def test_languages_are_found_by_codes_words_and_beside_what_sorts(columns: tuple[str, ...]) -> None:
    spoken = [name for name in columns if name not in ("category", "source", "id")]
    assert languages_of(columns) == tuple(spoken)


@pytest.mark.parametrize(
    "columns", [("en", "en"), ("en", "de", "fr"), ("en", "de", "notes"), ("en", "text"), ("en",)]
)
def test_one_language_or_three_or_another_text_is_no_translation(columns: tuple[str, ...]) -> None:
    assert languages_of(columns) is None


FELL, RAN = "The man fell from the roof.", "He ran home at once."


@pytest.mark.parametrize(
    ("row", "question", "reply"),
    [
        (
            {"sentence1": FELL, "sentence2": RAN, "gold_label": "neutral"},
            f"{FELL}\n\n{RAN}",
            "neutral",
        ),
        ({"premise": FELL, "hypothesis": RAN, "label": 2, "idx": 0}, f"{FELL}\n\n{RAN}", "2"),
        (
            {"qid1": 1, "question1": "Why?", "question2": "How?", "is_duplicate": 0},
            "Why?\n\nHow?",
            "0",
        ),
        (
            {"question": "Who fell?", "sentence": FELL, "label": "entailment"},
            f"Who fell?\n\n{FELL}",
            "entailment",
        ),
        (
            {
                "premise": FELL,
                "choice1": RAN,
                "choice2": "He slept.",
                "question": "cause",
                "label": 0,
            },
            f"cause\n\n{FELL}\n\nOptions:\n(A) {RAN}\n(B) He slept.",
            "The answer is (A).",
        ),
        (
            {"goal": "Clean it", "sol1": "Use soap.", "sol2": "Use sand.", "label": 0},
            "Clean it\n\nOptions:\n(A) Use soap.\n(B) Use sand.",
            "The answer is (A).",
        ),
        (
            {
                "ctx": FELL,
                "activity_label": "roof",
                "endings": ["He sat.", "He slept."],
                "label": "0",
            },
            f"{FELL}\n\nOptions:\n(A) He sat.\n(B) He slept.",
            "The answer is (A).",
        ),
        (
            {"sentence": "The cat saw _.", "option1": "a bird", "option2": "a dog", "answer": "1"},
            "The cat saw _.\n\nOptions:\n(A) a bird\n(B) a dog",
            "The answer is (A).",
        ),
        (
            {"context": FELL, "query": "Who?", "options": ["He", "She"], "correct_option": 0},
            f"Who?\n\n{FELL}\n\nOptions:\n(A) He\n(B) She",
            "The answer is (A).",
        ),
        (
            {"question": "Where?", "opa": "lung", "opb": "liver", "cop": 0, "exp": "It is so."},
            "Where?\n\nOptions:\n(A) lung\n(B) liver",
            "The answer is (A).",
        ),
        (
            {"question": "Who?", "answer": {"aliases": ["Cat", "Puss"], "value": "The cat"}},
            "Who?",
            "The cat",
        ),
        (
            {"dialogue": "Ann: Hi!\nBen: Hello.", "summary": "They greet."},
            "Ann: Hi!\nBen: Hello.",
            "They greet.",
        ),
        ({"article": FELL, "highlights": RAN, "id": "a"}, FELL, RAN),
        (
            {"task_id": "1", "prompt": "def f():", "canonical_solution": "return 1", "test": "f()"},
            "def f():",
            "return 1",
        ),
        ({"inputs": "Say yes.", "targets": "Yes.", "_task_name": "t"}, "Say yes.", "Yes."),
        ({"word": "house", "translation": "Haus"}, "house", "Haus"),
        ({"영어": "Hello", "번역문": "안녕"}, "Hello", "안녕"),
        ({"Español": "Hola", "English": "Hello"}, "Hola", "Hello"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_rows_of_published_benchmarks(row: dict[str, Any], question: str, reply: str) -> None:
    number = {name: 1 for name in ("label", "correct_option", "cop") if row.get(name) == 0}
    other = {**row, **number, **({"answer": "2"} if "option1" in row else {})}
    table = read_table(json.dumps([row, other]).encode())
    layout = recognise_table(table)
    assert layout
    (turn,) = read_row(table.rows[0], layout).exchanges
    assert (turn.question, turn.reply) == (question, reply)


def test_a_talk_of_turns_beside_its_summary_stays_a_talk() -> None:
    talk = [{"role": "user", "content": "Hi!"}, {"role": "assistant", "content": "Hello."}]
    layout = recognise_table(
        read_table(json.dumps([{"dialogue": talk, "summary": "Hi."}]).encode())
    )
    assert layout and layout.chat == "dialogue"


def test_a_text_beside_its_summary_and_more_is_no_plain_text() -> None:
    row = {
        "text": "Write a function.",
        "tldr": "Write one.",
        "more": "Tell of it at length, please.",
    }
    assert recognise_table(read_table(json.dumps([row]).encode())) is None


def test_a_translation_beside_a_quiz_is_no_reply() -> None:
    names = "genre sentence option1 option2 elements title body translation"
    assert recognise(names.split()) is None
