"""A folder on this machine → a table with pictures that stay where they are.

Only for the command line: nobody else may name a folder. A picture is read for its digest when the
rows are checked, and decoded once, when its features are computed.
"""

import json
from pathlib import Path

from demo.errors import DataError
from demo.finetune.data.dialogflow import is_export, read_export
from demo.finetune.data.pictures import FolderPictures, classes_of
from demo.finetune.data.table import excerpt

TABLES = (
    ".json",
    ".jsonl",
    ".ndjson",
    ".csv",
    ".tsv",
    ".xlsx",
    ".parquet",
    ".arrow",
    ".gz",
    ".zip",
)


def table_in(folder: Path) -> tuple[Path | bytes, str]:
    """Find the one table of a folder, or make one of a folder for each class.

    Returns:
        The table's file and its folder's place in the folder; or the table as JSON, and "".

    Raises:
        DataError: there is no table, or several.
    """
    tables = sorted(
        path
        for path in folder.rglob("*")
        if path.name.lower().endswith(TABLES) and not path.name.startswith(".")
    )
    files = {path.relative_to(folder).as_posix(): path for path in tables}
    if is_export(files):
        return read_export(files, lambda name: files[name].read_bytes()), ""
    top = [path for path in tables if path.parent == folder]
    tables = top if len(top) == 1 else tables
    if len(tables) == 1:
        return tables[0], tables[0].parent.relative_to(folder).as_posix().removeprefix(".")
    rows = [] if tables else classes_of(list(FolderPictures(folder)))
    if rows:
        return json.dumps(rows).encode(), ""
    named = ", ".join(f"“{excerpt(path.name)}”" for path in tables[:3])
    raise DataError(
        f"The folder holds {len(tables)} tables: {named}. Please name the one to teach: "
        "its pictures are looked for beside it."
        if tables
        else "The folder holds no table, and no folder of pictures for each class. Please put one "
        "table into it, with the columns image, question and answer."
    )
