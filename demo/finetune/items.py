"""One row after the other: its meaning, its picture and its tokens, or why it is of no use."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

from demo.errors import DataError
from demo.finetune.album import Album, SeenPicture
from demo.finetune.examples import Example, encode
from demo.finetune.layouts import Layout, read_row
from demo.finetune.lessons import Conversation, Part
from demo.finetune.report import RowNote
from demo.finetune.rows import Row, Table
from demo.llama.tokenizer import Tokenizer

Progress = Callable[[str, float | None], None]  # what is being done, and the share done, 0 to 1
EVERY = 200  # rows between two calls of it


@dataclass(frozen=True)
class Item:
    """A usable row: what it says, and its tokens.

    `where` is its place in words, `table` the name of its file when there are two.
    """

    row: int
    conversation: Conversation
    example: Example
    where: str
    table: str = ""

    @property
    def part(self) -> Part | None:
        """Learned or held out; None while that is open."""
        return self.conversation.part

    def note(self, text: str) -> RowNote:
        """A remark on this row."""
        return RowNote(self.row, text, self.table)


class Reader:
    """Reads tables one after the other, and collects what can be used and what cannot.

    Args:
        window: tokens an example may have.

    Attributes:
        pictures: what the examples' `picture` points to, the same pixels once.
    """

    def __init__(self, tokenizer: Tokenizer, window: int, progress: Progress) -> None:
        self._tokenizer, self._window, self._progress = tokenizer, window, progress
        self._encoded: dict[Hashable, Example] = {}  # picture questions repeat their words
        self._places: dict[str, int] = {}  # of pictures, by digest
        self.items: list[Item] = []
        self.refused: list[RowNote] = []
        self.pictures: list[SeenPicture] = []
        self.unused: list[str] = []

    def read(
        self, table: Table, layout: Layout, *, name: str = "", part: Part | None = None
    ) -> None:
        """Add a table's rows.

        Args:
            name: what its rows are told apart by, when there are two tables.
            part: the part of all its rows, whatever they say themselves.
        """
        album = Album(table.pictures, table.folder)
        self.refused += [RowNote(fault.number, fault.reason, name) for fault in table.faults]
        for count, row in enumerate(table.rows):
            if count % EVERY == 0:
                self._progress("Reading the rows", count / len(table.rows))
            try:
                talk, example = self._read(row, layout, album)
            except DataError as error:
                self.refused.append(RowNote(row.number, str(error), name))
                continue
            where = f"{table.counted} {row.number}{f' of {name}' if name else ''}"
            talk = replace(talk, part=part or talk.part)
            self.items.append(Item(row.number, talk, example, where, name))
        self.refused.sort(key=lambda note: (note.table != "", note.table, note.row))
        self.unused += album.unused

    def _read(self, row: Row, layout: Layout, album: Album) -> tuple[Conversation, Example]:
        talk = read_row(row, layout)
        picture = None if talk.picture is None else self._place(album.look(talk.picture))
        example = self._encode(talk)
        length = len(example.ids) + 1  # the last label is a token too
        if length > self._window:
            raise DataError(
                f"It is too long: {length:,} tokens, and {self._window:,} are taught at once. "
                "Please shorten it."
            )
        return talk, replace(example, picture=picture)

    def _encode(self, talk: Conversation) -> Example:
        key = (talk.system, talk.lessons)
        if key not in self._encoded:
            self._encoded[key] = encode(self._tokenizer, talk.lessons, system=talk.system)
        return self._encoded[key]

    def _place(self, seen: SeenPicture) -> int:
        place = self._places.setdefault(seen.digest, len(self.pictures))
        if place == len(self.pictures):
            self.pictures.append(seen)
        return place


def asked(item: Item) -> Hashable:
    """What the model is asked first: items alike in it are the same question to it.

    Case and spacing are left out: who knows the one answer knows the other.
    """
    talk = item.conversation
    words = " ".join(talk.lessons[0].question.casefold().split())
    return talk.system, words, item.example.picture


def said(item: Item) -> Hashable:
    """Everything an item says: items alike in it teach the same."""
    return item.conversation.system, item.conversation.lessons, item.example.picture
