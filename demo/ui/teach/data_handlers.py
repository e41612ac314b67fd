"""Steps 1 to 3 of teaching: data is chosen, checked, and it is measured what it needs.

Every method gives a dictionary {component: new value}. The data is the server's; what the browser
sends is a choice, an upload or typed rows.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from demo.background_task import BackgroundTask, Cancelled, Progress
from demo.errors import DemoError, InputError
from demo.finetune.data.columns import Layout
from demo.finetune.data.dataset import Aim, AskedAim
from demo.finetune.data.read import pasted_pairs
from demo.finetune.data.table import DataLimits
from demo.finetune.train.config import PRESETS, TrainingOptions, fitted, usable
from demo.runtime import Runtime
from demo.teaching import typed_table
from demo.teaching.drafts import Draft
from demo.ui.files import Uploads
from demo.ui.html import ComponentUpdates
from demo.ui.strings import Strings
from demo.ui.teach import html, mend
from demo.ui.teach.kept import KeptWork
from demo.ui.teach.run_handlers import checked_secret
from demo.ui.teach.tab import TeachView
from demo.ui.teach.table_handlers import TableHandlers

logger = logging.getLogger(__name__)


class DataHandlers:
    """The events of steps 1 to 3, for all visitors."""

    def __init__(
        self,
        runtime: Runtime,
        view: TeachView,
        uploads: Uploads,
        strings: Strings,
    ) -> None:
        self._runtime, self._teaching = runtime, runtime.teaching
        self._drafts = runtime.teaching.drafts
        self._view, self._data, self._settings = view, view.data, view.settings
        self._uploads = uploads
        self._strings, self._words = strings, strings.teach
        self.typing = TableHandlers(runtime, view, uploads, strings)
        self._tasks: dict[str, BackgroundTask[Any]] = {}  # what is being done for a visitor
        self._lock = threading.Lock()

    def sample(self, name: str, session: str, *fields: Any) -> Iterator[ComponentUpdates]:
        """Take a sample's card. Inputs: session, fields. Outputs: steps 1 to 3."""
        yield from self._take(session, fields, lambda visitor: self._drafts.sample(visitor, name))

    def upload(self, session: str, file: Any, *fields: Any) -> Iterator[ComponentUpdates]:
        """Take a file. Inputs: session, the raw value of the file, fields. Outputs: as `sample`."""

        def put(visitor: str) -> Draft:
            path = file.get("path") if isinstance(file, dict) else None
            if not isinstance(path, str):
                raise InputError(self._words.not_a_file)
            try:
                upload = self._uploads.check(path)
            except InputError:
                raise InputError(self._words.not_a_file) from None
            try:
                name = str(file.get("orig_name") or upload.name)
                return self._drafts.file(visitor, upload, Path(name).name[:100])
            finally:
                upload.unlink(missing_ok=True)

        yield from self._take(session, fields, put)

    def too_large(self) -> ComponentUpdates:
        """Refuse a file that the page did not send. Outputs: chosen."""
        limits = DataLimits.of(self._runtime.settings)
        said = html.within(self._words.file_too_large, limits)
        return {self._data.chosen: html.problem(said)}

    def rows(self, session: str, table: Any, *fields: Any) -> Iterator[ComponentUpdates]:
        """Take typed rows. Inputs: session, raw table, fields. Outputs: as `sample`."""
        yield from self._take(
            session,
            fields,
            lambda visitor: self._typed(visitor, typed_table.typed_rows(table)),
        )

    def _typed(self, visitor: str, rows: list[list[Any]]) -> Draft:
        words, kept = self._words, self._teaching.row_pictures
        keys = typed_table.picture_keys(rows)
        pictures = [kept.find(visitor, key) if key else None for key in keys]
        return self._drafts.rows(visitor, words.table_columns, rows, words.typed_name, pictures)

    def paste(
        self, session: str, text: str | None, table: Any, *fields: Any
    ) -> Iterator[ComponentUpdates]:
        """Take pasted rows. Inputs: session, text, raw table, fields. Outputs: `sample`'s, inputs.

        Questions and replies go into the table; what holds more is taken like a file.
        """
        name = self._words.pasted_name
        try:
            there = typed_table.filled(typed_table.typed_rows(table))
            pairs = pasted_pairs(text or "")
            if pairs:  # one that is there already says nothing new
                known = [row[:2] for row in there]
                pairs = [pair for pair in pairs if pair not in known]
        except DemoError as error:
            yield {self._data.chosen: html.problem(self._words.said(str(error)))}
            return
        if pairs is None or len(there) + len(pairs) > typed_table.MOST_TYPED:
            yield from self._take(
                session, fields, lambda visitor: self._drafts.text(visitor, text or "", name)
            )
            return
        words = self._words
        said = words.pasted.format(count=len(pairs), use=words.table_use)
        yield {
            self._data.table: [*there, *([*pair, ""] for pair in pairs)],
            self._data.paste: "",
            self._data.chosen: html.quiet(said),
        }

    def mend(self, session: str, table: Any, *fields: Any) -> Iterator[ComponentUpdates]:
        """Check again. Inputs: session, raw table of mended rows, fields. Outputs: as `sample`."""

        def steps(visitor: str) -> Iterator[ComponentUpdates]:
            changes = mend.changes(self._drafts.get(visitor), typed_table.rows_of(table))
            self._drafts.mend(visitor, changes)
            yield from self._check(visitor, usable(fields), None)

        yield from self._guarded(session, steps)

    def map_columns(self, session: str, *values: Any) -> Iterator[ComponentUpdates]:
        """Take columns by hand. Inputs: session, the six choices, fields. Outputs: as `sample`."""
        chosen, fields = values[: len(self._data.columns)], values[len(self._data.columns) :]
        question, reply, given, picture, system, chat = (value or None for value in chosen)

        def layout() -> Layout:
            return Layout("by hand", question, reply, given, chat, picture, system)

        yield from self._guarded(
            session,
            lambda visitor: self._check(
                visitor, self._fitted(visitor, usable(fields), "auto"), layout()
            ),
        )

    def preset(self, session: str, name: str, aim: Aim) -> ComponentUpdates:
        """Choose a preset. Inputs: session, preset, aim. Outputs: the nine fields."""
        chosen = PRESETS.get(name, TrainingOptions())
        return self._chosen(self._fitted(session, chosen, aim))

    def aimed(self, session: str, *fields: Any) -> ComponentUpdates:
        """Correct what is taught. Inputs: session, fields. Outputs: the nine fields."""
        choices = usable(fields)
        return self._chosen(self._fitted(session, choices, choices.aim))

    def _fitted(self, visitor: str, choices: TrainingOptions, aim: AskedAim) -> TrainingOptions:
        """Turn a preset into that for a visitor's data and what is taught."""
        pictures, rows = self._drafts.pictures(visitor), self._drafts.rows_to_learn(visitor)
        return fitted(choices, pictures=pictures, aim=aim, rows=rows)

    def _chosen(self, choices: TrainingOptions) -> ComponentUpdates:
        values = list(vars(choices).values())[: len(self._settings.fields)]  # the page has these
        shown: ComponentUpdates = dict(zip(self._settings.fields, values, strict=True))
        if choices.aim == "auto":  # the check is going to guess it
            shown[self._settings.aim] = gr.skip()
        return shown

    def changed(self) -> ComponentUpdates:
        """Mark the estimate as stale. Outputs: preset, needs, measure, start."""
        return {
            self._settings.preset: None,
            self._settings.needs: html.quiet(self._words.stale),
            self._settings.measure: gr.Button(visible=True),
            self._view.run.start: gr.Button(interactive=True),
        }

    def measure(self, session: str, *fields: Any) -> Iterator[ComponentUpdates]:
        """Measure what a run needs. Inputs: session, fields. Outputs: report, needs, start."""
        yield {self._settings.needs: gr.skip()}  # gradio empties everything for nothing at all
        yield from self._guarded(
            session, lambda visitor: self._measure(visitor, fields), self._settings.needs
        )

    def cancel(self, session: str) -> None:
        """Cancel what is worked out for a visitor: they have gone, or begun."""
        with self._lock:
            task = self._tasks.pop(session, None)
        if task:
            task.cancel()

    def restore(self, owner: Any, restored: bool, kept: Any) -> Iterator[ComponentUpdates]:
        """Put back what a reload took. Inputs: owner, restored, kept. Outputs: `rows`, inputs."""
        yield {self._view.restored: True}
        if restored:
            return
        work, words = KeptWork.read(kept), self._words

        def steps(visitor: str) -> Iterator[ComponentUpdates]:
            if not self._drafts.has(visitor):
                if work.rows:
                    yield {self._data.sources: gr.Tabs(selected="type")}
                return
            draft = self._drafts.get(visitor)
            made_here = {words.typed_name: "type", words.camera_name: "camera"}
            source = "samples" if draft.sample else made_here.get(draft.table.name, "file")
            yield {
                self._data.sources: gr.Tabs(selected=source),
                self._data.chosen: html.chosen(draft, words),
                **self._marked(draft),
                **self._columns(draft),
            }
            if draft.layout and not draft.checked:
                choices = self._fitted(visitor, work.choices or TrainingOptions(), "auto")
                yield from self._check(visitor, choices, None)
            elif draft.layout and draft.choices:
                shown = self._checked(draft) | self._chosen(work.choices or draft.choices)
                named = {self._settings.name: work.name} if work.name else {}
                yield (
                    shown
                    | named
                    | {
                        self._settings.preset: work.preset,
                        self._settings.needs: html.quiet(words.unmeasured),
                        self._settings.measure: gr.Button(visible=True),
                        self._view.run.questions: work.questions,
                    }
                )

        yield from self._guarded(owner, steps)

    def begun(self, session: str) -> ComponentUpdates:
        """Stop measuring: a run was started. Inputs: session. Outputs: needs."""
        with self._lock:
            measuring = session in self._tasks
        self.cancel(session)
        return {self._settings.needs: "" if measuring else gr.skip()}

    def _take(
        self, session: str, fields: tuple[Any, ...], put: Callable[[str], Draft]
    ) -> Iterator[ComponentUpdates]:
        """Put new data in place of what was there."""

        def steps(visitor: str) -> Iterator[ComponentUpdates]:
            yield self._emptied()
            draft = put(visitor)
            choices = self._fitted(visitor, usable(fields), "auto")
            shown = {self._data.chosen: html.chosen(draft, self._words)} | self._marked(draft)
            yield shown | self._chosen(choices) | self._columns(draft)
            if draft.layout:
                yield from self._check(visitor, choices, None)

        yield from self._guarded(session, steps, self._data.chosen)

    def _check(
        self, visitor: str, choices: TrainingOptions, layout: Layout | None
    ) -> Iterator[ComponentUpdates]:
        yield {self._data.mapping: gr.Column(visible=False)}
        task = self._teaching.preparing.check(visitor, choices, layout)
        try:
            yield from self._watched(visitor, task, self._data.report)
            draft = task.result()
        except DemoError as error:
            shown = mend.offered(self._drafts.get(visitor), self._data, self._words)
            yield shown | {self._data.report: html.problem(self._words.said(str(error)))}
            return
        assert draft.checked
        fitting = self._fitted(visitor, choices, draft.checked.aim)
        yield self._checked(draft) | self._chosen(fitting)

    def _checked(self, draft: Draft) -> ComponentUpdates:
        assert draft.checked
        words = self._words
        name = draft.sample or Path(draft.table.name).stem
        named = name if draft.sample or draft.file and "." in draft.table.name else ""
        found, shown = draft.checked.report, {self._data.mend: gr.Column(visible=False)}
        if found.refused or found.conflicts:
            shown = mend.offered(draft, self._data, words)
        return shown | {
            self._data.chosen: html.chosen(draft, words),
            self._data.report: html.report(draft.checked, words),
            self._settings.hint: gr.HTML(visible=False),
            self._settings.body: gr.Column(visible=True),
            self._settings.name: named[:100] or words.name_default,
            self._view.run.hint: gr.HTML(visible=False),
            self._view.run.setup: gr.Column(visible=True),
            self._view.run.start: gr.Button(interactive=True),
        }

    def _measure(self, visitor: str, fields: tuple[Any, ...]) -> Iterator[ComponentUpdates]:
        try:
            draft = self._drafts.get(visitor)
        except InputError:
            return
        if draft.checked is None:
            return
        choices = TrainingOptions(*fields)
        yield {
            self._settings.measure: gr.Button(visible=False),
            self._settings.needs: html.working(Progress(self._words.measuring), self._words),
        }
        preparing = self._teaching.preparing
        if choices != draft.choices:
            check = preparing.check(visitor, choices)
            yield from self._watched(visitor, check, self._settings.needs)
            draft = check.result()
            assert draft.checked
            yield {self._data.report: html.report(draft.checked, self._words)}
        task = preparing.estimate(visitor, choices)
        yield from self._watched(visitor, task, self._settings.needs)
        found = task.result()
        yield {
            self._settings.needs: html.needs(found, self._words),
            self._view.run.start: gr.Button(interactive=found.verdict != "does not fit"),
        }

    def _watched(
        self, visitor: str, task: BackgroundTask[Any], place: gr.HTML
    ) -> Iterator[ComponentUpdates]:
        """Show how far it is; whoever begins something else cancels this."""
        with self._lock:
            before = self._tasks.get(visitor)
            self._tasks[visitor] = task
        if before:
            before.cancel()
        try:
            last = Progress("")
            for progress in task.watch():
                # Also when nothing is new: only here can it end when the visitor has left.
                yield {
                    place: gr.skip() if progress == last else html.working(progress, self._words)
                }
                last = progress
        finally:
            with self._lock:
                mine = self._tasks.get(visitor) is task
                if mine:
                    del self._tasks[visitor]
            task.cancel()
        if not mine:
            raise Cancelled

    def _guarded(
        self,
        session: str,
        steps: Callable[[str], Iterator[ComponentUpdates]],
        place: gr.HTML | None = None,
    ) -> Iterator[ComponentUpdates]:
        """Run `steps`; what goes wrong is said in `place`."""
        place = place or self._data.chosen
        try:
            if self._teaching.off:
                raise InputError(self._teaching.off)
            yield from steps(checked_secret(session))
        except Cancelled:
            return
        except DemoError as error:
            yield {place: html.problem(self._words.said(str(error)))}
        except Exception:
            logger.exception("teaching failed")
            yield {place: html.problem(self._strings.unexpected)}

    def _emptied(self) -> ComponentUpdates:
        words = self._words
        return {
            self._data.file: None,
            self._data.chosen: html.working(Progress(words.reading), words),
            self._data.mapping: gr.Column(visible=False),
            self._data.mend: gr.Column(visible=False),
            self._data.report: html.quiet(words.check_first),
            self._settings.hint: gr.HTML(visible=True),
            self._settings.body: gr.Column(visible=False),
            self._settings.needs: "",
            self._view.run.hint: gr.HTML(visible=True),
            self._view.run.setup: gr.Column(visible=False),
            self._view.run.start: gr.Button(interactive=False),
        }

    def _marked(self, draft: Draft) -> ComponentUpdates:
        """Mark the sample that is chosen."""
        return {
            button: gr.Button(elem_classes=["card", *(["chosen-card"] * (name == draft.sample))])
            for name, button in self._data.samples.items()
        }

    def _columns(self, draft: Draft) -> ComponentUpdates:
        if draft.layout:
            return {self._data.mapping: gr.Column(visible=False)}
        names = draft.table.columns
        choices = [(self._words.map_nothing, ""), *((name, name) for name in names)]
        return {
            self._data.mapping: gr.Column(visible=True),
            self._data.mapping_note: html.column_note(names, self._words),
            **{column: gr.Dropdown(choices, value="") for column in self._data.columns},
        }
