"""Small videos, made by PyAV."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np

# The pixel format each encoder is given.
PIXELS = {"gif": "rgb8", "mjpeg": "yuvj420p"}


def write_video(
    path: Path,
    codec: str = "libx264",
    *,
    frames: int = 16,
    rate: int = 8,
    size: tuple[int, int] = (64, 48),
    times: Sequence[int] | None = None,
    group: int = 250,
    shades: Sequence[int] | None = None,
    kind: str | None = None,
    index_first: bool = False,
) -> Path:
    """Grey frames that grow lighter, their left half red; the container is that of the name.

    Args:
        times: milliseconds at which the frames are shown, instead of `rate` a second.
        group: frames from one keyframe to the next.
        shades: the grey of each frame; else 0 to 240 in even steps.
        kind: FFmpeg's name of the container, when the file's name says another.
        index_first: an MP4 that can be played while it loads, and so read when it breaks off.
    """
    if shades is None:
        shades = [240 * i // max(frames - 1, 1) for i in range(frames)]
    options = {"movflags": "faststart"} if index_first else {}
    with _same_turn(), av.open(path, "w", format=kind, options=options) as out:
        stream = out.add_stream(codec, rate=1000 if times else rate)
        stream.width, stream.height = size
        stream.pix_fmt = PIXELS.get(codec, "yuv420p")
        stream.gop_size = group
        stream.options = {"preset": "ultrafast"} if codec.startswith("libx26") else {}
        for number, shade in enumerate(shades):
            rgb = np.full((size[1], size[0], 3), shade, np.uint8)
            rgb[:, : size[0] // 2] = (200, 0, 0)
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=stream.pix_fmt)
            frame.pts = times[number] if times else number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def write_sound(path: Path) -> Path:
    """A second of silence in an MP4."""
    with av.open(path, "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), "fltp", "mono")
        frame.sample_rate = 16_000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def turned(data: bytes, quarters: int) -> bytes:
    """An MP4 whose track says that it is to be shown turned clockwise by quarters."""

    def matrix(a: int, b: int, c: int, d: int) -> bytes:
        cells = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
        return b"".join(cell.to_bytes(4, "big", signed=True) for cell in cells)

    upright = matrix(1, 0, 0, 1)
    turn = [upright, matrix(0, 1, -1, 0), matrix(-1, 0, 0, -1), matrix(0, -1, 1, 0)][quarters]
    start, found, end = data.rpartition(upright)  # the first is the whole film's
    assert found
    return start + turn + end


@contextmanager
def _same_turn() -> Iterator[None]:
    """SVT-AV1 makes its caller a realtime thread, where it may; all started later would be too."""
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)
