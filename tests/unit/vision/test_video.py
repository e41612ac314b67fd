"""Untrusted videos: what opens, which frames are shown, what is refused, and in which words."""

import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo.errors import BusyError, ImageError, InputError, VideoError
from demo.settings import ROOT
from demo.ui.files import open_visual_input
from demo.vision import video as door
from demo.vision.image import Picture
from demo.vision.video import (
    DAMAGED,
    MAX_BYTES,
    TOO_SLOW,
    USE_ANY,
    Video,
    open_video,
)
from demo.vision.video_worker import read_frames
from tests.videos import turned, write_sound, write_video


def shades(video: Video) -> list[int]:
    """The grey of each frame's right half."""
    return [round(float(frame.rgb[:, -8:].mean())) for frame in video.frames]


def is_red(pixels: np.ndarray) -> bool:
    red, *rest = pixels.reshape(-1, 3).mean(0)
    return red > 150 and max(rest) < 60


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        open_visual_input(path)
    message = str(caught.value)
    assert not re.search(r"0x|/|\\|<|Error|av\.|FFmpeg", message), message
    return message


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mp4", "libx265"),
        ("a.mp4", "libsvtav1"),
        ("a.mp4", "mpeg4"),
        ("a.mov", "libx264"),
        ("a.webm", "libvpx"),
        ("a.webm", "libvpx-vp9"),
        ("a.gif", "gif"),
    ],
)
def test_eight_frames_evenly_over_the_length(name: str, codec: str, tmp_path: Path) -> None:
    video = open_video(write_video(tmp_path / name, codec, frames=32, rate=8))
    assert video.length == pytest.approx(4, abs=0.05)
    assert video.seconds == pytest.approx([0.25 + 0.5 * i for i in range(8)], abs=0.01)
    assert not video.cut
    expected = [240 * (2 + 4 * i) // 31 for i in range(8)]
    assert shades(video) == pytest.approx(expected, abs=24 if codec == "gif" else 12)
    for frame in video.frames:
        assert frame.rgb.shape == (48, 64, 3)
        assert is_red(frame.rgb[:, :24])


@pytest.mark.parametrize("codec", ["libx264", "libvpx-vp9"])
def test_groups_without_a_chosen_frame_are_skipped(codec: str, tmp_path: Path) -> None:
    suffix = "mp4" if codec == "libx264" else "webm"
    short, long = (
        open_video(write_video(tmp_path / f"{g}.{suffix}", codec, frames=96, rate=8, group=g))
        for g in (4, 250)
    )
    assert short.seconds == long.seconds
    assert shades(short) == pytest.approx(shades(long), abs=3)


def test_a_digest_is_that_of_the_pixels(tmp_path: Path) -> None:
    first = open_video(write_video(tmp_path / "a.mp4"))
    again = open_video(write_video(tmp_path / "b.mp4"))
    other = open_video(write_video(tmp_path / "c.mp4", shades=range(100, 116)))
    assert first == again
    assert first.digest == again.digest != other.digest
    backwards = Video(first.frames[::-1], first.seconds, first.length)
    assert backwards.digest not in (first.digest, first.frames[0].digest)


def test_few_frames_are_all_shown(tmp_path: Path) -> None:
    video = open_video(write_video(tmp_path / "a.mp4", frames=3, rate=3))
    assert video.seconds == pytest.approx([0, 1 / 3, 2 / 3], abs=0.01)
    assert len(open_video(write_video(tmp_path / "b.mp4", frames=1)).frames) == 1


def test_a_variable_rate_goes_by_time_and_not_by_number(tmp_path: Path) -> None:
    times = [0, *range(4000, 4040), 8000]  # a slide, forty quick frames, a slide
    levels = [0] + [120] * 40 + [240]
    for name, codec in (("a.mp4", "libx264"), ("a.webm", "libvpx-vp9")):
        path = write_video(tmp_path / name, codec, frames=42, times=times, shades=levels)
        video = open_video(path)
        assert video.seconds == pytest.approx([0, 4.039], abs=0.01)
        assert shades(video) == pytest.approx([0, 120], abs=6)


def test_a_still_end_is_shown_too(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue", "lime")]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[100, 100, 3800], loop=0)
    video = open_visual_input(path)
    assert (video.length, video.seconds) == (4.0, (0.2,))
    assert video.frames[0].rgb[0, 0].tolist() == [0, 255, 0]


def test_a_still_gif_is_a_picture_and_a_moving_one_a_video(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue")]
    still, moving = tmp_path / "still.gif", tmp_path / "moving.gif"
    frames[0].save(still, comment=b"x" * 600)
    frames[0].save(moving, save_all=True, append_images=frames[1:], duration=500)
    picture, video = open_visual_input(still), open_visual_input(moving)
    assert isinstance(picture, Picture)
    assert picture.rgb[0, 0].tolist() == [255, 0, 0]
    assert isinstance(video, Video)
    assert video.seconds == (0, 0.5)
    assert [frame.rgb[0, 0].tolist() for frame in video.frames] == [[255, 0, 0], [0, 0, 255]]


def test_clear_parts_of_a_gif_are_white(tmp_path: Path) -> None:
    frames = [Image.new("RGBA", (20, 10)) for _ in range(3)]
    for number, frame in enumerate(frames):
        frame.paste((255, 0, 0, 255), (5 * number, 0, 5 * number + 5, 10))
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=500, disposal=2)
    for number, frame in enumerate(open_visual_input(path).frames):
        colours = [frame.rgb[5, 5 * place + 2].tolist() for place in range(3)]
        expected = [[255, 255, 255]] * 3
        expected[number] = [255, 0, 0]
        assert colours == expected


@pytest.mark.parametrize(
    ("quarters", "red"),
    [(0, np.s_[:, :24]), (1, np.s_[:24]), (2, np.s_[:, -24:]), (3, np.s_[-24:])],
)
def test_rotation_is_applied(quarters: int, red: tuple, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(turned(write_video(path).read_bytes(), quarters))
    for frame in open_video(path).frames:
        assert frame.rgb.shape == ((64, 48, 3) if quarters % 2 else (48, 64, 3))
        assert is_red(frame.rgb[red])


@pytest.mark.parametrize("size", [(2, 2), (50, 46), (640, 8), (1920, 1080)])
def test_odd_sizes(size: tuple[int, int], tmp_path: Path) -> None:
    for name, codec in (("a.mp4", "libx264"), ("a.webm", "libvpx-vp9")):
        frames = open_video(write_video(tmp_path / name, codec, frames=2, size=size)).frames
        factor = min(1, 640 / max(size))
        assert frames[0].rgb.shape == (round(size[1] * factor), round(size[0] * factor), 3)
    odd = write_video(tmp_path / "a.gif", "gif", frames=2, size=(33, 17))
    assert open_video(odd).frames[0].rgb.shape == (17, 33, 3)


def test_metadata_is_dropped(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    data = path.read_bytes()
    secret = b"SECRET +47.3769+008.5417/"
    path.write_bytes(data + (len(secret) + 8).to_bytes(4, "big") + b"free" + secret)
    assert "SECRET" not in repr(vars(open_video(path)))
    path = write_video(tmp_path / "a.webm", "libvpx")
    path.write_bytes(path.read_bytes().replace(b"Lavf", b"\xff\xfe\xe9\x80"))  # not UTF-8
    assert open_video(path).frames


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.webm", "libvpx-vp9")])
def test_31_seconds_are_too_long(name: str, codec: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / name, codec, frames=62, rate=2)
    assert refusal(path) == (
        "The video is 31 s long, and we open at most 30 s. Please cut a part out."
    )
    fitting = open_video(write_video(tmp_path / name, codec, frames=60, rate=2))
    assert fitting.length == pytest.approx(30, abs=0.1)


def test_a_header_that_lies_about_the_length(tmp_path: Path) -> None:
    frames = [Image.new("L", (8, 8), shade) for shade in range(8)]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=5000)
    assert "at most 30 s" in refusal(path)
    long = write_video(tmp_path / "a.webm", "libvpx", frames=80, rate=2)
    data = long.read_bytes()
    start = data.index(b"\x44\x89\x88") + 3  # Duration, 8 bytes of floating point
    long.write_bytes(data[:start] + np.array(1000.0, ">f8").tobytes() + data[start + 8 :])
    assert refusal(long).startswith("The video is longer than 30 s")


def test_frames_are_counted_before_they_are_decoded(tmp_path: Path) -> None:
    times = list(range(8_010))
    path = write_video(tmp_path / "a.mp4", "mpeg4", size=(16, 16), times=times, shades=[9] * 8_010)
    assert "more than 8,000 frames" in refusal(path)


def test_what_is_too_large_is_refused_from_the_header(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=1, size=(4_200, 2_200))
    assert refusal(path) == (
        "The video is 4,200 × 2,200 pixels, and we open at most 9 megapixels with sides of up to "
        "4,096 (4K). Please save it smaller."
    )


def test_a_header_that_claims_more_than_there_is(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.webm", "libvpx-vp9", frames=2, size=(320, 240))
    data = path.read_bytes()
    claimed = data.replace(b"\xb0\x82\x01\x40", b"\xb0\x82\x7f\xff", 1)
    assert claimed != data
    path.write_bytes(claimed)
    assert open_video(path).frames[0].rgb.shape == (240, 320, 3)


def test_what_is_larger_than_its_header_says(tmp_path: Path) -> None:
    """The picture itself is beyond the limit; the decoder refuses it before it takes memory."""
    path = write_video(tmp_path / "a.webm", "libvpx-vp9", frames=2, size=(4_128, 2_304))
    data = path.read_bytes()
    claimed = data.replace((4_128).to_bytes(2, "big"), (320).to_bytes(2, "big"), 1)
    path.write_bytes(claimed.replace((2_304).to_bytes(2, "big"), (240).to_bytes(2, "big"), 1))
    assert refusal(path) == DAMAGED


def test_long_and_thin_videos(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", size=(1_616, 16))
    assert "one side may be at most 100 times the other" in refusal(path)


def test_fifty_megabytes_is_the_most(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4")
    with open(path, "r+b") as file:
        file.truncate(MAX_BYTES + 1)  # sparse
    assert refusal(path) == (
        "The video file is larger than 50 MB, the most we open. "
        "Please save it smaller, or cut a part out."
    )


def test_sound_alone_and_other_codings(tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "a.mp4")
    assert refusal(sound) == f"There are no moving pictures in this file. {USE_ANY}"
    other = write_video(tmp_path / "b.mp4", "mjpeg", kind="mp4")
    assert refusal(other) == (
        "The video is coded as mjpeg, and we open H.264, HEVC, VP8, VP9 and AV1. "
        "Please save it as one of these."
    )


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"just some words " * 50, "not a picture that we know"),
        (b"RIFF\0\0\0\0AVI LIST" + bytes(60), "an AVI video, which we do not open"),
        (b"\x1aE\xdf\xa3\x93\x42\x82\x88matroska" + bytes(60), "a Matroska video, which"),
        (b"\0\0\0\x18ftypheic" + bytes(20), "a HEIC or AVIF photo, which we do not open"),
        (b"#EXTM3U\nhttp://127.0.0.1/x.ts\n", "not a picture that we know"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "not a picture that we know"),
    ],
)
def test_other_files_are_refused_by_content(data: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / "holiday.mp4"
    path.write_bytes(data)
    message = refusal(path)
    assert message.startswith(f"This file is {what}")
    assert message.endswith(USE_ANY)
    with pytest.raises(VideoError, match="not a video that we know"):
        open_video(path)


def test_names_mean_nothing(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.webm", "libvpx-vp9").rename(tmp_path / "photo.png")
    assert isinstance(open_visual_input(path), Video)
    path.write_bytes(b"")
    assert refusal(path) == f"The picture file is empty. {USE_ANY}"
    with pytest.raises(ImageError, match="cannot be read"):
        open_visual_input(tmp_path / "none.mp4")
    with pytest.raises(VideoError, match="cannot be read"):
        open_video(tmp_path)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.webm", "libvpx-vp9"), ("a.webm", "libvpx"), ("a.gif", "gif")]
)
def test_of_cut_files_there_is_what_can_be_read(name: str, codec: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / name, codec, frames=40, rate=8, group=8)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    video = open_video(path)
    assert 1.5 < video.length < 4.5
    assert video.cut == (codec != "gif")  # a GIF does not say how long it should be
    assert max(shades(video)) < 220
    path.write_bytes(data[:90])
    assert refusal(path)


@pytest.mark.parametrize("index_first", [False, True])
def test_a_cut_mp4_can_be_read_when_its_index_came_first(index_first: bool, tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "a.mp4", frames=80, rate=8, size=(320, 240), group=8, index_first=index_first
    )
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    if not index_first:
        assert refusal(path) == DAMAGED
        return
    video = open_video(path)
    assert video.cut
    assert 2 < video.length < 8
    assert max(shades(video)) < 200


def test_time_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4")
    with open(path, "rb") as file, pytest.raises(VideoError, match=TOO_SLOW):
        read_frames(file, "mp4", seconds=0)
    monkeypatch.setattr(door, "READ_SECONDS", 0.01)
    assert refusal(path) == TOO_SLOW


def test_a_reader_that_dies_is_told_as_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_video(tmp_path / "a.mp4")
    monkeypatch.setattr(door.sys, "executable", "/bin/false")
    assert refusal(path) == DAMAGED
    assert "reading a video failed" in caplog.text


def test_a_system_without_limits_reads_the_same_video(tmp_path: Path) -> None:
    """As on Windows, which has neither `resource` nor `nice`: only the timeout is left."""
    path = write_video(tmp_path / "a.mp4")
    code = (
        "import os, sys\n"
        "sys.modules['resource'] = None\n"
        "del os.nice\n"
        "from demo.vision.video_worker import main\n"
        "main()\n"
    )
    found = []
    for command in (["-m", "demo.vision.video_worker", "mp4"], ["-c", code, "mp4"]):
        with open(path, "rb") as file:
            done = subprocess.run(
                [sys.executable, *command], stdin=file, capture_output=True, cwd=ROOT, check=True
            )
        found.append(done.stdout)
    assert found[0] == found[1] and b"shapes" in found[0]


def test_others_videos_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4")
    monkeypatch.setattr(door, "WAIT_SECONDS", 0.01)
    with door._slots, door._slots, pytest.raises(BusyError, match="again in a minute"):
        open_video(path)
    assert open_video(path).frames


def test_the_page_does_not_load_the_decoder() -> None:
    code = "import sys, demo.vision.video; sys.exit('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.gif", "gif")])
@pytest.mark.matrix("B8")
def test_damaged_files_give_frames_or_our_words(name: str, codec: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / name, codec, frames=16, rate=8)
    data, dice = path.read_bytes(), random.Random(1)
    for _ in range(6):
        broken = bytearray(data)
        for _ in range(12):
            broken[dice.randrange(16, len(broken))] = dice.randrange(256)
        path.write_bytes(broken)
        try:
            assert open_visual_input(path)
        except InputError as error:
            assert str(error)


def test_a_video_needs_frames() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        Video((), (), 1.0)
