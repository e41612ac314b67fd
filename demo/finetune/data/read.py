"""The one door for data sets from strangers: bytes in, a table of text out, or a clear refusal.

What a file is follows from its bytes; its name is only shown. Text that is pasted comes through the
same door.
"""

import codecs
import csv
import gzip
import re
import zlib
from contextlib import suppress
from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path

from demo.errors import DataError
from demo.finetune.data.cards import is_cards, read_cards
from demo.finetune.data.chat_log import is_chat_log, read_chat_log, read_messenger_json
from demo.finetune.data.column_files import BEGINNINGS, read_columns
from demo.finetune.data.columns import recognise, recognise_table
from demo.finetune.data.csv_reader import (
    NoTableError,
    find_separator,
    has_commas_of_sentences,
    read_csv,
)
from demo.finetune.data.faq import find_faq, has_headings_that_ask, read_faq
from demo.finetune.data.folder import table_in
from demo.finetune.data.glossary import find_glossary, read_glossary
from demo.finetune.data.intents import spread
from demo.finetune.data.json_reader import read_json
from demo.finetune.data.marked_text import marked_turns
from demo.finetune.data.old_encodings import old_text
from demo.finetune.data.pictures import FolderPictures, open_zip
from demo.finetune.data.prose import is_prose, read_prose, without_front_matter
from demo.finetune.data.qna_maker import is_qna, qna_as_json
from demo.finetune.data.quiz import as_quiz
from demo.finetune.data.table import LIMITS, NO_LIMITS, DataLimits, Table
from demo.finetune.data.transcript import read_transcript, speakers
from demo.finetune.data.trees import joined
from demo.finetune.data.workbook import is_workbook, read_workbook
from demo.finetune.data.yaml_reader import is_yaml, yaml_as_json

ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # how one begins; the second is empty
MAX_PASTED = 500  # rows that a person may still want to look through
CLASSES = "The {what} has no table, so the name of each picture's folder is the answer to learn."
GZIP = b"\x1f\x8b"
WANTED = (
    "Please use JSON, JSON lines, CSV, Excel, Parquet, Arrow, or a zip of pictures with a table."
)

# Longest first: UTF-32's mark begins with UTF-16's.
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
FOREIGN = {
    b"%PDF": "a PDF document",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file. Please save the sheet as CSV",
    b"SQLite format 3": "a database. Please save the table as CSV",
    b"BZh": "packed with bzip2. Please unpack it first, or pack a zip",
    b"\xfd7zXZ": "packed with xz. Please unpack it first, or pack a zip",
    b"7z\xbc\xaf": "a 7z archive. Please pack a zip instead",
    b"Rar!": "a RAR archive. Please pack a zip instead",
    b"PK\x03\x04": "a zip inside a zip. Please pack its files directly",
    b"GGUF": "a model, not a data set",
    b"\x89PNG": "a picture. Please put it in a zip, with a table that names it",
    b"\xff\xd8\xff": "a picture. Please put it in a zip, with a table that names it",
    b"GIF8": "a picture. Please put it in a zip, with a table that names it",
}
# What makes a list a program's: `faq = [`, `export default [`.
ASSIGNED = re.compile(
    r"\s*(?:export\s+default\s+|(?:export\s+)?(?:(?:const|let|var)\s+)?[A-Za-z_$][\w$.]*"
    r"(?:\s*:[^=\n]{1,80})?\s*=\s*)(?=\[\s*[\[{\"\]]|\{\s*[\"}])"
)
BRACKETED = re.compile(r"\s*\[[^\W\d_][\w .'-]{0,24}\][:：]")  # who speaks, and no list
CONTROLS = re.compile(r"[\x01-\x08\x0e-\x1a\x1c-\x1f]")


def read_table(source: bytes | Path, name: str = "data", limits: DataLimits = LIMITS) -> Table:
    """Open an untrusted file of any kind that is understood, whatever its name says.

    JSON, JSON lines, CSV, TSV and YAML, also in gzip; XLSX; Parquet and Arrow; a zip of pictures
    with a table; the export of a Dialogflow agent.

    Args:
        source: the bytes, or a file, from which pictures are read when asked for; or a folder.
        name: what the person calls the file; it is shown and nothing else.
        limits: the most that is taken.

    Raises:
        DataError: another kind of file, damaged, or it passes a limit.
    """
    try:
        if isinstance(source, Path) and source.is_dir():
            return _read_folder(source, name, limits)
        start = _read(source, 8)
        if not start.startswith(ZIP):
            return _arranged(_read_plain(source, name, limits), limits)
        if is_workbook(source):
            return _arranged(read_workbook(source, name, limits), limits)
        _check_zip(source.stat().st_size if isinstance(source, Path) else len(source), limits)
        inner, content, pictures = open_zip(source, limits)
        pictures.trusted = limits == NO_LIMITS
    except OSError as error:
        raise DataError("The file cannot be read. Please choose it again.") from error
    table = _arranged(_read_text(content, name, limits), limits)
    classes = not inner and bool(pictures)
    notes = (*table.notes, CLASSES.format(what="zip")) if classes else table.notes
    return replace(table, pictures=pictures, folder=inner.rpartition("/")[0], notes=notes)


def _arranged(table: Table, limits: DataLimits) -> Table:
    """Return a table of which each row is to be learned by itself."""
    return as_quiz(spread(joined(table), limits))


def with_pictures(table: Table, folder: Path) -> Table:
    """Return a table whose pictures lie in a folder of this machine."""
    return replace(table, pictures=FolderPictures(folder))


def _read_folder(folder: Path, name: str, limits: DataLimits) -> Table:
    found, place = table_in(folder)
    table = read_table(found, name, limits)
    if table.pictures:
        return table
    notes = (
        table.notes if isinstance(found, Path) else (*table.notes, CLASSES.format(what="folder"))
    )
    return replace(table, pictures=FolderPictures(folder), folder=place, notes=notes)


def _read_plain(source: bytes | Path, name: str, limits: DataLimits) -> Table:
    """Read a file that is no zip."""
    start = _read(source, 8)
    if start.startswith(BEGINNINGS):
        size = source.stat().st_size if isinstance(source, Path) else len(source)
        _check_zip(size, limits)
        return read_columns(source, name, limits)
    if start.startswith(GZIP):
        return _read_text(_unpacked(source, limits.table + 1), name, limits)
    return _read_text(_read(source, limits.table + 1), name, limits)


def _unpacked(source: bytes | Path, most: int) -> bytes:
    """Unpack at most so many bytes of a gzip file."""
    try:
        with gzip.open(source if isinstance(source, Path) else BytesIO(source)) as file:
            return file.read(_count(most))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            "The gzip file is cut off or damaged. Please pack or download it again."
        ) from error


def pasted_pairs(text: str) -> list[list[str]] | None:
    """Read pasted text as pairs of question and reply; None where it holds more, as a file may.

    Cells that are copied out of a spreadsheet seldom bring the names of their columns along: two
    columns are then the question and the reply, from the first row on.

    Raises:
        DataError: it is no table.
    """
    if not _has_own_form(text):
        with suppress(NoTableError):  # it may be a list of words, which has no cells
            text = _with_names(text)
    table = read_table(text.encode("utf-8", "replace"))
    layout = recognise_table(table)
    names = layout and (layout.question, layout.reply)
    if layout is None or table.faults or len(table.rows) > MAX_PASTED or layout.columns != names:
        return None
    return [[row.cells.get(name, "") for name in layout.columns] for row in table.rows]


def _has_own_form(text: str) -> bool:
    """Tell whether a text says by itself what asks and what replies, without names of columns."""
    marked = is_chat_log(text) or is_cards(text) or speakers(text) or find_faq(text)
    return text.lstrip()[:1] in ("[", "{") or bool(marked)


def _read_text(data: bytes, name: str, limits: DataLimits) -> Table:
    if len(data) > limits.table:
        raise DataError(
            f"The table is larger than {limits.table // 1_000_000} MB, the most we take. Please "
            "keep the best rows: a few hundred teach a lot."
        )
    text, note = _decode(data)
    text, front = (text, "") if is_yaml(text) else without_front_matter(text)
    assigned = ASSIGNED.match(text)
    if assigned:
        text = text[assigned.end() :].rstrip().removesuffix(";")
    if is_chat_log(text):
        table = read_chat_log(text, name, limits)
    elif is_cards(text):
        table = read_cards(text, name, limits)
    elif text.lstrip()[0] in "[{" and not BRACKETED.match(text):
        exported = read_messenger_json(text, name, limits)
        table = exported or read_json(text, name, limits)
    elif is_qna(text):
        table = read_json(qna_as_json(text), name, limits)
    elif is_yaml(text) and marked_turns(text[:20_000]) is None:
        table = read_json(yaml_as_json(text), name, limits)
    elif (who := speakers(text)) and marked_turns(text[:20_000]) is None:
        table = read_transcript(text, name, who, limits)
    elif has_headings_that_ask(text) and (faq := find_faq(text)):
        table = read_faq(faq, name, limits)
    elif has_commas_of_sentences(text) and (glossary := find_glossary(text)):
        table = read_glossary(glossary, name, limits)
    else:
        try:
            table = read_csv(text, name, limits)
        except NoTableError:
            if (faq := find_faq(text)) is not None:
                table = read_faq(faq, name, limits)
            elif (glossary := find_glossary(text)) is not None:
                table = read_glossary(glossary, name, limits)
            elif is_prose(text):
                table = read_prose(text, name, limits)
            else:
                raise
    return replace(table, notes=(*filter(None, (note, front)), *table.notes))


def _read(source: bytes | Path, most: int) -> bytes:
    """Read at most so many bytes, so that a huge file costs nothing."""
    if isinstance(source, bytes):
        return source[:most]
    with open(source, "rb") as file:
        return file.read(_count(most))


def _count(most: int) -> int:
    """Give -1 where there is no limit: room for so many bytes would be taken at once."""
    return -1 if most > NO_LIMITS.table else most


def _check_zip(size: int, limits: DataLimits) -> None:
    if size > limits.archive:
        raise DataError(
            f"The file is larger than {limits.archive // 1_000_000} MB, the most we take. "
            "Please use fewer rows, or fewer or smaller pictures."
        )


def _decode(data: bytes) -> tuple[str, str]:
    """Give the text of a file, and a note when its encoding had to be guessed."""
    for start, what in FOREIGN.items():
        if data.startswith(start):
            advice = "" if ". " in what else f" {WANTED}"
            raise DataError(f"This file is {what}.{advice}")
    text, note = _guessed(data)
    if not text.strip():
        raise DataError(f"This file is empty. {WANTED}")
    if "\0" in text or len(CONTROLS.findall(text[:100_000])) > len(text[:100_000]) // 50:
        raise DataError(f"This file is no text. {WANTED}")
    if re.match(r"\s*(<!doctype html|<html|<head|<body)", text[:1000], re.IGNORECASE):
        raise DataError(
            "This file is a web page (HTML), not a table. Perhaps the page around a download was "
            f"saved instead of the file itself. {WANTED}"
        )
    if re.match(r"\s*<(\?xml|svg)", text[:1000], re.IGNORECASE):
        raise DataError(f"This file is XML, which we do not read. {WANTED}")
    return text, note


def _guessed(data: bytes) -> tuple[str, str]:
    """Try UTF-8 and UTF-16, with or without a mark, then what old sheets are written in."""
    for mark, encoding in MARKS:
        if data.startswith(mark):
            try:
                return data.decode(encoding).removeprefix("\ufeff"), ""
            except UnicodeDecodeError as error:
                raise DataError(
                    "This file begins as Unicode text and is damaged further on. "
                    "Please save it again as UTF-8."
                ) from error
    wide = _wide(data)
    for encoding in (wide, "utf-8"):
        if encoding:
            try:
                return data.decode(encoding), ""
            except UnicodeDecodeError:
                continue
    return old_text(data)


def _wide(data: bytes) -> str:
    """Tell UTF-16 without a mark: every other byte of plain text is zero."""
    head = data[:1000]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) * 3 < len(head) or len(data) % 2:
        return ""
    return "utf-16-le" if odd > even else "utf-16-be"


def _with_names(text: str) -> str:
    """Put names above a table of two columns, if they are missing."""
    body, separator = find_separator(text)
    if separator == "," and has_commas_of_sentences(body):
        return text
    try:
        first = next(csv.reader(StringIO(body, ""), delimiter=separator))
    except (csv.Error, StopIteration) as error:
        raise DataError("The first row cannot be read. Please paste the cells again.") from error
    names = [cell.strip() for cell in first]
    if len(names) != 2 or recognise(names):
        return text
    return f"question{separator}answer\n{body}"
