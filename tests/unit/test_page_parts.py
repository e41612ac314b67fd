"""Parts of the page without a browser: one reply at a time, one door for uploads, turns shown."""

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from demo.chat.conversation import ReplyStats, Turn
from demo.errors import BusyError, ImageError, InputError
from demo.runtime import Reply
from demo.ui import snippets
from demo.ui import uploads as door
from demo.ui.server import BodyLimit
from demo.ui.strings import ENGLISH
from demo.ui.transcript import Transcript
from demo.ui.turnstile import Turnstile
from demo.ui.upload_room import UploadRoom
from demo.ui.uploads import Uploads, sweep
from demo.vision.media import Picture, save_thumbnail
from demo.vision.video import Video

STATS = ReplyStats("none", False, 9, 3, 0.1, 50.0, "end")


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Uploads:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return Uploads(ENGLISH)


@pytest.fixture
def picture() -> Picture:
    return Picture(np.full((20, 30, 3), 200, np.uint8))


@pytest.fixture
def video() -> Video:
    frames = tuple(Picture(np.full((9, 16, 3), shade, np.uint8)) for shade in range(8))
    return Video(frames, tuple(0.75 + 1.5 * i for i in range(8)), 12.04)


def uploaded(folder: Path, data: bytes | Picture) -> Path:
    path = folder / "0f" / "picture.png"
    path.parent.mkdir(exist_ok=True)
    if isinstance(data, bytes):
        path.write_bytes(data)
    else:
        save_thumbnail(data, path, 512)
    return path


def test_one_reply_at_a_time_for_each_visitor() -> None:
    turnstile = Turnstile("busy")
    with turnstile.enter("ada") as stop:
        with pytest.raises(BusyError, match="busy"), turnstile.enter("ada"):
            pass
        with turnstile.enter("alan"):
            pass
        assert not turnstile.wait("ada", 0.05)
        assert stop.is_set()
    with turnstile.enter("ada") as stop:
        assert not stop.is_set()


def test_waiting_ends_with_the_reply() -> None:
    turnstile, inside = Turnstile("busy"), threading.Event()

    def answer() -> None:
        with turnstile.enter("ada") as stop:
            inside.set()
            stop.wait(5)

    thread = threading.Thread(target=answer)
    thread.start()
    inside.wait(5)
    assert turnstile.wait("ada", 5)
    thread.join()


def test_an_upload_is_opened_once_and_gone(
    uploads: Uploads, picture: Picture, tmp_path: Path
) -> None:
    path = uploaded(tmp_path, picture)
    assert uploads.open(str(path)) == picture
    assert not path.exists()
    with pytest.raises(InputError, match="no longer on the server"):
        uploads.open(str(path))


def test_what_is_no_picture_is_gone_too(uploads: Uploads, tmp_path: Path) -> None:
    path = uploaded(tmp_path, b"no picture")
    with pytest.raises(ImageError):
        uploads.open(str(path))
    assert not path.exists()


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "https://a.test/x.png",
        "",
        ".",
        "a\0b",
        "{folder}/x.png",
        "{folder}/a/b/c.png",
    ],
)
def test_only_uploads_are_opened(uploads: Uploads, tmp_path: Path, path: str) -> None:
    with pytest.raises(InputError, match="has to be an upload"):
        uploads.open(path.format(folder=tmp_path))


def test_a_link_out_of_the_folder_is_no_upload(uploads: Uploads, tmp_path: Path) -> None:
    link = tmp_path / "0f" / "link.png"
    link.parent.mkdir()
    link.symlink_to("/etc/passwd")
    with pytest.raises(InputError, match="has to be an upload"):
        uploads.open(str(link))


def test_thumbnails_are_a_visitors_own_and_never_taken_for_uploads(
    uploads: Uploads, picture: Picture
) -> None:
    path = uploads.thumbnail("ada", picture, 16)
    assert "ada" not in str(path)
    assert path.parent != uploads.thumbnail("alan", picture, 16).parent
    with pytest.raises(InputError):
        uploads.open(str(path))
    uploads.forget("ada")
    assert not path.exists()


def test_the_sweep_takes_old_uploads_and_nothing_else(
    uploads: Uploads, picture: Picture, tmp_path: Path
) -> None:
    old, thumbnail = uploaded(tmp_path, picture), uploads.thumbnail("ada", picture, 16)
    for path in (old, thumbnail):
        os.utime(path, (0, 0))
    fresh = uploads.hand_back(picture)
    sweep(tmp_path)
    assert [path.exists() for path in (old, thumbnail, fresh)] == [False, True, True]


def test_a_picture_handed_back_is_an_upload_again(uploads: Uploads, picture: Picture) -> None:
    assert uploads.open(str(uploads.hand_back(picture))) == picture


def test_a_video_handed_back_is_the_same_video(uploads: Uploads, video: Video) -> None:
    path = str(uploads.hand_back(video))
    assert path.endswith("video.png")
    assert not uploads.is_video(path)  # nothing has to be decoded
    assert uploads.open(path) is video
    with pytest.raises(InputError, match="no longer on the server"):
        uploads.open(path)
    paths = [str(uploads.hand_back(video)) for _ in range(door.HANDED_BACK + 1)]
    assert uploads.open(paths[0]) == video.frames[0]  # forgotten: what the file itself is


def test_an_upload_stays_when_others_videos_are_being_opened(
    uploads: Uploads, picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(path: Path) -> None:
        raise BusyError("later")

    path = uploaded(tmp_path, picture)
    monkeypatch.setattr(door, "open_sight", busy)
    with pytest.raises(BusyError):
        uploads.open(str(path))
    assert path.exists()


def test_a_video_is_shown_under_its_words(uploads: Uploads, video: Video) -> None:
    transcript = Transcript(uploads, ENGLISH)
    words, strip = transcript.render("ada", (Turn("one", video),))[0]["content"]
    assert words["text"] == "one"
    html = strip["value"]
    assert html.count("<img ") == html.count("data:image/webp;base64,") == 8
    assert 'alt="The video after 0.8 s"' in html
    assert "A video, 12 s; I look at 8 frames of it." in html
    cut = Video(video.frames[:3], video.seconds[:3], 2.04, cut=True)
    html = transcript.render("ada", (Turn("one", cut),))[0]["content"][1]["value"]
    assert "could not be read to its end; I look at 3 frames of its 2 s." in html


@pytest.mark.parametrize(
    ("image", "frames", "words"),
    [
        (False, 0, "no picture"),
        (True, 0, "picture used"),
        (True, 1, "one frame used"),
        (True, 8, "8 frames used"),
    ],
)
def test_facts_say_what_was_seen(image: bool, frames: int, words: str) -> None:
    stats = ReplyStats("none", image, 9, 3, 0.1, 50.0, "end", frames)
    assert f">{words}<" in snippets.reply_footer(stats, ENGLISH)


def test_turns_are_shown_with_thumbnail_reply_and_facts(uploads: Uploads, picture: Picture) -> None:
    transcript = Transcript(uploads, ENGLISH)
    turns = (Turn("one", picture, "<b>", STATS), Turn("two"), Turn("three", None, "3", STATS))
    messages = transcript.render("ada", turns)
    roles = [message["role"] for message in messages]
    assert roles == ["user", "assistant", "assistant", "user", "assistant"] + roles[:1] + roles[1:3]
    assert [part["type"] for part in messages[0]["content"]] == ["file", "text"]
    asked = [number for number, role in enumerate(roles) if role == "user"]
    assert [transcript.turn_of(turns, index) for index in asked] == [0, 1, 2]
    assert transcript.turn_of(turns, 1) is None
    assert transcript.turn_of(turns, 99) is None


def test_a_running_reply_stands_in_for_the_last_turns(uploads: Uploads) -> None:
    transcript = Transcript(uploads, ENGLISH)
    waiting = transcript.render("ada", (Turn("one"),), Reply(waiting="Loading, 40%"))
    assert "Loading, 40%" in waiting[-1]["content"][0]["value"]
    growing = transcript.render("ada", (Turn("one"),), Reply("so far"))
    assert growing[-1]["content"][0]["text"] == "so far"


def test_no_more_files_are_received_than_the_disk_may_hold(tmp_path: Path) -> None:
    async def app(scope: dict, receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]

    async def codes() -> list[int]:
        transport = httpx.ASGITransport(UploadRoom(app, tmp_path, limit=1000))
        async with httpx.AsyncClient(transport=transport, base_url="http://a.test") as client:
            return [(await client.post(path)).status_code for path in ("/x/upload", "/x/call")]

    with ThreadPoolExecutor(1) as thread:
        uploaded(tmp_path, bytes(1000))
        assert thread.submit(lambda: asyncio.run(codes())).result() == [200, 200]
        uploaded(tmp_path, bytes(1001))
        assert thread.submit(lambda: asyncio.run(codes())).result() == [507, 200]


def test_a_request_that_is_too_long_is_cut_off() -> None:
    async def app(scope: dict, receive: object, send: object) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":  # type: ignore[operator]
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b"%d" % len(body)})  # type: ignore[operator]

    async def sizes() -> list[int]:
        transport = httpx.ASGITransport(BodyLimit(app, limit=1000, uploads=2000))
        async with httpx.AsyncClient(transport=transport, base_url="http://a.test") as client:
            return [
                (await client.post(path, content=b"x" * n)).status_code
                for path, n in (("/", 1000), ("/", 1001), ("/a/upload", 2000), ("/a/upload", 2001))
            ]

    # In a thread of its own: browser tests leave a running loop in the main one.
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(lambda: asyncio.run(sizes())).result() == [200, 413, 200, 413]
