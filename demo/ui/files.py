"""Files between visitors and the server: uploads that are opened once, downloads of their own.

Every upload lies at `<folder>/<secret>/<name>`, where `limits.py` moves it. Nothing else is opened:
no path of the server, no address, and none of the files that the page itself serves. Those lie two
levels deeper, in a folder for each visitor that nobody else can guess.
"""

import contextlib
import hashlib
import math
import secrets
import shutil
import threading
import time
from pathlib import Path

from cachetools import LRUCache
from gradio.utils import get_upload_folder

from demo.errors import BusyError, InputError
from demo.ui.strings import Strings
from demo.vision.image import Picture, open_picture, save_thumbnail, thumbnail
from demo.vision.video import USE_ANY, Video, VisualInput, is_video, open_video

SERVED = "thumbnails"  # below the upload folder: what the page serves
UNUSED_SECONDS = 3600.0
CUT_SECONDS = 75.0  # without a byte, after which a file that is being received was cut off
THUMBNAIL_SIDE = 512  # pixels; the page shows it smaller and this is what a click enlarges
HANDED_BACK = 16  # videos kept for the boxes of those who took a message back


class Uploads:
    """Opens what visitors upload and writes the thumbnails that they are shown instead."""

    def __init__(self, strings: Strings) -> None:
        self._strings = strings
        self._folder = _upload_folder()
        self._handed_back: LRUCache[Path, Video] = LRUCache(HANDED_BACK)
        self._lock = threading.Lock()

    def open(self, path: str, session: str = "") -> VisualInput:
        """Open the picture or video of an upload, and delete that, with its metadata.

        Args:
            path: where gradio has put it.
            session: of the visitor whose page will show a picture's thumbnail: it is made now.

        Raises:
            ImageError, VideoError: the file is not one we open.
            InputError: `path` is not an upload, or is one that is no longer there.
            BusyError: too many videos are being opened; the upload stays.
        """
        upload = self.check(path)
        with self._lock:
            known = self._handed_back.pop(upload, None)
        try:
            opened = known or open_visual_input(upload)
        except BusyError:
            raise  # the upload stays, to be sent once more
        except BaseException:
            _delete(upload)
            raise
        _delete(upload)
        if session and isinstance(opened, Picture):
            self.thumbnail(session, opened)
        return opened

    def check(self, path: str) -> Path:
        """Find the file of an upload.

        Raises:
            InputError: `path` is not an upload, or is one that is no longer there.
        """
        upload = Path(path.replace("\0", "")).resolve()
        if upload.parent.parent != self._folder:
            raise InputError(self._strings.not_an_upload)
        if not upload.is_file():
            raise InputError(self._strings.picture_gone)
        return upload

    def discard(self, path: str) -> None:
        """Delete an upload that is not going to be used.

        Raises:
            InputError: as `check`.
        """
        _delete(self.check(path))

    def is_video(self, path: str) -> bool:
        """Tell whether it is an upload, and a video, so that opening it takes a while."""
        with contextlib.suppress(InputError):
            upload = self.check(path)
            with self._lock:
                known = upload in self._handed_back
            return not known and is_video(upload)
        return False

    def hand_back(self, opened: VisualInput) -> Path:
        """Write a full-size copy in the place of an upload, for a message that returns to the box.

        A video's file is its first frame; sent again, it stands for the whole video.
        """
        if isinstance(opened, Video):
            picture, name = opened.frames[0], "video.png"
        else:
            picture, name = opened, "picture.png"
        path = self._folder / secrets.token_hex(32) / name
        path.parent.mkdir(parents=True)
        save_thumbnail(picture, path, max(picture.rgb.shape[:2]))
        if isinstance(opened, Video):
            with self._lock:
                self._handed_back[path] = opened
        return path

    def thumbnail(self, session: str, picture: Picture, side: int = THUMBNAIL_SIDE) -> Path:
        """Write a copy of at most `side` pixels for the page of one visitor."""
        path = _served_folder(self._folder, session) / f"{picture.digest}-{side}.webp"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Whole or not at all for a second tab that asks meanwhile; gone with the run anyway, so
            # nothing has to reach the disk, as `replace_file` sees to.
            unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
            unfinished.write_bytes(thumbnail(picture, side))
            unfinished.replace(path)
        return path

    def forget(self, session: str) -> None:
        """Delete the thumbnails of a visitor."""
        shutil.rmtree(_served_folder(self._folder, session), ignore_errors=True)


def open_visual_input(path: Path) -> VisualInput:
    """Open an untrusted picture or video, whichever it is.

    A GIF with a single frame is a picture, one with more is a video.

    Raises:
        ImageError: neither, or a picture that `open_picture` refuses.
        VideoError, BusyError: as `open_video`.
    """
    return open_video(path) if is_video(path) else open_picture(path, USE_ANY)


def sweep(
    folder: Path,
    unused: float = UNUSED_SECONDS,
    cut: float = CUT_SECONDS,
    steady: float = math.inf,
) -> None:
    """Delete uploads that nobody sent within `unused` seconds, and what broken uploads left.

    A file that is being received lies in the folder itself; nothing was written to a broken one
    for `cut` seconds.

    Args:
        folder: of the uploads.
        unused: seconds.
        cut: seconds.
        steady: what the time would be had nobody set the clock meanwhile: what is old by one of
            the two alone stays.
    """
    now = min(time.time(), steady)
    for path in folder.glob("*"):
        if path.name == SERVED:
            continue
        if not path.is_dir():
            _delete_older(path, now - cut)
            continue
        for upload in path.glob("*"):
            _delete_older(upload, now - unused)
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < now - cut:  # it may have been made for a file just now
                path.rmdir()


def offer(owner: str, key: str, file: Path, name: str) -> Path:
    """Copy a file as it is now to where its owner may download it.

    Args:
        owner: whose it is.
        key: what it is known by; an older copy under this key goes.
        file: what is copied.
        name: what the copy is called, but for what a file's name may not hold.
    """
    safe = "".join(c if c.isalnum() and c.isascii() else "-" for c in name).strip("-")
    # A run that was taken up again has another file.
    version = f"{key}-{file.stat().st_mtime_ns}"
    served = _served_folder(_upload_folder(), owner)
    path = served / version / f"{safe[:60] or 'adapter'}{file.suffix}"
    if not path.exists():
        withdraw(owner, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, path)
    return path


def withdraw(owner: str, key: str) -> None:
    """Delete what was offered under `key`."""
    for folder in _served_folder(_upload_folder(), owner).glob(f"{key}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _delete(upload: Path) -> None:
    upload.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # it holds another one
        upload.parent.rmdir()


def _delete_older(path: Path, time: float) -> None:
    with contextlib.suppress(OSError):  # it goes just now
        if path.stat().st_mtime < time:
            path.unlink()


def _upload_folder() -> Path:
    return Path(get_upload_folder()).resolve()


def _served_folder(uploads: Path, visitor: str) -> Path:
    # The path is sent to the browser; the session's or owner's secret never is.
    return uploads / SERVED / hashlib.sha256(visitor.encode()).hexdigest()[:32]
