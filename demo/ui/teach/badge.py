"""How the newest training of a browser stands, beside the name of the tab: seen from all tabs.

The page is told in one hidden line; `assets/teach.js` shows it, and knows which end was seen.
"""

from typing import Any

import gradio as gr

from demo.adapter.library import SECRET, owner_of
from demo.finetune.runs.queue import Run
from demo.finetune.train.events import OVER
from demo.runtime import Runtime
from demo.ui.html import ComponentUpdates, render
from demo.ui.teach.html import state_word
from demo.ui.teach.words import TeachWords

BADGE_SECONDS = 4.0  # between two looks, while a training goes on


class BadgeHandlers:
    """Tells how the newest training stands."""

    def __init__(
        self, runtime: Runtime, badge: gr.HTML, timer: gr.Timer, words: TeachWords
    ) -> None:
        self._runs = runtime.teaching.runs
        self._badge, self._timer, self._words = badge, timer, words

    def look(self, owner: Any) -> ComponentUpdates:
        """Look at the newest training. Inputs: owner. Outputs: badge, its timer."""
        if not isinstance(owner, str) or not SECRET.fullmatch(owner):
            return {self._badge: "", self._timer: gr.Timer(active=False)}
        runs = self._runs.of(owner_of(owner))
        if not runs:
            return {self._badge: "", self._timer: gr.Timer(active=False)}
        run = runs[0]
        return {
            self._badge: self._line(run, owner_of(owner)),
            self._timer: gr.Timer(active=run.state not in OVER),
        }

    def _line(self, run: Run, owner: str) -> str:
        short, text = "", f"{run.name}: {state_word(run, self._words)}"
        if run.state == "running":
            history = self._runs.history(owner, run.id)
            if history.started:
                short = f"{min(history.done / history.started.steps, 1):.0%}"
        kind = "moving" if run.state not in OVER else run.state
        return render("run.html", "badge", run=run.id, kind=kind, short=short, text=text)
