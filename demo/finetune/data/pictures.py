"""Pictures of an upload: out of a zip or off the disk, found as rows name them, opened when needed.

Nothing of a zip is unpacked to disk. Its own directory is judged first; whatever is odd about it
refuses the whole, because a zip that someone has built by hand is not worth saving.
"""

import hashlib
import json
import re
import stat
import unicodedata
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from demo.errors import DataError, DemoError
from demo.finetune.data.conversation import SPLIT_NAMES, normalise_name
from demo.finetune.data.dialogflow import is_export, read_export
from demo.finetune.data.table import LIMITS, DataLimits, excerpt
from demo.vision.image import Picture, check_header, open_picture

MAX_PICTURE = 10_000_000
MAX_PIXELS_OF_ALL = 4_000_000_000  # of a stranger's pictures that rows name: a minute's decoding
MAX_RATIO = 100  # unpacked to packed; text seldom passes 20
SMALL = 1_000_000  # bytes up to which a ratio says nothing
CHUNK = 2**20  # bytes of a file looked through at a time
ENTRY = b"PK\x01\x02"  # begins each entry of a zip's directory

TABLES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv")
PICTURES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif")
UNOPENED = (".heic", ".heif", ".avif", ".bmp", ".tif", ".tiff", ".svg")  # said so when named
ARCHIVES = (".zip", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".tar", ".jar")
OFFICE = {"word/document.xml": "a Word document", "ppt/presentation.xml": "a presentation"}
BESIDE = ("pid_splits.json",)  # ScienceQA's ids by split, which its problems name themselves
PACK = "Please pack a plain zip: one table, and the pictures it names."


@dataclass(frozen=True)
class SeenPicture:
    """A picture that opens. Its pixels are not kept: thousands of them would fill the memory.

    Attributes:
        name: in its source.
        digest: of the pixels, as `Picture` has it.
        source: encoded pictures by name.
    """

    name: str
    digest: str
    source: Mapping[str, bytes] = field(repr=False, compare=False)

    def open(self) -> Picture:
        """Open the picture.

        Raises:
            ImageError: the file has changed since and no longer opens.
        """
        return open_picture(self.source[self.name])


class PictureStore:
    """Find the pictures of one table as its rows name them, and open each once.

    Args:
        pictures: encoded, by name.
        folder: where the table lies among them.
    """

    def __init__(self, pictures: Mapping[str, bytes], folder: str = "") -> None:
        self._pictures, self._folder = pictures, folder
        self._places = {_place(name): name for name in pictures}
        self._by_file: dict[str, list[str]] = defaultdict(list)
        self._by_number: dict[int, list[str]] = defaultdict(list)  # COCO_train2014_000000000009
        for place, name in self._places.items():
            file = place.rpartition("/")[2]
            self._by_file[file].append(name)
            stem = file.rpartition(".")[0]
            self._by_file[stem].append(name)
            if number := re.search(r"\d{1,18}$", stem):
                self._by_number[int(number[0])].append(name)
        self._seen: dict[str, SeenPicture | str] = {}
        self._named: set[str] = set()
        self._pixels = 0  # that were decoded so far

    @property
    def unused(self) -> tuple[str, ...]:
        """Pictures that no row has named so far."""
        return tuple(name for name in self._pictures if name not in self._named)

    def resolve(self, spelling: str) -> SeenPicture:
        """Find the picture that a row names: by its place from the table or the top, or its file.

        The ending may be left out; a number alone is that at the end of one file's name, as in
        COCO's.

        Raises:
            DataError: no such picture, several, or one that does not open.
        """
        name = self._find(spelling)
        self._named.add(name)
        if name not in self._seen:
            self._seen[name] = self._opened(name)
        seen = self._seen[name]
        if isinstance(seen, str):
            raise DataError(seen)
        return seen

    def _opened(self, name: str) -> SeenPicture | str:
        """Give the picture, or why it does not open: done once, however many rows name it."""
        try:
            if isinstance(self._pictures, FolderPictures):
                return self._pictures.look(name)
            data = self._pictures[name]
            pixels = check_header(data)
            trusted = getattr(self._pictures, "trusted", False)
            if self._pixels + pixels > MAX_PIXELS_OF_ALL and not trusted:
                most = MAX_PIXELS_OF_ALL // 1_000_000
                return (
                    f"“{excerpt(name)}”: the pictures before it have {most:,} megapixels together, "
                    "the most that we take. Please make them smaller, or use fewer."
                )
            self._pixels += pixels
            return SeenPicture(name, open_picture(data).digest, self._pictures)
        except DemoError as error:
            return f"“{excerpt(name)}”: {error}"

    def _find(self, spelling: str) -> str:
        if re.match(r"[a-z]+://|data:", spelling, re.IGNORECASE):
            raise DataError(
                "The picture is a web address or stands in the table itself. Please put the "
                "picture's file into the zip and its name into the table."
            )
        place = re.sub(r"(\.\w{3,4})#\d{1,2}$", r"\1", _place(spelling))  # Flickr's captions
        for candidate in (f"{_place(self._folder)}/{place}" if self._folder else place, place):
            if candidate in self._places:
                return self._places[candidate]
        named = self._by_file.get(place.rpartition("/")[2], [])
        if not named and re.fullmatch(r"\d{1,18}", place):
            named = self._by_number.get(int(place), [])
        if len(named) > 1:  # the row may say the last of its folders
            named = [one for one in named if _place(one).endswith(f"/{place}")] or named
        if len(named) == 1:
            return named[0]
        if named:
            raise DataError(
                f"{len(named)} pictures are called “{excerpt(spelling)}”. Please write the folder "
                "too."
            )
        raise DataError(
            f"The picture “{excerpt(spelling)}” is not in the upload. Please pack the table and "
            "its pictures into one zip."
        )


class ZipPictures(Mapping[str, bytes]):
    """Pictures of a zip by name, in its order. May be sent to another process.

    Args:
        source: the zip, already judged by `open_zip`. A file stays where it is and is read from.
        members: the zip's own name of each picture, by the name it is shown and found under.

    Attributes:
        trusted: it is its owner's own, so how many pixels it has is theirs to know.

    Raises:
        OSError, BadZipFile: the source cannot be read, or is no zip.
    """

    trusted = False

    def __init__(self, source: bytes | Path, members: Mapping[str, str]) -> None:
        self._source, self.members = source, dict(members)
        self._archive = _opened(source)

    def __getitem__(self, name: str) -> bytes:
        """Read one picture.

        Raises:
            DataError: the zip is damaged there.
        """
        return _read_member(self._archive, self.members[name], MAX_PICTURE)

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __reduce__(self) -> tuple[type, tuple[bytes | Path, dict[str, str]]]:
        return ZipPictures, (self._source, self.members)


class FilePictures(Mapping[str, bytes]):
    """Pictures that lie on this machine's disk, by name. Not for a stranger's paths.

    Args:
        paths: of the files, by name.
    """

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._paths = dict(paths)

    def __getitem__(self, name: str) -> bytes:
        return self._paths[name].read_bytes()

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


class FolderPictures(FilePictures):
    """All pictures of a folder on this machine and those below it, by their place in it.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(
            {
                path.relative_to(folder).as_posix(): path
                for path in sorted(folder.rglob("*"))
                if path.suffix.lower() in (*PICTURES, *UNOPENED) and path.name[0] != "."
            }
        )

    def look(self, name: str) -> SeenPicture:
        """Look at a picture without decoding it: its digest is that of its file.

        Raises:
            ImageError: its first bytes show that it does not open.
        """
        data = self[name]
        check_header(data)
        return SeenPicture(name, hashlib.sha256(data).hexdigest(), self)


def open_zip(source: bytes | Path, limits: DataLimits = LIMITS) -> tuple[str, bytes, ZipPictures]:
    """Open an untrusted zip: the table's name, its bytes, and the pictures.

    Without a table, pictures in one folder for each class make one (see `classes_of`), as do the
    intents of a Dialogflow agent; its name is then "".

    Args:
        source: the bytes of the zip, or a file.
        limits: the most that is taken; of a larger table, one byte more is given.

    Raises:
        DataError: damaged, encrypted, packed in a way we do not open, too large, names that lead
            out of it, an archive in it, or not exactly one table.
    """
    if _entries(source) > 4 * limits.files:  # before Python makes an object of each
        raise _too_many(limits)
    try:
        archive = _opened(source)
    except Exception as error:
        # The module fails with half a dozen types on what is no zip.
        raise _damaged() from error
    names = _checked_members(archive, limits)
    tables = [name for name in names if name.lower().endswith(TABLES)]
    if len(tables) > 1:
        tables = [name for name in tables if name.rpartition("/")[2] not in BESIDE]
    endings = (*PICTURES, *UNOPENED)
    pictures = {
        shown_as: inner for shown_as, inner in names.items() if shown_as.lower().endswith(endings)
    }
    classes = [] if tables else classes_of(list(pictures))
    if classes:
        return "", json.dumps(classes).encode(), ZipPictures(source, pictures)
    if is_export(names):
        joined = read_export(names, lambda name: _read_member(archive, names[name], limits.table))
        return "", joined, ZipPictures(source, {})
    if len(tables) != 1:
        raise _not_one(tables, names)
    content = _read_member(archive, names[tables[0]], limits.table)
    return tables[0], content, ZipPictures(source, pictures)


def classes_of(names: Sequence[str]) -> list[dict[str, str]]:
    """Make rows of pictures that lie in one folder for each class; none where they do not.

    The folder's name is the answer. A folder around it may say train or test.

    Args:
        names: of the pictures, with their folders.
    """
    rows = []
    for name in names:
        *above, folder, _ = ["", *name.split("/")]
        said = (SPLIT_NAMES.get(normalise_name(re.sub(r"\d+$", "", part))) for part in above)
        split = next((part for part in said if part), "")
        label = " ".join(re.split(r"[\s_]+", folder)).strip()
        rows.append({"image": name, "answer": label, **({"split": split} if split else {})})
    labels = {row["answer"] for row in rows}
    parts = {label for label in labels if normalise_name(label.rstrip("0123456789")) in SPLIT_NAMES}
    return rows if len(labels) > 1 and "" not in labels and not parts else []


def _place(name: str) -> str:
    """Bring a spelling of a place into a form to compare, without Windows' and Macs' habits."""
    plain = unicodedata.normalize("NFC", name.strip()).replace("\\", "/").casefold()
    return re.sub(r"^(\./)+", "", plain)


def _read_member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Read at most one byte more than `limit`, so that the caller sees that it is too long."""
    info = archive.getinfo(name)
    try:
        with archive.open(info) as file:
            data = file.read(limit + 1)
    except Exception as error:
        raise _damaged() from error
    if len(data) > max(SMALL, MAX_RATIO * info.compress_size):
        raise DataError(
            f"“{excerpt(name)}” in the zip unpacks to more than {MAX_RATIO} times its size, as no "
            f"picture or table does. {PACK}"
        )
    return data


def _opened(source: bytes | Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(source if isinstance(source, Path) else BytesIO(source))


def _entries(source: bytes | Path) -> int:
    """Count where an entry of the directory seems to begin; a picture may hold those bytes too."""
    count, tail = 0, b""
    with open(source, "rb") if isinstance(source, Path) else BytesIO(source) as file:
        while piece := file.read(CHUNK):
            count += (tail + piece).count(ENTRY)
            tail = piece[-len(ENTRY) + 1 :]
    return count


def _checked_members(archive: zipfile.ZipFile, limits: DataLimits) -> dict[str, str]:
    """Refuse what is odd; give the zip's name of each member by the name it is shown under."""
    infos = [info for info in archive.infolist() if not info.is_dir()]
    for info in infos:
        _refuse_name(info)
    office = next((OFFICE[info.filename] for info in infos if info.filename in OFFICE), None)
    if office:
        raise DataError(f"This file is {office}. Please save the table as CSV and use that.")
    infos = [info for info in infos if not _is_hidden(info) and _is_file(info)]
    if len(infos) > limits.files:
        raise _too_many(limits)
    if sum(info.file_size for info in infos) > limits.unpacked:
        raise DataError(
            f"The zip unpacks to more than {limits.unpacked // 1_000_000} MB, the most we take. "
            "Please use fewer or smaller pictures."
        )
    names: dict[str, str] = {}
    seen: set[str] = set()
    for info in infos:
        _refuse_packing(info)
        name = _spelled(info)
        if name.casefold() in seen:
            raise DataError(f"The zip holds “{excerpt(name)}” twice. Please rename or remove one.")
        seen.add(name.casefold())
        names[name] = info.filename
    return names


def _refuse_name(info: zipfile.ZipInfo) -> None:
    """Refuse a name that leads out: nothing is written, but one that tries is a bad sign."""
    name = info.orig_filename
    odd = "\0" in name or "\\" in name or re.match(r"[A-Za-z]:|/", name)
    if odd or ".." in name.split("/") or len(name) > 500:
        raise DataError(
            f"The zip holds a name that does not stay inside it, “{excerpt(name)}”. {PACK}"
        )


def _refuse_packing(info: zipfile.ZipInfo) -> None:
    name = excerpt(info.filename)
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
    """Spell a member's name as people type it: macOS decomposes UTF-8, and does not say so."""
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
    """Leave out links and devices; archivers of other systems give no kind at all."""
    return stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)


def _not_one(tables: list[str], names: Mapping[str, str]) -> DataError:
    if tables:
        found = ", ".join(f"“{excerpt(name)}”" for name in tables[:3])
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


def _too_many(limits: DataLimits) -> DataError:
    return DataError(
        f"The zip holds more than {limits.files:,} files, the most we take. Please use fewer."
    )


def _damaged() -> DataError:
    return DataError("The zip is cut off or damaged. Please pack or download it again.")
