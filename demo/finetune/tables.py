"""The one door for data sets from strangers: bytes in, a table of text out, or a clear refusal.

What a file is follows from its bytes; its name is only shown.
"""

from dataclasses import replace
from pathlib import Path

from demo.errors import DataError
from demo.finetune.csv_rows import read_csv
from demo.finetune.json_rows import read_json
from demo.finetune.picture_zip import open_zip
from demo.finetune.rows import Table
from demo.finetune.text_file import decode

MAX_TEXT = 20_000_000  # bytes
MAX_ZIP = 200_000_000
ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # how one begins; the second is empty


def read_table(source: bytes | Path, name: str = "data") -> Table:
    """Open an untrusted JSON, JSON lines, CSV or zip file, whatever its name says.

    Args:
        source: the bytes, or a file, from which the pictures of a zip are read when asked for.
        name: what the person calls the file; it is shown and nothing else.

    Raises:
        DataError: another kind of file, damaged, or larger than 20 MB (a zip: 200 MB), or it
            passes a limit of `demo.finetune.rows`.
    """
    try:
        if not _read(source, len(ZIP[0])).startswith(ZIP):
            return _read_text(_read(source, MAX_TEXT + 1), name)
        _check_zip(source.stat().st_size if isinstance(source, Path) else len(source))
        inner, content, pictures = open_zip(source, MAX_TEXT)
    except OSError as error:
        raise DataError("The file cannot be read. Please choose it again.") from error
    table = _read_text(content, name)
    return replace(table, pictures=pictures, folder=inner.rpartition("/")[0])


def _read_text(data: bytes, name: str) -> Table:
    if len(data) > MAX_TEXT:
        raise DataError(
            f"The table is larger than {MAX_TEXT // 1_000_000} MB, the most we take. Please keep "
            "the best rows: a few hundred teach a lot."
        )
    text, note = decode(data)
    table = (read_json if text.lstrip()[0] in "[{" else read_csv)(text, name)
    return replace(table, notes=(note, *table.notes)) if note else table


def _read(source: bytes | Path, most: int) -> bytes:
    """At most so many bytes, so that a huge file costs nothing."""
    if isinstance(source, bytes):
        return source[:most]
    with open(source, "rb") as file:
        return file.read(most)


def _check_zip(size: int) -> None:
    if size > MAX_ZIP:
        raise DataError(
            f"The zip is larger than {MAX_ZIP // 1_000_000} MB, the most we take. Please use fewer "
            "or smaller pictures."
        )
