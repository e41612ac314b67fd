"""The pictures of an upload: found as rows name them, looked at once, opened again when needed."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from demo.errors import DataError, DemoError
from demo.finetune.rows import shown
from demo.vision.media import Picture, open_picture


class FilePictures(Mapping[str, bytes]):
    """Pictures that lie on this machine's disk, by name. Not for a stranger's paths."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self._paths = dict(paths)

    def __getitem__(self, name: str) -> bytes:
        return self._paths[name].read_bytes()

    def __iter__(self):
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


@dataclass(frozen=True)
class SeenPicture:
    """A picture that opens. Its pixels are not kept: thousands of them would fill the memory."""

    name: str
    digest: str  # of the pixels, as `Picture` has it
    source: Mapping[str, bytes] = field(repr=False, compare=False)

    def open(self) -> Picture:
        """Raises ImageError when the file has changed since and no longer opens."""
        return open_picture(self.source[self.name])


class Album:
    """Finds and judges the pictures of one table."""

    def __init__(self, pictures: Mapping[str, bytes], folder: str = "") -> None:
        self._pictures, self._folder = pictures, folder
        self._places = {_place(name): name for name in pictures}
        self._by_file: dict[str, list[str]] = defaultdict(list)
        for place, name in self._places.items():
            self._by_file[place.rpartition("/")[2]].append(name)
        self._seen: dict[str, SeenPicture | str] = {}
        self._named: set[str] = set()

    @property
    def unused(self) -> tuple[str, ...]:
        """Pictures that no row has named so far."""
        return tuple(name for name in self._pictures if name not in self._named)

    def look(self, spelling: str) -> SeenPicture:
        """The picture that a row names, by its place from the table or the top, or its file name.

        Raises:
            DataError: no such picture, several, or one that does not open.
        """
        name = self._find(spelling)
        self._named.add(name)
        if name not in self._seen:
            self._seen[name] = self._judge(name)
        seen = self._seen[name]
        if isinstance(seen, str):
            raise DataError(seen)
        return seen

    def _judge(self, name: str) -> SeenPicture | str:
        """The picture, or why it does not open: asked once, however many rows name it."""
        try:
            return SeenPicture(name, open_picture(self._pictures[name]).digest, self._pictures)
        except DemoError as error:
            return f"“{shown(name)}”: {error}"

    def _find(self, spelling: str) -> str:
        if re.match(r"[a-z]+://|data:", spelling, re.IGNORECASE):
            raise DataError(
                "The picture is a web address or stands in the table itself. Please put the "
                "picture's file into the zip and its name into the table."
            )
        place = _place(spelling)
        for candidate in (f"{_place(self._folder)}/{place}" if self._folder else place, place):
            if candidate in self._places:
                return self._places[candidate]
        named = self._by_file[place.rpartition("/")[2]]
        if len(named) == 1:
            return named[0]
        if named:
            raise DataError(
                f"{len(named)} pictures are called “{shown(spelling)}”. Please write the folder "
                "too."
            )
        raise DataError(
            f"The picture “{shown(spelling)}” is not in the upload. Please pack the table and its "
            "pictures into one zip."
        )


def _place(name: str) -> str:
    """A spelling of a place in a form to compare: Windows' and Macs' habits taken out."""
    plain = unicodedata.normalize("NFC", name.strip()).replace("\\", "/").casefold()
    return re.sub(r"^(\./)+", "", plain)
