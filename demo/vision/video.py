"""The one door for videos from strangers: a file in, a few upright frames out, or a refusal.

A file's container is told by its first bytes, never by its name. The frames are decoded by a
process of its own (`video_worker.py`), which is ended when it takes too long. The limits stand
here, because both processes check them and explain them to the visitor in the same sentences.
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
from demo.settings import ROOT
from demo.vision.image import Picture, shrunk

MAX_BYTES = 50_000_000
MAX_SECONDS = 30.0
LENGTH_TOLERANCE = 0.5  # seconds: a camera told to stop after 30 s stops a little later
MAX_FRAMES = 8_000  # 30 s of slow motion, 240 a second
MAX_PIXELS = 9_000_000
MAX_SIDE = 4_096
MAX_ASPECT = 100
FRAMES = 8  # that are shown to the tower
MAX_FRAME_SIDE = 640  # no tower looks closer at one of eight, and a conversation may hold many

DECODING_SECONDS = 20.0  # after which no further frame is decoded
READ_SECONDS = 28.0  # after which the process that decodes is ended
WAIT_SECONDS = 30.0  # that one video waits for others
MEMORY = 2 * 2**30  # of address space; 4K HEVC with 16 reference frames in 10 bits takes half

USE_ANY = "Please use a JPEG, PNG, WebP or GIF picture, or an MP4, WebM or GIF video."
DAMAGED = (
    "The video is cut off or damaged, so no frame of it can be read. "
    "Please save or download it again, or use another one."
)
TOO_SLOW = "Reading the video takes too long. Please save it smaller, or cut a part out."

HEAD = 4_096  # bytes that tell what a file is

VideoContainer = Literal["mp4", "webm", "gif"]
STILL_BRANDS = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis")

_slots = BoundedSemaphore(2)  # more at once would only be slower, and take the model's cores
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


VisualInput = Picture | Video  # what a visitor may show


def decoded_bytes(shown: VisualInput) -> int:
    """Count the bytes of all decoded pixels."""
    frames = shown.frames if isinstance(shown, Video) else (shown,)
    return sum(frame.rgb.nbytes for frame in frames)


def smaller(shown: VisualInput, side: int) -> VisualInput:
    """Shrink to at most `side` pixels either way, all frames of a video."""
    if not isinstance(shown, Video):
        return shrunk(shown, side)
    frames = tuple(shrunk(frame, side) for frame in shown.frames)
    return Video(frames, shown.seconds, shown.length, shown.cut)


def is_video(path: Path) -> bool:
    """Tell by the first bytes whether a file is a video, if anything; a GIF is where it moves."""
    try:
        with open(path, "rb") as file:
            return _container(file) is not None
    except OSError:
        return False


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
    container = _container(file)
    if container is None:
        raise VideoError(f"This file is not a video that we know. {USE_ANY}")
    if os.fstat(file.fileno()).st_size > MAX_BYTES:
        raise VideoError(
            f"The video file is larger than {MAX_BYTES // 1_000_000} MB, the most we open. "
            "Please save it smaller, or cut a part out."
        )
    if not _slots.acquire(timeout=WAIT_SECONDS):
        raise BusyError("Other videos are being opened. Please send yours again in a minute.")
    try:
        return _read(file, container)
    finally:
        _slots.release()


def _container(file: BinaryIO) -> VideoContainer | None:
    """Tell the container by a file's first bytes, None for what is no video."""
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
    """Tell whether a GIF, at its start, has a second frame (GIF89a, sections 18 to 25)."""

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


def _read(file: BinaryIO, container: VideoContainer) -> Video:
    command = [sys.executable, "-m", "demo.vision.video_worker", container]
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
    frames: list[Picture] = []
    start = 0
    for shape in head["shapes"]:
        rgb = np.frombuffer(pixels, np.uint8, prod(shape), start).reshape(shape)
        frames.append(Picture(rgb))
        start += rgb.size
    return Video(tuple(frames), tuple(head["seconds"]), head["length"], head["cut"])
