"""The page: header, tabs, and which event calls which handler."""

import secrets
from pathlib import Path
from typing import Any

import gradio as gr

from demo.runtime import Runtime, Status
from demo.teaching import owner_of
from demo.ui import snippets
from demo.ui.chat import ChatView, adapter_choices, build_view
from demo.ui.endpoints import add_endpoints
from demo.ui.handlers import ChatHandlers
from demo.ui.server import reply_places
from demo.ui.strings import ENGLISH, Strings
from demo.ui.teach import TeachView, build_teach
from demo.ui.teach_data import TeachData
from demo.ui.teach_events import PRIVATE, connect_data, connect_runs, connect_tabs, shown
from demo.ui.teach_markup import problem as notice
from demo.ui.teach_run import TeachRuns, known
from demo.ui.theme import ASSETS
from demo.ui.uploads import Uploads

POLL_SECONDS = 1.0
CHAT = "chat"  # the tab
START_CAMERA = """() => setTimeout(
    () => document.querySelector('#webcam [title="grant webcam access"] button')?.click(), 300
)"""


def build_page(
    runtime: Runtime, strings: Strings = ENGLISH, samples: Path = ASSETS / "samples"
) -> gr.Blocks:
    """The whole page over `runtime`, which may still be loading; nothing is served yet."""
    uploads = Uploads(strings)
    page = gr.Blocks(
        title=strings.title,
        analytics_enabled=False,
        fill_height=True,
        fill_width=True,
    )
    with page:
        pill = _header(runtime, strings)
        timer = gr.Timer(POLL_SECONDS)
        owner = gr.BrowserState(storage_key="studio-owner", secret="not a secret")
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab(strings.chat_tab, id=CHAT, elem_id="chat-tab") as chat_tab:
                view = build_view(runtime, uploads, strings, samples)
            with gr.Tab(strings.teach.tab, elem_id="teach-tab") as teach_tab:
                teach = build_teach(strings.teach, runtime.teaching.bounds.own_runs)

        # A function and not the bound method: gradio copies its configuration for every page it
        # sends, deeply, and through the method it would copy the runtime with the model.
        def forget(visitor: str | None) -> None:
            data.call_off(visitor)
            handlers.forget(visitor)

        session = gr.State(delete_callback=forget)  # None until the page has loaded
        handlers = ChatHandlers(runtime, view, session, uploads, strings, samples)
        _connect_replies(session, owner, view, handlers, runtime)
        _connect_actions(view, handlers, owner)
        _connect_camera(view, uploads)
        _connect_status(page, timer, pill, view, owner, session, runtime, strings)
        data = TeachData(runtime, teach, session, uploads, strings)
        connect_data(teach, data, session)
        runs = TeachRuns(runtime, teach, strings)
        connect_runs(teach, runs, owner, session)
        connect_tabs(teach, runs, owner, chat_tab, teach_tab)
        _connect_use(teach, runs, view, tabs, owner, runtime, strings)
        _connect_delete(teach, runs, view, owner, runtime, strings)
        add_endpoints(runtime, uploads, strings, reply_places(runtime.settings))
    return page


def _header(runtime: Runtime, strings: Strings) -> gr.HTML:
    with gr.Row(elem_id="header"):
        gr.HTML(snippets.header(strings), elem_id="brand")
        pill = gr.HTML(snippets.status_pill(runtime.status(), strings), elem_id="status")
        gr.HTML(snippets.header_links(strings), elem_id="links")
    return pill


def _connect_replies(
    session: gr.State,
    owner: gr.BrowserState,
    view: ChatView,
    handlers: ChatHandlers,
    runtime: Runtime,
) -> None:
    everything = [
        session,
        view.chatbot, view.box, view.notice, view.notice_text, view.resume,
        view.picture, view.picture_chip,
    ]  # fmt: skip
    choices = [session, view.adapter, owner, *view.controls]
    chat: dict[str, Any] = PRIVATE | {
        "outputs": everything,
        "concurrency_id": "chat",
        "concurrency_limit": reply_places(runtime.settings),
    }
    # "multiple": else the browser drops what is sent before it knows that the last reply ended.
    message = [session, view.box, *choices[1:]]
    view.box.submit(handlers.send, message, trigger_mode="multiple", **chat)
    view.chatbot.example_select(handlers.example, choices, **chat)
    view.chatbot.retry(handlers.retry, choices, **chat)
    view.chatbot.edit(handlers.edit, choices, **chat)
    view.resume.click(handlers.resume, choices, **chat)

    quick: dict[str, Any] = PRIVATE | {"outputs": everything, "queue": False}
    view.box.stop(handlers.stop, [session], **quick)
    view.chatbot.like(handlers.like, [session], **quick)
    view.chatbot.undo(handlers.undo, [session], **quick)
    view.chatbot.clear(handlers.clear, [session], **quick)
    view.new_chat.click(handlers.clear, [session], **quick)
    view.remove_picture.click(handlers.remove_picture, [session], **quick)
    view.dismiss.click(handlers.dismiss, None, **quick)


def _connect_actions(view: ChatView, handlers: ChatHandlers, owner: gr.BrowserState) -> None:
    view.adapter.change(
        handlers.describe_adapter,
        [view.adapter, owner],
        [view.adapter_note],
        queue=False,
        **PRIVATE,
    )
    view.settings.click(None, js="() => document.querySelector('#settings .toggle-button').click()")


def _connect_camera(view: ChatView, uploads: Uploads) -> None:
    visible = gr.State(False)

    def toggle(shown: bool) -> tuple[bool, gr.Image]:
        """Camera. Inputs: whether it is shown. Outputs: that, and the webcam."""
        return not shown, gr.Image(visible=not shown, value=None)

    def capture(
        shot: dict[str, Any] | None, message: dict[str, Any] | None
    ) -> tuple[bool, gr.Image, gr.MultimodalTextbox | dict[str, Any]]:
        """A shot was taken. Inputs: raw webcam and box values. Outputs: shown, webcam, box."""
        if not shot or not isinstance(shot.get("path"), str):
            return True, gr.Image(), gr.skip()
        text = (message or {}).get("text") or ""
        path = str(uploads.check(shot["path"]))
        box = gr.MultimodalTextbox({"text": text, "files": [path]})
        return False, gr.Image(visible=False, value=None), box

    shown = view.camera.click(toggle, [visible], [visible, view.webcam], queue=False, **PRIVATE)
    # Whoever pressed "Camera" has said so; gradio would ask for a second click.
    shown.then(None, js=START_CAMERA)
    # preprocess=False: gradio would decode the upload with every format and size it knows.
    view.webcam.input(
        capture,
        [view.webcam, view.box],
        [visible, view.webcam, view.box],
        queue=False,
        preprocess=False,
        **PRIVATE,
    )


def _connect_status(
    page: gr.Blocks,
    timer: gr.Timer,
    pill: gr.HTML,
    view: ChatView,
    owner: gr.BrowserState,
    session: gr.State,
    runtime: Runtime,
    strings: Strings,
) -> None:
    def look() -> tuple[str, gr.HTML, gr.Timer]:
        """Outputs: status pill, panel for a failure, timer (off once nothing will change)."""
        status = runtime.status()
        settled = status.state in ("ready", "failed")
        return (
            snippets.status_pill(status, strings),
            _panel(status, strings),
            gr.Timer(active=not settled),
        )

    def greet(secret: object) -> tuple[str, gr.HTML, gr.Timer, gr.Dropdown, str, str]:
        """As `look`, the adapters in the folder now, the browser's secret, and the visit's."""
        secret = known(secret)
        cards = runtime.adapters(owner_of(secret))
        adapters = gr.Dropdown(adapter_choices(cards, strings))
        return *look(), adapters, secret, secrets.token_urlsafe(32)

    outputs = [pill, view.panel, timer]
    timer.tick(look, None, outputs, queue=False, **PRIVATE)
    greeted = [*outputs, view.adapter, owner, session]
    page.load(greet, [owner], greeted, queue=False, **PRIVATE)


def _connect_use(
    teach: TeachView,
    runs: TeachRuns,
    view: ChatView,
    tabs: gr.Tabs,
    owner: gr.BrowserState,
    runtime: Runtime,
    strings: Strings,
) -> None:
    def use(secret: str, run_id: str) -> dict[Any, Any]:
        """Use in chat. Inputs: owner, run. Outputs: tabs, adapter, its note, step 4's problem."""
        name, problem = runs.publish(secret, run_id)
        if problem:
            return {teach.run.problem: gr.HTML(notice(problem), visible=True)}
        cards = runtime.adapters(owner_of(secret))
        return {
            tabs: gr.Tabs(selected=CHAT),
            view.adapter: gr.Dropdown(adapter_choices(cards, strings), value=name),
            view.adapter_note: snippets.adapter_note(name, cards, strings),
            teach.run.problem: gr.HTML(visible=False),
        }

    outputs = [tabs, view.adapter, view.adapter_note, teach.run.problem]
    teach.run.use.click(use, [owner, teach.run_id], outputs, queue=False, **PRIVATE)


def _connect_delete(
    teach: TeachView,
    runs: TeachRuns,
    view: ChatView,
    owner: gr.BrowserState,
    runtime: Runtime,
    strings: Strings,
) -> None:
    def delete(secret: str, run_id: str, adapter: str) -> dict[Any, Any]:
        """Delete for good. Inputs: owner, run, adapter. Outputs: step 4, adapter and its note."""
        changed = runs.delete(secret, run_id)
        cards = runtime.adapters(owner_of(secret))
        choices = adapter_choices(cards, strings)
        if adapter not in {value for _, value in choices}:
            adapter = "auto"
        return changed | {
            view.adapter: gr.Dropdown(choices, value=adapter),
            view.adapter_note: snippets.adapter_note(adapter, cards, strings),
        }

    outputs = [*shown(teach), view.adapter, view.adapter_note]
    which = [owner, teach.run_id, view.adapter]
    teach.run.delete_yes.click(delete, which, outputs, queue=False, **PRIVATE)


def _panel(status: Status, strings: Strings) -> gr.HTML:
    if status.state != "failed":
        return gr.HTML(visible=False)
    return gr.HTML(snippets.failed_panel(status, strings), visible=True)
