"""Pictures that visitors put into the rows they type, from then until these rows are used.

A browser keeps a small copy of each and its key; what is taught lies here for some hours, each
visitor's apart.
"""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from demo.atomic_file import replace_file
from demo.errors import InputError
from demo.vision.image import Picture, thumbnail

MOST_PICTURES = 400  # of one visitor; the oldest go: a table takes half as many
MOST_BYTES = 2**29  # of all visitors together
KEPT_SECONDS = 6 * 3600.0  # since a picture was last used
SIDE = 640  # pixels; towers look at 224 or so
GONE = "The picture is no longer here. Please add it again."


class RowPictures:
    """Keep pictures by visitor and key. Safe to use from several threads.

    cachetools bounds a store as a whole; here each visitor has a share of it too.

    Args:
        folder: for the files; made when needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()  # bytes, when
        self._lock = threading.Lock()

    def keep(self, visitor: str, picture: Picture) -> str:
        """Keep a picture, made smaller, and return the key it is found by.

        Raises:
            OSError: it cannot be written.
        """
        key, data = picture.digest[:32], thumbnail(picture, SIDE)
        path = self._path(visitor, key)
        with replace_file(path) as unfinished:
            unfinished.write_bytes(data)
        with self._lock:
            self._kept.pop((visitor, key), None)
            self._kept[visitor, key] = len(data), time.monotonic()
            self._drop(self._surplus(visitor))
        return key

    def find(self, visitor: str, key: str) -> Path:
        """Return the file of a visitor's picture. Raises InputError when it is gone."""
        with self._lock:
            if (visitor, key) not in self._kept:
                raise InputError(GONE)
            size, _ = self._kept.pop((visitor, key))
            self._kept[visitor, key] = size, time.monotonic()
        return self._path(visitor, key)

    def sweep(self) -> None:
        """Delete what nobody has used for long."""
        latest = time.monotonic() - KEPT_SECONDS
        with self._lock:
            self._drop([place for place, (_, used) in self._kept.items() if used < latest])

    def _surplus(self, visitor: str) -> list[tuple[str, str]]:
        """Say which go, the longest unused first."""
        own = [place for place in self._kept if place[0] == visitor]
        gone = own[: max(0, len(own) - MOST_PICTURES)]
        over = sum(size for size, _ in self._kept.values()) - MOST_BYTES
        for place, (size, _) in self._kept.items():
            if over <= 0:
                break
            gone.append(place)
            over -= size
        return gone

    def _drop(self, places: Sequence[tuple[str, str]]) -> None:
        for place in places:
            self._kept.pop(place, None)
            self._path(*place).unlink(missing_ok=True)

    def _path(self, visitor: str, key: str) -> Path:
        return self._folder / hashlib.sha256(visitor.encode()).hexdigest()[:32] / f"{key}.webp"
