"""The page: header, tabs, and which event calls which handler."""

import secrets
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from demo.chat.conversation import Conversation
from demo.finetune.data.table import DataLimits
from demo.runtime import Runtime, Status
from demo.ui import html
from demo.ui.about.tab import build_about
from demo.ui.api import add_endpoints
from demo.ui.chat.chats import ChatListHandlers, build_list
from demo.ui.chat.handlers import ChatHandlers
from demo.ui.chat.tab import ChatView, build_view
from demo.ui.chinese import CHINESE
from demo.ui.files import Uploads
from demo.ui.library.account import HubAccount
from demo.ui.library.events import connect_library, connect_more, connect_use
from demo.ui.library.handlers import NOBODY, LibraryHandlers
from demo.ui.library.tab import build_library
from demo.ui.server import reply_places
from demo.ui.strings import ENGLISH, Strings
from demo.ui.teach.badge import BadgeHandlers
from demo.ui.teach.data_handlers import DataHandlers
from demo.ui.teach.events import (
    PRIVATE,
    connect_badge,
    connect_data,
    connect_kept,
    connect_runs,
    connect_tabs,
    told_of_more,
)
from demo.ui.teach.run_handlers import CHAT_TAB, TEACH_TAB, AdapterPicker, RunHandlers
from demo.ui.teach.tab import build_outside, build_teach
from demo.ui.theme import ASSETS
from demo.ui.visit import Visits, connect_list, connect_visits

POLL_SECONDS = 1.0
START_CAMERA = """() => {
    let looks = 50;  // it is drawn late on a busy machine
    const look = setInterval(() => {
        const button = document.querySelector('#webcam video + img + div > button');
        button?.click();
        looks -= 1;
        if (button || !looks) clearInterval(look);
    }, 200);
}"""


def build_page(
    runtime: Runtime,
    strings: Strings = ENGLISH,
    samples: Path = ASSETS / "samples",
    account: HubAccount = NOBODY,
) -> gr.Blocks:
    """Build the whole page over `runtime`, which may still be loading; nothing is served yet.

    It stands there twice: in the words of `strings`, and below `/zh` in Chinese. What it shows,
    visitors and chats are the same.
    """
    page = gr.Blocks(
        title=strings.title,
        analytics_enabled=False,
        fill_height=True,
        fill_width=True,
    )
    with page:
        uploads = _lay_out(page, runtime, strings, samples, account)
        add_endpoints(runtime, uploads, strings, reply_places(runtime.settings))
    with page.route(CHINESE.title, CHINESE.language, show_in_navbar=False):
        _lay_out(page, runtime, CHINESE, samples, account)
    return page


def _lay_out(
    page: gr.Blocks, runtime: Runtime, strings: Strings, samples: Path, account: HubAccount
) -> Uploads:
    """Lay the page out in the words of `strings`, with all its events."""
    uploads = Uploads(strings)
    pill = _header(runtime, strings)
    timer, outside = gr.Timer(POLL_SECONDS), build_outside()
    owner = gr.BrowserState(storage_key="studio-owner", secret="not a secret")
    # "wrap": a menu of tabs for want of room would come and go with the width of the letters.
    with gr.Tabs(elem_id="tabs", overflow_behavior="wrap") as tabs:
        with (
            gr.Tab(strings.chat_tab, id=CHAT_TAB, elem_id="chat-tab") as chat_tab,
            gr.Row(elem_id="chat-row"),
        ):
            chats = build_list(runtime, strings)
            view = build_view(runtime, strings, samples)
        with gr.Tab(strings.teach.tab, id=TEACH_TAB, elem_id="teach-tab") as teach_tab:
            limits = DataLimits.of(runtime.settings)
            own_runs = runtime.teaching.runs.quota.own_runs
            teach = build_teach(strings.teach, own_runs, limits, outside)
        with gr.Tab(strings.library.tab, elem_id="library-tab") as library_tab:
            library = build_library(
                strings.library, sign_in=account.sign_in, teach=not runtime.teaching.off
            )
        with gr.Tab(strings.about.tab, elem_id="about-tab"):
            build_about(strings.about)

    # A function and not the bound method: gradio copies its configuration for every page it
    # sends, deeply, and through the method it would copy the runtime with the model.
    def forget(visitor: str) -> None:
        handlers.forget(visitor)

    session = _session(forget)
    handlers = ChatHandlers(runtime, view, uploads, strings, samples)
    lists = ChatListHandlers(runtime, chats, handlers, strings)
    shown_chat = [
        view.chatbot, view.box, view.notice, view.notice_text, view.resume,
        view.picture, view.picture_chip,
    ]  # fmt: skip
    replies = _connect_replies(shown_chat, session, owner, view, handlers, runtime)
    for reply in replies:
        reply.then(
            lists.refresh, [session, owner, chats.search], [chats.list], queue=False, **PRIVATE
        )
    connect_list(chats, lists, owner, session, [*shown_chat, chats.list, chats.search])
    _connect_actions(view, handlers, owner)
    _connect_camera(view, uploads)
    _connect_status(timer, pill, view, runtime, strings)
    visits = Visits(runtime, view, lists, owner, strings)
    greeted = connect_visits(page, visits, view, owner, session, [*shown_chat, chats.list])
    data = DataHandlers(runtime, teach, uploads, strings)
    connect_data(teach, data, owner, session)
    picker = AdapterPicker(tabs, view.adapter, view.adapter_note, view.chatbot)
    runs = RunHandlers(runtime, teach, picker, strings)
    who = [session, owner, chats.search]
    connect_runs(teach, runs, picker, owner, (lists.begin, who, [*shown_chat, chats.list]))
    entered = connect_tabs(teach, runs, owner, chat_tab, teach_tab)
    connect_kept(teach, data, owner, entered)
    told = BadgeHandlers(runtime, teach.outside.badge, teach.outside.badge_timer, strings.teach)
    connect_badge(teach, told, owner, greeted)
    brought = LibraryHandlers(runtime, library, uploads, strings, account)
    changes = connect_library(library, brought, owner, library_tab)
    connect_use(library, picker, owner, runtime, strings, changes)
    connect_more(library, brought, runs, owner, told_of_more(teach, picker))
    return uploads


def _session(forget: Callable[[str], None]) -> gr.State:
    """Hold a secret for each visit, which never leaves the server, made when it is first read.

    The value is set after the component was made: gradio would call a function given to it anew
    when the page has loaded, and a message sent before that would lose its conversation.
    """
    session = gr.State(delete_callback=forget)
    session.value = partial(secrets.token_urlsafe, 32)
    return session


def _header(runtime: Runtime, strings: Strings) -> gr.HTML:
    with gr.Row(elem_id="header"):
        gr.HTML(html.header(strings), elem_id="brand")
        pill = gr.HTML(html.status_pill(runtime.status(), strings), elem_id="status")
        gr.HTML(html.header_links(strings) + html.key_list(strings), elem_id="links")
    return pill


def _connect_replies(
    everything: list[Any],
    session: gr.State,
    owner: gr.BrowserState,
    view: ChatView,
    handlers: ChatHandlers,
    runtime: Runtime,
) -> list[Any]:
    """Connect what changes the conversation; return the events after which the list is another."""
    choices = [session, view.adapter, owner, *view.controls]
    chat: dict[str, Any] = PRIVATE | {
        "outputs": everything,
        "concurrency_id": "chat",
        "concurrency_limit": reply_places(runtime.settings),
    }
    # "multiple": else the browser drops what is sent before it knows that the last reply ended.
    message = [session, view.box, *choices[1:]]
    replies = [
        view.box.submit(handlers.send, message, trigger_mode="multiple", **chat),
        view.chatbot.example_select(handlers.example, choices, **chat),
        view.chatbot.retry(handlers.retry, choices, **chat),
        view.chatbot.edit(handlers.edit, choices, **chat),
        view.go_on.click(handlers.go_on, choices, **chat),
        view.ask_base.click(handlers.ask_base, choices, **chat),
        view.resume.click(partial(handlers.retry, drop_oldest=True), choices, **chat),
    ]

    quick: dict[str, Any] = PRIVATE | {"outputs": everything, "queue": False}
    view.box.stop(handlers.stop, [session], **quick)
    view.chatbot.like(handlers.like, [session], **quick)
    view.chatbot.undo(handlers.undo, [session], **quick)
    remove = partial(handlers.change, Conversation.remove_picture)
    view.remove_picture.click(remove, [session], **quick)
    view.dismiss.click(handlers.dismiss, None, **quick)
    return replies


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
        """Show or hide the camera. Inputs: whether it is shown. Outputs: that, and the webcam."""
        return not shown, gr.Image(visible=not shown, value=None)

    def capture(
        shot: dict[str, Any] | None, message: dict[str, Any] | None
    ) -> tuple[bool, gr.Image, gr.MultimodalTextbox | dict[str, Any]]:
        """Put a shot into the box. Inputs: raw webcam and box. Outputs: shown, webcam, box."""
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
    timer: gr.Timer, pill: gr.HTML, view: ChatView, runtime: Runtime, strings: Strings
) -> None:
    def look() -> tuple[str, gr.HTML, gr.Timer]:
        """Look at the status. Outputs: pill, panel for a failure, timer (off once settled)."""
        status = runtime.status()
        settled = status.state in ("ready", "failed")
        return (
            html.status_pill(status, strings),
            _panel(status, strings),
            gr.Timer(active=not settled),
        )

    timer.tick(look, None, [pill, view.panel, timer], queue=False, **PRIVATE)


def _panel(status: Status, strings: Strings) -> gr.HTML:
    if status.state != "failed":
        return gr.HTML(visible=False)
    return gr.HTML(html.failed_panel(status, strings), visible=True)
