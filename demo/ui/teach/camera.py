"""Pictures of classes from the camera, in step "Data": held a moment, a class has twenty of them.

The browser takes and keeps them (`assets/camera.js`), and sends them as a zip with a table in it.
What comes is an upload like any other, with the same checks and bounds.
"""

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from demo.ui.html import ComponentUpdates, render
from demo.ui.teach.words import TeachWords
from demo.ui.theme import ASSETS

MOST_CLASSES = 20
MOST_OF_A_CLASS = 100  # pictures: more alike ones teach nothing new
MOST_PICTURES = 1_000  # of all classes: some 30 MB, which the browser keeps too


def build_camera(words: TeachWords) -> gr.HTML:
    """Lay the field out inside the current tab."""
    return gr.HTML(
        field(words),
        js_on_load=(ASSETS / "camera.js").read_text(encoding="utf-8"),
        elem_id="teach-camera",
    )


def field(words: TeachWords) -> str:
    """Render the field without a class; the browser adds these."""
    bounds = {"groups": MOST_CLASSES, "most": MOST_OF_A_CLASS, "all": MOST_PICTURES}
    full = words.camera_full.format(most=MOST_OF_A_CLASS, all=f"{MOST_PICTURES:,}")
    return render("camera.html", "field", words=words, bounds=bounds, full=full)


def camera_handler(
    upload: Callable[..., Iterator[ComponentUpdates]],
) -> Callable[..., Iterator[ComponentUpdates]]:
    """Make the handler of pictures that were sent; `upload` is that of a file.

    The browser says where they lie and what they are called, as it does of a file.
    """

    def take(event: gr.EventData, session: str, *fields: Any) -> Iterator[ComponentUpdates]:
        yield from upload(session, event._data, *fields)

    return take
