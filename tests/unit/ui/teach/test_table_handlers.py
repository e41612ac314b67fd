"""The table of typed rows, and what the page puts into its cells of pictures."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from demo.chat.conversation import Turn
from demo.errors import InputError
from demo.finetune.data.table import LIMITS
from demo.runtime import Runtime
from demo.settings import Settings
from demo.teaching import typed_table
from demo.teaching.row_pictures import RowPictures
from demo.teaching.typed_table import is_picture_cell, picture_cell, picture_keys
from demo.ui.files import Uploads
from demo.ui.strings import ENGLISH
from demo.ui.teach.data_handlers import DataHandlers
from demo.ui.teach.tab import TeachView, build_outside, build_teach
from demo.vision.image import Picture, save_thumbnail
from demo.vision.video import Video

ME, KEY, WORDS = "m" * 43, "0123456789abcdef" * 2, ENGLISH.teach


@pytest.fixture
def shown(tmp_path: Path, uploads: Uploads) -> tuple[TeachView, DataHandlers]:
    import gradio as gr

    runtime = Runtime(Settings(adapters=tmp_path / "adapters", runs=tmp_path / "runs"))
    with gr.Blocks():
        view = build_teach(WORDS, 3, LIMITS, build_outside())
    return view, DataHandlers(runtime, view, uploads, ENGLISH)


def uploaded(folder: Path, picture: Picture, name: str = "cat.png") -> str:
    path = folder / "sent" / name
    save_thumbnail(picture, path, 999)
    return str(path)


@pytest.mark.parametrize("name", ["cat.png", "", "a](javascript:x)[<b>`\n" * 9, "猫" * 300])
def test_a_cell_carries_its_key_whatever_the_picture_is_called(name: str, picture: Picture) -> None:
    cell = picture_cell(KEY, picture, name)
    assert is_picture_cell(cell) and picture_keys([["q", "a", cell]]) == [KEY]
    assert "javascript:x)" not in cell and len(cell) < 4_000


@pytest.mark.parametrize("odd", ["cat.png", "![x](http://elsewhere/a.png)", "<img src=x>", 5])
def test_what_is_no_picture_is_said_with_its_row(odd: Any) -> None:
    assert not is_picture_cell(odd)
    with pytest.raises(InputError, match="row 2 is no picture"):
        picture_keys([["a", "b", None], ["a", "b", odd]])


def test_pictures_are_counted(picture: Picture) -> None:
    row = ["q", "a", picture_cell(KEY, picture, "x")]
    assert len(picture_keys([row] * typed_table.MOST_PICTURES)) == typed_table.MOST_PICTURES
    with pytest.raises(InputError, match="at most 200 pictures"):
        picture_keys([row] * (typed_table.MOST_PICTURES + 1))


def test_a_full_table_of_pictures_passes_the_bound_of_a_request() -> None:
    import numpy as np

    from demo.ui.limits import BODY_BYTES

    noise = np.random.default_rng(0).integers(0, 255, (500, 500, 3), np.uint8)
    assert typed_table.MOST_PICTURES * len(picture_cell(KEY, Picture(noise), "x" * 60)) < BODY_BYTES


def test_pictures_that_arrived_become_cells_and_a_data_set(
    shown: tuple[TeachView, DataHandlers], tmp_path: Path, picture: Picture
) -> None:
    view, handlers = shown
    path = uploaded(tmp_path, picture)
    sent = json.dumps({"row": 3, "paths": [path], "names": ["cat.png"], "missing": 0, "at": 7})
    answer = handlers.typing.add_pictures(ME, sent)
    put = json.loads(answer[view.data.put])
    assert view.data.chosen not in answer and (put["row"], put["at"]) == (3, 7)
    assert not Path(path).exists()  # only the copy stays, without what a camera wrote into it
    table = {"data": [["What is it?", "A cat.", put["cells"][0]], ["", "", ""]]}
    steps = handlers.rows(ME, table)  # the check behind them would wait for a model
    said = [next(steps)[view.data.chosen] for _ in range(2)]
    assert f"{WORDS.typed_name}: 1 row" in said[1]
    steps.close()
    you = list(handlers.rows("y" * 43, table))
    assert "no longer here" in you[-1][view.data.chosen]


@pytest.mark.parametrize(
    "sent",
    [
        None, "", "x", "[]", "{}", '{"row": "1", "paths": [], "names": []}',
        '{"row": 1, "paths": "x", "names": []}',
        '{"row": 1, "paths": ["/etc/passwd"], "names": ["a"]}',
        '{"row": 1, "paths": ["x", "y"], "names": ["a"]}',
        '{"row": 1, "paths": [], "names": [], "missing": 2}',
    ],
)  # fmt: skip
def test_what_did_not_arrive_is_said(shown: tuple[TeachView, DataHandlers], sent: Any) -> None:
    view, handlers = shown
    answer = handlers.typing.add_pictures(ME, sent)
    assert json.loads(answer[view.data.put])["cells"] == []
    assert "problem" in answer[view.data.chosen]


def test_a_file_that_is_no_picture_is_refused_and_those_before_it_stay(
    shown: tuple[TeachView, DataHandlers], tmp_path: Path, picture: Picture
) -> None:
    view, handlers = shown
    good, bad = uploaded(tmp_path, picture), tmp_path / "other" / "b.png"
    bad.parent.mkdir(parents=True)
    bad.write_bytes(b"no picture at all")
    sent = {"row": 0, "paths": [good, str(bad)], "names": ["a", "b"], "missing": 0, "at": 1}
    answer = handlers.typing.add_pictures(ME, json.dumps(sent))
    assert len(json.loads(answer[view.data.put])["cells"]) == 1
    assert "Please use" in str(answer[view.data.chosen])


def test_liked_replies_about_pictures_bring_them_along(
    shown: tuple[TeachView, DataHandlers], picture: Picture, video: Video
) -> None:
    view, handlers = shown
    chat = handlers._runtime.conversations.of("s")
    said = [Turn("What is it?", picture, "Grey."), Turn("And this?", video, "Grey, too.")]
    chat.turns = tuple(replace(turn, liked=True) for turn in [*said, Turn("Who?", None, "I.")])
    answer = handlers.typing.from_chat(ME, "s", {"data": [["", "", ""]]})
    rows = answer[view.data.table]
    assert [row[:2] for row in rows] == [["What is it?", "Grey."], ["Who?", "I."]]
    assert len(picture_keys(rows)[0]) == 32 and rows[1][2] == ""
    assert "Left out, because they are about a video: 1." in answer[view.data.chosen]
    again = handlers.typing.from_chat(ME, "s", {"data": rows})
    assert again[view.data.table] == rows


def test_a_disk_that_takes_no_picture_is_told_and_changes_nothing(
    shown: tuple[TeachView, DataHandlers],
    picture: Picture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    view, handlers = shown
    chat = handlers._runtime.conversations.of("s")
    chat.turns = (replace(Turn("What is it?", picture, "Grey."), liked=True),)
    place = tmp_path / "no folder"
    place.touch()
    monkeypatch.setattr(handlers._runtime.teaching, "row_pictures", RowPictures(place))
    answer = handlers.typing.from_chat(ME, "s", {"data": [["", "", ""]]})
    assert list(answer) == [view.data.chosen] and "Something went wrong" in str(answer)
