"""One door for uploads; an adapter as a download."""

import os
import time
from pathlib import Path

import pytest

from demo.errors import BusyError, ImageError, InputError
from demo.ui import files
from demo.ui.files import Uploads, offer, sweep, withdraw
from demo.vision.image import Picture, save_thumbnail
from demo.vision.video import Video


def uploaded(folder: Path, data: bytes | Picture) -> Path:
    path = folder / "0f" / "picture.png"
    path.parent.mkdir(exist_ok=True)
    if isinstance(data, bytes):
        path.write_bytes(data)
    else:
        save_thumbnail(data, path, 512)
    return path


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
@pytest.mark.matrix("C1", "C2")
def test_only_uploads_are_opened(uploads: Uploads, tmp_path: Path, path: str) -> None:
    with pytest.raises(InputError, match="has to be an upload"):
        uploads.open(path.format(folder=tmp_path))


@pytest.mark.matrix("C1")
def test_a_link_out_of_the_folder_is_no_upload(uploads: Uploads, tmp_path: Path) -> None:
    link = tmp_path / "0f" / "link.png"
    link.parent.mkdir()
    link.symlink_to("/etc/passwd")
    with pytest.raises(InputError, match="has to be an upload"):
        uploads.open(str(link))


@pytest.mark.matrix("C9")
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


@pytest.mark.matrix("C5")
def test_the_sweep_takes_what_was_cut_off_and_empty_folders(tmp_path: Path) -> None:
    cut, coming, empty = tmp_path / "tmpcut", tmp_path / "tmpcoming", tmp_path / "0f"
    for path in (cut, coming):
        path.write_bytes(b"half")
    empty.mkdir()
    for path in (cut, empty):
        os.utime(path, (time.time() - 80,) * 2)
    sweep(tmp_path)
    assert [path.exists() for path in (cut, coming, empty)] == [False, True, False]


def test_an_upload_leaves_no_empty_folder(uploads: Uploads, picture: Picture) -> None:
    path = uploads.hand_back(picture)
    uploads.open(str(path))
    assert not path.parent.exists()


def test_a_picture_handed_back_is_an_upload_again(uploads: Uploads, picture: Picture) -> None:
    assert uploads.open(str(uploads.hand_back(picture))) == picture


def test_a_video_handed_back_is_the_same_video(uploads: Uploads, video: Video) -> None:
    path = str(uploads.hand_back(video))
    assert path.endswith("video.png")
    assert not uploads.is_video(path)  # nothing has to be decoded
    assert uploads.open(path) is video
    with pytest.raises(InputError, match="no longer on the server"):
        uploads.open(path)
    paths = [str(uploads.hand_back(video)) for _ in range(files.HANDED_BACK + 1)]
    assert uploads.open(paths[0]) == video.frames[0]  # forgotten: what the file itself is


def test_an_upload_stays_when_others_videos_are_being_opened(
    uploads: Uploads, picture: Picture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(path: Path) -> None:
        raise BusyError("later")

    path = uploaded(tmp_path, picture)
    monkeypatch.setattr(files, "open_visual_input", busy)
    with pytest.raises(BusyError):
        uploads.open(str(path))
    assert path.exists()


def test_a_download_is_a_copy_of_the_present_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    file = tmp_path / "adapter.safetensors"
    file.write_bytes(b"first")
    one = offer("me", "0f", file, "My adapter/../é")
    assert one.name == "My-adapter.safetensors" and one.read_bytes() == b"first"
    assert offer("me", "0f", file, "My adapter/../é") == one
    assert "me" not in one.parts and offer("you", "0f", file, "x").parents[1] != one.parents[1]
    file.write_bytes(b"second")  # it was taught more
    os.utime(file, (9, 9))
    two = offer("me", "0f", file, "mine")
    assert two.read_bytes() == b"second" and not one.exists()
    withdraw("me", "0f")
    assert not two.exists()
