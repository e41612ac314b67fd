"""Data sets in the Hub's form: a folder of Parquet files stands for what is fetched."""

import json
from pathlib import Path

import datasets
import pytest

from demo.errors import DataError
from demo.finetune.data.columns import recognise_table
from demo.finetune.data.hub import _why_not, fetch_rows, is_hub_id
from demo.finetune.data.read import read_table
from tests.files import png


@pytest.fixture
def published(tmp_path: Path) -> Path:
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["red", "blue"]),
            "note": datasets.Value("string"),
        }
    )
    image = [{"bytes": png(colour), "path": None} for colour in ("red", "blue")]
    rows = datasets.Dataset.from_dict(
        {"image": image * 3, "label": [0, 1] * 3, "note": ["a", None] * 3}, features=features
    )
    folder = tmp_path / "published"
    for part, count in (("train", 6), ("test", 2)):
        rows.select(range(count)).to_parquet(folder / "data" / f"{part}-00000-of-00001.parquet")
    return folder


def test_parts_pictures_and_classes_come_as_a_zip(published: Path, tmp_path: Path) -> None:
    heard: list[str] = []
    out = tmp_path / "out"
    path = fetch_rows(str(published), out, lambda message, share: heard.append(message), rows=4)
    table = read_table(path)
    assert [row.cells["split"] for row in table.rows] == ["train"] * 4 + ["test"] * 2
    assert [row.cells["label"] for row in table.rows[:2]] == ["red", "blue"]
    assert table.pictures[table.rows[1].cells["image"]] == png("blue")
    layout = recognise_table(table)
    assert layout and layout.name == "captions"
    # What is there is not fetched again.
    assert fetch_rows("gone/gone", out, lambda message, share: None) == path


def test_texts_come_as_json_lines(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "train.jsonl").write_text('{"question": "a", "answer": "b"}\n' * 3, "utf-8")
    path = fetch_rows(str(folder), tmp_path / "out", lambda message, share: None)
    assert [json.loads(line) for line in path.read_text("utf-8").splitlines()] == [
        {"question": "a", "answer": "b"}
    ] * 3


def test_ids_are_told_from_paths() -> None:
    for good in ("tatsu-lab/alpaca", "openai/gsm8k:main", "a/b:c@main"):
        assert is_hub_id(good)
    for bad in ("data.json", "./a/b", "/a/b", "a/b.jsonl", "a/b/c", "a/b.zip"):
        assert not is_hub_id(bad)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("Config name is missing.\nPlease pick one among the available configs: "
                    "['main', 'socratic']"), "'main', 'socratic'.*a/b:NAME"),
        (ConnectionError("x"), "cannot be reached"),
        (datasets.exceptions.DatasetNotFoundError("x"), "no data set of that id"),
        (RuntimeError("x"), "save it as Parquet"),
    ],
)  # fmt: skip
def test_why_a_data_set_does_not_come(error: Exception, words: str, tmp_path: Path) -> None:
    import re

    assert re.search(words, _why_not("a/b", error))
    with pytest.raises(DataError):
        fetch_rows(str(tmp_path), tmp_path / "out", lambda message, share: None)
