"""The bytes of a text file from anywhere → text, and a refusal in words for what is no text."""

import codecs
import re

from demo.errors import DataError

WANTED = "Please use JSON, JSON lines, CSV, or a zip of pictures with such a table."

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
    b"PAR1": "a Parquet file. Please save the table as CSV or JSON lines",
    b"ARROW1": "an Arrow file. Please save the table as CSV or JSON lines",
    b"SQLite format 3": "a database. Please save the table as CSV",
    b"\x1f\x8b": "packed with gzip. Please unpack it first, or pack a zip",
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
CONTROLS = re.compile(r"[\x01-\x08\x0e-\x1a\x1c-\x1f]")


def decode(data: bytes) -> tuple[str, str]:
    """UTF-8 or UTF-16, with or without a mark; otherwise Windows-1252, the usual of old sheets.

    Returns:
        The text, and a note when the encoding had to be guessed.

    Raises:
        DataError: the file is empty, or of a kind that is no text.
    """
    for start, what in FOREIGN.items():
        if data.startswith(start):
            advice = "" if ". " in what else f" {WANTED}"
            raise DataError(f"This file is {what}.{advice}")
    text, note = _decode(data)
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


def _decode(data: bytes) -> tuple[str, str]:
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
    note = (
        "The file is not UTF-8 and was read as Windows-1252. If letters with accents look wrong, "
        "save it again as UTF-8."
    )
    try:
        return data.decode("cp1252"), note
    except UnicodeDecodeError:  # five bytes mean nothing there
        return data.decode("latin-1"), note


def _wide(data: bytes) -> str:
    """UTF-16 without a mark: every other byte of plain text is zero."""
    head = data[:1000]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) * 3 < len(head) or len(data) % 2:
        return ""
    return "utf-16-le" if odd > even else "utf-16-be"
