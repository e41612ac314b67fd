"""Rows of a table → examples: token ids with the replies to learn marked.

`check_rows` reads and encodes each row once; `preview` shows how an example looks to the model.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import groupby

from demo.background_task import ProgressCallback
from demo.errors import DataError
from demo.finetune.data.columns import Layout, unused_columns
from demo.finetune.data.conversation import Exchange, Split, TrainingConversation
from demo.finetune.data.pictures import PictureStore, SeenPicture
from demo.finetune.data.report import RowNote
from demo.finetune.data.rows import read_row
from demo.finetune.data.table import Table, TableRow
from demo.llama.tokenizer.chat_template import Message
from demo.llama.tokenizer.tokenizer import Tokenizer

IGNORED = -100  # a position whose next token is not learned
REPORT_EVERY = 200  # rows between two reports of the progress


@dataclass(frozen=True)
class Example:
    """A text to learn from.

    Attributes:
        ids: (T,) the tokens that the model reads.
        labels: (T,) `labels[t]` is the token to predict after `ids[t]`, or -100.
        picture: the row of the picture's features, None without a picture; of a fact that has
            prompts of its own its place, which chooses the prefix as a picture does.

    Raises:
        ValueError: the lengths differ, or nothing is to be learned.
    """

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    picture: int | None = None

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.labels):
            raise ValueError(f"{len(self.ids)} ids, {len(self.labels)} labels")
        if all(label == IGNORED for label in self.labels):
            raise ValueError("an example without anything to learn would make the loss undefined")


def encode(
    tokenizer: Tokenizer,
    exchanges: Sequence[Exchange],
    picture: int | None = None,
    *,
    system: str | None = None,
) -> Example:
    """Encode a conversation of several turns. The token that ends a reply is learned too.

    Args:
        tokenizer: of the base that is to learn.
        exchanges: the turns.
        picture: the row of the picture's features, if the exchanges are about one.
        system: what stands before the first turn; without it, what the template puts there.
    """
    messages = [] if system is None else [Message("system", system)]
    ids: list[int] = []
    marks: list[tuple[int, int]] = []
    for exchange in exchanges:
        messages.append(Message("user", exchange.question))
        before = len(tokenizer.chat(messages))
        messages.append(Message("assistant", exchange.reply))
        ids = tokenizer.chat(messages, generate=False)
        end = next(i for i in range(before, len(ids)) if ids[i] in tokenizer.stop_ids)
        if exchange.learn:
            marks.append((before, end + 1))
    labels = [IGNORED] * len(ids)
    for first, last in marks:
        labels[first - 1 : last - 1] = ids[first:last]
    length = marks[-1][1] - 1 if marks else len(ids)
    return Example(tuple(ids[:length]), tuple(labels[:length]), picture)


def encode_plain(tokenizer: Tokenizer, text: str, window: int) -> list[Example]:
    """Encode a plain text: all its tokens are learned, and at its end that it ends.

    A text of more than `window` tokens becomes several examples, one after the other.
    """
    ids = [*tokenizer.encode_text(text), min(tokenizer.stop_ids)]
    pieces = [ids[start : start + window] for start in range(0, len(ids), window)]
    if len(pieces) > 1 and len(pieces[-1]) < 2:  # nothing is foreseen of one token alone
        pieces.pop()
    return [Example(tuple(piece[:-1]), tuple(piece[1:])) for piece in pieces]


def template_fingerprint(tokenizer: Tokenizer) -> str:
    """Hash (sha256) what the chat template makes of one turn: the form of every example."""
    turn = [Message("user", "?"), Message("assistant", "!")]
    ids = tokenizer.chat(turn, generate=False)
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()


@dataclass(frozen=True)
class EncodedRow:
    """A usable row: what it says, and its tokens.

    Attributes:
        row: its number as the person sees it.
        example: its tokens; `Example.picture` is a place in the pictures of the data set.
        where: its place in words, such as "row 7 of test.csv".
        table: the name of its file when there are two, otherwise empty.
    """

    row: int
    conversation: TrainingConversation
    example: Example
    where: str
    table: str = ""

    @property
    def split(self) -> Split | None:
        """The part it belongs to, None while that is open."""
        return self.conversation.split

    def within(self, split: Split) -> "EncodedRow":
        """Return the same row as one of a part."""
        return replace(self, conversation=replace(self.conversation, split=split))

    def note(self, text: str) -> RowNote:
        """Make a remark on this row."""
        return RowNote(self.row, text, self.table)


@dataclass(frozen=True)
class CheckedRows:
    """All rows of one or two tables, checked and encoded but not yet split.

    Attributes:
        name: of the first table.
        counted: what row numbers count: row, line or item.
        window: tokens that an example was allowed to have.
        rows: the usable ones, in their order.
        refused: the others, and why.
        pictures: those that rows name, each set of pixels once.
        sources: the encoded pictures of each table by name.
        unused_pictures: names of pictures that no row names.
        notes: remarks on the tables as a whole.
        unused_columns: names of columns that hold something and are not taught.
        cut: whether conversations over the window were cut at a turn.
    """

    name: str
    counted: str
    window: int
    rows: tuple[EncodedRow, ...]
    refused: tuple[RowNote, ...]
    pictures: tuple[SeenPicture, ...]
    sources: tuple[Mapping[str, bytes], ...] = field(repr=False, compare=False)
    unused_pictures: tuple[str, ...]
    notes: tuple[str, ...]
    unused_columns: tuple[str, ...] = ()
    cut: bool = False


def check_rows(
    table: Table,
    layout: Layout,
    tokenizer: Tokenizer,
    window: int,
    *,
    cut: bool = False,
    held_out: Table | None = None,
    progress: ProgressCallback | None = None,
) -> CheckedRows:
    """Encode every row of one or two tables; keep the reason for each that cannot be used.

    Args:
        table: the rows.
        layout: which of its columns means what.
        tokenizer: of the base that is to learn.
        window: tokens an example may have at most, the end of its last reply included.
        cut: leave out the last turns of a conversation that is longer, rather than refuse it.
        held_out: a second table with the same columns, whose rows all belong to "test".
        progress: hears now and then how far the check is; what it raises ends the check.

    Raises:
        DataError: no row can be used; the columns are not the table's.
    """
    encoder = RowEncoder(tokenizer, window, progress or (lambda message, share: None), cut=cut)
    layout.check(table.columns)
    encoder.add(table, layout, name=table.name if held_out else "")
    if held_out is not None:
        layout.check(held_out.columns)
        encoder.add(held_out, layout, name=held_out.name, split="test")
    if not encoder.rows:
        mostly = 2 * encoder.too_long > len(encoder.refused)
        raise _nothing_usable(encoder.refused, table.counted, long=mostly)
    tables = (table,) if held_out is None else (table, held_out)
    return CheckedRows(
        name=table.name,
        counted=table.counted,
        window=window,
        rows=tuple(encoder.rows),
        refused=tuple(encoder.refused),
        pictures=tuple(encoder.pictures),
        sources=tuple(each.pictures for each in tables),
        unused_pictures=tuple(encoder.unused),
        notes=(
            *(note for each in tables for note in each.notes),
            *layout.remarks,
            *_about_long(encoder.cut_rows, encoder.too_long, window),
        ),
        cut=cut,
        unused_columns=tuple(
            dict.fromkeys(name for each in tables for name in unused_columns(each, layout))
        ),
    )


class RowEncoder:
    """Encode tables one after the other; collect what can be used and what cannot.

    Args:
        tokenizer: of the base that is to learn.
        window: tokens an example may have.
        progress: hears now and then how far it is.
        cut: leave out the last turns of what is longer.

    Attributes:
        cut_rows, too_long: how many rows were cut, and refused, for their length.
        rows: the usable ones.
        refused: the others, and why.
        pictures: what the examples' `picture` counts, the same pixels once.
        unused: names of pictures that no row names.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        window: int,
        progress: ProgressCallback,
        *,
        cut: bool = False,
    ) -> None:
        self._tokenizer, self._window, self._progress = tokenizer, window, progress
        self._cut = cut
        self.cut_rows, self.too_long = 0, 0
        self._encoded: dict[Hashable, Example] = {}  # picture questions repeat their words
        self._places: dict[str, int] = {}  # of pictures, by digest
        self.rows: list[EncodedRow] = []
        self.refused: list[RowNote] = []
        self.pictures: list[SeenPicture] = []
        self.unused: list[str] = []

    def add(
        self, table: Table, layout: Layout, *, name: str = "", split: Split | None = None
    ) -> None:
        """Add a table's rows.

        Args:
            table: the rows.
            layout: which of its columns means what.
            name: what its rows are told apart by, when there are two tables.
            split: the part of all its rows, whatever they say themselves.
        """

        @cache
        def store() -> PictureStore:
            return PictureStore(table.pictures, table.folder)

        self.refused += [RowNote(fault.number, fault.reason, name) for fault in table.faults]
        every = 1 if table.pictures else REPORT_EVERY  # a picture may take a second
        for count, row in enumerate(table.rows):
            if count % every == 0:
                self._progress("Reading the rows", count / len(table.rows))
            try:
                taught = self._read(row, layout, store)
            except DataError as error:
                self.refused.append(RowNote(row.number, str(error), name))
                continue
            where = f"{table.counted} {row.number}{f' of {name}' if name else ''}"
            for conversation, example in taught:
                talk = replace(conversation, split=split) if split else conversation
                self.rows.append(EncodedRow(row.number, talk, example, where, name))
        self.refused.sort(key=lambda note: (note.table != "", note.table, note.row))
        self.unused += store().unused if table.pictures else ()

    def _read(
        self, row: TableRow, layout: Layout, store: Callable[[], PictureStore]
    ) -> list[tuple[TrainingConversation, Example]]:
        conversation = read_row(row, layout)
        if conversation.exchanges[0].plain:
            return self._plain(conversation)
        name = conversation.picture
        picture = None if name is None else self._place(store().resolve(name))
        example = self._encode(conversation)
        length = len(example.ids) + 1  # the last label is a token too
        if length > self._window and self._cut:
            conversation, example = self._shortened(conversation, example)
        if len(example.ids) + 1 > self._window:
            self.too_long += 1
            raise DataError(
                f"It is too long: {length:,} tokens, and {self._window:,} are taught at once. "
                "Please shorten it."
            )
        return [(conversation, example if picture is None else replace(example, picture=picture))]

    def _plain(
        self, conversation: TrainingConversation
    ) -> list[tuple[TrainingConversation, Example]]:
        """Encode a plain text, in as many pieces as the window asks for."""
        text = conversation.exchanges[0].reply
        pieces = encode_plain(self._tokenizer, text, self._window)
        if len(pieces) == 1:
            return [(conversation, pieces[0])]
        self.cut_rows += 1
        return [(self._piece(conversation, piece), piece) for piece in pieces]

    def _piece(self, conversation: TrainingConversation, piece: Example) -> TrainingConversation:
        said = self._tokenizer.decode((*piece.ids, piece.labels[-1])).strip() or "…"
        return replace(conversation, exchanges=(Exchange("", said, plain=True),))

    def _shortened(
        self, conversation: TrainingConversation, example: Example
    ) -> tuple[TrainingConversation, Example]:
        """Leave out last turns until the rest fits; all stay where nothing would be learned."""
        turns = conversation.exchanges
        for count in range(len(turns) - 1, 0, -1):
            if not any(turn.learn for turn in turns[:count]):
                break
            note = f"cut after turn {2 * count} of {2 * len(turns)}, where the window ends"
            repairs = (*conversation.repairs, note)
            shorter = replace(conversation, exchanges=turns[:count], repairs=repairs)
            found = self._encode(shorter)
            if len(found.ids) + 1 <= self._window:
                self.cut_rows += 1
                return shorter, found
        return conversation, example

    def _encode(self, conversation: TrainingConversation) -> Example:
        system, exchanges = conversation.system, conversation.exchanges
        key = (system, exchanges)
        if key not in self._encoded:
            self._encoded[key] = encode(self._tokenizer, exchanges, system=system)
        return self._encoded[key]

    def _place(self, picture: SeenPicture) -> int:
        place = self._places.setdefault(picture.digest, len(self.pictures))
        if place == len(self.pictures):
            self.pictures.append(picture)
        return place


def _about_long(cut: int, too_long: int, window: int) -> list[str]:
    """Say how many rows are longer than the window, and what became of them."""
    found = []
    if cut:
        found.append(f"{cut:,} rows are longer than {window:,} tokens and were cut.")
    if too_long:
        found.append(
            f"{too_long:,} rows are longer than {window:,} tokens and were refused. On the command "
            "line --window takes longer ones, and --cut leaves out their last turns."
        )
    return found


def _nothing_usable(refused: Sequence[RowNote], counted: str, *, long: bool) -> DataError:
    """No row can be used: the commonest reason says what to do.

    Args:
        refused: every row, and why; reasons that differ in numbers alone are one.
        counted: what a row is called.
        long: most are longer than the window, which no repair of the data makes shorter.
    """
    reasons = Counter(re.sub(r"\d[\d,]*", "#", note.text) for note in refused)
    reason, count = reasons.most_common(1)[0]
    first = next(note for note in refused if re.sub(r"\d[\d,]*", "#", note.text) == reason)
    text = first.text + (f" It is so with {count - 1:,} more." if count > 1 else "")
    if long:
        return DataError(
            f"None of the {len(refused):,} rows can be used, so there is nothing to learn. "
            f"{counted.capitalize()} {first.row}: {text} On the command line --window takes longer "
            "ones, and --cut leaves out their last turns."
        )
    return DataError(
        f"None of the {len(refused):,} rows can be used, so there is nothing to learn. "
        f"{counted.capitalize()} {first.row}: {text} Please repair the data, or choose other "
        "columns."
    )


@dataclass(frozen=True)
class TokenSpan:
    """A piece of an example's text; `learned` is False where it is only read (masked)."""

    text: str
    learned: bool


def preview(tokenizer: Tokenizer, examples: Iterable[Example]) -> list[list[TokenSpan]]:
    """Show each example as spans, learned and masked ones taking turns.

    The texts joined are what the token ids spell, the one that ends the last reply included.
    """
    return [_spans(tokenizer, example) for example in examples]


def _spans(tokenizer: Tokenizer, example: Example) -> list[TokenSpan]:
    # labels[t] is the token after ids[t], so a token is learned when the label before it is set.
    learned = [False, *(label != IGNORED for label in example.labels)]
    tokens = [*example.ids, example.labels[-1]]
    pairs = [pair for pair in zip(tokens, learned, strict=True) if pair[0] != IGNORED]
    return [
        TokenSpan(_spelling(tokenizer, [token for token, _ in run]), flag)
        for flag, run in groupby(pairs, key=lambda pair: pair[1])
    ]


def _spelling(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """Spell tokens. Unlike `decode`, control tokens are written: here they are looked at."""

    def written(token: int) -> bytes:
        control = token in tokenizer.controls
        return tokenizer.token(token).encode() if control else tokenizer.token_bytes(token)

    return b"".join(map(written, ids)).decode("utf-8", "replace")
