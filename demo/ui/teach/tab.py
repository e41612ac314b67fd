"""The tab "Teach": what is where, four steps on one page. What happens is in `data_handlers.py` and
`run_handlers.py`.
"""

from dataclasses import dataclass
from typing import Literal

import gradio as gr

from demo.adapter.config import FORMS
from demo.finetune.data.samples import SAMPLES
from demo.finetune.data.table import DataLimits
from demo.finetune.train.config import PRESETS, RANGES, TrainingOptions
from demo.teaching.typed_table import empty_rows
from demo.ui.teach import html
from demo.ui.teach.badge import BADGE_SECONDS
from demo.ui.teach.camera import build_camera
from demo.ui.teach.words import TeachWords

LOOK_SECONDS = 1.5  # between two looks at a run
EMPTY_ROWS, MORE_ROWS = 5, 5


@dataclass(frozen=True)
class DataView:
    """Steps 1 and 2."""

    sources: gr.Tabs
    samples: dict[str, gr.Button]
    file: gr.File
    too_large: gr.Button  # pressed by the page for a file that it does not send
    camera: gr.HTML
    table: gr.Dataframe
    use_rows: gr.Button
    more_rows: gr.Button
    chat_rows: gr.Button
    paste: gr.Textbox
    use_paste: gr.Button
    table_paste: gr.Textbox  # filled by the page with what is pasted into the table itself
    use_table_paste: gr.Button
    sent: gr.Textbox  # filled by the page with the pictures that it sent for cells
    use_sent: gr.Button
    put: gr.Textbox  # the cells that came of these, or that the page empties
    use_put: gr.Button
    chosen: gr.HTML
    mapping: gr.Column
    mapping_note: gr.HTML
    columns: tuple[gr.Dropdown, ...]  # question, reply, input, picture, system, chat
    use_columns: gr.Button
    report: gr.HTML
    mend: gr.Column
    mend_table: gr.Dataframe
    use_mended: gr.Button


@dataclass(frozen=True)
class SettingsView:
    """Step 3."""

    hint: gr.HTML
    body: gr.Column
    more_note: gr.HTML
    more_stop: gr.Button
    name: gr.Textbox
    aim: gr.Radio  # the last of the fields
    preset: gr.Radio
    fields: tuple[gr.Number | gr.Checkbox | gr.Radio, ...]  # as those of TrainingOptions
    needs: gr.HTML
    measure: gr.Button


@dataclass(frozen=True)
class RunView:
    """Step 4."""

    hint: gr.HTML
    setup: gr.Column
    questions: gr.Textbox
    start: gr.Button
    problem: gr.HTML
    earlier: gr.Dropdown
    beside: gr.Dropdown
    live: gr.HTML
    curves: gr.Button  # pressed by the page for the values of the curves
    made: gr.Textbox  # these, for the browser to save
    stop_keep: gr.Button
    stop_discard: gr.Button
    resume: gr.Button
    use: gr.Button
    download: gr.DownloadButton
    more: gr.Button
    delete: gr.Button
    result: gr.HTML
    program: gr.Accordion
    code: gr.Code
    actions: gr.Row
    sure: gr.Row  # asks before a run is deleted
    sure_text: gr.HTML
    delete_yes: gr.Button
    delete_no: gr.Button


@dataclass(frozen=True)
class TeachView:
    """The components that handlers read or change."""

    off: gr.HTML
    steps: gr.Column
    data: DataView
    settings: SettingsView
    run: RunView
    timer: gr.Timer
    run_id: gr.State  # of the run that is shown, "" for none
    more_id: gr.State  # of the run whose adapter is taught more
    seen: gr.State  # what of the run is on the page
    rest: gr.Button  # pressed by the page when nobody sees it
    look: gr.Button  # and when somebody does again
    restored: gr.State  # whether what the browser keeps is back
    kept: gr.BrowserState  # see kept.py
    outside: "OutsideView"


@dataclass(frozen=True)
class OutsideView:
    """What stands outside of all tabs: gradio draws a tab when it is opened first."""

    badge: gr.HTML  # how the newest training stands
    badge_timer: gr.Timer
    asked: gr.Textbox  # the run that the address names, "none" for none
    open_asked: gr.Button  # pressed by the page when the tab is open already


def build_outside() -> OutsideView:
    """Make what stands outside of all tabs."""
    return OutsideView(
        gr.HTML(elem_id="teach-badge"),
        gr.Timer(BADGE_SECONDS, active=False),
        gr.Textbox(visible="hidden", elem_id="run-asked"),
        gr.Button(visible="hidden", elem_id="run-open"),
    )


def build_teach(
    words: TeachWords, runs: int, limits: DataLimits, outside: OutsideView
) -> TeachView:
    """Lay the tab out inside the current `gr.Tab`; `runs` is how many of a visitor are kept."""
    with gr.Column(elem_id="teach"), gr.Column(elem_id="teach-page"):
        gr.HTML(html.intro(words))
        off = gr.HTML(visible=False)
        with gr.Column(elem_id="teach-steps") as steps:
            data = _data(words, limits)
            settings = _settings(words)
            run = _run(words, runs)
        rest = gr.Button(visible="hidden", elem_id="teach-rest")
        look = gr.Button(visible="hidden", elem_id="teach-look")
    timer = gr.Timer(LOOK_SECONDS, active=False)
    states = gr.State(""), gr.State(""), gr.State("")  # run_id, more_id, seen
    kept = gr.BrowserState(storage_key="studio-teach", secret="not a secret")
    restored = gr.State(False)
    return TeachView(
        off, steps, data, settings, run, timer, *states, rest, look, restored, kept, outside
    )


def _data(words: TeachWords, limits: DataLimits) -> DataView:
    with gr.Column(elem_classes=["step"], elem_id="step-data"):
        gr.HTML(html.heading(1, words.data, words.data_more))
        with gr.Tabs(elem_id="sources") as sources:
            with gr.Tab(words.samples_tab, id="samples"), gr.Row(elem_classes=["cards"]):
                samples = {
                    name: gr.Button(
                        f"{words.said(sample.title)}\n{words.said(sample.description)}",
                        elem_classes=["card"],
                        elem_id=f"sample-{name}",
                    )
                    for name, sample in SAMPLES.items()
                }
            with gr.Tab(words.file_tab, id="file"):
                file = gr.File(
                    label=words.file_tab, show_label=False, height=150, elem_id="teach-file"
                )
                gr.HTML(html.file_hint(words, limits))
                with gr.Column(elem_classes=["unseen"]):
                    too_large = gr.Button(elem_id="file-too-large")
            with gr.Tab(words.camera_tab, id="camera"):
                camera = build_camera(words)
            with gr.Tab(words.type_tab, id="type"):
                typing = _typing(words)
        chosen = gr.HTML(elem_id="chosen")
        mapping = _mapping(words)
        with gr.Accordion(words.formats, open=False, elem_id="formats"):
            gr.HTML(html.formats(words))
    with gr.Column(elem_classes=["step"], elem_id="step-check"):
        gr.HTML(html.heading(2, words.check, words.check_more))
        report = gr.HTML(html.quiet(words.check_first), elem_id="report")
        mending = _mending(words)
    return DataView(
        sources, samples, file, too_large, camera, *typing, chosen, *mapping, report, *mending
    )


def _mending(words: TeachWords) -> tuple[gr.Column, gr.Dataframe, gr.Button]:
    with gr.Column(visible=False, elem_id="mend") as column:
        gr.HTML(html.quiet(words.mend_hint))
        table = gr.Dataframe(
            headers=[words.mend_row, words.mend_reason],
            datatype="str",
            type="array",
            static_columns=[0, 1],
            interactive=True,
            wrap=True,
            max_height=360,
            label=words.mend_label,
            show_label=False,
            buttons=[],
            elem_id="mend-table",
        )
        use = gr.Button(words.mend_use, variant="primary", size="sm", elem_id="use-mended")
    return column, table, use


def _typing(
    words: TeachWords,
) -> tuple[
    gr.Dataframe, gr.Button, gr.Button, gr.Button, gr.Textbox, gr.Button, gr.Textbox, gr.Button,
    gr.Textbox, gr.Button, gr.Textbox, gr.Button,
]:  # fmt: skip
    table = gr.Dataframe(
        empty_rows(EMPTY_ROWS),
        headers=list(words.table_columns),
        datatype=["str", "str", "markdown"],
        type="array",
        column_count=3,
        interactive=True,
        wrap=True,
        show_row_numbers=True,
        max_height=360,
        label=words.table_label,
        show_label=False,
        buttons=[],
        elem_id="teach-table",
    )
    with gr.Row(elem_classes=["actions"]):
        use = gr.Button(words.table_use, variant="primary", size="sm", elem_id="use-rows")
        more = gr.Button(words.table_more, size="sm", elem_id="more-rows")
        chat = gr.Button(words.table_chat, size="sm", elem_id="chat-rows")
    gr.HTML(html.quiet(words.table_hint))
    with gr.Accordion(words.paste, open=False, elem_id="paste"):
        paste = gr.Textbox(label=words.paste_label, lines=5, max_lines=12, elem_id="paste-text")
        use_paste = gr.Button(words.paste_use, size="sm", elem_id="use-paste")
    with gr.Column(elem_classes=["unseen"]):
        table_paste = gr.Textbox(elem_id="table-paste")
        use_table_paste = gr.Button(elem_id="use-table-paste")
        sent = gr.Textbox(elem_id="pictures-sent")
        use_sent = gr.Button(elem_id="use-pictures-sent")
        put = gr.Textbox(elem_id="pictures-put")
        use_put = gr.Button(elem_id="use-pictures-put")
    gr.HTML(html.picture_menu(words))
    return (
        table, use, more, chat, paste, use_paste, table_paste, use_table_paste,
        sent, use_sent, put, use_put,
    )  # fmt: skip


def _mapping(
    words: TeachWords,
) -> tuple[gr.Column, gr.HTML, tuple[gr.Dropdown, ...], gr.Button]:
    with gr.Column(visible=False, elem_id="mapping") as mapping:
        note = gr.HTML()
        with gr.Row(elem_classes=["fields"]):
            columns = tuple(
                gr.Dropdown([(words.map_nothing, "")], value="", label=label, min_width=150)
                for label in (
                    words.map_question,
                    words.map_reply,
                    words.map_input,
                    words.map_picture,
                    words.map_system,
                    words.map_chat,
                )
            )
        use = gr.Button(words.map_use, variant="primary", size="sm", elem_id="use-columns")
    return mapping, note, columns, use


def _settings(words: TeachWords) -> SettingsView:
    with gr.Column(elem_classes=["step"], elem_id="step-settings"):
        gr.HTML(html.heading(3, words.settings, words.settings_more))
        hint = gr.HTML(html.quiet(words.settings_first))
        with gr.Column(visible=False, elem_classes=["body"]) as body:
            more_note = gr.HTML(visible=False, elem_id="more-note")
            more_stop = gr.Button(words.more_stop, size="sm", visible=False, elem_id="more-stop")
            aim = gr.Radio(
                [
                    (words.aim_facts, "facts"),
                    (words.aim_style, "style"),
                    (words.aim_task, "task"),
                    (words.aim_classes, "classes"),
                ],
                value="style",
                label=words.aim,
                info=words.aim_more,
                elem_id="aim",
            )
            preset = gr.Radio(
                [(_card(name, words), name) for name in PRESETS],
                value="balanced",
                label=words.preset,
                show_label=False,
                elem_id="preset",
            )
            name = gr.Textbox(label=words.name, max_length=100, elem_id="adapter-name")
            with (
                gr.Accordion(words.advanced, open=False, elem_id="advanced"),
                gr.Row(elem_classes=["fields"]),
            ):
                fields = (*_fields(words), aim)
            needs = gr.HTML(elem_id="needs")
            measure = gr.Button(words.measure, size="sm", visible=False, elem_id="measure")
    return SettingsView(hint, body, more_note, more_stop, name, aim, preset, fields, needs, measure)


def _card(name: str, words: TeachWords) -> str:
    title, more = {
        "taste": (words.preset_taste, words.preset_taste_more),
        "balanced": (words.preset_balanced, words.preset_balanced_more),
        "thorough": (words.preset_thorough, words.preset_thorough_more),
    }[name]
    return f"{title}\n{more}"


def _fields(words: TeachWords) -> tuple[gr.Number | gr.Checkbox | gr.Radio, ...]:
    default = TrainingOptions()

    def number(name: str, label: str, info: str, step: float = 1) -> gr.Number:
        low, high, _ = RANGES[name]
        value = getattr(default, name)
        whole = 0 if isinstance(value, int) else None
        return gr.Number(
            value,
            label=label,
            info=info,
            minimum=low,
            maximum=high,
            step=step,
            precision=whole,
            min_width=150,
            elem_id=f"field-{name}",
        )

    return (
        number("prompts", words.prompts, words.prompts_more),
        number("layers", words.layers, words.layers_more),
        number("rate", words.rate, words.rate_more, 1e-3),
        number("steps", words.steps, words.steps_more, 10),
        number("batch", words.batch, words.batch_more),
        number("held_out", words.held_out_share, words.held_out_share_more, 0.05),
        gr.Checkbox(
            default.zero_init, label=words.zero_init, info=words.zero_init_more, min_width=150
        ),
        number("seed", words.seed, words.seed_more),
        gr.Radio(
            [(words.said(form), form) for form in FORMS],
            value=default.form,
            label=words.form,
            info=words.form_more,
            min_width=310,
            elem_id="field-form",
        ),
    )


def _run(words: TeachWords, kept: int) -> RunView:
    with gr.Column(elem_classes=["step"], elem_id="step-run"):
        gr.HTML(html.heading(4, words.run, words.run_more))
        hint = gr.HTML(html.quiet(words.run_first))
        with gr.Column(visible=False, elem_classes=["body"]) as setup:
            questions = gr.Textbox(
                label=words.questions,
                info=words.questions_hint,
                lines=2,
                max_lines=4,
                max_length=2000,
                elem_id="probe-questions",
            )
            start = gr.Button(
                words.start, variant="primary", interactive=False, elem_id="start-teaching"
            )
        problem = gr.HTML(visible=False, elem_id="run-problem")
        earlier = gr.Dropdown(
            [],
            label=words.earlier,
            info=words.earlier_more.format(count=kept),
            visible=False,
            filterable=False,
            elem_id="earlier",
        )
        beside = gr.Dropdown(
            [],
            label=words.beside,
            info=words.beside_more,
            visible=False,
            filterable=False,
            elem_id="beside",
        )
        live = gr.HTML(elem_id="live")
        with gr.Column(elem_classes=["unseen"]):
            curves = gr.Button(elem_id="curves-csv")
            made = gr.Textbox()
        with gr.Row(elem_classes=["actions"], elem_id="run-actions", visible=False) as actions:
            use = _action(words.use, "use-in-chat", "primary")
            resume = _action(words.resume, "resume-run", "primary")
            download = gr.DownloadButton(
                words.download, size="sm", visible=False, elem_id="download-adapter"
            )
            more = _action(words.more, "teach-more")
            stop_keep = _action(words.stop_keep, "stop-keep")
            stop_discard = _action(words.stop_discard, "stop-discard")
            delete = _action(words.delete, "delete-run")
        with gr.Row(elem_classes=["actions"], elem_id="sure", visible=False) as sure:
            sure_text = gr.HTML()
            delete_yes = gr.Button(words.delete_yes, variant="stop", size="sm")
            delete_no = gr.Button(words.delete_no, size="sm")
        with gr.Accordion(words.program, open=False, visible=False, elem_id="program") as program:
            code = gr.Code(language="python", label=words.program_label, interactive=False)
            gr.HTML(html.quiet(words.program_hint))
        result = gr.HTML(elem_id="result")
    return RunView(
        hint, setup, questions, start, problem, earlier, beside, live, curves, made,
        stop_keep, stop_discard, resume, use, download, more, delete, result, program, code,
        actions, sure, sure_text, delete_yes, delete_no,
    )  # fmt: skip


def _action(
    label: str, name: str, variant: Literal["primary", "secondary"] = "secondary"
) -> gr.Button:
    return gr.Button(label, variant=variant, size="sm", visible=False, elem_id=name)
