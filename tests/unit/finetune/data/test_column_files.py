"""Parquet and Arrow: texts, pictures in cells, names of classes, and what is damaged."""

import io
import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from demo.errors import DataError
from demo.finetune.data.columns import recognise_table
from demo.finetune.data.dataset import CheckSettings, check
from demo.finetune.data.dataset_file import load_dataset, save_dataset
from demo.finetune.data.read import read_table
from demo.finetune.data.table import DataLimits
from demo.llama.base import Base
from tests.files import png

FEATURES = {"label": {"_type": "ClassLabel", "names": ["red", "blue"]}, "image": {"_type": "Image"}}
PICTURED = {
    "image": [{"bytes": png("red"), "path": None}, {"bytes": png("blue"), "path": "b.png"}] * 2,
    "label": [0, 1, 0, 1],
}


def table_of(columns: dict[str, list[Any]]) -> pa.Table:
    features = {"info": {"features": FEATURES}}
    return pa.table(columns).replace_schema_metadata({"huggingface": json.dumps(features)})


def parquet(columns: dict[str, list[Any]]) -> bytes:
    room = io.BytesIO()
    pq.write_table(table_of(columns), room, row_group_size=3)
    return room.getvalue()


def arrow(columns: dict[str, list[Any]], new: Any) -> bytes:
    room, table = io.BytesIO(), table_of(columns)
    with new(room, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    return room.getvalue()


def test_texts_numbers_and_structures_are_those_of_json() -> None:
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]
    columns = {"messages": [talk] * 4, "n": [1, None, 3, 4], "split": ["train"] * 3 + ["test"]}
    kinds = (
        parquet(columns),
        arrow(columns, pa.ipc.new_file),
        arrow(columns, pa.ipc.new_stream),
    )
    for data in kinds:
        table = read_table(data)
        assert table.columns == ("messages", "n", "split") and len(table.rows) == 4
        assert json.loads(table.rows[3].cells["messages"]) == talk
        assert [row.cells["n"] for row in table.rows] == ["1", "", "3", "4"]
        layout = recognise_table(table)
        assert layout and (layout.chat, layout.split) == ("messages", "split")


@pytest.mark.parametrize("form", ["parquet", "file", "stream"])
def test_pictures_in_cells_are_read_when_asked_for(form: str, base: Base, tmp_path: Path) -> None:
    new = {"file": pa.ipc.new_file, "stream": pa.ipc.new_stream}
    data = parquet(PICTURED) if form == "parquet" else arrow(PICTURED, new[form])
    path = tmp_path / "data"
    path.write_bytes(data)
    table = read_table(path)
    assert [row.cells["label"] for row in table.rows] == ["red", "blue", "red", "blue"]
    assert len(table.pictures) == 4 and table.rows[1].cells["image"] == "b.png"
    assert [pickle.loads(pickle.dumps(table.pictures))[n] for n in table.pictures] == [
        png("red"),
        png("blue"),
    ] * 2
    layout = recognise_table(table)
    assert layout and layout.asked == "What is in the picture?"
    dataset = check(table, layout, base.tokenizer, CheckSettings(held_out=0))
    assert len(dataset.train) == 2 and len(dataset.pictures) == 2  # the same pixels once
    save_dataset(tmp_path / "kept", dataset, base.tokenizer)
    again = load_dataset(tmp_path / "kept", base.tokenizer, CheckSettings(held_out=0), [path])
    assert again.train == dataset.train
    assert again.pictures[0].open().digest == dataset.pictures[0].digest


def test_what_is_damaged_or_too_large_is_refused() -> None:
    data = parquet(PICTURED)
    for broken in (
        data[:-20],
        data[:60],
        b"ARROW1\0\0" + bytes(50),
        b"\xff\xff\xff\xff" + bytes(9),
    ):
        with pytest.raises(DataError, match=r"cut off or damaged|no rows"):
            read_table(broken)
    with pytest.raises(DataError, match="unpacks to more than 0 MB"):
        read_table(data, limits=DataLimits(unpacked=100))
    with pytest.raises(DataError, match="more than 3 rows"):
        read_table(data, limits=DataLimits(rows=3))
