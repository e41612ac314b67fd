"""Pictures that visitors put into the rows they type, from then until these rows are used.

A browser keeps a small copy of each and its key; what is taught lies here for some hours, each
visitor's apart.
"""

import hashlib
import threading
import time
from collections import OrderedDict
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
        self._own: dict[str, OrderedDict[str, None]] = {}  # keys; both the longest unused first
        self._bytes = 0
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
            if (visitor, key) in self._kept:
                self._take(visitor, key)
            own = self._put(visitor, key, len(data))
            if len(own) > MOST_PICTURES:
                self._delete(visitor, next(iter(own)))
            while self._bytes > MOST_BYTES:
                self._delete(*next(iter(self._kept)))
        return key

    def find(self, visitor: str, key: str) -> Path:
        """Return the file of a visitor's picture. Raises InputError when it is gone."""
        with self._lock:
            if (visitor, key) not in self._kept:
                raise InputError(GONE)
            self._put(visitor, key, self._take(visitor, key))
        return self._path(visitor, key)

    def sweep(self) -> None:
        """Delete what nobody has used for long."""
        latest = time.monotonic() - KEPT_SECONDS
        with self._lock:
            while self._kept and next(iter(self._kept.values()))[1] < latest:
                self._delete(*next(iter(self._kept)))

    def _put(self, visitor: str, key: str, size: int) -> OrderedDict[str, None]:
        """Enter a picture as the last used, and return its visitor's keys."""
        self._kept[visitor, key] = size, time.monotonic()
        self._bytes += size
        own = self._own.setdefault(visitor, OrderedDict())
        own[key] = None
        return own

    def _take(self, visitor: str, key: str) -> int:
        """Take a picture's entry out, and return its bytes."""
        size, _ = self._kept.pop((visitor, key))
        self._bytes -= size
        del self._own[visitor][key]
        if not self._own[visitor]:
            del self._own[visitor]
        return size

    def _delete(self, visitor: str, key: str) -> None:
        self._take(visitor, key)
        self._path(visitor, key).unlink(missing_ok=True)

    def _path(self, visitor: str, key: str) -> Path:
        return self._folder / hashlib.sha256(visitor.encode()).hexdigest()[:32] / f"{key}.webp"
