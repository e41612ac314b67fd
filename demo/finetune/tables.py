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


def read_table(source: bytes | Path, name: str = "data") -> Table:
    """Open an untrusted JSON, JSON lines, CSV or zip file, whatever its name says.

    Args:
        name: what the person calls the file; it is shown and nothing else.

    Raises:
        DataError: another kind of file, damaged, or larger than 20 MB (a zip: 200 MB), or it
            passes a limit of `demo.finetune.rows`.
    """
    data = _read(source)
    if not data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _read_text(data, name)
    inner, content, pictures = open_zip(data, MAX_TEXT)
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


def _read(source: bytes | Path) -> bytes:
    """At most one byte more than the largest limit, so that a huge file costs nothing."""
    if isinstance(source, bytes):
        data = source
    else:
        try:
            with open(source, "rb") as file:
                data = file.read(MAX_ZIP + 1)
        except OSError as error:
            raise DataError("The file cannot be read. Please choose it again.") from error
    if len(data) > MAX_ZIP:
        raise DataError(
            f"The file is larger than {MAX_ZIP // 1_000_000} MB, the most we take. Please use "
            "fewer or smaller pictures."
        )
    return data
