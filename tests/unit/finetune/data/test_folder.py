"""A folder on one's own machine: its table, and pictures that are decoded once at most."""

import gzip
from collections import Counter
from pathlib import Path

import pytest

from demo.errors import DataError
from demo.finetune.data import pictures as pictures_module
from demo.finetune.data.columns import recognise_table
from demo.finetune.data.dataset import CheckSettings, check
from demo.finetune.data.dataset_file import load_dataset, save_dataset
from demo.finetune.data.read import read_table, with_pictures
from demo.finetune.data.table import NO_LIMITS
from demo.llama.base import Base
from tests.files import png


def test_rows_are_checked_without_decoding_a_picture(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "photos" / "images"
    place.mkdir(parents=True)
    for name in ("red", "blue"):
        (place / f"{name}.png").write_bytes(png(name))
    (place / "text.png").write_bytes(b"no picture")
    names = ["red", "blue", "text", "gone"] * 30
    rows = "".join(f"images/{name}.png,What? {n},{name}\n" for n, name in enumerate(names))
    (tmp_path / "photos" / "rows.csv.gz").write_bytes(
        gzip.compress(f"image,question,answer\n{rows}".encode())
    )
    decoded: list[int] = []
    opens: Counter[str] = Counter()
    read = Path.read_bytes
    monkeypatch.setattr(pictures_module, "open_picture", lambda data: decoded.append(1))
    monkeypatch.setattr(Path, "read_bytes", lambda path: opens.update([path.name]) or read(path))
    table = read_table(tmp_path / "photos", "photos", NO_LIMITS)
    layout = recognise_table(table)
    assert layout and layout.picture == "image"
    dataset = check(table, layout, base.tokenizer, CheckSettings(held_out=0))
    assert len(dataset.train) == 60 and len(dataset.report.refused) == 60
    assert not decoded and opens == {"red.png": 1, "blue.png": 1, "text.png": 1}
    monkeypatch.undo()
    save_dataset(tmp_path / "kept", dataset, base.tokenizer)
    again = load_dataset(tmp_path / "kept", base.tokenizer, CheckSettings(held_out=0))
    assert again.pictures == dataset.pictures
    assert again.pictures[0].open().rgb.shape == (3, 4, 3)


def test_a_folder_for_each_class_and_pictures_beside_a_table(tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        (tmp_path / "a" / kind).mkdir(parents=True)
        (tmp_path / "a" / kind / "1.png").write_bytes(png())
    table = read_table(tmp_path / "a")
    assert [row.cells["answer"] for row in table.rows] == ["cat", "dog"]
    assert "The folder has no table" in table.notes[0]
    alone = read_table(b"image,question,answer\ncat/1.png,What?,cat\n")
    assert with_pictures(alone, tmp_path / "a").pictures["cat/1.png"] == png()


def test_no_table_or_several_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no table, and no folder of pictures"):
        read_table(tmp_path)
    for name in ("a.csv", "b.jsonl"):
        (tmp_path / name).write_text("question,answer\na,b\n")
    with pytest.raises(DataError, match="holds 2 tables: “a.csv”, “b.jsonl”"):
        read_table(tmp_path)
