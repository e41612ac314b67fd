"""Parquet and Arrow files → a table, batch by batch, with the pictures that lie in their cells.

A picture's cell becomes the picture's name, under which its bytes are read again when they are
asked for. What the Hub's files say of their columns (pictures, names of classes) is used.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.errors import DataError
from demo.finetune.data.table import LIMITS, NO_LIMITS, DataLimits, Table, TableBuilder

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET, ARROW, STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"  # how such a file begins
BEGINNINGS = (PARQUET, ARROW, STREAM)
BATCH = 512  # rows that are read at once
KEPT = 2  # parts of a file whose pictures are held in memory


def read_columns(source: bytes | Path, name: str, limits: DataLimits = LIMITS) -> Table:
    """Read a Parquet file, or an Arrow file or stream.

    Args:
        source: the bytes, or a file, from which pictures are read when asked for.
        name: of the table.
        limits: the most that is taken.

    Raises:
        DataError: damaged, or a limit of `TableBuilder`.
    """
    import pyarrow as pa

    try:
        parts = ColumnParts(source, limits)
        features = _features(parts.schema)
        table = TableBuilder(name, columns=parts.schema.names, limits=limits)
        pictures: dict[str, Place] = {}
        number = 0
        for part, first, batch in parts.batches():
            for offset, row in enumerate(batch.to_pylist()):
                number += 1
                place = part, first + offset
                cells = {
                    column: _value(value, features.get(column), (*place, column), pictures)
                    for column, value in row.items()
                }
                table.add(number, cells)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(
            "This file of columns (Parquet or Arrow) is cut off or damaged. Please save or "
            "download it again."
        ) from error
    found = table.build()
    if not pictures:
        return found
    held = ColumnPictures(source, pictures)
    held.trusted = limits == NO_LIMITS
    return replace(found, pictures=held)


Place = tuple[int, int, str, int]  # part, row in it, column, and which of a cell's pictures


class ColumnPictures(Mapping[str, bytes]):
    """Pictures in the cells of a file of columns, by name. May be sent to another process.

    Args:
        source: the file, or its bytes.
        places: of the pictures.

    Attributes:
        trusted: it is its owner's own, so how many pixels it has is theirs to know.
    """

    trusted = False

    def __init__(self, source: bytes | Path, places: Mapping[str, Place]) -> None:
        self._source, self.places = source, dict(places)
        parts = ColumnParts(source)
        self._column = lru_cache(maxsize=KEPT)(parts.column)

    def __getitem__(self, name: str) -> bytes:
        part, row, column, which = self.places[name]
        value = self._column(part, column)[row].as_py()
        value = value[which] if isinstance(value, list) else value
        return value["bytes"] if isinstance(value, dict) else value

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __reduce__(self) -> tuple[type, tuple[bytes | Path, dict[str, Place]]]:
        return ColumnPictures, (self._source, self.places)


class ColumnParts:
    """The parts of a file of columns: row groups of Parquet, record batches of Arrow.

    Args:
        source: the file, or its bytes.
        limits: the most that is taken.

    Raises:
        DataError: it says itself that it holds more than the limits.
        pyarrow.ArrowException: it is damaged.
    """

    def __init__(self, source: bytes | Path, limits: DataLimits = LIMITS) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        opened = pa.memory_map(str(source)) if isinstance(source, Path) else pa.BufferReader(source)
        start = opened.read(len(ARROW))
        opened.seek(0)
        self._batches: list[pa.RecordBatch] | None = None
        if start.startswith(PARQUET):
            self._parquet = pq.ParquetFile(opened)
            meta = self._parquet.metadata
            sizes = (meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
            _check_size(sum(sizes), limits)
            self.schema = self._parquet.schema_arrow
        elif start.startswith(STREAM):
            stream = pa.ipc.open_stream(opened)
            self._batches, self.schema = list(stream), stream.schema
        else:
            file = pa.ipc.open_file(opened)
            self._batches = [file.get_batch(i) for i in range(file.num_record_batches)]
            self.schema = file.schema
        _check_size(sum(batch.nbytes for batch in self._batches or ()), limits)

    def batches(self) -> Iterator[tuple[int, int, "pa.RecordBatch"]]:
        """Yield rows in order, after the number of their part and of their first one in it."""
        if self._batches is None:
            for part in range(self._parquet.num_row_groups):
                first = 0
                for batch in self._parquet.iter_batches(BATCH, row_groups=[part]):
                    yield part, first, batch
                    first += len(batch)
            return
        for part, batch in enumerate(self._batches):
            for first in range(0, len(batch), BATCH):
                yield part, first, batch.slice(first, BATCH)

    def column(self, part: int, name: str) -> "pa.ChunkedArray | pa.Array":
        """Return one column of a part."""
        if self._batches is None:
            return self._parquet.read_row_group(part, columns=[name]).column(name)
        return self._batches[part].column(name)


def _check_size(size: int, limits: DataLimits) -> None:
    if size > limits.unpacked:
        raise DataError(
            f"The file unpacks to more than {limits.unpacked // 1_000_000} MB, the most we take. "
            "Please keep the best rows. The command line takes any."
        )


def _features(schema: "pa.Schema") -> dict[str, Any]:
    """Read what the library `datasets` wrote of the columns, by name."""
    found: Any = None
    with suppress(ValueError, KeyError, TypeError):
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    return found if isinstance(found, dict) else {}


def _value(
    value: Any, feature: Any, place: tuple[int, int, str], pictures: dict[str, Place]
) -> Any:
    """Give a cell as JSON would have it: a picture as its name, a class as its name."""
    names = feature.get("names") if isinstance(feature, dict) else None
    if isinstance(names, list) and isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    if isinstance(value, list) and any(map(_is_picture, value)):
        return [
            _named(item, (*place, which), pictures) if _is_picture(item) else _plain(item)
            for which, item in enumerate(value)
        ]
    return _named(value, (*place, 0), pictures) if _is_picture(value) else _plain(value)


def _is_picture(value: Any) -> bool:
    return isinstance(value, bytes) or (
        isinstance(value, dict) and value.keys() == {"bytes", "path"}
    )


def _named(value: Any, place: Place, pictures: dict[str, Place]) -> str | None:
    """Give the name under which a picture is found: its own where no other has it."""
    path = value["path"] if isinstance(value, dict) else None
    if isinstance(value, dict) and not value["bytes"]:
        return path
    part, row, column, which = place
    name = path or f"{column}-{part}-{row}-{which}"
    name = f"{part}-{row}-{which}-{name}" if name in pictures else name
    pictures[name] = place
    return name


def _plain(value: Any) -> Any:
    """Give what JSON has no form for as text, at any depth."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").replace("\0", "")
    return value if isinstance(value, str | int | float | bool | None) else str(value)
