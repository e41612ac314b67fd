"""Step 4 of teaching: a run is begun, looked at, stopped, and its adapter is used.

The page only looks at the run's log, so a reload, a second tab or a closed browser change nothing.
Whose a run is follows from a secret that the browser keeps (`owner`).

What a visitor may do with a run, as its state allows: the buttons, and the menu of runs.
"""

import json
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from demo.adapter.library import SECRET, check_compatible, owner_of
from demo.errors import BusyError, DemoError, InputError
from demo.finetune.runs.queue import Run
from demo.finetune.train.config import TrainingOptions
from demo.finetune.train.events import OVER, RunHistory, as_csv
from demo.runtime import Runtime
from demo.ui.files import offer, withdraw
from demo.ui.html import ComponentUpdates, adapter_choices, adapter_note, adapter_picker
from demo.ui.strings import Strings
from demo.ui.teach import html
from demo.ui.teach.tab import RunView, TeachView
from demo.ui.teach.words import TeachWords

logger = logging.getLogger(__name__)
CHAT_TAB, TEACH_TAB = "chat", "teach"  # the ids of the tabs
OF_LIBRARY = "library "  # before the name of what is taught more, where it is no run
NO_RUN = "none"  # asked for by an address that shows no run
CARDS, LONGEST_CARD = 6, 200  # questions to begin a chat with, and characters of one


def buttons(view: RunView, run: Run, offered: str | None, words: TeachWords) -> ComponentUpdates:
    """Return the buttons under a run. `offered` is its adapter's file, for the browser to fetch."""
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


def earlier(
    view: RunView, runs: tuple[Run, ...], chosen: str, words: TeachWords
) -> ComponentUpdates:
    """Return the menus of runs, to be shown and to be compared with, when there is a choice."""
    choices = [
        (
            words.earlier_label.format(
                name=run.name,
                when=time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created)),
                state=html.state_word(run, words).lower(),
            ),
            run.id,
        )
        for run in runs
    ]
    several = len(choices) > bool(chosen)
    others = [(words.beside_none, ""), *choices]
    return {
        view.earlier: gr.Dropdown(choices, value=chosen or None, visible=several),
        view.beside: gr.Dropdown(others, value="", visible=len(choices) > 1),
    }


@dataclass(frozen=True)
class AdapterPicker:
    """Where the chat's adapter is chosen: what a run changes there."""

    tabs: gr.Tabs
    adapter: gr.Dropdown
    note: gr.HTML
    chatbot: gr.Chatbot  # whose cards are then of what was taught


class RunHandlers:
    """The events of step 4, for all visitors."""

    def __init__(
        self, runtime: Runtime, view: TeachView, picker: AdapterPicker, strings: Strings
    ) -> None:
        self._runtime, self._picker = runtime, picker
        self._teaching, self._runs = runtime.teaching, runtime.teaching.runs
        self._all, self._view, self._settings = view, view.run, view.settings
        self._strings, self._words = strings, strings.teach

    def enter(self, owner: Any, run_id: str, asked: str | None) -> ComponentUpdates:
        """Open the tab. Inputs: owner, run, asked. Outputs: step 4, asked, and whether it is off.

        What the address asks for is shown, else what was shown before, else the newest run.
        """

        def show() -> ComponentUpdates:
            # Whoever comes for the first time is here before the page has given them a secret.
            runs = self._runs.of(_owner(owner)) if owner else ()
            known = {run.id for run in runs}
            newest = runs[0].id if runs else ""
            chosen = next((one for one in (asked, run_id, newest) if one in known), "")
            chosen = "" if asked == NO_RUN else chosen
            missing = bool(asked) and asked not in (NO_RUN, chosen)
            return (
                self._switch()
                | (self._shown(owner, chosen) if chosen else self._nothing())
                | earlier(self._view, runs, chosen, self._words)
                | self._problem(self._words.not_here if missing else "")
            )

        return {self._all.outside.asked: ""} | self._guarded(show)

    def tick(self, owner: Any, run_id: str, seen: str, beside: str | None) -> ComponentUpdates:
        """Show what is new. Inputs: owner, run, seen, run beside. Outputs: step 4."""
        return self._guarded(
            lambda: self._shown(owner, run_id, seen, beside or "") if run_id else {}
        )

    def rest(self) -> ComponentUpdates:
        """Rest: nobody sees the page. Outputs: timer."""
        return {self._all.timer: gr.Timer(active=False)}

    def choose(self, owner: Any, run_id: str, beside: str | None) -> ComponentUpdates:
        """Choose a run, or one beside it. Inputs: owner, their ids. Outputs: step 4."""
        return self._guarded(
            lambda: self._shown(owner, run_id, beside=beside or "") if run_id else {}
        )

    def curves(self, owner: Any, run_id: str) -> ComponentUpdates:
        """Write the curves as CSV. Inputs: owner, run. Outputs: the text for the page, problem."""

        def write() -> ComponentUpdates:
            text = as_csv(self._runs.history(_owner(owner), run_id))
            # The number makes it another value, so that a second press is heard too.
            return {self._view.made: json.dumps({"text": text, "number": secrets.token_hex(4)})}

        return self._guarded(write)

    def start(
        self,
        owner: Any,
        more: str,
        name: str | None,
        questions: str | None,
        *fields: Any,
    ) -> ComponentUpdates:
        """Start teaching. Inputs: as the parameters. Outputs: step 4."""

        def begin() -> ComponentUpdates:
            lines = [line.strip() for line in (questions or "").splitlines() if line.strip()]
            who = _owner(owner)
            start = self._of_library(who, more)
            try:
                new = self._teaching.begin(
                    who,
                    owner,
                    TrainingOptions(*fields),
                    name or "",
                    more="" if start else more,
                    start=start,
                    probes=tuple(lines),
                )
            except BusyError as error:
                # A second click, or another tab: what is under way is shown, with the reason.
                active = [run for run in self._runs.of(who) if run.state not in OVER]
                if not active:
                    raise
                return self._after(owner, active[0].id) | self._problem(str(error))
            return self._after(owner, new) | self.no_more()

        return self._guarded(begin)

    def stop(self, keep: bool, owner: Any, run_id: str) -> ComponentUpdates:
        """Stop, and keep or discard. Inputs: owner, run. Outputs: step 4."""

        def stop() -> ComponentUpdates:
            self._runs.stop(_owner(owner), run_id, keep=keep)
            return self._after(owner, run_id)

        return self._guarded(stop)

    def resume(self, owner: Any, run_id: str) -> ComponentUpdates:
        """Resume. Inputs: owner, run. Outputs: step 4."""

        def again() -> ComponentUpdates:
            self._teaching.resume(_owner(owner), run_id)
            return self._after(owner, run_id)

        return self._guarded(again)

    def ask_to_delete(self, owner: Any, run_id: str) -> ComponentUpdates:
        """Delete. Inputs: owner, run. Outputs: step 4."""

        def ask() -> ComponentUpdates:
            run = self._runs.get(_owner(owner), run_id)
            said = self._words.delete_ask.format(name=run.name)
            return {
                self._view.sure: gr.Row(visible=True),
                self._view.sure_text: html.quiet(said),
                self._view.actions: gr.Row(visible=False),
                **self._problem(""),
            }

        return self._guarded(ask)

    def keep(self) -> ComponentUpdates:
        """Keep it. Outputs: step 4."""
        return {self._view.sure: gr.Row(visible=False), self._view.actions: gr.Row(visible=True)}

    def delete(self, owner: Any, run_id: str, adapter: str) -> ComponentUpdates:
        """Delete for good. Inputs: owner, run, chosen adapter. Outputs: step 4, adapter, note."""

        def go() -> ComponentUpdates:
            self._runs.delete(_owner(owner), run_id)
            withdraw(_owner(owner), run_id)
            runs = self._runs.of(_owner(owner))
            left = runs[0].id if runs else ""
            return self._nothing() | self._after(owner, left)

        deleted = self._guarded(go) | {self._view.sure: gr.Row(visible=False)}
        return deleted | self._guarded(lambda: self._picked(owner, adapter, gone=True))

    def use(self, owner: Any, run_id: str) -> ComponentUpdates:
        """Use in chat. Inputs: owner, run. Outputs: tabs, adapter, note, cards, problem."""

        def choose() -> ComponentUpdates:
            name = self._teaching.publish(_owner(owner), run_id)
            shown: ComponentUpdates = {self._picker.tabs: gr.Tabs(selected=CHAT_TAB)}
            questions = taught_questions(self._runs.history(_owner(owner), run_id))
            if questions:
                shown[self._picker.chatbot] = gr.Chatbot(examples=_cards(questions))
            return shown | self._picked(owner, name) | self._problem("")

        return self._guarded(choose)

    def teach_more(self, owner: Any, run_id: str) -> ComponentUpdates:
        """Teach more. Inputs: owner, run. Outputs: the notes of steps 1, 3 and 4."""

        def note() -> ComponentUpdates:
            run = self._runs.get(_owner(owner), run_id)
            if run.adapter is None:
                raise InputError(self._words.no_adapter)
            return self._going_on(owner, run.name, run_id) | self._problem("")

        return self._guarded(note)

    def teach_entry_more(self, owner: Any, name: str) -> ComponentUpdates:
        """Teach one of the library more. Inputs: owner, its name. Outputs: tabs, as `teach_more`.

        Raises:
            DemoError: there is none of this name, or it is for another base.
        """
        entry = self._runtime.library.find(name, _owner(owner))
        if fit := self._runtime.fit():
            check_compatible(entry.passport, fit)
        shown = self._going_on(owner, name, OF_LIBRARY + name)
        return {self._picker.tabs: gr.Tabs(selected=TEACH_TAB)} | shown | self._problem("")

    def _going_on(self, owner: Any, name: str, more_id: str) -> ComponentUpdates:
        """Say in steps 1 and 3 what is taught more."""
        said = self._words.more_from.format(name=name)
        first = self._words.more_first.format(name=name)
        chosen = self._teaching.drafts.has(owner)
        return {
            self._all.data.chosen: gr.skip() if chosen else html.quiet(first),
            self._all.more_id: more_id,
            self._settings.more_note: gr.HTML(html.quiet(said), visible=True),
            self._settings.more_stop: gr.Button(visible=True),
            self._settings.name: name,
        }

    def _of_library(self, who: str, more: str) -> Path | None:
        """Find the file of the library that is taught more, None where it is a run's."""
        if not more.startswith(OF_LIBRARY):
            return None
        return self._runtime.library.find(more.removeprefix(OF_LIBRARY), who).path

    def no_more(self) -> ComponentUpdates:
        """Start a new one instead. Outputs: as `teach_more`."""
        return {
            self._all.more_id: "",
            self._settings.more_note: gr.HTML(visible=False),
            self._settings.more_stop: gr.Button(visible=False),
        }

    def _picked(self, owner: Any, chosen: str, *, gone: bool = False) -> ComponentUpdates:
        """Offer the adapters that there are now; one that may be `gone` gives way to "auto"."""
        cards = self._runtime.library.cards(_owner(owner), self._runtime.tower)
        choices = adapter_choices(cards, self._strings)
        if gone and chosen not in {value for _, value in choices}:
            chosen = "auto"
        return {
            self._picker.adapter: adapter_picker(choices, chosen),
            self._picker.note: adapter_note(chosen, cards, self._strings),
        }

    def _after(self, owner: Any, run_id: str) -> ComponentUpdates:
        """Show what there is to see once a run has been begun, stopped or resumed."""
        runs = self._runs.of(_owner(owner))
        return (
            {self._all.outside.badge_timer: gr.Timer(active=True)}
            | earlier(self._view, runs, run_id, self._words)
            | self._shown(owner, run_id)
            | self._problem("")
        )

    def _shown(self, owner: Any, run_id: str, seen: str = "", beside: str = "") -> ComponentUpdates:
        """Show a run as it is now; nothing when that is on the page already."""
        if not run_id:
            return {self._all.timer: gr.Timer(active=False)}
        who = _owner(owner)
        run = self._runs.get(who, run_id)
        history = self._runs.history(who, run_id)
        over, name = run.state in OVER, self._teaching.published(run)
        mark = "/".join(
            map(
                str,
                (
                    run_id, run.state, run.ending, run.place, run.resumable, history.done,
                    len(history.evaluations), len(history.probes), history.judged is not None,
                    run.adapter is not None, name, beside,
                ),
            )
        )  # fmt: skip
        timer = {self._all.timer: gr.Timer(active=not over or run.ending)}
        if mark == seen:
            return timer
        words = self._words
        judged = html.compared(history.judged, words) if history.judged and run.adapter else ""
        return {
            self._all.run_id: run_id,
            self._all.seen: mark,
            self._view.hint: gr.HTML(visible=False),
            self._view.live: html.live(run, history, words, self._beside(who, run_id, beside)),
            self._view.result: judged,
            self._view.program: gr.Accordion(visible=bool(name)),
            self._view.code: words.program_code.format(name=name, key=owner) if name else "",
            **timer,
            **buttons(self._view, run, _offered(who, run), words),
        }

    def _beside(self, who: str, run_id: str, beside: str) -> html.Beside:
        """Give name and history of the run to compare with, unless it is the one shown or gone."""
        other = next((run for run in self._runs.of(who) if run.id == beside != run_id), None)
        return (other.name, self._runs.history(who, other.id)) if other else None

    def _nothing(self) -> ComponentUpdates:
        """Show no run."""
        return {
            self._all.run_id: "",
            self._all.seen: "",
            self._all.timer: gr.Timer(active=False),
            self._view.live: "",
            self._view.result: "",
            self._view.program: gr.Accordion(visible=False),
            self._view.actions: gr.Row(visible=False),
            self._view.start: gr.Button(variant="primary"),
        }

    def _switch(self) -> ComponentUpdates:
        off = self._teaching.off
        return {
            self._all.off: gr.HTML(
                html.notice(self._words.said(off)) if off else "", visible=bool(off)
            ),
            self._all.steps: gr.Column(visible=not off),
        }

    def _problem(self, text: str) -> ComponentUpdates:
        shown = gr.HTML(html.problem(self._words.said(text)) if text else "", visible=bool(text))
        return {self._view.problem: shown}

    def _guarded(self, do: Callable[[], ComponentUpdates]) -> ComponentUpdates:
        try:
            return do() or gr.skip()
        except DemoError as error:
            return self._problem(str(error))
        except Exception:
            logger.exception("teaching failed")
            return self._problem(self._strings.unexpected)


def taught_questions(history: RunHistory) -> list[str]:
    """Choose questions of a person's rows to begin a chat with: those it answers right first."""
    rows = history.judged.rows if history.judged else ()
    right = sorted(rows, key=lambda row: row.adapter.strip() != row.expected.strip())
    asked = history.probes[-1].questions if history.probes else ()
    questions = [row.question for row in right if not row.picture]
    pictured = any(row.picture for row in rows)
    questions += [] if pictured else list(asked)
    return [text for text in dict.fromkeys(questions) if len(text) <= LONGEST_CARD][:CARDS]


def _cards(questions: Sequence[str]) -> list[Any]:
    """Make cards of questions, as gradio's chat has them."""
    icon = {"mime_type": "text"}
    return [{"text": text, "display_text": text, "icon": icon} for text in questions]


def known(secret: Any) -> str:
    """Return the browser's secret, or a new one for a browser that has none."""
    good = isinstance(secret, str) and SECRET.fullmatch(secret)
    return secret if good else secrets.token_urlsafe(32)


def checked_secret(secret: Any) -> str:
    """Return the browser's secret, by which its data is found. Raises InputError for another."""
    if not isinstance(secret, str) or not SECRET.fullmatch(secret):
        raise InputError("This browser keeps nothing for this page, so it cannot teach here.")
    return secret


def _owner(secret: Any) -> str:
    """Return whose runs are shown. Raises InputError for what is no secret of ours."""
    if not isinstance(secret, str) or not SECRET.fullmatch(secret):
        raise InputError("This browser keeps nothing for this page, so no training can be yours.")
    return owner_of(secret)


def _offered(owner: str, run: Run) -> str | None:
    """Where the browser finds the adapter, once the run is over."""
    if run.state not in OVER or run.adapter is None:
        return None
    return str(offer(owner, run.id, run.adapter, run.name))
