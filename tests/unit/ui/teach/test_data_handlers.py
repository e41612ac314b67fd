"""What the browser says is a table, before anything is done with it."""

from pathlib import Path
from typing import Any, cast

import gradio as gr
import pytest

from demo.finetune.data.table import LIMITS
from demo.runtime import Runtime
from demo.settings import Settings
from demo.teaching.typed_table import MOST_TYPED
from demo.ui.files import Uploads
from demo.ui.strings import ENGLISH
from demo.ui.teach.data_handlers import DataHandlers
from demo.ui.teach.events import connect_data
from demo.ui.teach.tab import TeachView, build_outside, build_teach

FULL = "at most 2,000 rows"
ME = "m" * 43  # as a browser has it


@pytest.fixture
def shown(tmp_path: Path, uploads: Uploads) -> tuple[gr.Blocks, TeachView, DataHandlers]:
    """The tab with its events, of a program that never loads a model."""
    runtime = Runtime(Settings(adapters=tmp_path / "adapters", runs=tmp_path / "runs"))
    with gr.Blocks() as blocks:
        view, owner = build_teach(ENGLISH.teach, 3, LIMITS, build_outside()), gr.BrowserState("")
        handlers = DataHandlers(runtime, view, uploads, ENGLISH)
        connect_data(view, handlers, owner, gr.State(""))
    return blocks, view, handlers


def table(rows: int) -> dict[str, Any]:
    return {"headers": ["a", "b"], "data": [["a", "b"]] * rows, "metadata": None}


def test_a_table_is_never_checked_cell_by_cell_before_it_is_counted(
    shown: tuple[gr.Blocks, TeachView, DataHandlers],
) -> None:
    blocks, view, _ = shown
    events = [event for event in blocks.fns.values() if view.data.table in event.inputs]
    assert len(events) == 7 and not any(event.preprocess for event in events)


class Untouched(list):
    """Rows that may be counted, and not looked at."""

    def __iter__(self) -> Any:
        raise AssertionError("a row was looked at")

    def __getitem__(self, place: Any) -> Any:
        raise AssertionError("a row was looked at")


@pytest.mark.parametrize("count", [MOST_TYPED + 1, 100_000])
@pytest.mark.matrix("H3")
def test_a_table_that_is_too_long_is_refused_at_once(
    shown: tuple[gr.Blocks, TeachView, DataHandlers], count: int
) -> None:
    _, view, handlers = shown
    long = table(0) | {"data": Untouched([["a", "b"]] * count)}
    answers = [
        list(handlers.rows(ME, long))[-1],
        list(handlers.paste(ME, "a\tb\n", long))[-1],
        handlers.typing.more_rows(long),
    ]
    assert all(FULL in cast(str, answer[view.data.chosen]) for answer in answers)


@pytest.mark.parametrize("wrong", [None, "x", [1], {"data": 5}, {"data": ["x"]}, {"data": [{}]}])
def test_what_is_no_table_is_refused_in_words(
    shown: tuple[gr.Blocks, TeachView, DataHandlers], wrong: Any
) -> None:
    _, view, handlers = shown
    more = handlers.typing.more_rows(wrong)
    assert "cannot be read" in str(more.get(view.data.chosen)) or len(more[view.data.table]) == 5


def test_rows_are_added_as_far_as_the_table_holds_them(
    shown: tuple[gr.Blocks, TeachView, DataHandlers],
) -> None:
    _, view, handlers = shown
    assert len(handlers.typing.more_rows(table(10))[view.data.table]) == 15
    pasted = list(handlers.paste(ME, "how?\tso\n", table(3)))[-1]
    assert pasted[view.data.table] == [["a", "b", ""]] * 3 + [["how?", "so", ""]]
