"""What visitors are about to teach: their data between its choice and the start of a run.

Kept on the server, for as long as the visitor is there and there is room.
"""

import json
import secrets
import shutil
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from demo.errors import InputError
from demo.finetune.layouts import Layout, recognise
from demo.finetune.presets import Choices
from demo.finetune.rows import Table
from demo.finetune.samples import SAMPLES, load_sample
from demo.finetune.tables import read_table

if TYPE_CHECKING:
    from demo.teaching import Checked

MOST_DRAFTS = 32
MOST_BYTES = 2**30  # of all drafts' files together


@dataclass(frozen=True)
class Draft:
    """Data that was chosen, and what is known of it.

    Attributes:
        layout: None until a person has said which column means what.
        file: the data itself; None for a sample.
        checked: what the check found with these choices.
    """

    table: Table
    layout: Layout | None
    file: Path | None = None
    sample: str = ""
    checked: "Checked | None" = None
    choices: Choices | None = None


class Drafts:
    """One draft a visitor. Safe to use from several threads.

    Args:
        folder: for the files; made when needed, removed by `close`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._drafts: OrderedDict[str, Draft] = OrderedDict()
        self._lock = threading.Lock()

    def sample(self, visitor: str, name: str) -> Draft:
        """A data set that comes with the program. Raises InputError for another name."""
        if name not in SAMPLES:
            raise InputError("There is no such sample. Please choose one of those shown.")
        return self._put(visitor, load_sample(name), sample=name)

    def file(self, visitor: str, path: Path, name: str) -> Draft:
        """A file that was uploaded; it is copied, and the copy is read.

        Raises:
            DataError: as `read_table`.
        """
        copy = self._place(Path(name).suffix)
        try:
            shutil.copyfile(path, copy)
            table = read_table(copy, name)
        except BaseException:
            shutil.rmtree(copy.parent, ignore_errors=True)
            raise
        return self._put(visitor, table, copy)

    def text(self, visitor: str, text: str, name: str) -> Draft:
        """A table that was pasted. Raises DataError as `read_table`."""
        data = text.encode("utf-8", "replace")
        table = read_table(data, name)
        return self._put(visitor, table, self._written(data, Path(name).suffix))

    def rows(
        self, visitor: str, columns: Sequence[str], rows: Sequence[Sequence[object]], name: str
    ) -> Draft:
        """Rows that were typed. Empty ones are left out.

        Raises:
            DataError: none is left, or one cannot be read.
        """
        lines = [
            json.dumps(dict(zip(columns, map(_typed, row), strict=False)), ensure_ascii=False)
            for row in rows
            if any(_typed(cell).strip() for cell in row)
        ]
        data = "\n".join(lines).encode("utf-8", "replace")
        table = read_table(data, name)
        return self._put(visitor, table, self._written(data, ".jsonl"))

    def has(self, visitor: str) -> bool:
        """Whether there is one."""
        with self._lock:
            return visitor in self._drafts

    def get(self, visitor: str) -> Draft:
        """Raises InputError when there is none, or none any more."""
        with self._lock:
            draft = self._drafts.get(visitor)
        if draft is None:
            raise InputError("The data is no longer here. Please choose it again.")
        return draft

    def pictures(self, visitor: str) -> bool:
        """Whether a visitor's data has pictures; False when there is none."""
        with self._lock:
            draft = self._drafts.get(visitor)
        return bool(draft and draft.table.pictures)

    def change(self, visitor: str, draft: Draft, **changes: object) -> Draft:
        """The draft with something else known of it, unless another one was chosen meanwhile."""
        changed = replace(draft, **changes)  # type: ignore[arg-type]
        with self._lock:
            if self._drafts.get(visitor) is not draft:
                raise InputError("Other data was chosen meanwhile.")
            self._drafts[visitor] = changed
        return changed

    def drop(self, visitor: str) -> None:
        """A visitor has left."""
        with self._lock:
            draft = self._drafts.pop(visitor, None)
        if draft:
            _remove(draft)

    def close(self) -> None:
        """All files go."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _put(
        self,
        visitor: str,
        table: Table,
        file: Path | None = None,
        *,
        sample: str = "",
    ) -> Draft:
        draft = Draft(table, recognise(table.columns), file, sample)
        self.drop(visitor)
        with self._lock:
            self._drafts[visitor] = draft
            gone = []
            while len(self._drafts) > MOST_DRAFTS or (
                len(self._drafts) > 1 and sum(map(_size, self._drafts.values())) > MOST_BYTES
            ):
                gone.append(self._drafts.popitem(last=False)[1])
        for old in gone:
            _remove(old)
        return draft

    def _place(self, suffix: str) -> Path:
        """Where a new file goes."""
        path = self._folder / secrets.token_hex(8) / f"data{suffix[:8] if suffix.isascii() else ''}"
        path.parent.mkdir(parents=True)
        return path

    def _written(self, data: bytes, suffix: str) -> Path:
        path = self._place(suffix)
        path.write_bytes(data)
        return path


def _typed(cell: object) -> str:
    """A cell of an editable table; what was never filled in is None or not a number."""
    return "" if cell is None or cell != cell else str(cell)


def _size(draft: Draft) -> int:
    return draft.file.stat().st_size if draft.file and draft.file.exists() else 0


def _remove(draft: Draft) -> None:
    if draft.file:
        shutil.rmtree(draft.file.parent, ignore_errors=True)
