"""Pictures of typed rows: each visitor's own, bounded, and a data set as if one had brought it."""

from pathlib import Path

import numpy as np
import pytest

from demo.errors import DataError, InputError
from demo.finetune.data.columns import recognise_table
from demo.finetune.data.read import read_table
from demo.finetune.data.table import LIMITS
from demo.teaching import row_pictures
from demo.teaching.row_pictures import RowPictures
from demo.teaching.typed_table import typed_table
from demo.vision.image import Picture, open_picture

NAMES = "Question", "Reply", "Picture"


def shade(value: int, side: int = 30) -> Picture:
    return Picture(np.full((side, side, 3), value, np.uint8))


def test_a_picture_is_found_by_its_owner_alone_and_small(tmp_path: Path) -> None:
    kept = RowPictures(tmp_path)
    key = kept.keep("me", shade(9, 2_000))
    assert max(open_picture(kept.find("me", key).read_bytes()).rgb.shape) == row_pictures.SIDE
    for visitor, other in (("you", key), ("me", "0" * 32)):
        with pytest.raises(InputError, match="no longer here"):
            kept.find(visitor, other)


def test_the_longest_unused_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_pictures, "MOST_PICTURES", 3)
    kept = RowPictures(tmp_path)
    keys = [kept.keep("me", shade(value)) for value in range(3)]
    other = kept.keep("you", shade(0))
    kept.find("me", keys[0])
    kept.keep("me", shade(3))
    assert kept.find("me", keys[0]).exists() and kept.find("you", other).exists()
    with pytest.raises(InputError):
        kept.find("me", keys[1])
    assert len(list(tmp_path.rglob("*.webp"))) == 4
    monkeypatch.setattr(row_pictures, "MOST_BYTES", 0)
    kept.keep("me", shade(4))
    assert not list(tmp_path.rglob("*.webp"))


def test_what_nobody_used_for_long_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = RowPictures(tmp_path)
    key = kept.keep("me", shade(1))
    kept.sweep()
    assert kept.find("me", key).exists()
    monkeypatch.setattr(row_pictures, "KEPT_SECONDS", -1.0)
    kept.sweep()
    assert not list(tmp_path.rglob("*.webp"))


def test_typed_rows_with_pictures_are_what_a_zip_of_them_would_be(tmp_path: Path) -> None:
    kept = RowPictures(tmp_path / "pictures")
    files = [kept.find("me", kept.keep("me", shade(value))) for value in (10, 200)]
    rows = [["What?", "dark"], ["", ""], ["", ""], ["And?", "none"]]
    pictures = [files[0], None, files[1], None]
    table, layout, file = typed_table("typed", NAMES, rows, pictures, tmp_path, LIMITS)
    assert [row.cells.get("Picture", "") for row in table.rows] == ["1.webp", "2.webp", ""]
    assert layout and layout.picture == "Picture"
    assert table.pictures["2.webp"] == files[1].read_bytes()
    again = read_table(file, "typed.zip")
    found = recognise_table(again)
    assert found and (found.question, found.reply, found.picture) == NAMES
    assert [row.cells for row in again.rows] == [row.cells for row in table.rows]
    assert {**again.pictures} == {**table.pictures}
    with pytest.raises(DataError):
        typed_table("typed", NAMES, [["", ""]], [None], tmp_path, LIMITS)
