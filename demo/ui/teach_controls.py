"""What a visitor may do with a run, as its state allows: the buttons, and the menu of runs."""

import time
from typing import Any

import gradio as gr

from demo.finetune.events import OVER
from demo.finetune.runs import Run
from demo.ui.teach import RunView
from demo.ui.teach_words import TeachWords

Updates = dict[Any, Any]


def buttons(view: RunView, run: Run, offered: str | None, words: TeachWords) -> Updates:
    """The buttons under a run. `offered` is its adapter's file, for the browser to fetch."""
    over, ready = run.state in OVER, offered is not None
    return {
        view.actions: gr.Row(visible=run.state != "stopping"),
        view.sure: gr.Row(visible=False),
        view.stop_keep: gr.Button(visible=run.state in ("running", "paused", "preparing")),
        view.stop_discard: gr.Button(
            words.leave_line if run.place else words.stop_discard, visible=not over
        ),
        view.resume: gr.Button(visible=run.resumable, variant="secondary" if ready else "primary"),
        view.use: gr.Button(visible=ready),
        view.download: gr.DownloadButton(value=offered, visible=ready),
        view.more: gr.Button(visible=ready),
        view.delete: gr.Button(visible=over and not run.ending),
        view.start: gr.Button(variant="secondary" if ready or not over else "primary"),
    }


def earlier(view: RunView, runs: tuple[Run, ...], chosen: str, words: TeachWords) -> Updates:
    """The menu of runs, when there is a choice."""
    choices = [
        (
            words.earlier_label.format(
                name=run.name,
                when=time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created)),
                state=getattr(words, run.state).lower(),
            ),
            run.id,
        )
        for run in runs
    ]
    return {view.earlier: gr.Dropdown(choices, value=chosen or None, visible=len(choices) > 1)}
