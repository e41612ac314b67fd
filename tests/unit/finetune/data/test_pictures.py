"""Zips from strangers: pictures that are read when asked for, and what is refused."""

import io
import os
import stat
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from demo.errors import DataError
from demo.finetune.data import pictures
from demo.finetune.data.pictures import PictureStore
from demo.finetune.data.read import read_table
from tests.files import packed, png, refusal

CSV = "question,answer\nWho?,me\nWhere?,here\n"


def test_a_large_zip_is_not_held_in_memory(tmp_path: Path):
    path = tmp_path / "pictures.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.csv", "image,question,answer\n" + "1.png,q,a\n")
        for number in range(20):
            archive.writestr(f"{number}.png", png() + os.urandom(1_000_000))
    tracemalloc.start()
    table = read_table(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000 < path.stat().st_size
    assert table.pictures["1.png"].startswith(png()) and read_table(path.read_bytes()) == table


def test_zip_leaves_out_what_is_no_data():
    data = packed(
        {
            "data.csv": CSV,
            "b/Cat.PNG": png(),
            "__MACOSX/._cat.png": b"x",
            "b/.DS_Store": b"x",
            ".hidden/data.csv": CSV,
            "notes.md": "hello",
        }
    )
    table = read_table(data)
    assert list(table.pictures) == ["b/Cat.PNG"]
    assert table.pictures["b/Cat.PNG"] == png()


@pytest.mark.matrix("B10")
def test_zip_links_are_left_out():
    room = io.BytesIO(packed({"data.csv": CSV}))
    with zipfile.ZipFile(room, "a") as archive:
        link = zipfile.ZipInfo("cat.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    assert not read_table(room.getvalue()).pictures


def test_zip_names_of_macs_are_read():
    room = io.BytesIO()
    with zipfile.ZipFile(room, "w") as archive:
        archive.writestr("data.csv", CSV)
        archive.writestr("e\u0301.png", png())
    data = bytearray(room.getvalue())
    for header in (b"PK\x03\x04", b"PK\x01\x02"):  # ditto does not say that names are UTF-8
        at = data.rfind(header)
        data[at + (6 if header == b"PK\x03\x04" else 8) + 1] &= ~0x08
    assert list(read_table(bytes(data)).pictures) == ["\u00e9.png"]


@pytest.mark.parametrize(
    "name", ["../evil.csv", "a/../../b.png", "/etc/x.csv", "C:\\x.csv", "a\\b.csv", "c:x.png"]
)
@pytest.mark.matrix("B10")
def test_zip_names_that_lead_out_are_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "does not stay inside it" in refusal(packed({"data.csv": CSV, name: b"x"}))
    assert not list(tmp_path.parent.glob("evil*")) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (packed({"data.csv": CSV, "more.zip": packed({"a.csv": CSV})}), "another archive"),
        (packed({"data.csv": packed({"a.csv": CSV})}), "a zip inside a zip"),
        (packed({"a.csv": CSV, "b.jsonl": "{}"}), "holds 2 tables: “a.csv”, “b.jsonl”"),
        (packed({"a.png": png(), "b.png": png()}), "2 pictures and no table. Please add one"),
        (packed({}), "no table and no picture"),
        (packed({"A.png": png(), "a.PNG": png(), "d.csv": CSV}), "holds “a.PNG” twice"),
        (packed({"d.csv": CSV}, zipfile.ZIP_LZMA), "packed in a way we do not open"),
        (packed({"d.csv": "a,b\n" + "1,2\n" * 900_000}), "more than 100 times its size"),
        (packed({"xl/workbook.xml": "<a/>", "x.csv": CSV}), "workbook is cut off, damaged or"),
        (packed({"word/document.xml": "<a/>", "x.csv": CSV}), "a Word document. Please save"),
        (packed({f"{i}.png": b"" for i in range(5_001)}), "more than 5,000 files"),
        (packed({f"{i}": b"" for i in range(21_000)}), "more than 5,000 files"),
        (packed({"data.csv": CSV})[:-30], "cut off or damaged"),
        (b"PK\x03\x04" + b"x" * 100, "cut off or damaged"),
    ],
)
@pytest.mark.matrix("B10")
def test_zip_that_is_refused(data, words):
    assert words in refusal(data)


@pytest.mark.matrix("B10")
def test_zip_with_a_password_is_refused():
    data = bytearray(packed({"data.csv": CSV}))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert "protected with a password" in refusal(bytes(data))


@pytest.mark.matrix("B10")
def test_zip_that_lies_about_a_size_is_refused():
    data = bytearray(packed({"data.csv": CSV}))
    data[data.index(b"PK\x01\x02") + 24] -= 5
    assert "cut off or damaged" in refusal(bytes(data))


@pytest.mark.matrix("B10")
def test_zip_of_much_is_refused_before_it_is_unpacked():
    data = bytearray(packed({"data.csv": CSV, "a.png": png()}))
    at = data.rindex(b"PK\x01\x02") + 24
    data[at : at + 4] = (600_000_000).to_bytes(4, "little")
    assert "unpacks to more than 500 MB" in refusal(bytes(data))


@pytest.mark.matrix("H5")
def test_pixels_of_all_pictures_are_bounded_and_said(monkeypatch):
    """A zip of 16 MB may hold 60 pictures of 25 megapixels, which take minutes to decode."""
    store = PictureStore({f"{n}.png": png() for n in range(4)})
    monkeypatch.setattr(pictures, "MAX_PIXELS_OF_ALL", 3_000_000)
    monkeypatch.setattr(pictures, "check_header", lambda data: 1_500_000)
    for name in ("0.png", "1.png", "0.png"):
        assert store.resolve(name)
    with pytest.raises(DataError, match="“2.png”: the pictures before it have 3 megapixels"):
        store.resolve("2.png")
