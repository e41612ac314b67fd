"""Steps 1 to 3 of teaching: data is chosen, checked, and it is measured what it needs.

Every method gives a dictionary {component: new value}. The data is the server's; what the browser
sends is a choice, an upload or typed rows.
"""

import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from demo.drafts import Draft
from demo.errors import DemoError, InputError
from demo.finetune.layouts import Layout
from demo.finetune.pasted import pasted_pairs
from demo.finetune.presets import Choices, fitted, presets, usable
from demo.runtime import Runtime
from demo.ui import teach_markup as markup
from demo.ui.strings import Strings
from demo.ui.teach import MORE_ROWS, TeachView
from demo.ui.uploads import Uploads
from demo.vision.familiar import without_doubt
from demo.work import CalledOff, Progress, Work

Updates = dict[Any, Any]
logger = logging.getLogger(__name__)


class TeachData:
    """The events of steps 1 to 3, for all visitors."""

    def __init__(
        self,
        runtime: Runtime,
        view: TeachView,
        session: gr.State,
        uploads: Uploads,
        strings: Strings,
    ) -> None:
        self._runtime, self._teaching = runtime, runtime.teaching
        self._drafts = runtime.teaching.preparing.drafts
        self._view, self._data, self._settings = view, view.data, view.settings
        self._session, self._uploads = session, uploads
        self._strings, self._words = strings, strings.teach
        self._works: dict[str, Work[Any]] = {}  # what is being done for a visitor
        self._lock = threading.Lock()

    def sample(self, name: str, session: str | None, *fields: Any) -> Iterator[Updates]:
        """A sample's card. Inputs: session, fields. Outputs: steps 1 to 3."""
        yield from self._take(session, fields, lambda visitor: self._drafts.sample(visitor, name))

    def upload(self, session: str | None, file: Any, *fields: Any) -> Iterator[Updates]:
        """A file. Inputs: session, the raw value of the file, fields. Outputs: as `sample`."""

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

    def too_large(self) -> Updates:
        """A file that the page did not send. Outputs: chosen."""
        return {self._data.chosen: markup.problem(self._words.file_too_large)}

    def rows(self, session: str | None, table: Any, *fields: Any) -> Iterator[Updates]:
        """Typed rows. Inputs: session, table, fields. Outputs: as `sample`."""
        words = self._words
        yield from self._take(
            session,
            fields,
            lambda visitor: self._drafts.rows(
                visitor, words.table_columns, table or [], words.typed_name
            ),
        )

    def paste(
        self, session: str | None, text: str | None, table: Any, *fields: Any
    ) -> Iterator[Updates]:
        """Pasted rows. Inputs: session, text, table, fields. Outputs: as `sample`, both inputs.

        Questions and replies go into the table; what holds more is taken like a file.
        """
        name = self._words.pasted_name
        try:
            pairs = pasted_pairs(text or "")
        except DemoError as error:
            yield {self._data.chosen: markup.problem(str(error))}
            return
        if pairs is None:
            yield from self._take(
                session, fields, lambda visitor: self._drafts.text(visitor, text or "", name)
            )
            return
        words = self._words
        said = words.pasted.format(count=len(pairs), use=words.table_use)
        yield {
            self._data.table: [*_filled(table), *pairs],
            self._data.paste: "",
            self._data.chosen: markup.quiet(said),
        }

    def more_rows(self, table: Any) -> Updates:
        """More rows. Inputs and outputs: table."""
        return {self._data.table: [*(table or []), *([["", ""]] * MORE_ROWS)]}

    def from_chat(self, session: str | None, table: Any) -> Updates:
        """Rows from my chat. Inputs: session, table. Outputs: table, chosen."""
        turns = self._runtime.conversation(session).turns if session else ()
        wanted = [turn for turn in turns if turn.reply and (turn.liked or turn.corrected)]
        rows = [[turn.text, without_doubt(turn.reply)] for turn in wanted if turn.picture is None]
        if not wanted:
            return {self._data.chosen: markup.problem(self._words.chat_none)}
        there = _filled(table)
        new = [row for row in rows if row not in there]
        said = [self._words.chat_added.format(count=len(new))]
        if len(rows) < len(wanted):
            said.append(self._words.chat_pictures.format(count=len(wanted) - len(rows)))
        return {
            self._data.table: [*there, *new] or [["", ""]],
            self._data.chosen: markup.quiet(" ".join(said)),
        }

    def map_columns(self, session: str | None, *values: Any) -> Iterator[Updates]:
        """Columns by hand. Inputs: session, the six choices, fields. Outputs: as `sample`."""
        chosen, fields = values[: len(self._data.columns)], values[len(self._data.columns) :]
        question, reply, given, picture, system, chat = (value or None for value in chosen)

        def layout() -> Layout:
            return Layout("by hand", question, reply, given, chat, picture, system)

        yield from self._guarded(
            session, lambda visitor: self._check(visitor, usable(fields), layout())
        )

    def preset(self, session: str | None, name: str) -> Updates:
        """A preset. Inputs: session, preset. Outputs: the eight fields."""
        kind = presets(pictures=self._drafts.pictures(session or ""))
        return self._chosen(kind.get(name, Choices()))

    def _chosen(self, choices: Choices) -> Updates:
        return dict(zip(self._settings.fields, vars(choices).values(), strict=True))

    def changed(self) -> Updates:
        """A field was changed. Outputs: preset, needs, measure, start."""
        return {
            self._settings.preset: None,
            self._settings.needs: markup.quiet(self._words.stale),
            self._settings.measure: gr.Button(visible=True),
            self._view.run.start: gr.Button(interactive=True),
        }

    def measure(self, session: str | None, *fields: Any) -> Iterator[Updates]:
        """What the run will need. Inputs: session, fields. Outputs: report, needs, start."""
        yield {self._settings.needs: gr.skip()}  # gradio empties everything for nothing at all
        yield from self._guarded(
            session, lambda visitor: self._measure(visitor, fields), self._settings.needs
        )

    def call_off(self, session: str | None) -> None:
        """Nothing more is worked out for a visitor: they have gone, or begun."""
        with self._lock:
            work = self._works.pop(session or "", None)
        if work:
            work.call_off()

    def begun(self, session: str | None) -> Updates:
        """A run was started: what it needs will be seen. Inputs: session. Outputs: needs."""
        with self._lock:
            measuring = (session or "") in self._works
        self.call_off(session)
        return {self._settings.needs: "" if measuring else gr.skip()}

    def _take(
        self, session: str | None, fields: tuple[Any, ...], put: Callable[[str], Draft]
    ) -> Iterator[Updates]:
        """New data in place of what was there."""

        def steps(visitor: str) -> Iterator[Updates]:
            yield self._emptied(visitor)
            draft = put(visitor)
            choices = fitted(usable(fields), pictures=bool(draft.table.pictures))
            shown = {self._data.chosen: markup.chosen(draft, self._words)}
            yield shown | self._chosen(choices) | self._columns(draft)
            if draft.layout:
                yield from self._check(visitor, choices, None)

        yield from self._guarded(session, steps, self._data.chosen)

    def _check(self, visitor: str, choices: Choices, layout: Layout | None) -> Iterator[Updates]:
        yield {self._data.mapping: gr.Column(visible=False)}
        work = self._teaching.preparing.check(visitor, choices, layout)
        try:
            yield from self._watched(visitor, work, self._data.report)
            draft = work.result()
        except DemoError as error:
            yield {self._data.report: markup.problem(str(error))}
            return
        yield self._checked(draft)

    def _checked(self, draft: Draft) -> Updates:
        words = self._words
        name = draft.sample or Path(draft.table.name).stem
        named = name if draft.sample or draft.file and "." in draft.table.name else ""
        return {
            self._data.chosen: markup.chosen(draft, words),
            self._data.report: markup.report(draft.checked, words),
            self._settings.hint: gr.HTML(visible=False),
            self._settings.body: gr.Column(visible=True),
            self._settings.name: named[:100] or words.name_default,
            self._view.run.hint: gr.HTML(visible=False),
            self._view.run.setup: gr.Column(visible=True),
            self._view.run.start: gr.Button(interactive=True),
        }

    def _measure(self, visitor: str, fields: tuple[Any, ...]) -> Iterator[Updates]:
        try:
            draft = self._drafts.get(visitor)
        except InputError:
            return
        if draft.checked is None:
            return
        choices = Choices(*fields)
        yield {
            self._settings.measure: gr.Button(visible=False),
            self._settings.needs: markup.working(Progress(self._words.measuring)),
        }
        preparing = self._teaching.preparing
        if choices != draft.choices:
            check = preparing.check(visitor, choices)
            yield from self._watched(visitor, check, self._settings.needs)
            draft = check.result()
            yield {self._data.report: markup.report(draft.checked, self._words)}
        work = preparing.estimate(visitor, choices)
        yield from self._watched(visitor, work, self._settings.needs)
        found = work.result()
        yield {
            self._settings.needs: markup.needs(found, self._words),
            self._view.run.start: gr.Button(interactive=found.verdict != "does not fit"),
        }

    def _watched(self, visitor: str, work: Work[Any], place: gr.HTML) -> Iterator[Updates]:
        """Shows how far it is; whoever begins something else calls this off."""
        with self._lock:
            before = self._works.get(visitor)
            self._works[visitor] = work
        if before:
            before.call_off()
        try:
            last = Progress("")
            for progress in work.watch():
                # Also when nothing is new: only here can it end when the visitor has left.
                yield {place: gr.skip() if progress == last else markup.working(progress)}
                last = progress
        finally:
            with self._lock:
                mine = self._works.get(visitor) is work
                if mine:
                    del self._works[visitor]
            work.call_off()
        if not mine:
            raise CalledOff

    def _guarded(
        self,
        session: str | None,
        steps: Callable[[str], Iterator[Updates]],
        place: gr.HTML | None = None,
    ) -> Iterator[Updates]:
        """Runs `steps`; what goes wrong is said in `place`."""
        place = place or self._data.chosen
        try:
            if self._teaching.off:
                raise InputError(self._teaching.off)
            yield from steps(session or secrets.token_urlsafe(32))
        except CalledOff:
            return
        except DemoError as error:
            yield {place: markup.problem(str(error))}
        except Exception:
            logger.exception("teaching failed")
            yield {place: markup.problem(self._strings.unexpected)}

    def _emptied(self, visitor: str) -> Updates:
        words = self._words
        return {
            self._session: visitor,
            self._data.file: None,
            self._data.chosen: markup.working(Progress(words.reading)),
            self._data.mapping: gr.Column(visible=False),
            self._data.report: markup.quiet(words.check_first),
            self._settings.hint: gr.HTML(visible=True),
            self._settings.body: gr.Column(visible=False),
            self._settings.needs: "",
            self._view.run.hint: gr.HTML(visible=True),
            self._view.run.setup: gr.Column(visible=False),
            self._view.run.start: gr.Button(interactive=False),
        }

    def _columns(self, draft: Draft) -> Updates:
        if draft.layout:
            return {self._data.mapping: gr.Column(visible=False)}
        names = draft.table.columns
        choices = [(self._words.map_nothing, ""), *((name, name) for name in names)]
        shown = ", ".join(names)
        note = self._words.map_more.format(columns=shown[:300])
        return {
            self._data.mapping: gr.Column(visible=True),
            self._data.mapping_note: f"<h3>{self._words.map_title}</h3>{markup.quiet(note)}",
            **{column: gr.Dropdown(choices, value="") for column in self._data.columns},
        }


def _filled(table: Any) -> list[Any]:
    """The rows of the editable table in which something stands."""
    return [row for row in table or [] if any(str(cell or "").strip() for cell in row)]
