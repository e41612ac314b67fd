"""Decodes up to eight frames of an untrusted video; `video.py` runs it as a process of its own.

FFmpeg reads strangers' bytes in C and cannot be interrupted inside one packet, so it works where
it may hang, run out of memory or die without the page. The process reads the file from standard
input and writes one line of JSON, then the frames' pixels. No sound is decoded, nothing is fetched.

All packets are listed before one is decoded: that gives the true length, whatever the header
claims, and lets all groups of pictures be skipped that hold no chosen frame.
"""

import contextlib
import json
import os
import sys
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.stream import Discard, Disposition

from demo.errors import VideoError
from demo.vision.video import (
    DAMAGED,
    DECODING_SECONDS,
    FRAMES,
    LENGTH_TOLERANCE,
    MAX_ASPECT,
    MAX_BYTES,
    MAX_FRAME_SIDE,
    MAX_FRAMES,
    MAX_PIXELS,
    MAX_SECONDS,
    MAX_SIDE,
    MEMORY,
    TOO_SLOW,
    USE_ANY,
)

MAX_READ = 3 * MAX_BYTES  # an index may point to the same bytes again and again
FORMATS = {"mp4": "mov", "webm": "matroska", "gif": "gif"}  # ours → FFmpeg's name
CODECS = ("h264", "hevc", "mpeg4", "vp8", "vp9", "libdav1d", "gif")
LIMITS = {"max_pixels": str(MAX_PIXELS)}
OPTIONS = LIMITS | {"codec_whitelist": ",".join(CODECS), "max_streams": "16"}

SHORTER = f"and we open at most {MAX_SECONDS:.0f} s. Please cut a part out."


@dataclass(frozen=True)
class DecodedFrames:
    """What could be read of a video.

    Attributes:
        frames: each (height, width, 3) uint8.
        seconds: when each is shown, counted from the first frame.
        length: in seconds.
        cut: there should have been more.
    """

    frames: tuple[np.ndarray, ...]
    seconds: tuple[float, ...]
    length: float
    cut: bool


class _TimedPacket(NamedTuple):
    """A packet with pictures in it; `time` is that of the frame, in ticks of the stream."""

    time: int
    packet: av.Packet


class _Source:
    """The file for the demuxer, which ends after `MAX_READ` bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._left = file, MAX_READ
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        data = self._file.read(min(size, self._left))
        self._left -= len(data)
        return data


def read_frames(file: BinaryIO, kind: str, seconds: float = DECODING_SECONDS) -> DecodedFrames:
    """Decode up to eight frames, evenly over the length: of each eighth the one in its middle.

    Args:
        file: the video, at its start.
        kind: "mp4", "webm" or "gif".
        seconds: after which no further frame is decoded; those that are there count.

    Raises:
        VideoError: too long, too large, too many frames, no pictures, or none that can be read.
    """
    end = time.monotonic() + seconds
    try:
        with av.open(
            _Source(file), "r", format=FORMATS[kind], options=OPTIONS, metadata_errors="replace"
        ) as container:
            stream = _picture_stream(container)
            packets, whole = _packets(container, stream)
            times = sorted({packet.time for packet in packets})
            length = _length(times, packets)
            _check_length(float(length * _tick(stream)))
            start, tick = times[0], float(_tick(stream))
            missing = _announced(container, stream) - length * tick
            chosen = _chosen(times, length)
            found: dict[float, np.ndarray] = {}
            for shown, frame in _decoded(stream, packets, chosen, kind, end):
                found[(shown - start) * tick] = _pixels(frame)
    except av.FFmpegError as error:
        raise VideoError(DAMAGED) from error
    if not found:
        raise VideoError(TOO_SLOW if time.monotonic() > end else DAMAGED)
    short = missing > max(LENGTH_TOLERANCE, 0.1 * length * tick)
    cut = short or not whole or len(found) < len(chosen)
    return DecodedFrames(tuple(found.values()), tuple(found), length * tick, cut)


def _picture_stream(container: InputContainer) -> av.VideoStream:
    """Find the first moving picture, and refuse by the header's numbers before it is decoded."""
    cover = Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & cover]
    if not streams:
        raise VideoError(f"There are no moving pictures in this file. {USE_ANY}")
    stream = streams[0]
    codec = stream.codec_context
    if codec is None or codec.name not in CODECS:
        name = "in a way that we do not know" if codec is None else f"as {codec.name}"
        raise VideoError(
            f"The video is coded {name}, and we open H.264, HEVC, VP8, VP9 and AV1. "
            "Please save it as one of these."
        )
    _check_size(codec.width, codec.height)
    _check_length(_announced(container, stream))
    codec.options = LIMITS
    codec.thread_count = 1  # the model needs the cores too
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all
    return stream


def _tick(stream: av.VideoStream) -> Fraction:
    """Give the seconds of one tick."""
    if stream.time_base is None:
        raise VideoError(DAMAGED)
    return stream.time_base


def _announced(container: InputContainer, stream: av.VideoStream) -> float:
    """Give the seconds that the header promises, 0.0 when it is silent."""
    if stream.duration:
        return float(stream.duration * _tick(stream))
    return (container.duration or 0) / av.time_base


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise VideoError(DAMAGED)
    shown = f"The video is {width:,} × {height:,} pixels, and"
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise VideoError(
            f"{shown} we open at most {MAX_PIXELS // 1_000_000} megapixels with sides of up to "
            f"{MAX_SIDE:,} (4K). Please save it smaller."
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise VideoError(
            f"{shown} one side may be at most {MAX_ASPECT} times the other. Please cut a part out."
        )


def _check_length(seconds: float) -> None:
    if seconds > MAX_SECONDS + LENGTH_TOLERANCE:
        raise VideoError(f"The video is {seconds:,.0f} s long, {SHORTER}")


def _packets(container: InputContainer, stream: av.VideoStream) -> tuple[list[_TimedPacket], bool]:
    """List the packets in the order of decoding, and say whether the file went on to its end."""
    packets: list[_TimedPacket] = []
    size, whole = 0, True
    longest = (MAX_SECONDS + LENGTH_TOLERANCE) / _tick(stream)
    try:
        for packet in container.demux(stream):
            if packet.pts is None or not packet.size:
                continue
            packets.append(_TimedPacket(packet.pts, packet))
            size += packet.size
            if packet.pts - packets[0].time > longest:
                raise VideoError(f"The video is longer than {MAX_SECONDS:.0f} s, {SHORTER}")
            if len(packets) > MAX_FRAMES:
                raise VideoError(
                    f"The video has more than {MAX_FRAMES:,} frames, the most we open. Please save "
                    "it with fewer frames a second, or cut a part out."
                )
            if size > MAX_BYTES:  # an index that points to the same bytes again and again
                raise VideoError(DAMAGED)
    except av.FFmpegError:
        whole = False
    if not packets:
        raise VideoError(DAMAGED)
    return packets, whole


def _length(times: Sequence[int], packets: Sequence[_TimedPacket]) -> int:
    """Measure from the first frame to the end of the last, in ticks; `times` is sorted."""
    last = max(packets, key=lambda packet: packet.time).packet.duration
    typical = (times[-1] - times[0]) // max(len(times) - 1, 1)
    return times[-1] - times[0] + max(last or typical, 1)


def _chosen(times: Sequence[int], length: int) -> list[int]:
    """Choose the frames that are shown in the middles of the eighths, by their times, each once."""
    middles = (times[0] + length * (2 * i + 1) // (2 * FRAMES) for i in range(FRAMES))
    return sorted({times[bisect_right(times, middle) - 1] for middle in middles})


def _decoded(
    stream: av.VideoStream,
    packets: Sequence[_TimedPacket],
    chosen: Sequence[int],
    kind: str,
    end: float,
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode the chosen frames with their times, for a broken one the next, until `end`."""
    # A GIF's frames are changes of the one before, whatever is said of them.
    keys = [i for i, (_, packet) in enumerate(packets) if packet.is_keyframe and kind != "gif"]
    decoder = _Decoder(stream, packets, end)
    last: int | None = None  # the time of the frame given last
    for wanted in chosen:
        if last is not None and last >= wanted:
            continue
        decoder.skip_to(max((i for i in keys if packets[i].time <= wanted), default=0))
        for frame in decoder:
            if frame.pts is not None and frame.pts >= wanted:
                last = frame.pts
                yield last, frame
                break
        else:
            rest = decoder.latest  # nothing comes any more: the last there was, for once
            if rest is not None and rest.pts is not None and (last is None or rest.pts > last):
                yield rest.pts, rest
            return


class _Decoder:
    """Frames one after the other, with leaps forward; ends at `end`, and after too many frames."""

    def __init__(self, stream: av.VideoStream, packets: Sequence[_TimedPacket], end: float) -> None:
        self._codec, self._packets, self._end = stream.codec_context, packets, end
        self._position, self._count = 0, 0
        self._ready: list[av.VideoFrame] = []
        self.latest: av.VideoFrame | None = None

    def skip_to(self, position: int) -> None:
        """Go on at packet `position`, a keyframe, unless it is there or beyond."""
        if position > self._position:
            self._position = position
            self._ready.clear()
            self._codec.flush_buffers()

    def __iter__(self) -> Iterator[av.VideoFrame]:
        while time.monotonic() < self._end and self._count <= MAX_FRAMES:
            if self._ready:
                self._count += 1
                self.latest = self._ready.pop(0)
                yield self.latest
            elif self._position <= len(self._packets):
                # Behind the last packet the decoder gives what it still holds back.
                rest = self._position == len(self._packets)
                packet = None if rest else self._packets[self._position].packet
                self._position += 1
                with contextlib.suppress(av.FFmpegError):  # a broken packet costs its own frame
                    self._ready.extend(self._codec.decode(packet))
            else:
                return


def _pixels(frame: av.VideoFrame) -> np.ndarray:
    """(height, width, 3) uint8: upright, on white, neither side above `MAX_FRAME_SIDE`."""
    _check_size(frame.width, frame.height)
    factor = min(1.0, MAX_FRAME_SIDE / max(frame.width, frame.height))
    width, height = (max(1, round(side * factor)) for side in (frame.width, frame.height))
    clear = any(part.is_alpha for part in frame.format.components)
    mode = "rgba" if clear else "rgb24"
    pixels = frame.reformat(width, height, mode, interpolation="AREA").to_ndarray()
    if clear:
        share = pixels[..., 3:].astype(np.float32) / 255
        pixels = np.round(pixels[..., :3] * share + 255 * (1 - share)).astype(np.uint8)
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


def _limit() -> None:
    """Let the model go first, and let the system end what the program above cannot end any more."""
    # Where the system has no such limits (Windows), the timeout of `video.py` is the only one.
    with contextlib.suppress(AttributeError):
        os.nice(10)
    with contextlib.suppress(ImportError, AttributeError, ValueError, OSError):
        import resource

        most = round(2 * DECODING_SECONDS)
        resource.setrlimit(resource.RLIMIT_CPU, (most, most))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def main() -> None:
    """`python -m demo.vision.video_worker KIND`: the file on standard input, frames on output."""
    _limit()
    output = sys.stdout.buffer
    try:
        seen = read_frames(sys.stdin.buffer, sys.argv[1])
    except VideoError as error:
        output.write(json.dumps({"refused": str(error)}).encode() + b"\n")
        return
    head = {
        "shapes": [frame.shape for frame in seen.frames],
        "seconds": seen.seconds,
        "length": seen.length,
        "cut": seen.cut,
    }
    output.write(json.dumps(head).encode() + b"\n")
    for frame in seen.frames:
        output.write(frame.data)


if __name__ == "__main__":
    main()
