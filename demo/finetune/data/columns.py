"""What a table's columns mean.

A `Layout` says which column holds what. It is recognised by the columns' names and by what stands
in them, or chosen by hand. A column that would change what a row means is used, or makes the table
one that a person must say more about, or bars the rows that need it; the others are named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from demo.errors import DataError
from demo.finetune.data.column_cells import (
    SAMPLED,
    asks,
    cells_of,
    holds_objects,
    holds_texts,
    holds_words,
    is_reference,
    names_other_files,
    names_pictures,
)
from demo.finetune.data.column_guesses import by_question_marks, half_named
from demo.finetune.data.column_names import (
    BARRED,
    CAPTION,
    CHAT,
    CHOSEN,
    CORRECT,
    HISTORY,
    INPUT,
    KIND_OF_TEXT,
    OPINION,
    PICTURE,
    QUESTION,
    REPLY,
    SPLIT,
    SUMMARIES,
    SYSTEM,
    TEXT,
    VERDICT,
    all_named,
    asked_alone,
    first_named,
    known_as,
    languages_of,
    opinions_of,
    options_of,
    pair_of,
    questions_and_replies_of,
    replies_of,
    with_word,
)
from demo.finetune.data.conversation import is_split, is_turns, normalise_name
from demo.finetune.data.marked_text import marked_turns
from demo.finetune.data.quiz import first_option, quiz_columns
from demo.finetune.data.table import Table, excerpt, structure, yes_or_no

DESCRIBE, NAME_IT = "Describe the picture.", "What is in the picture?"
BY_MARKS = "questions by their marks"
BY_HALF = "one column by its name"
QA = "question and reply"
BY_PLACE = "two columns without names"
TRANSLATION = "texts and their translations"
# Replies that may well be an object, written out: what a task gives back.
WRITTEN = (*("output", "response", "completion", "assistant", "target", "reply", "chosen"), "label")


@dataclass(frozen=True)
class Layout:
    """The columns that are used, by meaning: `chat`, or `reply` with `question` or `picture`.

    Attributes:
        name: what this layout is called, for the page.
        question: what is asked.
        reply: what is to be learned; beside `chat`, how the conversation ends.
        input: what a question is about; it follows the question after an empty line.
        chat: whole conversations.
        picture: the name of the picture that a question is about.
        system: the system prompt.
        split: says train or test.
        history: turns before the question, which are read and not learned.
        options: answers to choose from: one column with a list, or a column for each.
        context: more of what a question is about.
        verdict: says whether the reply is good; rows where it is not are refused.
        barred: must be empty: what stands there (tools, sounds) cannot be taught.
        asked: the question of every row where no column holds one.
        text: plain texts, each learned as it stands.
        first_option: what the first option is counted as where replies are numbers.

    Raises:
        DataError: columns are missing, or one has two meanings.
    """

    name: str = "by hand"
    question: str | None = None
    reply: str | None = None
    input: str | None = None
    chat: str | None = None
    picture: str | None = None
    system: str | None = None
    split: str | None = None
    history: str | None = None
    options: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    verdict: str | None = None
    barred: tuple[str, ...] = ()
    asked: str = DESCRIBE
    text: str | None = None
    first_option: int | None = None

    def __post_init__(self) -> None:
        for name in ("options", "context", "barred"):  # JSON has lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        captions = self.picture and self.reply
        if (
            self.text is None
            and self.chat is None
            and not (self.reply and self.question)
            and not captions
        ):
            raise DataError(
                "Please choose which column holds the question and which the reply to learn; or "
                "one that holds whole conversations."
            )
        if self.chat is not None and (self.question or self.input):
            raise DataError(
                "Please choose either a column of conversations, or columns for question and reply."
            )
        used = self.columns
        twice = next((name for name in used if used.count(name) > 1), None)
        if twice is not None:
            raise DataError(
                f"The column “{excerpt(twice)}” is chosen twice. Please choose another for one."
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of all columns in use."""
        words = ("name", "asked", "first_option")
        values = (getattr(self, field.name) for field in fields(self) if field.name not in words)
        return tuple(
            name
            for value in values
            if value is not None
            for name in ((value,) if isinstance(value, str) else value)
        )

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person may want to know of how rows are read, in sentences."""
        found = []
        if self.text:
            found.append(
                "Nobody asks for these texts, so each is learned as it stands, all of its words; "
                "one that is longer than the window is cut into several."
            )
        elif not self.chat and not self.question:
            found.append(f"No column holds a question, so each row is asked “{self.asked}”")
        if self.name == BY_MARKS:
            found.append(
                f"No name says so, but “{excerpt(self.question or '')}” holds questions, so "
                f"“{excerpt(self.reply or '')}” is taken for the reply."
            )
        if self.name == BY_HALF:
            found.append(
                f"One of two columns is named so, and no other holds texts: “"
                f"{excerpt(self.question or '')}” is asked, and “{excerpt(self.reply or '')}” "
                "replies."
            )
        if self.name == BY_PLACE:
            found.append("The columns have no names: the first is asked, and the second replies.")
        if self.name == TRANSLATION:
            found.append(f"“{self.question}” is asked, and “{self.reply}” replies.")
        if self.history:
            found.append(f"Turns in “{excerpt(self.history)}” are read and not learned.")
        if any(normalise_name(name or "") in CHOSEN for name in (self.reply, self.chat)):
            found.append("The chosen replies are taught; rejected ones are not used.")
        if self.verdict:
            found.append(f"Rows whose “{excerpt(self.verdict)}” says no are not taught.")
        if self.first_option is not None:
            found.append(
                f"“{excerpt(self.reply or '')}” counts the options from {self.first_option}; the "
                "letter is taught."
            )
        return tuple(found)

    def check(self, columns: Sequence[str]) -> None:
        """Check that a table has all columns in use.

        Raises:
            DataError: one is missing.
        """
        missing = [name for name in self.columns if name not in columns]
        if missing:
            raise DataError(
                f"The data has no column “{excerpt(missing[0])}”. It has "
                f"{', '.join(map(excerpt, columns[:8]))}. Please choose from these."
            )


def recognise(columns: Sequence[str]) -> Layout | None:
    """Find the layout that these columns' names give away; None when a person must say.

    Known are chat (`messages`, ShareGPT's `conversations`), Alpaca (`instruction`, `input`,
    `output`), image question (`image`, `question`, `answer`), captions and pairs under many names.
    Where two columns could be the question, or the reply, nobody but the person knows.
    """
    options, (questions, replies) = options_of(columns), questions_and_replies_of(columns)
    if (told := pair_of(columns)) and not options:
        return Layout(QA, told[0], told[2], told[1], split=first_named(columns, SPLIT))
    if len(questions) > 1 or len(replies) > 1 or opinions_of(columns):
        return None
    picture, chat = first_named(columns, PICTURE), first_named(columns, CHAT)
    reply = replies[0] if replies else None
    question, about = next(iter(questions), None), all_named(columns, INPUT)
    verdict = next((c for c in all_named(columns, VERDICT) if c != reply), None)
    extra: dict[str, Any] = {
        "system": first_named(columns, SYSTEM),
        "split": first_named(columns, SPLIT),
        "history": first_named(columns, HISTORY),
        "barred": tuple(all_named(columns, BARRED)),
        "picture": picture,
    }
    if question is None and about:
        question, *about = about
    elif question is None and reply and options:
        asking = with_word(columns, "question")
        question = first_named(columns, TEXT) or (asking[0] if len(asking) == 1 else None)
    elif question and reply and known_as(reply) == "label":  # said of a question and a sentence
        about += all_named(columns, ("sentence",))
    if reply and question:
        if picture:
            name = "image question"
        elif normalise_name(question) == "instruction":
            name = "Alpaca"
        else:
            name = QA
        given, context = (about[0], tuple(about[1:])) if about else (None, ())
        more = {"options": options, "context": context, "verdict": verdict, **extra}
        return Layout(name, question, reply, given, **more)
    if chat:
        label = reply is not None and normalise_name(reply) in VERDICT
        last = reply if reply and normalise_name(reply) == "chosen" else None
        verdict = verdict or (reply if label else None)
        return Layout("chat", None, last, None, chat, verdict=verdict, **extra)
    captions = [reply] if reply else all_named(columns, CAPTION)
    if pair := languages_of(columns):
        return Layout(TRANSLATION, *pair)
    if picture and captions and question is None:
        named = normalise_name(captions[0]) in ("label", "class", "category")
        asked = NAME_IT if named or reply else DESCRIBE
        return Layout("captions", None, captions[0], asked=asked, **extra)
    return None


def recognise_table(table: Table) -> Layout | None:
    """Find the layout of a table by its columns' names and by what stands in them.

    Columns without any value say nothing. A text that marks who speaks is a conversation. A column
    of pictures is barred where none came with the table. Replies that are numbers of options count
    from 0, or from 1 where the last number and no 0 occurs.
    """
    filled = table.filled_columns
    layout = recognise(filled) or recognise(table.columns) or _marked_text(table, filled)
    layout = _as_quiz(_as_summary(layout, table), table)
    layout = layout or _guessed(table, filled) or _by_place(table)
    layout = layout or _plain_text(table, filled)
    if layout is None or _nobody_answers(table, layout) or _marks_alone(table, layout):
        return None
    if (
        layout.reply
        and known_as(layout.reply) not in WRITTEN
        and holds_objects(table, layout.reply)
    ):
        return None
    fit = _fitted(layout, table)
    if fit and fit.options and fit.reply:
        return replace(fit, first_option=first_option(table, fit.reply, fit.options))
    return fit


def _as_quiz(layout: Layout | None, table: Table) -> Layout | None:
    """Take a quiz's answers for options, where another column says which of them is right."""
    if (layout and (layout.chat or not layout.question)) or not (quiz := quiz_columns(table)):
        return layout
    if layout is None:
        questions = all_named(table.filled_columns, QUESTION)
        questions = questions or with_word(table.filled_columns, "question")
        about = tuple(all_named(table.filled_columns, INPUT))
        layout = Layout(QA, questions[0], quiz[1], context=about) if len(questions) == 1 else None
    elif layout.options not in ((), quiz[:1]):
        return layout
    return layout and replace(layout, reply=quiz[1], options=quiz[:1], verdict=None)


def _as_summary(layout: Layout | None, table: Table) -> Layout | None:
    """Ask by a talk that is told in one text where a summary of it stands beside it (SAMSum)."""
    summaries = all_named(table.filled_columns, SUMMARIES)
    if layout is None or not layout.chat or layout.reply or len(summaries) != 1:
        return layout
    talks = list(cells_of(table, layout.chat, SAMPLED))
    if any(isinstance(structure(talk), list) or marked_turns(talk) for talk in talks):
        return layout
    return Layout(QA, layout.chat, summaries[0], split=layout.split)


def _fitted(layout: Layout, table: Table) -> Layout | None:
    """Leave out columns whose cells say something else; None where one cannot be understood."""
    if layout.split:
        parts = {cell.strip().casefold() for cell in cells_of(table, layout.split)}
        if len(parts) == 1 or not any(map(is_split, parts)):
            layout = replace(layout, split=None)  # the whole of one, or a subset of another kind
    if layout.verdict:
        said = {cell.strip() for cell in cells_of(table, layout.verdict)}
        if len(said) > 2 and all(map(str.isdecimal, said)):  # 0, 1 and 2 number kinds of rows
            layout = replace(layout, verdict=None)
        elif any(yes_or_no(cell) is None for cell in said):
            return None
    if layout.question and layout.reply:
        about = [name for name in (layout.input, *layout.context) if name]
        told = [name for name in about if not is_reference(table, name)]
        layout = replace(layout, input=next(iter(told), None), context=tuple(told[1:]))
    asked = QA if layout.name == "image question" else layout.name
    if layout.picture and names_other_files(table, layout.picture):
        if not (layout.question or layout.chat):
            return None
        layout = replace(layout, picture=None, name=asked)
    if layout.picture and not table.pictures and (layout.question or layout.chat):
        barred = (*layout.barred, layout.picture)
        layout = replace(layout, name=asked, picture=None, barred=barred)
    return layout


def choose(table: Table, named: Mapping[str, Any]) -> Layout | None:
    """Take the columns that a person names; what they do not name is recognised.

    Args:
        table: whose columns they are.
        named: columns by the names of `Layout`'s attributes, None for those not named.

    Raises:
        DataError: a column is not there, or the choice makes no sense.
    """
    given = {name: value for name, value in named.items() if value}
    if not given:
        return recognise_table(table)
    known = recognise_table(table)
    rest: dict[str, Any] = {}
    if known:
        rest = {field.name: getattr(known, field.name) for field in fields(known)}
        taken = {name for value in given.values() for name in _as_tuple(value)}
        rest = {n: v for n, v in rest.items() if not taken & set(_as_tuple(v))}
    if "chat" in given:
        rest = {n: v for n, v in rest.items() if n not in ("question", "reply", "input", "options")}
    if "question" in given or "reply" in given:
        rest.pop("chat", None)
    layout = Layout(**{**rest, "name": "by hand", **given})
    layout.check(table.columns)
    return layout


def unused_columns(table: Table, layout: Layout) -> tuple[str, ...]:
    """Name the columns that hold something and that this layout leaves aside."""
    used = set(layout.columns)
    return tuple(name for name in table.filled_columns if name not in used)


def _as_tuple(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ()


def _guessed(table: Table, filled: Sequence[str]) -> Layout | None:
    """Find question and reply where names do not tell both of them; other columns as these do."""
    if pair := by_question_marks(table, filled):
        name, options = BY_MARKS, options_of(filled) if replies_of(filled) else ()
    elif pair := half_named(table, filled):
        name, options = BY_HALF, ()
    else:
        return None
    split, system = first_named(filled, SPLIT), first_named(filled, SYSTEM)
    return Layout(name, *pair, split=split, system=system, options=options)


def _by_place(table: Table) -> Layout | None:
    """Take two columns of texts without names for questions and their replies, as in a paste."""
    if table.columns != ("column 1", "column 2"):
        return None
    first, second = table.columns
    if not (holds_texts(table, second) or holds_words(table, second)):
        return None
    if names_pictures(table, first):
        return Layout("captions", None, second, picture=first)
    asked = holds_texts(table, first) or holds_words(table, first)
    return Layout(BY_PLACE, first, second) if asked else None


def _nobody_answers(table: Table, layout: Layout) -> bool:
    """Whether the texts to be learned are questions, as a test's file has them without answers."""
    column = layout.text or (layout.reply if layout.name == "captions" else None)
    return column is not None and (bool(asked_alone(table.columns)) or asks(table, column))


def _marks_alone(table: Table, layout: Layout) -> bool:
    """Whether a column called “correct” says that something is, and not what."""
    if layout.reply is None or known_as(layout.reply) not in CORRECT:
        return False
    cells = list(cells_of(table, layout.reply, SAMPLED))
    numbers = bool(layout.options) and all(cell.isdecimal() for cell in cells)
    return not numbers and all(yes_or_no(cell) is not None for cell in cells)


def _marked_text(table: Table, filled: Sequence[str]) -> Layout | None:
    """Read texts that mark who speaks, and lists of turns of any name, as conversations."""
    texts = filled if len(filled) == 1 else all_named(filled, (*TEXT, "chosen"))
    for column in (*texts, *(name for name in filled if name not in texts)):
        cells = list(cells_of(table, column, SAMPLED))
        marked = column in texts and all(map(marked_turns, cells))
        if cells and (marked or all(is_turns(structure(cell)) for cell in cells)):
            others = [name for name in filled if name != column]
            if all_named(others, (*QUESTION, *CHAT)) or opinions_of(filled):
                return None
            split, system = first_named(filled, SPLIT), first_named(filled, SYSTEM)
            return Layout("chat", chat=column, split=split, system=system)
    return None


def _plain_text(table: Table, filled: Sequence[str]) -> Layout | None:
    """Read texts that nobody asks for as they stand, unless a column may change their meaning."""
    known = (*QUESTION, *REPLY, *CHAT, *INPUT, *PICTURE, *OPINION, *VERDICT, *BARRED, *KIND_OF_TEXT)
    single = len(table.columns) == len(filled) == 1
    alone = filled[0] if single and holds_texts(table, filled[0]) else None
    text = first_named(filled, TEXT) or alone
    if text is None or all_named(filled, known) or with_word(filled, "answer"):
        return None
    if any(isinstance(structure(cell), dict | list) for cell in cells_of(table, text, SAMPLED)):
        return None
    return Layout("plain text", text=text, split=first_named(filled, SPLIT))
