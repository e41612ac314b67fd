"""How a visit begins: who the browser is, its chat, and the settings that it remembers.

The browser keeps a secret, from which follows whose chats and trainings are shown, and the settings
of the chat. Neither is believed: a secret is one of ours or a new one, settings are checked.
"""

from typing import Any
from urllib.parse import parse_qs

import gradio as gr

from demo.adapter.library import owner_of
from demo.errors import DemoError, InputError
from demo.runtime import Runtime
from demo.settings import Sampling
from demo.ui import html
from demo.ui.chat.chats import ChatListHandlers, ChatListView
from demo.ui.chat.tab import ChatView
from demo.ui.html import ComponentUpdates
from demo.ui.strings import Strings
from demo.ui.teach.events import PRIVATE
from demo.ui.teach.run_handlers import known

SAVE = "(made) => document.dispatchEvent(new CustomEvent('studio-save', {detail: made}))"
SYSTEM_LENGTH = 4000  # characters of the system prompt
# The address is the browser's; what the page has in its place is not looked at.
WITH_ADDRESS = "(owner, session, address, kept) => [owner, session, location.search, kept]"


class Visits:
    """Greets visitors.

    Args:
        runtime: what there is to show.
        view: the chat.
        chats: the events of the list of chats.
        owner: the browser's secret.
        strings: the words of the page.
    """

    def __init__(
        self,
        runtime: Runtime,
        view: ChatView,
        chats: ChatListHandlers,
        owner: gr.BrowserState,
        strings: Strings,
    ) -> None:
        self._runtime, self._view, self._chats = runtime, view, chats
        self._owner, self._strings = owner, strings

    def greet(
        self, secret: object, session: str, address: object, remembered: object
    ) -> ComponentUpdates:
        """Greet a visitor. Inputs: owner, session, address, remembered. Outputs: the whole tab."""
        secret = known(secret)
        changes: ComponentUpdates = {self._owner: secret}
        if not self._runtime.conversations.of(session).turns:  # else something was said already
            changes |= self._chats.arrive(session, secret, address)
            if self._view.notice_text not in changes:
                del changes[self._view.notice]  # what an early press was told stays
        return changes | self._settings(secret, address, remembered)

    def _settings(self, secret: str, address: object, remembered: object) -> ComponentUpdates:
        """Give the adapters, and the settings as they were left; the address names another."""
        runtime, strings = self._runtime, self._strings
        cards = runtime.library.cards(owner_of(secret), runtime.tower)
        choices = html.adapter_choices(cards, strings)
        names = {value for _, value in choices}
        wanted = parse_qs(str(address or "").lstrip("?")).get("adapter", [""])[0]
        chosen, changes = "auto", {}
        if isinstance(remembered, list) and len(remembered) == 1 + len(self._view.controls):
            kept, system, *numbers = remembered
            try:
                Sampling(*numbers)
            except (DemoError, TypeError):
                numbers = []
            if numbers:
                text = system[:SYSTEM_LENGTH] if isinstance(system, str) else ""
                changes = dict(zip(self._view.controls, (text, *numbers), strict=True))
            chosen = kept if isinstance(kept, str) and kept in names else chosen
        if wanted in names:
            chosen = wanted
        elif wanted:
            error = InputError(strings.no_adapter_here.format(name=wanted[:60]))
            changes |= self._chats.notice(error)
        return changes | {
            self._view.adapter: html.adapter_picker(choices, chosen),
            self._view.adapter_note: html.adapter_note(chosen, cards, strings),
        }


def connect_visits(
    page: gr.Blocks,
    visits: Visits,
    view: ChatView,
    owner: gr.BrowserState,
    session: gr.State,
    shown: list[Any],
) -> Any:
    """Greet whoever opens the page, and let their browser remember what they set → the event."""
    remembered = gr.BrowserState(storage_key="studio-settings", secret="not a secret")
    address = gr.Textbox(visible="hidden")
    set_by_visitor = [view.adapter, *view.controls]
    greeted = page.load(
        visits.greet,
        [owner, session, address, remembered],
        [owner, *shown, view.adapter, view.adapter_note, *view.controls],
        js=WITH_ADDRESS,
        queue=False,
        **PRIVATE,
    )
    changes = [getattr(component, "change") for component in set_by_visitor]  # noqa: B009
    gr.on(
        changes,
        None,
        set_by_visitor,
        [remembered],
        js="(...values) => [values]",
        **PRIVATE,
    )
    return greeted


def connect_list(
    view: ChatListView,
    handlers: ChatListHandlers,
    owner: gr.BrowserState,
    session: gr.State,
    shown: list[Any],
) -> None:
    """Connect the list of chats."""
    who = [session, owner, view.search]
    quick: dict[str, Any] = PRIVATE | {"queue": False}
    view.list.select(handlers.act, who, [*shown, view.made], **quick)
    view.made.change(None, [view.made], js=SAVE, **PRIVATE)
    view.new_chat.click(handlers.begin, who, shown, **quick)
    view.search.change(handlers.refresh, who, [view.list], trigger_mode="always_last", **quick)
