"""A data set of the Hugging Face Hub, by its id → one file on this machine, row by row.

The library `datasets` streams it, so nothing but the rows that are asked for is fetched, and a set
of any size costs the memory of one row. What comes is JSON lines, or a zip with the pictures.
"""

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import date, datetime, time
from itertools import islice
from pathlib import Path
from typing import Any

from demo.atomic_file import replace_file
from demo.background_task import ProgressCallback
from demo.errors import DataError
from demo.finetune.data.folder import TABLES

# owner/name, then a configuration and a revision: openai/gsm8k:main@e53f048
ID = re.compile(r"([\w.-]+/[\w.-]+)(?::([\w.-]+))?(?:@([\w./-]+))?")
TABLE, PICTURES = "data.jsonl", "pictures"
REPORT_EVERY = 1_000  # rows between two reports of the progress


def is_hub_id(text: str) -> bool:
    """Tell whether a text may be the id of a data set: `owner/name`, `owner/name:configuration`."""
    named = ID.fullmatch(text)
    return named is not None and text[0] not in "./" and not named[1].lower().endswith(TABLES)


def fetch_rows(
    source: str, folder: Path, progress: ProgressCallback, *, rows: int | None = None
) -> Path:
    """Fetch a data set's rows; give the file in which they are.

    With several parts each row says in `split` which one it is of.

    Args:
        source: its id, or a folder of Parquet files in the Hub's form.
        folder: where the file is put; one that is there already is taken as it is.
        progress: hears how many rows there are so far.
        rows: the first so many of each part; None for all.

    Raises:
        DataError: it is not there, may not be read, has several configurations, or is empty.
    """
    done = [folder / "data.zip", folder / TABLE]
    if found := next((path for path in done if path.exists()), None):
        return found
    parts = _open(source)
    folder.mkdir(parents=True, exist_ok=True)
    pictured = [
        column
        for column, feature in next(iter(parts.values())).features.items()
        if "Image" in repr(feature)
    ]
    path = done[0] if pictured else done[1]
    with replace_file(path) as unfinished, ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(unfinished, "w")) if pictured else None
        lines = (
            stack.enter_context(open(unfinished, "w", encoding="utf-8")) if not archive else None
        )
        kept = []
        for number, row in enumerate(_rows(parts, rows), 1):
            if archive:
                row |= {name: _stored(archive, row[name], number, name) for name in pictured}
            line = json.dumps(_plain(row), ensure_ascii=False) + "\n"
            if lines:
                lines.write(line)
            else:
                kept.append(line)
            if number % REPORT_EVERY == 0:
                progress(f"{number:,} rows of {source}", None)
        if archive:
            archive.writestr(TABLE, "".join(kept))
    return path


def _open(source: str) -> dict[str, Any]:
    """Open the parts of a data set for streaming, with pictures left encoded."""
    import datasets

    name, configuration, revision = source, None, None
    match = ID.fullmatch(source)
    if match and not Path(source).is_dir():
        name, configuration, revision = match.groups()
    try:
        opened = datasets.load_dataset(name, configuration, revision=revision, streaming=True)
        found = {part: _encoded(rows) for part, rows in opened.items()}
    except Exception as error:  # the library fails with many types; their first lines are for users
        raise DataError(_why_not(name, error)) from error
    if not found:
        raise DataError(f"The data set {name} has no rows.")
    return found


def _encoded(rows: Any) -> Any:
    """Leave pictures, sounds and films as the bytes that they are; name classes."""
    import datasets

    if rows.features is None:
        rows = rows._resolve_features()  # looks at the first rows
    kinds = (datasets.Image, datasets.Audio, datasets.Video)
    for column, feature in rows.features.items():
        if isinstance(feature, kinds):
            rows = rows.cast_column(column, type(feature)(decode=False))
    return rows


def _rows(parts: Mapping[str, Any], most: int | None) -> Iterator[dict[str, Any]]:
    for part, opened in parts.items():
        names = {
            column: feature.names
            for column, feature in opened.features.items()
            if hasattr(feature, "names")
        }
        for row in islice(opened, most):
            for column, known in names.items():
                if isinstance(row[column], int) and 0 <= row[column] < len(known):
                    row[column] = known[row[column]]
            yield {**({"split": part} if len(parts) > 1 else {}), **row}


def _stored(archive: zipfile.ZipFile, value: Any, number: int, column: str) -> Any:
    """Put the pictures of a cell into the zip, as they are; give their names."""
    if isinstance(value, list):
        return [_stored(archive, v, number, f"{column}-{i}") for i, v in enumerate(value)]
    if not isinstance(value, dict) or not value.get("bytes"):
        return value["path"] if isinstance(value, dict) else value
    ending = Path(value.get("path") or "").suffix or ".jpg"
    name = f"{PICTURES}/{number}-{column}{ending}"
    archive.writestr(name, value["bytes"])
    return name


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):  # of a sound or a film, which is refused by its column
        return f"{len(value):,} bytes"
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _why_not(name: str, error: Exception) -> str:
    kind, text = type(error).__name__, str(error)
    if "Config name is missing" in text:
        known = re.search(r"available configs: \[(.*?)\]", text)
        names = f": {known[1][:200]}" if known else ""
        return (
            f"The data set {name} has several configurations{names}. Please name one, as "
            f"{name}:NAME."
        )
    if "Gated" in kind or "gated" in text:
        return (
            f"The data set {name} is given only to those who accept its terms. Accept them on its "
            "page, then `hf auth login`."
        )
    if "Connection" in kind or "Offline" in kind or "Connect" in text or "timed out" in text:
        return (
            f"The Hub cannot be reached, so {name} cannot be fetched. Check the connection, or "
            "give a file."
        )
    if "NotFound" in kind or "doesn't exist" in text:
        return (
            f"There is no file “{name}”, and no data set of that id on the Hub that you may read. "
            "Please check the spelling; for a private one, `hf auth login`."
        )
    return (
        f"The data set {name} cannot be read by the library `datasets`. Please save it as Parquet "
        "or JSON lines, and give the file."
    )
