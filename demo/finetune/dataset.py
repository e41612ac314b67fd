"""Uploaded rows → validated, masked examples, and a report of every row that is none."""

import hashlib
import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

from demo.errors import DataError, InputError
from demo.finetune.album import SeenPicture
from demo.finetune.examples import Example
from demo.finetune.items import Item, Progress, Reader, asked, said
from demo.finetune.layouts import Layout
from demo.finetune.lessons import Part
from demo.finetune.parts import draw_held_out
from demo.finetune.report import Conflict, Lengths, Report, RowNote
from demo.finetune.rows import Table
from demo.llama.tokenizer import Tokenizer


@dataclass(frozen=True)
class CheckSettings:
    """How rows are judged and parted.

    Attributes:
        window: tokens an example may have at most, the end of its last reply included.
        held_out: the share held out when the data does not say which rows are.
        seed: of what is held out.

    Raises:
        InputError: out of range.
    """

    window: int = 512
    held_out: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not 16 <= self.window <= 1_000_000:
            raise InputError(f"The window is {self.window} tokens; please use at least 16.")
        if not 0 <= self.held_out <= 0.5:
            raise InputError(
                f"The held-out share is {self.held_out:g}; please use 0 to 0.5 (half of the rows)."
            )


@dataclass(frozen=True)
class Dataset:
    """What an adapter is taught with, and what it is judged by.

    `Example.picture` is a place in `pictures`, where the same pixels stand once.
    """

    name: str
    train: tuple[Item, ...]
    held_out: tuple[Item, ...]
    pictures: tuple[SeenPicture, ...]
    report: Report = field(repr=False)

    def __post_init__(self) -> None:
        if not self.train:
            raise ValueError("a data set without anything to learn")

    @property
    def train_examples(self) -> list[Example]:
        """What is learned, in the file's order."""
        return [item.example for item in self.train]

    @property
    def held_out_examples(self) -> list[Example]:
        """What is only judged, in the file's order."""
        return [item.example for item in self.held_out]

    @property
    def fingerprint(self) -> str:
        """sha256 over the texts and pictures that are learned."""
        digest = hashlib.sha256()
        for item in self.train:
            talk, picture = item.conversation, item.example.picture
            seen = None if picture is None else self.pictures[picture].digest
            turns = [[turn.question, turn.reply, turn.learn] for turn in talk.lessons]
            digest.update(json.dumps([talk.system, turns, seen]).encode() + b"\n")
        return digest.hexdigest()


def check(
    table: Table,
    layout: Layout,
    tokenizer: Tokenizer,
    settings: CheckSettings | None = None,
    *,
    held_out: Table | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Reads every row of a table; what cannot be used is reported with its row and reason.

    Rows that the data itself holds out (a second table, or the layout's `split`) are held out;
    otherwise a share of all, by seed. Held-out questions are taken out of the training part.

    Args:
        held_out: a second table with the same columns, only to judge by.
        progress: is told how far it is now and then; what it raises ends the check.

    Raises:
        DataError: no row can be used, or none is left to learn; the columns are not the table's.
    """
    settings = settings or CheckSettings()
    reader = Reader(tokenizer, settings.window, progress or (lambda message, share: None))
    layout.check(table.columns)
    reader.read(table, layout, name=table.name if held_out else "")
    if held_out is not None:
        layout.check(held_out.columns)
        reader.read(held_out, layout, name=held_out.name, part="test")
    if not reader.items:
        raise _nothing(reader.refused, table.counted)
    items, duplicates = _once(_parted(reader.items, settings))
    items, leaks = _without_leaks(items)
    train = tuple(item for item in items if item.part == "train")
    if not train:
        raise DataError(
            f"All {len(items):,} usable rows are held out, so there is nothing left to learn. "
            "Please mark some as train, or leave the column split out."
        )
    repairs = ((item, "; ".join(item.conversation.repairs)) for item in items)
    report = Report(
        rows=len(reader.items) + len(reader.refused),
        usable=len(items),
        counted=table.counted,
        repaired=tuple(item.note(text) for item, text in repairs if text),
        refused=tuple(reader.refused),
        duplicates=duplicates,
        conflicts=_conflicts(items),
        leaks=leaks,
        unused_pictures=tuple(reader.unused),
        lengths=Lengths.of([len(item.example.ids) + 1 for item in items], settings.window),
        notes=(*table.notes, *(held_out.notes if held_out else ())),
    )
    judged = tuple(item for item in items if item.part == "test")
    return Dataset(table.name, train, judged, tuple(reader.pictures), report)


def _parted(items: Sequence[Item], settings: CheckSettings) -> list[Item]:
    """Each item with its part: the data's own where it has one, otherwise drawn."""
    if any(item.part == "test" for item in items):
        return [_with_part(item, item.part or "train") for item in items]
    chosen = draw_held_out([asked(item) for item in items], settings.held_out, settings.seed)
    return [
        _with_part(item, "test" if place in chosen else "train") for place, item in enumerate(items)
    ]


def _with_part(item: Item, part: Part) -> Item:
    return replace(item, conversation=replace(item.conversation, part=part))


def _once(items: Sequence[Item]) -> tuple[list[Item], tuple[RowNote, ...]]:
    """Items without those that an earlier one of the same part makes needless."""
    first: dict[Hashable, Item] = {}
    notes = []
    for item in items:
        earlier = first.setdefault((item.part, said(item)), item)
        if earlier is not item:
            notes.append(item.note(f"the same as {earlier.where}"))
    return list(first.values()), tuple(notes)


def _without_leaks(items: Sequence[Item]) -> tuple[list[Item], tuple[RowNote, ...]]:
    """Items without those to be learned that the held-out part asks too."""
    judged = {asked(item): item for item in reversed(items) if item.part == "test"}
    kept, notes = [], []
    for item in items:
        other = judged.get(asked(item)) if item.part == "train" else None
        if other is None:
            kept.append(item)
        else:
            notes.append(item.note(f"held out too, as {other.where}, so it is not learned"))
    return kept, tuple(notes)


def _conflicts(items: Sequence[Item]) -> tuple[Conflict, ...]:
    """Questions of one turn that get different replies."""
    groups: dict[Hashable, list[Item]] = {}
    for item in items:
        if len(item.conversation.lessons) == 1:
            groups.setdefault(asked(item), []).append(item)
    return tuple(
        Conflict(group[0].conversation.lessons[0].question, tuple(item.where for item in group))
        for group in groups.values()
        if len({item.conversation.lessons[0].reply for item in group}) > 1
    )


def _nothing(refused: Sequence[RowNote], counted: str) -> DataError:
    """No row can be used: the commonest reasons say what to do."""
    reasons: dict[str, int] = {}
    for note in refused:
        reasons[note.text] = reasons.get(note.text, 0) + 1
    reason, count = max(reasons.items(), key=lambda pair: pair[1])
    first = next(note.row for note in refused if note.text == reason)
    return DataError(
        f"None of the {len(refused):,} rows can be used, so there is nothing to learn. "
        f"{counted.capitalize()} {first}"
        f"{f' and {count - 1:,} more' if count > 1 else ''}: {reason} Please repair the data, or "
        "choose other columns."
    )
