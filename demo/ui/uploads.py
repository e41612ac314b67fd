"""The one door for what a visitor sends to be seen: an upload of ours, opened, then deleted.

Gradio keeps every upload as `<folder>/<hash of the content>/<name>`. Nothing else is opened: no
path of the server, no address, and none of the files that the page itself serves.
"""

import contextlib
import hashlib
import secrets
import shutil
import time
from collections import OrderedDict
from pathlib import Path

from gradio.utils import get_upload_folder

from demo.errors import BusyError, InputError
from demo.ui.strings import Strings
from demo.vision.media import Picture, open_picture, save_thumbnail
from demo.vision.video import Sight, Video, is_video, open_sight

THUMBNAILS = "thumbnails"
UNUSED_SECONDS = 3600.0
HANDED_BACK = 16  # videos kept for the boxes of those who took a message back


def sweep(folder: Path, seconds: float = UNUSED_SECONDS) -> None:
    """Deletes uploads that nobody sent within `seconds`, and what broken uploads left behind."""
    oldest = time.time() - seconds
    for path in folder.rglob("*"):
        if path.relative_to(folder).parts[0] == THUMBNAILS or not path.is_file():
            continue
        if path.stat().st_mtime < oldest:
            path.unlink(missing_ok=True)


class Uploads:
    """Opens what visitors upload and writes the thumbnails that they are shown instead."""

    def __init__(self, strings: Strings) -> None:
        self._strings = strings
        self._folder = Path(get_upload_folder()).resolve()
        self._thumbnails = self._folder / THUMBNAILS  # two levels deeper than any upload
        self._handed_back: OrderedDict[Path, Video] = OrderedDict()

    def open(self, path: str) -> Sight:
        """The picture or video of an upload; that itself, with its metadata, is gone afterwards.

        Raises:
            ImageError, VideoError: the file is not one we open.
            InputError: `path` is not an upload, or is one that is no longer there.
            BusyError: too many videos are being opened; the upload stays.
        """
        upload = self.check(path)
        try:
            sight = self._handed_back.pop(upload, None) or open_sight(upload)
        except BusyError:
            raise  # the upload stays, to be sent once more
        except BaseException:
            upload.unlink(missing_ok=True)
            raise
        # Another visitor who sends the very same file shares it; whoever comes second is told to
        # attach it again.
        upload.unlink(missing_ok=True)
        return sight

    @staticmethod
    def sample(path: Path) -> Picture:
        """The picture of an example card; it is ours and stays."""
        return open_picture(path)

    def discard(self, path: str) -> None:
        """Deletes an upload that is not going to be used."""
        self.check(path).unlink(missing_ok=True)

    def thumbnail(self, session: str, picture: Picture, side: int) -> Path:
        """A small copy for the page, in a folder of this visitor that nobody else can guess."""
        path = self._folder_of(session) / f"{picture.digest}-{side}.webp"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            save_thumbnail(picture, path, side)
        return path

    def is_video(self, path: str) -> bool:
        """Whether it is an upload, and a video, so that opening it takes a while."""
        with contextlib.suppress(InputError):
            upload = self.check(path)
            return upload not in self._handed_back and is_video(upload)
        return False

    def hand_back(self, sight: Sight) -> Path:
        """A full-size copy in the place of an upload, for a message that returns to the box.

        A video's file is its first frame; sent again, it stands for the whole video.
        """
        video = isinstance(sight, Video)
        picture = sight.frames[0] if video else sight
        path = self._folder / secrets.token_hex(32) / ("video.png" if video else "picture.png")
        path.parent.mkdir(parents=True)
        save_thumbnail(picture, path, max(picture.rgb.shape[:2]))
        if video:
            self._handed_back[path] = sight
            while len(self._handed_back) > HANDED_BACK:
                self._handed_back.popitem(last=False)
        return path

    def forget(self, session: str) -> None:
        """Deletes the thumbnails of a visitor."""
        shutil.rmtree(self._folder_of(session), ignore_errors=True)

    def _folder_of(self, session: str) -> Path:
        # The path is sent to the browser, the session id never is.
        return self._thumbnails / hashlib.sha256(session.encode()).hexdigest()[:32]

    def check(self, path: str) -> Path:
        """The file of an upload. Raises InputError when `path` is none, or is gone."""
        upload = Path(path.replace("\0", "")).resolve()
        if upload.parent.parent != self._folder:
            raise InputError(self._strings.not_an_upload)
        if not upload.is_file():
            raise InputError(self._strings.picture_gone)
        return upload
