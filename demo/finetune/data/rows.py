"""What a row teaches: a question and its reply, or a conversation of several turns.

Rows are read as a `Layout` says. Small faults are repaired, and each repair is recorded; a row that
cannot be taught as it was meant is refused with the reason.
"""

import re
from collections.abc import Sequence
from typing import Any

from demo.errors import DataError
from demo.finetune.data.columns import Layout
from demo.finetune.data.conversation import (
    EXPECTED,
    SPLIT_NAMES,
    Cleaner,
    Exchange,
    Split,
    Spoken,
    TrainingConversation,
    is_turn,
    is_turns,
    normalise_name,
    pair_up,
    picture_names,
    read_turns,
)
from demo.finetune.data.marked_text import asked_in_turns, marked_turns
from demo.finetune.data.quiz_text import options_in_cell, without_marks
from demo.finetune.data.table import TableRow, commonest, excerpt, plain, structure, yes_or_no

STRUCTURE = ": a structure, taught as its JSON text"  # how `make_row` records a list or object
TOOLS = ("tools", "functions")
SOUNDS = ("audio", "audios", "video", "videos", "sound", "sounds", "speech")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ALIASES = {"aliases", "normalized_aliases"}  # of an answer, as TriviaQA has them
# Around a question alone, as prompts of other models have it.
AROUND = re.compile(
    r"\s*(?:human|user|question|q):\s(.*?)\s*\b(?:assistant|ai|bot|answer|a):\s*",
    re.IGNORECASE | re.DOTALL,
)
ADDRESSED = re.compile(r"\s*<(?:human|user|customer)>[ ]?:\s*(\S.*)", re.DOTALL)


def read_row(row: TableRow, layout: Layout) -> TrainingConversation:
    """Read what a row teaches.

    Raises:
        DataError: why the row cannot be used, to be shown with its number.
    """
    _refuse_barred(row, layout)
    _refuse_bad(row, layout)
    cleaner = Cleaner()
    if layout.text:
        return _plain(row, layout, cleaner)
    system = _text(row, layout.system, "system prompt", cleaner) or None
    pictures = _pictures(row, layout)
    spoken = _conversation(row, layout, cleaner)
    if spoken is None:
        exchanges: tuple[Exchange, ...] = (_pair(row, layout, cleaner),)
    else:
        own, exchanges = pair_up(spoken, cleaner)
        if own and system and own != system:
            own = f"{system}\n\n{own}"
        system = own or system
        _name_what_turns_leave(row, layout, cleaner)
        pictures += [name for turn in spoken for name in turn.pictures]
    if layout.history:
        exchanges = (*_history(row.cells.get(layout.history, ""), cleaner), *exchanges)
    picture = _one_picture(pictures, cleaner.stand_ins, needed=layout.picture is not None)
    split = _read_split(row, layout.split) if layout.split else None
    repairs = (*_repairs(row, layout, spoken is not None), *cleaner.notes)
    return TrainingConversation(exchanges, system, picture, split, repairs)


def _plain(row: TableRow, layout: Layout, cleaner: Cleaner) -> TrainingConversation:
    """Read a text that nobody asks for. Its length has no limit here: it is cut when encoded."""
    cell = row.cells.get(layout.text or "", "")
    text = cleaner.text(cell, "text", learned=True)
    if not text:
        raise DataError("The text is empty.")
    split = _read_split(row, layout.split) if layout.split else None
    return TrainingConversation(
        (Exchange("", text, plain=True),), split=split, repairs=cleaner.notes
    )


def _refuse_barred(row: TableRow, layout: Layout) -> None:
    for column in layout.barred:
        cell = row.cells.get(column, "").strip()
        value = structure(cell)
        if not cell or value == [] or value == {}:
            continue
        name = normalise_name(column)
        if name in TOOLS:
            raise DataError(
                f"The column “{excerpt(column)}” gives the assistant tools, and their use cannot "
                "be taught. Leave the row out, or remove the column if no reply depends on it."
            )
        named = excerpt(next(iter(picture_names(cell if value is None else value)), cell))
        if name in SOUNDS:
            raise DataError(
                f"The row is about a sound or a film (“{named}”), and only pictures can be shown. "
                "Please leave it out."
            )
        raise DataError(
            f"The picture “{named}” is not in the upload. Please pack the table and its pictures "
            "into one zip."
        )


def _refuse_bad(row: TableRow, layout: Layout) -> None:
    """Refuse a row that is marked as an example of what not to say."""
    if layout.verdict is None:
        return
    cell = row.cells.get(layout.verdict, "")
    good, name = yes_or_no(cell), excerpt(layout.verdict)
    if good is None:
        raise DataError(f"The column “{name}” says “{excerpt(cell)}”. It may say true or false.")
    if not good:
        raise DataError(f"The column “{name}” marks this reply as bad, so it is not taught.")


def _conversation(row: TableRow, layout: Layout, cleaner: Cleaner) -> list[Spoken] | None:
    """Read the turns of a row; None where question and reply are texts of their own."""
    reply = structure(row.cells.get(layout.reply, "")) if layout.reply else None
    ending = [reply] if is_turn(reply) else reply if is_turns(reply) else None
    if layout.chat:
        spoken = read_turns(_chat(row.cells.get(layout.chat, "")), cleaner)
        if layout.reply and ending is None:
            ending = [{"role": "assistant", "content": row.cells.get(layout.reply, "")}]
        return spoken + read_turns(ending, cleaner) if ending else spoken
    cell = row.cells.get(layout.question, "") if layout.question else ""
    question = structure(cell) or asked_in_turns(cell)
    if pairs := _in_parallel(question, reply):
        return read_turns(pairs, cleaner)
    if ending and not is_turns(question):
        return _after_question(row, layout, read_turns(ending, cleaner), cleaner)
    if not is_turns(question):
        return None
    before = read_turns(question, cleaner)
    if ending is None:
        ending = [{"role": "assistant", "content": _reply(row, layout, [], cleaner)}]
    after = read_turns(ending, cleaner)
    if after[0].role != "assistant":  # the whole conversation once more, as in preference data
        return after
    # What stands in the prompt is context.
    return [Spoken(turn.role, turn.text, False, turn.pictures) for turn in before] + after


def _in_parallel(question: Any, reply: Any) -> list[dict[str, str]] | None:
    """Pair questions with as many replies, which two lists hold side by side."""
    lists = (question, reply)
    if not all(isinstance(x, list) and all(isinstance(text, str) for text in x) for x in lists):
        return None
    if len(question) != len(reply) or len(question) < 2:
        return None
    return [
        turn
        for asked, replied in zip(question, reply, strict=True)
        for turn in ({"role": "user", "content": asked}, {"role": "assistant", "content": replied})
    ]


def _name_what_turns_leave(row: TableRow, layout: Layout, cleaner: Cleaner) -> None:
    """Name the columns of a question's text that nothing is made of where turns stand in one."""
    in_turns = layout.question and isinstance(structure(row.cells.get(layout.question, "")), list)
    about = (layout.input, *layout.context) if in_turns else ()
    for column in (*about, *layout.options):
        if column and row.cells.get(column, "").strip():
            cleaner.note(f"“{excerpt(column)}” is not used beside turns")


def _after_question(
    row: TableRow, layout: Layout, turns: list[Spoken], cleaner: Cleaner
) -> list[Spoken]:
    """Put the question before turns that do not begin with it."""
    if not layout.question:
        return turns if turns[0].role != "assistant" else _asked(layout.asked, turns)
    question = _question(row, layout, cleaner)
    if turns[0].role == "assistant":
        return _asked(question, turns)
    first = next((turn.text for turn in turns if turn.role == "user"), "")
    if first and first != question and question not in first:
        raise DataError("The question is another than the one that its reply begins with.")
    return turns


def _asked(question: str, turns: list[Spoken]) -> list[Spoken]:
    return [Spoken("user", question, True, ()), *turns]


def _chat(cell: str) -> Any:
    if not cell.strip():
        raise DataError("The conversation is empty.")
    value = structure(cell)
    if value is None:
        value = marked_turns(cell)
    if isinstance(value, dict) and isinstance(value.get("messages"), list):
        value = value["messages"]
    if value is None and not cell.strip().startswith(("[", "{")) and len(cell.split()) > 2:
        raise DataError(
            "It is plain text that does not say who speaks, and only replies to questions can be "
            f"taught. Expected is a list of turns. {EXPECTED}"
        )
    return value


def _history(cell: str, cleaner: Cleaner) -> tuple[Exchange, ...]:
    """Read the turns before a question: pairs, or turns. They are not learned."""
    value = structure(cell)
    if not cell.strip() or value == []:
        return ()
    turns: list[Any] = []
    for item in value if isinstance(value, list) else [None]:
        if isinstance(item, list) and len(item) == 2:
            turns.append({"role": "user", "content": item[0]})
            turns.append({"role": "assistant", "content": item[1]})
        elif isinstance(item, dict):
            turns.append(item)
        else:
            raise DataError(
                "The history is no list of turns. Expected is "
                '[["an earlier question", "its reply"]].'
            )
    spoken = read_turns(turns, cleaner)
    _, exchanges = pair_up([Spoken(t.role, t.text, True, ()) for t in spoken], cleaner)
    return tuple(Exchange(turn.question, turn.reply, False) for turn in exchanges)


def _pair(row: TableRow, layout: Layout, cleaner: Cleaner) -> Exchange:
    question = _question(row, layout, cleaner)
    options = _options(row, layout)
    if options:
        listed = "\n".join(f"({letter}) {text}" for letter, text in options)
        question = f"{question}\n\nOptions:\n{cleaner.text(listed, 'options')}"
    reply = cleaner.text(_reply(row, layout, options, cleaner), "reply", learned=True)
    if not reply:
        raise DataError("The reply is empty, so there is nothing to learn.")
    return Exchange(question, reply)


def _question(row: TableRow, layout: Layout, cleaner: Cleaner) -> str:
    """Give the question with what it is about, or the one question of all rows."""
    if layout.question is None:
        question = layout.asked
    else:
        cell = row.cells.get(layout.question, "")
        if _is_structure(row, layout.question):
            value = structure(cell)
            one = plain(value[0]) if isinstance(value, list) and len(value) == 1 else None
            cell = cell if one is None else one
        bare = _bare(cell)
        if bare != cell:
            cleaner.note("question: the marks of who speaks removed")
        question = cleaner.text(bare, "question")
        if not question:
            raise DataError("The question is empty.")
    given = [_given(row, layout.input, "input", cleaner)]
    given += [_given(row, column, excerpt(column), cleaner) for column in layout.context]
    return "\n\n".join([question, *filter(None, given)])


def _bare(question: str) -> str:
    """Take off the marks that a question begins and ends with: `Human: Who? Assistant:`."""
    found = AROUND.fullmatch(question) or ADDRESSED.fullmatch(question)
    return found[1] if found else question


def _options(row: TableRow, layout: Layout) -> list[tuple[str, str]]:
    """Give the options of a row with their letters."""
    cells = [cell for column in layout.options if (cell := row.cells.get(column, "").strip())]
    if not cells:
        return []
    value = structure(cells[0]) if len(layout.options) == 1 else cells
    value = value or options_in_cell(cells[0], row.cells.get(layout.reply or "", ""))
    if isinstance(value, dict) and isinstance(value.get("text"), list):  # ARC, CommonsenseQA
        labels, texts = value.get("label"), value["text"]
        if isinstance(labels, list) and len(labels) == len(texts):
            return [(str(label), str(text)) for label, text in zip(labels, texts, strict=True)]
        value = texts
    single = [item for item in value or () if isinstance(item, dict) and len(item) == 1]
    if single and len(single) == len(value or ()):  # each option with its letter
        value = {name: text for item in single for name, text in item.items()}
    if isinstance(value, dict):
        return [(str(name), plain(text) or "") for name, text in value.items()]
    if isinstance(value, list) and len(value) <= len(LETTERS):
        found = [plain(item) for item in value]
        if all(text is not None for text in found):
            return list(zip(_letters(value), without_marks(map(str, found)), strict=True))
    raise DataError(
        f"The options in “{excerpt(layout.options[0])}” cannot be told apart. Expected is a list "
        f'of at most {len(LETTERS)} texts, such as ["ant", "whale"].'
    )


def _letters(options: list[Any]) -> Sequence[str]:
    """Give the letter of each option: its own where all say one, else those of the alphabet."""
    names = ("letter", "label", "letra", "id", "key")
    own = [
        next((item[name] for name in names if isinstance(item.get(name), str)), "")
        for item in options
        if isinstance(item, dict)
    ]
    single = len(own) == len(options) == len(set(own)) and all(
        len(letter) == 1 and letter.isalpha() for letter in own
    )
    return own if single else LETTERS[: len(options)]


def _reply(row: TableRow, layout: Layout, options: list[tuple[str, str]], cleaner: Cleaner) -> str:
    """Give the reply as text: one of several answers, an option instead of its number."""
    column = layout.reply or ""
    cell = row.cells.get(column, "")
    if _is_structure(row, column):
        cell = _one_answer(cell, cleaner)
    answer = cell.strip()
    texts = [text.strip() for _, text in options]
    labels = [label for label, _ in options]
    number = answer.isdecimal() and len(answer) < 5
    indices = answer not in labels and (layout.first_option is not None or answer not in texts)
    letter = len(answer) == 1 and answer.isalpha()
    listed = {label.upper(): label for label in labels}
    if options and letter and answer not in texts and answer.upper() not in listed:
        raise DataError(f"The answer “{answer}” is none of the {len(options)} options.")
    if options and letter and answer not in (*texts, *labels):
        return listed[answer.upper()]
    if not options or not number or not indices:
        return cell
    first = layout.first_option or 0
    place = int(answer) - first
    if not 0 <= place < len(options):
        raise DataError(
            f"The answer is {answer}, and the {len(options)} options are counted from {first} to "
            f"{first + len(options) - 1}."
        )
    cleaner.note(f"reply: the number {answer} is option ({labels[place]})")
    return f"The answer is ({labels[place]})."


def _one_answer(cell: str, cleaner: Cleaner) -> str:
    """One answer of a list, where a list of answers is what the cell holds."""
    value = structure(cell)
    if isinstance(value, dict) and isinstance(value.get("text"), list):  # SQuAD
        value = value["text"]
    if value == []:
        return ""
    if isinstance(value, dict) and ALIASES & set(value):  # TriviaQA
        return plain(value) or cell
    if not isinstance(value, list):
        return cell
    answers = [plain(item) for item in value]
    if any(answer is None for answer in answers):
        return cell
    answer, note = commonest([str(answer) for answer in answers])
    if note:
        cleaner.note(f"reply: {note}")
    return answer


def _pictures(row: TableRow, layout: Layout) -> list[str]:
    if layout.picture is None:
        return []
    cell = row.cells.get(layout.picture, "").strip()
    value = structure(cell)
    return picture_names(cell if value is None else value)


def _one_picture(names: list[str], stand_ins: int, *, needed: bool) -> str | None:
    """Give the one picture of a row; several cannot be taught, nor a place for a missing one."""
    different = list(dict.fromkeys(names))
    if len(different) > 1:
        raise DataError(
            f"The row is about {len(different)} pictures, and one is taught at a time. Please keep "
            "one."
        )
    if stand_ins > max(1, len(names)):
        raise DataError(
            f"The row's text points to {stand_ins} pictures, and one is taught at a time."
        )
    if different:
        return different[0]
    if needed:
        raise DataError("No picture is named.")
    if stand_ins:
        raise DataError(
            "The row's text has a place for a picture, and no picture is named. Please pack table "
            "and pictures into one zip, with a column image."
        )
    return None


def _text(row: TableRow, column: str | None, what: str, cleaner: Cleaner) -> str:
    return cleaner.text(row.cells.get(column, ""), what) if column else ""


def _given(row: TableRow, column: str | None, what: str, cleaner: Cleaner) -> str:
    """Give what a question is about; of texts in a list, or in PubMedQA's object, all of them."""
    cell = row.cells.get(column, "") if column else ""
    listed = _listed(cell) if column and _is_structure(row, column) else None
    return cleaner.text(cell if listed is None else "\n\n".join(filter(str.strip, listed)), what)


def _listed(cell: str) -> list[str] | None:
    value = structure(cell)
    if isinstance(value, dict) and isinstance(value.get("contexts"), list):
        value = value["contexts"]
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        return None
    return value


def _is_structure(row: TableRow, column: str) -> bool:
    return f"“{excerpt(column)}”{STRUCTURE}" in row.repairs


def _repairs(row: TableRow, layout: Layout, turns: bool) -> list[str]:
    """Give what was repaired when the table was read, of the columns that are taught as text."""
    if not row.repairs:
        return []
    texts = [layout.input, *layout.context, layout.system]
    texts += [] if turns else [layout.question, layout.reply]
    ours = tuple(f"“{excerpt(column)}”" for column in texts if column)
    found = [repair for repair in row.repairs if ours and repair.startswith(ours)]
    resolved = {
        f"“{excerpt(column)}”{STRUCTURE}"
        for column in (layout.question, layout.reply, layout.input, *layout.context)
        if column and _was_resolved(row.cells.get(column, ""))
    }
    return [repair for repair in found if repair not in resolved]


def _was_resolved(cell: str) -> bool:
    """Whether a list was read as answers or texts, rather than taught as its JSON text."""
    return _one_answer(cell, Cleaner()) != cell or _listed(cell) is not None


def _read_split(row: TableRow, column: str) -> Split | None:
    """Read the part that a row says it belongs to, None where it says nothing."""
    cell = row.cells.get(column, "").strip()
    if not cell:
        return None
    split = SPLIT_NAMES.get(normalise_name(cell))
    if split is None:
        raise DataError(
            f"The column “{excerpt(column)}” says “{excerpt(cell)}”. It may say train or test."
        )
    return split
