"""Which event of the tab "Teach" calls which handler."""

from functools import partial
from typing import Any

import gradio as gr

from demo.ui.teach.badge import BadgeHandlers
from demo.ui.teach.camera import camera_handler
from demo.ui.teach.data_handlers import DataHandlers
from demo.ui.teach.kept import KEEP, RESTORED
from demo.ui.teach.run_handlers import AdapterPicker, RunHandlers
from demo.ui.teach.tab import TeachView

# Visitors who are served at once; what is heavy takes turns by itself
# (demo/teaching/drafts.py), and they are told so.
CHECKS, MEASURES = 4, 8

# Every event of the page is private: a program uses the endpoints, not the buttons.
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def connect_data(
    view: TeachView, handlers: DataHandlers, owner: gr.BrowserState, session: gr.State
) -> None:
    """Connect steps 1 to 3; `session` has the chat from which rows are taken."""
    data, settings, run = view.data, view.settings, view.run
    fields = list(settings.fields)
    outputs = checked_parts(view)
    slow: dict[str, Any] = PRIVATE | {
        "outputs": outputs,
        "concurrency_id": "teach-check",
        "concurrency_limit": CHECKS,
    }
    measuring = slow | {"concurrency_id": "teach-measure", "concurrency_limit": MEASURES}

    def measured(event: Any) -> None:
        event.then(handlers.measure, [owner, *fields], **measuring)

    for name, button in data.samples.items():
        measured(button.click(_named(handlers.sample, name), [owner, *fields], **slow))
    # preprocess=False: what the browser says is a file of ours is looked at first, and a table's
    # rows are counted before gradio checks each cell while everybody waits.
    raw: dict[str, Any] = {"preprocess": False}
    file = [owner, data.file, *fields]
    measured(data.file.upload(handlers.upload, file, **raw, **slow))
    measured(data.camera.submit(camera_handler(handlers.upload), [owner, *fields], **slow))
    measured(data.use_rows.click(handlers.rows, [owner, data.table, *fields], **raw, **slow))
    pasted = slow | raw | {"outputs": [*outputs, data.table, data.paste]}
    for text, button in ((data.paste, data.use_paste), (data.table_paste, data.use_table_paste)):
        paste = [owner, text, data.table, *fields]
        measured(button.click(handlers.paste, paste, **pasted))
    mended = [owner, data.mend_table, *fields]
    measured(data.use_mended.click(handlers.mend, mended, **raw, **slow))
    columns = [owner, *data.columns, *fields]
    measured(data.use_columns.click(handlers.map_columns, columns, **slow))
    # A second choice calls off what the first one began, so it must come through.
    again: dict[str, Any] = {"trigger_mode": "multiple"}
    measured(
        settings.preset.input(
            handlers.preset,
            [owner, settings.preset, settings.aim],
            fields,
            queue=False,
            **PRIVATE,
        )
    )
    measured(settings.aim.input(handlers.aimed, [owner, *fields], fields, queue=False, **PRIVATE))
    settings.measure.click(handlers.measure, [owner, *fields], **measuring, **again)

    quick: dict[str, Any] = PRIVATE | {"queue": False}
    data.too_large.click(handlers.too_large, None, [data.chosen], **quick)
    table = [data.table, data.chosen]
    typing, chat = handlers.typing, [owner, session, data.table]
    data.more_rows.click(typing.more_rows, [data.table], table, **raw, **quick)
    data.chat_rows.click(typing.from_chat, chat, table, **raw, **quick)
    put, taken = [data.put, data.table], [data.put, data.chosen]
    opened = data.use_sent.click(
        typing.add_pictures, [owner, data.sent], taken, trigger_mode="multiple", **PRIVATE
    )
    for event in (opened.then, data.use_put.click):
        event(None, put, [data.table], js=PUT_PICTURES, **raw, **PRIVATE)
    stale = [settings.preset, settings.needs, settings.measure, run.start]
    run.start.click(handlers.begun, [owner], [settings.needs], **quick)
    for field in fields[:-1]:  # the aim sets the others, and is measured at once
        field.input(handlers.changed, None, stale, **quick)


def connect_runs(
    view: TeachView,
    handlers: RunHandlers,
    picker: AdapterPicker,
    owner: gr.BrowserState,
    new_chat: tuple[Any, list[Any], list[Any]],
) -> None:
    """Connect step 4; `new_chat` is what begins a chat, its inputs and outputs."""
    run, settings = view.run, view.settings
    outputs = shown(view)
    quick: dict[str, Any] = PRIVATE | {"queue": False, "outputs": outputs}
    which = [owner, view.run_id]
    begin = [owner, view.more_id, settings.name, run.questions, *settings.fields]
    more = _taught_more(view)
    started = run.start.click(handlers.start, begin, [*outputs, *more], queue=False, **PRIVATE)
    started.then(None, js=RUN_PLACE % "begun")
    run.stop_keep.click(partial(handlers.stop, True), which, **quick)
    run.stop_discard.click(partial(handlers.stop, False), which, **quick)
    run.resume.click(handlers.resume, which, **quick)
    run.delete.click(handlers.ask_to_delete, which, **quick)
    deleted = [*outputs, picker.adapter, picker.note]
    gone = run.delete_yes.click(
        handlers.delete, [*which, picker.adapter], deleted, queue=False, **PRIVATE
    )
    gone.then(None, js=RUN_PLACE % "gone")
    run.delete_no.click(handlers.keep, None, **quick)
    chosen = run.earlier.input(handlers.choose, [owner, run.earlier, run.beside], **quick)
    chosen.then(None, js=RUN_PLACE % "chosen")
    run.beside.input(handlers.choose, [owner, view.run_id, run.beside], **quick)
    used = [picker.tabs, picker.adapter, picker.note, picker.chatbot, run.problem]
    begun = run.use.click(*new_chat, queue=False, **PRIVATE)
    begun.then(handlers.use, which, used, queue=False, **PRIVATE)  # shown when it is there
    run.curves.click(handlers.curves, which, [run.made, run.problem], queue=False, **PRIVATE)
    run.made.change(None, [run.made], js=SAVE_CURVES, **PRIVATE)
    run.more.click(
        handlers.teach_more,
        which,
        [*more, settings.name, run.problem, view.data.chosen],
        queue=False,
        js=TO_SETTINGS,
        **PRIVATE,
    )
    settings.more_stop.click(handlers.no_more, None, more, queue=False, **PRIVATE)
    look = [owner, view.run_id, view.seen, run.beside]
    view.timer.tick(handlers.tick, look, **quick)
    view.look.click(handlers.tick, look, **quick)
    view.rest.click(handlers.rest, None, [view.timer], queue=False, **PRIVATE)


def _taught_more(view: TeachView) -> list[Any]:
    return [view.more_id, view.settings.more_note, view.settings.more_stop]


def told_of_more(view: TeachView, picker: AdapterPicker) -> list[Any]:
    """List what changes when an adapter of the library is to be taught more."""
    said = [view.settings.name, view.run.problem, view.data.chosen]
    return [picker.tabs, *_taught_more(view), *said]


def connect_tabs(
    view: TeachView,
    handlers: RunHandlers,
    owner: gr.BrowserState,
    chat_tab: gr.Tab,
    teach_tab: gr.Tab,
) -> Any:
    """Look at runs while their tab is open → the event of opening it."""
    chat_tab.select(handlers.rest, None, [view.timer], queue=False, **PRIVATE)
    enter: dict[str, Any] = PRIVATE | {
        "inputs": [owner, view.run_id, view.outside.asked],
        "outputs": [view.off, view.steps, view.outside.asked, *shown(view)],
        "queue": False,
    }
    entered = teach_tab.select(handlers.enter, **enter)
    for event in (entered, view.outside.open_asked.click(handlers.enter, **enter)):
        event.then(None, js=RUN_PLACE % "entered")
    return entered


def connect_kept(
    view: TeachView, handlers: DataHandlers, owner: gr.BrowserState, entered: Any
) -> None:
    """Put back what a reload took, once the tab is opened, and let the browser keep the rest."""
    settings, run = view.settings, view.run
    outputs = [
        *checked_parts(view),
        view.restored, view.data.sources, run.questions, settings.preset,
    ]  # fmt: skip
    inputs = [owner, view.restored, view.kept]
    # By itself: of a table that is not on the screen yet, gradio keeps the last update alone.
    rows, quick = [view.restored, view.kept], PRIVATE | {"queue": False}
    rows_back = entered.then(handlers.typing.restore_rows, rows, [view.data.table], **quick)
    back = rows_back.then(
        handlers.restore, inputs, outputs, concurrency_id="teach-check", **PRIVATE
    )
    back.then(None, js=RESTORED)
    kept = [view.data.table, settings.name, run.questions, settings.preset, *settings.fields]
    changes = [getattr(component, "change") for component in kept]  # noqa: B009
    gr.on(changes, None, [view.kept, *kept], [view.kept], js=KEEP, **PRIVATE)


def connect_badge(
    view: TeachView, handlers: BadgeHandlers, owner: gr.BrowserState, greeted: Any
) -> None:
    """Tell how the newest training stands: at first, and while one goes on."""
    quick: dict[str, Any] = PRIVATE | {"queue": False}
    outputs = [view.outside.badge, view.outside.badge_timer]
    greeted.then(handlers.look, [owner], outputs, **quick)
    view.outside.badge_timer.tick(handlers.look, [owner], outputs, **quick)


# Told to assets/places.js, which keeps the address true.
RUN_PLACE = "() => document.dispatchEvent(new CustomEvent('studio-run', {detail: '%s'}))"
SAVE_CURVES = "(made) => document.dispatchEvent(new CustomEvent('studio-curves', {detail: made}))"
# Told by assets/pictures.js: cells for a row and those below it that have no picture yet.
PUT_PICTURES = """(put, table) => {
    const { row, cells } = JSON.parse(put || '{"cells": []}');
    const data = (table?.data ?? []).map((one) => [...one]);
    let at = Math.max(row, 0);
    for (const cell of cells) {
        while (at !== row && data[at]?.[2]) at += 1;
        while (data.length <= at) data.push(["", "", ""]);
        data[at][2] = cell;
        at += 1;
    }
    return [cells.length ? { ...table, data } : table];
}"""
TO_SETTINGS = """(...values) => {
    const shown = document.querySelector("#step-settings .body");
    document.querySelector(shown ? "#step-settings" : "#step-data").scrollIntoView({
        behavior: "smooth", block: "start"
    });
    return values;
}"""


def checked_parts(view: TeachView) -> list[Any]:
    """Return what the choice of data and its check change in steps 1 to 4."""
    data, settings, run = view.data, view.settings, view.run
    return [
        *data.samples.values(),
        data.file, data.chosen, data.mapping, data.mapping_note, *data.columns, data.report,
        data.mend, data.mend_table,
        settings.hint, settings.body, settings.name, settings.needs, settings.measure,
        *settings.fields,
        run.hint, run.setup, run.start,
    ]  # fmt: skip


def shown(view: TeachView) -> list[Any]:
    """Return what a run changes in step 4."""
    run = view.run
    return [
        view.run_id, view.seen, view.timer, view.outside.badge_timer,
        run.hint, run.problem, run.earlier, run.beside, run.live, run.result, run.actions,
        run.start, run.stop_keep, run.stop_discard, run.resume, run.use, run.download, run.more,
        run.delete, run.sure, run.sure_text, run.program, run.code,
    ]  # fmt: skip


def _named(handler: Any, name: str) -> Any:
    """Bind a handler to one card; a generator function must stay one for gradio to see it."""

    def chosen(*inputs: Any) -> Any:
        yield from partial(handler, name)(*inputs)

    return chosen
