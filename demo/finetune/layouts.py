"""Which column means what: recognised by name, or mapped by hand; and a row read accordingly."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from demo.errors import DataError
from demo.finetune.chats import read_chat
from demo.finetune.cleaning import Cleaner
from demo.finetune.lessons import PART_NAMES, Conversation, Lesson, Part, plain
from demo.finetune.rows import MAX_CELL, Row, shown

# Names in the order in which they are preferred. Compared without case, spaces, "_" and "-".
CHAT = ("messages", "conversations", "conversation", "chat", "dialog", "dialogue")
QUESTION = ("instruction", "question", "prompt", "query", "user", "human", "message", "q")
INPUT = ("input", "context")
REPLY = ("output", "answer", "response", "reply", "completion", "assistant", "target", "label", "a")
PICTURE = ("image", "picture", "photo", "img", "imagepath", "filename", "imagefile", "images")
SYSTEM = ("system", "systemprompt")
SPLIT = ("split", "subset", "part")


@dataclass(frozen=True)
class Layout:
    """The columns that are used, by meaning. Either `chat`, or `question` and `reply`.

    Attributes:
        name: what this layout is called, for the page.
        input: what a question is about; it follows the question after an empty line.
        split: says train or test.

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

    def __post_init__(self) -> None:
        if self.chat is None and (self.question is None or self.reply is None):
            raise DataError(
                "Please choose which column holds the question and which the reply to learn; or "
                "one that holds whole conversations."
            )
        if self.chat is not None and (self.question or self.reply or self.input):
            raise DataError(
                "Please choose either a column of conversations, or columns for question and reply."
            )
        used = self.columns
        twice = next((name for name in used if used.count(name) > 1), None)
        if twice is not None:
            raise DataError(
                f"The column “{shown(twice)}” is chosen twice. Please choose another for one."
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of all columns in use."""
        values = (getattr(self, field.name) for field in fields(self) if field.name != "name")
        return tuple(value for value in values if value is not None)

    def check(self, columns: Sequence[str]) -> None:
        """Raises DataError when a table with these columns lacks one that is in use."""
        missing = [name for name in self.columns if name not in columns]
        if missing:
            raise DataError(
                f"The data has no column “{shown(missing[0])}”. It has "
                f"{', '.join(map(shown, columns[:8]))}. Please choose from these."
            )


def recognise(columns: Sequence[str]) -> Layout | None:
    """The layout that these columns' names give away; None when a person must say.

    Known are chat (`messages`, ShareGPT's `conversations`), Alpaca (`instruction`, `input`,
    `output`), image question (`image`, `question`, `answer`) and pairs under many names. Where two
    columns could be the question, or the reply, nobody but the person knows.
    """
    if any(len(_all(columns, names)) > 1 for names in (QUESTION, REPLY)):
        return None
    extra = {"system": _find(columns, SYSTEM), "split": _find(columns, SPLIT)}
    picture = _find(columns, PICTURE)
    chat = _find(columns, CHAT)
    question, given, reply = (_find(columns, names) for names in (QUESTION, INPUT, REPLY))
    if reply and (question or given):
        if question is None:
            question, given = given, None
        if picture:
            name = "image question"
        else:
            name = "Alpaca" if plain(question) == "instruction" else "question and reply"
        return Layout(name, question, reply, given, picture=picture, **extra)
    if chat:
        return Layout("chat", chat=chat, picture=picture, **extra)
    return None


def read_row(row: Row, layout: Layout) -> Conversation:
    """What a row teaches.

    Raises:
        DataError: why the row cannot be used, to be shown with its number.
    """
    clean = Cleaner()
    system = _text(row, layout.system, "system prompt", clean) or None
    if layout.chat:
        cell = row.cells.get(layout.chat, "")
        if not cell.strip():
            raise DataError("The conversation is empty.")
        own, lessons = read_chat(cell, clean)
        system = own or system
    else:
        lessons = (_pair(row, layout, clean),)
    picture = row.cells.get(layout.picture, "").strip() if layout.picture else None
    if picture == "":
        raise DataError("No picture is named.")
    ours = tuple(f"“{column}”" for column in _texts(layout))
    repairs = [repair for repair in row.repairs if repair.startswith(ours)]
    return Conversation(lessons, system, picture, _part(row, layout), (*repairs, *clean.notes))


def _pair(row: Row, layout: Layout, clean: Cleaner) -> Lesson:
    question = _text(row, layout.question, "question", clean)
    given = _text(row, layout.input, "input", clean)
    reply = _text(row, layout.reply, "reply", clean)
    if not question:
        raise DataError("The question is empty.")
    if not reply:
        raise DataError("The reply is empty, so there is nothing to learn.")
    return Lesson(f"{question}\n\n{given}" if given else question, reply)


def _text(row: Row, column: str | None, what: str, clean: Cleaner) -> str:
    text = clean.text(row.cells.get(column, ""), what) if column else ""
    if len(text) > MAX_CELL:
        raise DataError(
            f"The {what} has {len(text):,} characters, and {MAX_CELL:,} is the most we take."
        )
    return text


def _texts(layout: Layout) -> tuple[str, ...]:
    columns = (layout.question, layout.input, layout.reply, layout.system)
    return tuple(shown(column) for column in columns if column)


def _part(row: Row, layout: Layout) -> Part | None:
    said = row.cells.get(layout.split, "").strip() if layout.split else ""
    if not said:
        return None
    part = PART_NAMES.get(plain(said))
    if part is None:
        raise DataError(
            f"The column “{shown(layout.split or '')}” says “{shown(said)}”. It may say train or "
            "test."
        )
    return part


def _find(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """The column whose name comes first in `names`."""
    return next(iter(_all(columns, names)), None)


def _all(columns: Sequence[str], names: Sequence[str]) -> list[str]:
    known = {plain(column): column for column in columns}
    return [known[name] for name in names if name in known]
