"""Pictures from the camera are an upload like any other, whatever the browser says they are."""

from collections.abc import Iterator
from typing import Any, cast

import gradio as gr
import pytest

from demo.finetune.data.table import LIMITS
from demo.ui.strings import ENGLISH
from demo.ui.teach.camera import MOST_CLASSES, MOST_OF_A_CLASS, MOST_PICTURES, camera_handler, field

ME = "m" * 43


def heard(data: Any) -> tuple[Any, ...]:
    """What the handler of uploads is told of what the browser has sent."""
    told: list[tuple[Any, ...]] = []

    def upload(*inputs: Any) -> Iterator[dict[Any, Any]]:
        told.append(inputs)
        yield {}

    handler = camera_handler(cast(Any, upload))
    assert list(handler(gr.EventData(None, data), ME, 8, 4)) == [{}]
    return told[0]


@pytest.mark.parametrize("data", [None, 5, "x", [1], {"path": "/etc/passwd"}])
def test_what_the_browser_sends_is_judged_as_an_upload_is(data: Any) -> None:
    assert heard(data) == (ME, data, 8, 4)


def test_the_bounds_fit_into_those_of_a_zip_and_are_said() -> None:
    shown = field(ENGLISH.teach)
    assert LIMITS.files > MOST_PICTURES and MOST_OF_A_CLASS <= MOST_PICTURES
    for bound, value in (
        ("groups", MOST_CLASSES), ("most", MOST_OF_A_CLASS), ("all", MOST_PICTURES),
    ):  # fmt: skip
        assert f'data-{bound}="{value}"' in shown
    assert f"at most {MOST_OF_A_CLASS} pictures" in shown
