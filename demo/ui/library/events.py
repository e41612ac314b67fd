"""Which event of the tab "Library" calls which handler."""

from typing import Any

import gradio as gr

from demo.adapter.library import owner_of
from demo.runtime import Runtime
from demo.ui import html
from demo.ui.html import ComponentUpdates
from demo.ui.library.handlers import LibraryHandlers
from demo.ui.library.tab import LibraryView
from demo.ui.strings import Strings
from demo.ui.teach.events import PRIVATE
from demo.ui.teach.run_handlers import CHAT_TAB, AdapterPicker, RunHandlers

CHECKS = 2  # files that are checked at once; others wait in line


def connect_library(
    view: LibraryView, handlers: LibraryHandlers, owner: gr.BrowserState, tab: gr.Tab
) -> list[Any]:
    """Connect everything that stays within the tab → the events after which adapters differ."""
    everything = [
        view.upload, view.message, view.list, view.chosen, view.detail, view.facts, view.download,
        view.own, view.name, view.description, view.sure, view.sure_text,
    ]  # fmt: skip
    asked = [owner, view.search, view.show]
    quick: dict[str, Any] = PRIVATE | {"queue": False, "outputs": everything}
    look = [*asked, view.chosen]
    tab.select(handlers.look, look, **quick)
    # Not `input`, which a text box sends for keys alone: what is pasted counts too.
    view.search.change(handlers.look, look, trigger_mode="always_last", **quick)
    view.show.input(handlers.look, look, **quick)
    view.choose.click(handlers.choose, look, trigger_mode="always_last", **quick)
    view.close.click(handlers.close, asked, **quick)
    brought = view.upload.upload(
        handlers.upload,
        [*asked, view.upload],
        everything,
        preprocess=False,
        concurrency_id="library-check",
        concurrency_limit=CHECKS,
        **PRIVATE,
    )
    slow: dict[str, Any] = PRIVATE | {"concurrency_id": "library-hub", "concurrency_limit": CHECKS}
    pulled = [*asked, view.repository]
    fetched = view.fetch.click(handlers.fetch, pulled, everything, **slow)
    pushed = [owner, view.chosen, view.target, view.private]
    view.put.click(handlers.put, pushed, [view.message], **slow)
    given = [*look, view.name, view.description]
    saved = view.save.click(handlers.save, given, **quick)
    view.delete.click(handlers.ask_to_delete, [view.chosen], **quick)
    view.delete_no.click(handlers.keep, None, **quick)
    return [brought, fetched, saved, view.delete_yes.click(handlers.delete, look, **quick)]


def connect_more(
    view: LibraryView,
    handlers: LibraryHandlers,
    runs: RunHandlers,
    owner: gr.BrowserState,
    outputs: list[Any],
) -> None:
    """Let "Teach more" open the tab that teaches; `outputs` are what that tab then says."""

    def more(secret: Any, name: Any) -> ComponentUpdates:
        """Teach more. Inputs: owner, chosen. Outputs: tabs, what is taught more, message."""
        return handlers.teach_more(runs.teach_entry_more, secret, name)

    inputs = [owner, view.chosen]
    view.more.click(more, inputs, [*outputs, view.message], queue=False, **PRIVATE)


def connect_use(
    view: LibraryView,
    picker: AdapterPicker,
    owner: gr.BrowserState,
    runtime: Runtime,
    strings: Strings,
    changes: list[Any],
) -> None:
    """Let "Use in chat" choose an adapter and open that tab; after `changes` renew its picker."""

    def use(secret: str, name: str) -> ComponentUpdates:
        """Use in chat. Inputs: owner, chosen. Outputs: tabs, adapter, its note."""
        cards = runtime.library.cards(owner_of(secret), runtime.tower)
        return {
            picker.tabs: gr.Tabs(selected=CHAT_TAB),
            picker.adapter: html.adapter_picker(html.adapter_choices(cards, strings), name),
            picker.note: html.adapter_note(name, cards, strings),
        }

    def refresh(secret: str, chosen: str) -> ComponentUpdates:
        """Offer what there is now. Inputs: owner, adapter. Outputs: adapter."""
        cards = runtime.library.cards(owner_of(secret), runtime.tower)
        choices = html.adapter_choices(cards, strings)
        gone = chosen not in {value for _, value in choices}
        return {picker.adapter: html.adapter_picker(choices, "auto" if gone else chosen)}

    outputs = [picker.tabs, picker.adapter, picker.note]
    quick: dict[str, Any] = PRIVATE | {"queue": False}
    view.use.click(use, [owner, view.chosen], outputs, **quick)
    for event in changes:
        event.then(refresh, [owner, picker.adapter], [picker.adapter], **quick)
