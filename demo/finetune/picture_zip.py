"""A zip of pictures with one table. Nothing is unpacked to disk: members are read when asked for.

Its own directory is judged first; whatever is odd about it refuses the whole, because a zip that
someone has built by hand is not worth saving.
"""

import re
import stat
import unicodedata
import zipfile
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path

from demo.errors import DataError
from demo.finetune.rows import shown

MAX_MEMBERS = 5_000
MAX_TOTAL = 500_000_000  # bytes unpacked, all members together
MAX_PICTURE = 10_000_000
MAX_RATIO = 100  # unpacked to packed; text seldom passes 20
SMALL = 1_000_000  # bytes up to which a ratio says nothing
CHUNK = 2**20  # bytes of a file looked through at a time
ENTRY = b"PK\x01\x02"  # begins each entry of a zip's directory

TABLES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv")
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif")
ARCHIVES = (".zip", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".tar", ".jar")
OFFICE = {"xl/workbook.xml": "an Excel workbook", "word/document.xml": "a Word document"}
PACK = "Please pack a plain zip: one table, and the pictures it names."


class ZipPictures(Mapping[str, bytes]):
    """Pictures of a zip by name, in its order. May be sent to another process.

    Args:
        source: the zip, already judged by `open_zip`. A file stays where it is and is read from.
        members: the zip's own name of each picture, by the name it is shown and found under.
    """

    def __init__(self, source: bytes | Path, members: Mapping[str, str]) -> None:
        self._source, self._members = source, dict(members)
        self._archive = _opened(source)

    def __getitem__(self, name: str) -> bytes:
        """Raises DataError when the zip is damaged there."""
        return read_member(self._archive, self._members[name], MAX_PICTURE)

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __reduce__(self) -> tuple[type, tuple[bytes | Path, dict[str, str]]]:
        return ZipPictures, (self._source, self._members)


def open_zip(source: bytes | Path, limit: int) -> tuple[str, bytes, ZipPictures]:
    """The table's name, its bytes (at most `limit` and one more), and the pictures.

    Raises:
        DataError: damaged, encrypted, packed in a way we do not open, too large, names that lead
            out of it, an archive in it, or not exactly one table.
    """
    if _entries(source) > 4 * MAX_MEMBERS:  # before Python makes an object of each
        raise _too_many()
    try:
        archive = _opened(source)
    except Exception as error:
        # The module fails with half a dozen types on what is no zip.
        raise _damaged() from error
    names = _judged(archive)
    tables = [name for name in names if name.lower().endswith(TABLES)]
    if len(tables) != 1:
        raise _not_one(tables, names)
    pictures = {
        shown_as: inner for shown_as, inner in names.items() if shown_as.lower().endswith(PICTURES)
    }
    content = read_member(archive, names[tables[0]], limit)
    return tables[0], content, ZipPictures(source, pictures)


def read_member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """At most one byte more than `limit`, so that the caller sees that it is too long.

    Raises:
        DataError: damaged, or packed so tightly that it is an attack.
    """
    info = archive.getinfo(name)
    try:
        with archive.open(info) as file:
            data = file.read(limit + 1)
    except Exception as error:
        raise _damaged() from error
    if len(data) > max(SMALL, MAX_RATIO * info.compress_size):
        raise DataError(
            f"“{shown(name)}” in the zip unpacks to more than {MAX_RATIO} times its size, as no "
            f"picture or table does. {PACK}"
        )
    return data


def _opened(source: bytes | Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(source if isinstance(source, Path) else BytesIO(source))


def _entries(source: bytes | Path) -> int:
    """How often an entry of the directory seems to begin; a picture may hold those bytes too."""
    count, tail = 0, b""
    with open(source, "rb") if isinstance(source, Path) else BytesIO(source) as file:
        while piece := file.read(CHUNK):
            count += (tail + piece).count(ENTRY)
            tail = piece[-len(ENTRY) + 1 :]
    return count


def _judged(archive: zipfile.ZipFile) -> dict[str, str]:
    """Members worth a look: the zip's name of each by the name it is shown under."""
    infos = [info for info in archive.infolist() if not info.is_dir()]
    for info in infos:
        _refuse_name(info)
    office = next((OFFICE[info.filename] for info in infos if info.filename in OFFICE), None)
    if office:
        raise DataError(f"This file is {office}. Please save the table as CSV and use that.")
    infos = [info for info in infos if not _is_hidden(info) and _is_file(info)]
    if len(infos) > MAX_MEMBERS:
        raise _too_many()
    if sum(info.file_size for info in infos) > MAX_TOTAL:
        raise DataError(
            f"The zip unpacks to more than {MAX_TOTAL // 1_000_000} MB, the most we take. Please "
            "use fewer or smaller pictures."
        )
    names: dict[str, str] = {}
    seen: set[str] = set()
    for info in infos:
        _refuse_packing(info)
        name = _spelled(info)
        if name.casefold() in seen:
            raise DataError(f"The zip holds “{shown(name)}” twice. Please rename or remove one.")
        seen.add(name.casefold())
        names[name] = info.filename
    return names


def _refuse_name(info: zipfile.ZipInfo) -> None:
    """No name leads anywhere, since nothing is written; one that tries is a bad sign."""
    name = info.orig_filename
    odd = "\0" in name or "\\" in name or re.match(r"[A-Za-z]:|/", name)
    if odd or ".." in name.split("/") or len(name) > 500:
        raise DataError(
            f"The zip holds a name that does not stay inside it, “{shown(name)}”. {PACK}"
        )


def _refuse_packing(info: zipfile.ZipInfo) -> None:
    name = shown(info.filename)
    if info.flag_bits & 1:
        raise DataError("The zip is protected with a password. Please pack it without one.")
    if info.filename.lower().endswith(ARCHIVES):
        raise DataError(f"The zip holds another archive, “{name}”. {PACK}")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(
            f"“{name}” is packed in a way we do not open. Please pack the zip again with the usual "
            "method, Deflate."
        )


def _spelled(info: zipfile.ZipInfo) -> str:
    """A member's name as a person types it: macOS writes decomposed UTF-8, and does not say so."""
    name = info.filename
    if not info.flag_bits & 0x800:
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            name = info.filename
    return unicodedata.normalize("NFC", name)


def _is_hidden(info: zipfile.ZipInfo) -> bool:
    parts = info.filename.split("/")
    return parts[0] == "__MACOSX" or any(part.startswith(".") for part in parts)


def _is_file(info: zipfile.ZipInfo) -> bool:
    """Links and devices are left out; archivers of other systems give no kind at all."""
    return stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)


def _not_one(tables: list[str], names: Mapping[str, str]) -> DataError:
    if tables:
        found = ", ".join(f"“{shown(name)}”" for name in tables[:3])
        return DataError(
            f"The zip holds {len(tables)} tables: {found}. Please keep one. Rows to test with can "
            "stand in it too, with a column split that says train or test."
        )
    count = sum(name.lower().endswith(PICTURES) for name in names)
    held = f"{count:,} pictures and no table" if count else "no table and no picture"
    return DataError(
        f"The zip holds {held}. Please add one, such as data.csv with the columns image, question "
        "and answer."
    )


def _too_many() -> DataError:
    return DataError(
        f"The zip holds more than {MAX_MEMBERS:,} files, the most we take. Please use fewer."
    )


def _damaged() -> DataError:
    return DataError("The zip is cut off or damaged. Please pack or download it again.")
