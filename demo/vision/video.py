"""The one door for videos from strangers: a file in, a few upright frames out, or a refusal.

What a file is, its first bytes say and never its name. The frames are read by a process of its own
(`frames.py`), which is ended when it takes too long.
"""

import hashlib
import json
import logging
import os
import subprocess
import sys
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from threading import BoundedSemaphore
from typing import BinaryIO, Literal

import numpy as np

from demo.errors import BusyError, VideoError
from demo.vision.media import Picture, open_picture
from demo.vision.video_limits import (
    DAMAGED,
    MAX_BYTES,
    READ_SECONDS,
    TOO_SLOW,
    TURN_SECONDS,
    USE_ANY,
)

HEAD = 4_096  # bytes that tell what a file is
ROOT = Path(__file__).parents[2]  # where `python -m demo.vision.frames` finds the package

Kind = Literal["mp4", "webm", "gif"]
STILL_BRANDS = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis")

_turns = BoundedSemaphore(2)  # more at once would only be slower, and take the model's cores
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Video:
    """Frames of a video, evenly over its length, the only form in which it goes on.

    Attributes:
        frames: up to eight, in their order; none of the file's sound, places or dates is left.
        seconds: when each is shown, counted from the first frame.
        length: in seconds, as far as the file could be read.
        cut: there should have been more, but the file breaks off or could not be read further.
        digest: sha256 over the frames; videos are seen alike when it is equal.
    """

    frames: tuple[Picture, ...]
    seconds: tuple[float, ...]
    length: float
    cut: bool = False
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        if not self.frames or len(self.frames) != len(self.seconds):
            raise ValueError("a video needs at least one frame, and a second for each")
        parts = "".join(f"{frame.digest}\n" for frame in self.frames)
        object.__setattr__(self, "digest", hashlib.sha256(f"video\n{parts}".encode()).hexdigest())


Sight = Picture | Video  # what a visitor may show


def is_video(path: Path) -> bool:
    """Whether `open_sight` gives a video, if anything: told by its first bytes alone."""
    try:
        with open(path, "rb") as file:
            return _kind(file) is not None
    except OSError:
        return False


def open_sight(path: Path) -> Sight:
    """Open an untrusted picture or video, whichever it is.

    A GIF with a single frame is a picture, one with more is a video.

    Raises:
        ImageError: neither, or a picture that `open_picture` refuses.
        VideoError, BusyError: as `open_video`.
    """
    return open_video(path) if is_video(path) else open_picture(path, USE_ANY)


def open_video(path: Path) -> Video:
    """Open an untrusted MP4, WebM or GIF, whatever its name says.

    The frames are upright, on white, and neither side is above 640 pixels. Of a file that breaks
    off there is what could be read of it.

    Raises:
        VideoError: not such a video, over 50 MB, 30 s, 4K or 8,000 frames, or nothing in it that
            can be read in time.
        BusyError: other videos are being read all the while.
    """
    try:
        with open(path, "rb") as file:
            return _open(file)
    except OSError as error:
        raise VideoError("The video cannot be read. Please choose it again.") from error


def _open(file: BinaryIO) -> Video:
    kind = _kind(file)
    if kind is None:
        raise VideoError(f"This file is not a video that we know. {USE_ANY}")
    if os.fstat(file.fileno()).st_size > MAX_BYTES:
        raise VideoError(
            f"The video file is larger than {MAX_BYTES // 1_000_000} MB, the most we open. "
            "Please save it smaller, or cut a part out."
        )
    if not _turns.acquire(timeout=TURN_SECONDS):
        raise BusyError("Other videos are being opened. Please send yours again in a minute.")
    try:
        return _read(file, kind)
    finally:
        _turns.release()


def _kind(file: BinaryIO) -> Kind | None:
    """The container by its first bytes, None for what is no video; the file is at its start."""
    head = file.read(HEAD)
    file.seek(0)
    if head[4:8] == b"ftyp":  # ISO 14496-12, section 4.3
        return None if head[8:12] in STILL_BRANDS else "mp4"
    if head.startswith(b"\x1aE\xdf\xa3") and b"\x42\x82\x84webm" in head:  # RFC 8794, DocType
        return "webm"
    if head.startswith((b"GIF87a", b"GIF89a")) and _moves(file):
        return "gif"
    return None


def _moves(file: BinaryIO) -> bool:
    """Whether a GIF has a second frame (GIF89a, sections 18 to 25); the file is at its start."""

    def skip_colours(flags: int) -> None:
        if flags & 0x80:
            file.seek(3 << (flags & 7) + 1, os.SEEK_CUR)

    def byte() -> int:
        return file.read(1)[0]

    frames = 0
    try:
        file.seek(10)
        flags = byte()
        file.seek(13)
        skip_colours(flags)
        while frames < 2:
            block = byte()
            if block == 0x2C:
                frames += 1
                file.seek(8, os.SEEK_CUR)
                skip_colours(byte())
                byte()
            elif block == 0x21:
                byte()
            else:
                break
            while length := byte():
                file.seek(length, os.SEEK_CUR)
    except IndexError:
        pass  # it breaks off
    file.seek(0)
    return frames == 2


def _read(file: BinaryIO, kind: Kind) -> Video:
    command = [sys.executable, "-m", "demo.vision.frames", kind]
    try:
        done = subprocess.run(
            command, stdin=file, capture_output=True, cwd=ROOT, timeout=READ_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise VideoError(TOO_SLOW) from error
    line, _, pixels = done.stdout.partition(b"\n")
    if done.returncode or not line:
        log.warning("reading a video failed: %s %s", done.returncode, done.stderr[-2000:].decode())
        raise VideoError(DAMAGED)
    head = json.loads(line)
    if "refused" in head:
        raise VideoError(head["refused"])
    frames, start = [], 0
    for shape in head["shapes"]:
        rgb = np.frombuffer(pixels, np.uint8, prod(shape), start).reshape(shape)
        frames.append(Picture(rgb))
        start += rgb.size
    return Video(tuple(frames), tuple(head["seconds"]), head["length"], head["cut"])
