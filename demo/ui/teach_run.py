"""Step 4 of teaching: a run is begun, looked at, stopped, and its adapter is used.

The page only looks at the run's log, so a reload, a second tab or a closed browser change nothing.
Whose a run is follows from a secret that the browser keeps (`owner`).
"""

import logging
import secrets
from collections.abc import Callable
from typing import Any

import gradio as gr

from demo.errors import BusyError, DemoError, InputError
from demo.finetune.events import OVER
from demo.finetune.presets import Choices
from demo.finetune.runs import Run
from demo.runtime import Runtime
from demo.teaching import SECRET, owner_of
from demo.ui import teach_markup as markup
from demo.ui.downloads import offer, withdraw
from demo.ui.strings import Strings
from demo.ui.teach import TeachView
from demo.ui.teach_controls import buttons, earlier
from demo.ui.teach_live import live

Updates = dict[Any, Any]
logger = logging.getLogger(__name__)


class TeachRuns:
    """The events of step 4, for all visitors."""

    def __init__(self, runtime: Runtime, view: TeachView, strings: Strings) -> None:
        self._teaching = runtime.teaching
        self._all, self._view, self._settings = view, view.run, view.settings
        self._strings, self._words = strings, strings.teach

    def enter(self, owner: Any, run_id: str) -> Updates:
        """The tab is opened. Inputs: owner, run. Outputs: step 4, and whether teaching is off."""

        def show() -> Updates:
            runs = self._teaching.runs(_owner(owner))
            known = {run.id for run in runs}
            chosen = run_id if run_id in known else runs[0].id if runs else ""
            return (
                self._switch()
                | earlier(self._view, runs, chosen, self._words)
                | self._shown(owner, chosen)
            )

        return self._guarded(show)

    def tick(self, owner: Any, run_id: str, seen: str) -> Updates:
        """The timer, or the page is seen again. Inputs: owner, run, seen. Outputs: step 4."""
        return self._guarded(lambda: self._shown(owner, run_id, seen) if run_id else {})

    def rest(self) -> Updates:
        """Nobody sees the page. Outputs: timer."""
        return {self._all.timer: gr.Timer(active=False)}

    def choose(self, owner: Any, run_id: str) -> Updates:
        """An earlier run. Inputs: owner, its id. Outputs: step 4."""
        return self._guarded(lambda: self._shown(owner, run_id) if run_id else {})

    def start(
        self,
        owner: Any,
        session: str | None,
        more: str,
        name: str | None,
        questions: str | None,
        *fields: Any,
    ) -> Updates:
        """Start teaching. Inputs: as the parameters. Outputs: step 4."""

        def begin() -> Updates:
            lines = [line.strip() for line in (questions or "").splitlines() if line.strip()]
            who = _owner(owner)
            try:
                new = self._teaching.begin(
                    who,
                    session or "",
                    Choices(*fields),
                    name or "",
                    more=more,
                    probes=tuple(lines),
                )
            except BusyError as error:
                # A second click, or another tab: what is under way is shown, with the reason.
                active = [run for run in self._teaching.runs(who) if run.state not in OVER]
                if not active:
                    raise
                return self._after(owner, active[0].id) | self._problem(str(error))
            return self._after(owner, new) | self._no_more()

        return self._guarded(begin)

    def stop_keep(self, owner: Any, run_id: str) -> Updates:
        """Stop and keep. Inputs: owner, run. Outputs: step 4."""
        return self._stop(owner, run_id, keep=True)

    def stop_discard(self, owner: Any, run_id: str) -> Updates:
        """Stop and discard. Inputs: owner, run. Outputs: step 4."""
        return self._stop(owner, run_id, keep=False)

    def resume(self, owner: Any, run_id: str) -> Updates:
        """Resume. Inputs: owner, run. Outputs: step 4."""

        def again() -> Updates:
            self._teaching.resume(_owner(owner), run_id)
            return self._after(owner, run_id)

        return self._guarded(again)

    def ask_to_delete(self, owner: Any, run_id: str) -> Updates:
        """Delete. Inputs: owner, run. Outputs: step 4."""

        def ask() -> Updates:
            run = self._teaching.run(_owner(owner), run_id)
            said = self._words.delete_ask.format(name=run.name)
            return {
                self._view.sure: gr.Row(visible=True),
                self._view.sure_text: markup.quiet(said),
                self._view.actions: gr.Row(visible=False),
                **self._problem(""),
            }

        return self._guarded(ask)

    def keep(self) -> Updates:
        """Keep it. Outputs: step 4."""
        return {self._view.sure: gr.Row(visible=False), self._view.actions: gr.Row(visible=True)}

    def delete(self, owner: Any, run_id: str) -> Updates:
        """Delete for good. Inputs: owner, run. Outputs: step 4."""

        def go() -> Updates:
            self._teaching.delete(_owner(owner), run_id)
            withdraw(_owner(owner), run_id)
            runs = self._teaching.runs(_owner(owner))
            left = runs[0].id if runs else ""
            return self._nothing() | self._after(owner, left)

        return self._guarded(go) | {self._view.sure: gr.Row(visible=False)}

    def publish(self, owner: Any, run_id: str) -> tuple[str, str]:
        """Puts the adapter among those of the chat → its name, and what went wrong, one empty."""
        try:
            return self._teaching.publish(_owner(owner), run_id), ""
        except DemoError as error:
            return "", str(error)
        except Exception:
            logger.exception("an adapter could not be published")
            return "", self._strings.unexpected

    def teach_more(self, owner: Any, run_id: str, session: str | None) -> Updates:
        """Teach more. Inputs: owner, run, session. Outputs: the notes of steps 1, 3 and 4."""

        def note() -> Updates:
            run = self._teaching.run(_owner(owner), run_id)
            if run.adapter is None:
                raise InputError(self._words.no_adapter)
            said = self._words.more_from.format(name=run.name)
            first = self._words.more_first.format(name=run.name)
            chosen = self._teaching.preparing.drafts.has(session or "")
            return {
                self._all.data.chosen: gr.skip() if chosen else markup.quiet(first),
                self._all.more_id: run_id,
                self._settings.more_note: gr.HTML(markup.quiet(said), visible=True),
                self._settings.more_stop: gr.Button(visible=True),
                self._settings.name: run.name,
                **self._problem(""),
            }

        return self._guarded(note)

    def no_more(self) -> Updates:
        """Start a new one instead. Outputs: as `teach_more`."""
        return self._no_more()

    def _no_more(self) -> Updates:
        return {
            self._all.more_id: "",
            self._settings.more_note: gr.HTML(visible=False),
            self._settings.more_stop: gr.Button(visible=False),
        }

    def _stop(self, owner: Any, run_id: str, *, keep: bool) -> Updates:
        def stop() -> Updates:
            self._teaching.stop(_owner(owner), run_id, keep=keep)
            return self._after(owner, run_id)

        return self._guarded(stop)

    def _after(self, owner: Any, run_id: str) -> Updates:
        """What there is to see once a run has been begun, stopped or resumed."""
        runs = self._teaching.runs(_owner(owner))
        return (
            earlier(self._view, runs, run_id, self._words)
            | self._shown(owner, run_id)
            | self._problem("")
        )

    def _shown(self, owner: Any, run_id: str, seen: str = "") -> Updates:
        """A run as it is now; nothing when that is on the page already."""
        if not run_id:
            return {self._all.timer: gr.Timer(active=False)}
        who = _owner(owner)
        run = self._teaching.run(who, run_id)
        story = self._teaching.story(who, run_id)
        over, name = run.state in OVER, self._teaching.published(run)
        mark = "/".join(
            map(
                str,
                (
                    run_id, run.state, run.ending, run.place, run.resumable, story.done,
                    len(story.looks), len(story.probes), story.judged is not None,
                    run.adapter is not None, name,
                ),
            )
        )  # fmt: skip
        timer = {self._all.timer: gr.Timer(active=not over or run.ending)}
        if mark == seen:
            return timer
        words = self._words
        judged = markup.compared(story.judged, words) if story.judged and run.adapter else ""
        return {
            self._all.run_id: run_id,
            self._all.seen: mark,
            self._view.hint: gr.HTML(visible=False),
            self._view.live: live(run, story, words),
            self._view.result: judged,
            self._view.program: gr.Accordion(visible=bool(name)),
            self._view.code: words.program_code.format(name=name, key=owner) if name else "",
            **timer,
            **buttons(self._view, run, _offered(who, run), words),
        }

    def _nothing(self) -> Updates:
        """No run is shown."""
        return {
            self._all.run_id: "",
            self._all.seen: "",
            self._view.live: "",
            self._view.result: "",
            self._view.program: gr.Accordion(visible=False),
            self._view.actions: gr.Row(visible=False),
            self._view.start: gr.Button(variant="primary"),
        }

    def _switch(self) -> Updates:
        off = self._teaching.off
        return {
            self._all.off: gr.HTML(markup.notice(off) if off else "", visible=bool(off)),
            self._all.steps: gr.Column(visible=not off),
        }

    def _problem(self, text: str) -> Updates:
        shown = gr.HTML(markup.problem(text) if text else "", visible=bool(text))
        return {self._view.problem: shown}

    def _guarded(self, do: Callable[[], Updates]) -> Updates:
        try:
            return do() or gr.skip()
        except DemoError as error:
            return self._problem(str(error))
        except Exception:
            logger.exception("teaching failed")
            return self._problem(self._strings.unexpected)


def known(secret: Any) -> str:
    """The browser's secret, or a new one for a browser that has none."""
    good = isinstance(secret, str) and SECRET.fullmatch(secret)
    return secret if good else secrets.token_urlsafe(32)


def _owner(secret: Any) -> str:
    """Raises InputError for what is no secret of ours: a browser that keeps nothing has none."""
    if not isinstance(secret, str) or not SECRET.fullmatch(secret):
        raise InputError("This browser keeps nothing for this page, so no training can be yours.")
    return owner_of(secret)


def _offered(owner: str, run: Run) -> str | None:
    """Where the browser finds the adapter, once the run is over."""
    if run.state not in OVER or run.adapter is None:
        return None
    return str(offer(owner, run.id, run.adapter, run.name))
