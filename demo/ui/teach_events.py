"""Which event of the tab "Teach" calls which handler."""

from functools import partial
from typing import Any

import gradio as gr

from demo.ui.teach import TeachView
from demo.ui.teach_data import TeachData
from demo.ui.teach_run import TeachRuns

# Visitors who are served at once; what is heavy takes turns by itself (demo/preparing.py), and they
# are told so.
CHECKS, MEASURES = 4, 8

# Every event of the page is private: a program uses the endpoints, not the buttons.
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def connect_data(view: TeachView, handlers: TeachData, session: gr.State) -> None:
    """Steps 1 to 3."""
    data, settings, run = view.data, view.settings, view.run
    fields = list(settings.fields)
    outputs = [
        session,
        data.file, data.chosen, data.mapping, data.mapping_note, *data.columns, data.report,
        settings.hint, settings.body, settings.name, settings.needs, settings.measure, *fields,
        run.hint, run.setup, run.start,
    ]  # fmt: skip
    slow: dict[str, Any] = PRIVATE | {
        "outputs": outputs,
        "concurrency_id": "teach-check",
        "concurrency_limit": CHECKS,
    }
    measuring = slow | {"concurrency_id": "teach-measure", "concurrency_limit": MEASURES}

    def measured(event: Any) -> None:
        event.then(handlers.measure, [session, *fields], **measuring)

    for name, button in data.samples.items():
        measured(button.click(_named(handlers.sample, name), [session, *fields], **slow))
    # preprocess=False: what the browser says is a file of ours is looked at first.
    file = [session, data.file, *fields]
    measured(data.file.upload(handlers.upload, file, preprocess=False, **slow))
    measured(data.use_rows.click(handlers.rows, [session, data.table, *fields], **slow))
    pasted = slow | {"outputs": [*outputs, data.table, data.paste]}
    for text, button in ((data.paste, data.use_paste), (data.table_paste, data.use_table_paste)):
        paste = [session, text, data.table, *fields]
        measured(button.click(handlers.paste, paste, **pasted))
    columns = [session, *data.columns, *fields]
    measured(data.use_columns.click(handlers.map_columns, columns, **slow))
    # A second choice calls off what the first one began, so it must come through.
    again = {"trigger_mode": "multiple"}
    measured(
        settings.preset.input(
            handlers.preset, [session, settings.preset], fields, queue=False, **PRIVATE
        )
    )
    settings.measure.click(handlers.measure, [session, *fields], **measuring, **again)

    quick: dict[str, Any] = PRIVATE | {"queue": False}
    data.too_large.click(handlers.too_large, None, [data.chosen], **quick)
    data.more_rows.click(handlers.more_rows, [data.table], [data.table], **quick)
    data.chat_rows.click(
        handlers.from_chat, [session, data.table], [data.table, data.chosen], **quick
    )
    stale = [settings.preset, settings.needs, settings.measure, run.start]
    run.start.click(handlers.begun, [session], [settings.needs], **quick)
    for field in fields:
        field.input(handlers.changed, None, stale, **quick)


def connect_runs(
    view: TeachView, handlers: TeachRuns, owner: gr.BrowserState, session: gr.State
) -> None:
    """Step 4."""
    run, settings = view.run, view.settings
    outputs = shown(view)
    quick: dict[str, Any] = PRIVATE | {"queue": False, "outputs": outputs}
    which = [owner, view.run_id]
    begin = [owner, session, view.more_id, settings.name, run.questions, *settings.fields]
    more = [view.more_id, settings.more_note, settings.more_stop]
    run.start.click(handlers.start, begin, [*outputs, *more], queue=False, **PRIVATE)
    run.stop_keep.click(handlers.stop_keep, which, **quick)
    run.stop_discard.click(handlers.stop_discard, which, **quick)
    run.resume.click(handlers.resume, which, **quick)
    run.delete.click(handlers.ask_to_delete, which, **quick)
    run.delete_no.click(handlers.keep, None, **quick)
    run.earlier.input(handlers.choose, [owner, run.earlier], **quick)
    run.more.click(
        handlers.teach_more,
        [*which, session],
        [*more, settings.name, run.problem, view.data.chosen],
        queue=False,
        js=TO_SETTINGS,
        **PRIVATE,
    )
    settings.more_stop.click(handlers.no_more, None, more, queue=False, **PRIVATE)
    look = [owner, view.run_id, view.seen]
    view.timer.tick(handlers.tick, look, **quick)
    view.look.click(handlers.tick, look, **quick)
    view.rest.click(handlers.rest, None, [view.timer], queue=False, **PRIVATE)


def connect_tabs(
    view: TeachView,
    handlers: TeachRuns,
    owner: gr.BrowserState,
    chat_tab: gr.Tab,
    teach_tab: gr.Tab,
) -> None:
    """Runs are looked at while their tab is open."""
    teach_tab.select(
        handlers.enter,
        [owner, view.run_id],
        [view.off, view.steps, *shown(view)],
        queue=False,
        **PRIVATE,
    )
    chat_tab.select(handlers.rest, None, [view.timer], queue=False, **PRIVATE)


TO_SETTINGS = """(...values) => {
    const shown = document.querySelector("#step-settings .body");
    document.querySelector(shown ? "#step-settings" : "#step-data").scrollIntoView({
        behavior: "smooth", block: "start"
    });
    return values;
}"""


def shown(view: TeachView) -> list[Any]:
    """What a run changes in step 4."""
    run = view.run
    return [
        view.run_id, view.seen, view.timer,
        run.hint, run.problem, run.earlier, run.live, run.result, run.actions, run.start,
        run.stop_keep, run.stop_discard, run.resume, run.use, run.download, run.more,
        run.delete, run.sure, run.sure_text, run.program, run.code,
    ]  # fmt: skip


def _named(handler: Any, name: str) -> Any:
    """A handler for one card; a generator function must stay one for gradio to see it."""

    def chosen(*inputs: Any) -> Any:
        yield from partial(handler, name)(*inputs)

    return chosen
