"""Questions of a quiz, whose `answers` are options to choose from, and not replies.

Either another column says which of them is right (`correctIndex: 1`, `correct: "b"`), or each of
them says it of itself (`{"text": "Paris", "isCorrect": true}`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from demo.finetune.data.column_names import CORRECT, folded, known_as
from demo.finetune.data.table import Table, TableRow, plain, structure

LISTED = (
    *("answers", "options", "choices", "answeroptions", "alternatives"),
    *("respuestas", "respostas", "reponses", "antworten", "risposte"),
)
TEXTS = (
    *("text", "answer", "option", "content", "value", "answertext", "optiontext", "label"),
    *("texto", "texte", "testo", "respuesta", "opcion"),
)
SAYS = (*CORRECT, "escorrecta", "iscorrect", "right", "isright", "istrue", "true", "isanswer")
# What tells of one of the answers that it is right: its text, its letter or its number.
KEYS = {
    folded(name)
    for name in (
        *CORRECT,
        *("correctanswer", "correctindex", "correctanswerindex", "correctoption"),
        *("correctchoice", "correctanswers", "correctresponse", "rightanswer", "right", "solution"),
        *("answerindex", "answerkey", "answerid", "key", "correctkey", "correctanswerkey"),
        *("respuestacorrecta", "opcioncorrecta", "indicecorrecto", "indicecorrecta", "correctaidx"),
        *("respostacorreta", "alternativacorreta", "bonnereponse", "reponsecorrecte"),
        *("richtigeantwort", "korrekteantwort", "rispostacorretta", "правильныйответ"),
        *("正确答案", "正解", "정답", "dogrucevap"),
    )
}
NUMBERED = ("answer", "label")  # only where they say the number or the letter of one
MOST = 8  # answers to choose from
SAMPLED = 200  # rows by which a column is understood
RIGHT = "correct answer"
NOTE = "“{column}” holds answers to choose from, and says which is right: “{right}” is made of it."


def _lists(column: str) -> bool:
    """Tell whether a name is one for answers to choose from."""
    return known_as(column) == "options" or folded(column) in LISTED


def as_quiz(table: Table) -> Table:
    """Write answers that say of themselves whether they are right as options beside the right one.

    Other tables come back as they are.

    Args:
        table: as it was read.
    """
    column = next((name for name in table.columns if _lists(name)), None)
    if column is None or RIGHT in table.columns:
        return table
    rows, quiet = list[TableRow](), 0
    for row in table.rows:
        found = _told(structure(row.cells.get(column, "")))
        quiet += found is None
        if 2 * quiet > len(table.rows):
            return table
        if found is None:  # it has no reply then
            rows.append(replace(row, cells={**row.cells, RIGHT: ""}))
            continue
        texts, right = found
        cells = {**row.cells, column: json.dumps(texts, ensure_ascii=False), RIGHT: right}
        kept = tuple(note for note in row.repairs if not note.startswith(f"“{column}”"))
        rows.append(TableRow(row.number, cells, kept))
    if not rows:
        return table
    note = NOTE.format(column=column, right=RIGHT)
    columns = (*table.columns, RIGHT)
    return replace(table, columns=columns, rows=tuple(rows), notes=(*table.notes, note))


def first_option(table: Table, reply: str, options: Sequence[str]) -> int | None:
    """Tell what replies that are numbers count the first option as; None for other replies.

    Args:
        table: the rows.
        reply: the column of replies.
        options: the columns of the options, or the one that lists them.
    """
    lowest, highest, texts = 10**9, False, 0
    for row in table.rows:
        cell = row.cells.get(reply, "").strip()
        if not cell:
            continue
        if not cell.isdecimal() or len(cell) > 4:
            return None
        listed = [row.cells.get(column, "") for column in options]
        value = structure(listed[0]) if len(listed) == 1 else listed
        found = [plain(item) for item in value] if isinstance(value, list) else []
        texts += cell in found
        lowest = min(lowest, int(cell))
        highest = highest or int(cell) == len(found)
    if texts == len(table.rows) and not any(_is_number(row, reply) for row in table.rows):
        return None  # numbers to choose from, and the right one written out
    return 1 if lowest > 0 and highest else 0


def _key_of(table: Table, column: str) -> str | None:
    """Find the column that says which of a quiz's answers is right; None where there is no quiz.

    Args:
        table: the rows.
        column: that may list answers to choose from.
    """
    names = [name for name in table.filled_columns if name != column]
    if RIGHT in names:
        return RIGHT
    for wanted, numbered in ((KEYS, False), (NUMBERED, True)):
        for name in (name for name in names if folded(name) in wanted):
            sampled = (row.cells for row in table.rows[:SAMPLED])
            rows = [cells for cells in sampled if cells.get(name, "").strip()]
            if rows and all(_chooses(row, column, name, numbered=numbered) for row in rows):
                return name
    return None


def _chooses(row: Mapping[str, str], column: str, key: str, *, numbered: bool) -> bool:
    """Whether a row's key names one of its answers."""
    listed, said = structure(row.get(column, "")), row[key].strip()
    if not isinstance(listed, list | dict) or not 2 <= len(listed) <= MOST:
        return False
    texts = [plain(item) for item in (listed.values() if isinstance(listed, dict) else listed)]
    if any(text is None for text in texts) or len(set(texts)) < 2:
        return False
    labels = list(listed) if isinstance(listed, dict) else [*"ABCDEFGH"[: len(listed)]]
    by_place = said.isdecimal() and int(said) <= len(listed)
    by_letter = len(said) == 1 and said.upper() in map(str.upper, labels)
    return by_place or by_letter or said in labels or (not numbered and said in texts)


def quiz_columns(table: Table) -> tuple[str, str] | None:
    """Find the column of a quiz's answers and the one that says which is right, if it is one."""
    for column in table.filled_columns:
        if _lists(column) and (key := _key_of(table, column)):
            return column, key
    return None


def _told(value: Any) -> tuple[list[str], str] | None:
    """Read answers of which each says whether it is right: their texts, and the right one."""
    if not isinstance(value, list) or not 2 <= len(value) <= MOST:
        return None
    texts, right = list[str](), list[str]()
    for item in value:
        if not isinstance(item, dict):
            return None
        named = {folded(name): inner for name, inner in item.items()}
        given = (plain(named.get(name)) for name in TEXTS)
        text = next((text for text in given if text is not None), None)
        says = next((named[name] for name in SAYS if isinstance(named.get(name), bool)), None)
        if text is None or says is None:
            return None
        texts.append(text)
        right += [text] * says
    return (texts, "; ".join(right)) if right else None


def _is_number(row: TableRow, reply: str) -> bool:
    return any(repair.startswith(f"“{reply}”: a number") for repair in row.repairs)
