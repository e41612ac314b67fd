"""The list of a visitor's chats beside the conversation: what is where, and what happens there.

Whose chats are listed follows from the browser's secret (`owner`). The list is one piece of HTML:
`assets/chats.js` says which button was pressed, and keeps the address true to what is shown.
"""

import json
import secrets
from dataclasses import dataclass
from urllib.parse import parse_qs

import gradio as gr

from demo.adapter.library import SECRET, owner_of
from demo.chat.conversation import Conversation
from demo.chat.export import as_json, as_markdown
from demo.chat.kept import TITLE
from demo.errors import DemoError, InputError
from demo.runtime import Runtime
from demo.ui import html
from demo.ui.chat.handlers import ChatHandlers
from demo.ui.html import ComponentUpdates
from demo.ui.strings import Strings
from demo.ui.theme import ASSETS


@dataclass(frozen=True)
class ChatListView:
    """The components beside the conversation."""

    search: gr.Textbox
    list: gr.HTML
    new_chat: gr.Button
    made: gr.Textbox  # a file for the browser to save or copy


def build_list(runtime: Runtime, strings: Strings) -> ChatListView:
    """Lay the list out inside the current `gr.Blocks`."""
    with gr.Column(elem_id="chats", scale=0, min_width=0):
        with gr.Row(elem_id="chats-head"):
            gr.HTML(html.panel_title(strings.chats))
            new_chat = gr.Button(
                strings.new_chat, size="sm", elem_id="new-chat", min_width=0, scale=0
            )
        search = gr.Textbox(
            label=strings.chats_search,
            placeholder=strings.chats_search,
            show_label=False,
            container=False,
            max_length=200,
            visible=runtime.chats.on,
            elem_id="chats-search",
        )
        shown = gr.HTML(
            elem_id="chats-list",
            js_on_load=(ASSETS / "chats.js").read_text(encoding="utf-8"),
        )
        made = gr.Textbox(visible="hidden")
    return ChatListView(search, shown, new_chat, made)


class ChatListHandlers:
    """The events of the list, for all visitors."""

    def __init__(
        self, runtime: Runtime, view: ChatListView, chat: ChatHandlers, strings: Strings
    ) -> None:
        self._runtime, self._chats = runtime, runtime.chats
        self._view, self._chat, self._strings = view, chat, strings

    def arrive(self, session: str, secret: str, address: object) -> ComponentUpdates:
        """Show the chat that the address names, else a new one. Outputs: the tab, the list."""
        asked = parse_qs(str(address or "").lstrip("?"))
        chat = asked.get("chat", [""])[0]
        if not chat:
            return self._fresh(session, secret)
        return self._opened(session, secret, chat)

    def act(
        self, event: gr.EventData, session: str, owner: object, search: str | None
    ) -> ComponentUpdates:
        """Do what was pressed in the list. Inputs: session, owner, search. Outputs: tab, list."""
        asked = event._data if isinstance(event._data, dict) else {}
        do, chat = asked.get("do"), str(asked.get("chat") or "")
        who = self._owner(owner)
        if do == "new":
            return self._fresh(session, owner, search)
        if do == "open":
            return self._opened(session, owner, chat, search)
        if do == "version":
            return self._version(session, asked.get("turn"), asked.get("step"))
        if do == "export":
            return self._exported(session, str(asked.get("as")))
        try:
            if do == "rename":
                self._chats.rename(who, chat, str(asked.get("title") or ""))
                return self._listed(session, owner, search)
            gone = self._runtime.conversations.of(session).id == chat
            if do == "delete":
                self._chats.delete(who, chat)
            elif do == "delete-all":
                self._chats.delete_all(who)
                gone, search = True, ""
        except DemoError as error:
            return self._listed(session, owner, search) | self._chat.notice(error)
        if gone:
            return self._fresh(session, owner, search)
        return self._listed(session, owner, search)

    def notice(self, error: DemoError) -> ComponentUpdates:
        """Show what went wrong, and all else as it is."""
        return self._chat.notice(error)

    def begin(self, session: str, owner: object, search: str | None = "") -> ComponentUpdates:
        """Begin a new chat. Inputs: session, owner, search. Outputs: the tab, the list."""
        return self._fresh(session, owner, search)

    def refresh(self, session: str, owner: object, search: str | None = "") -> ComponentUpdates:
        """Show the list as it is now. Inputs: session, owner, search. Outputs: the list."""
        # Of a visitor who wrote before the page had told who they are.
        self._chats.adopt(self._owner(owner), self._runtime.conversations.of(session))
        return self._listed(session, owner, search)

    def _exported(self, session: str, form: str) -> ComponentUpdates:
        """Make a file of the chat on the page."""
        conversation, strings = self._runtime.conversations.of(session), self._strings
        if not conversation.turns:
            return gr.skip()
        title = conversation.title or " ".join(conversation.turns[0].text.split())[:TITLE]
        words = (strings.export_you, strings.export_reply, strings.picture_alt)
        if form == "json":
            text = as_json(conversation, title)
        else:
            text = as_markdown(conversation, title, words)
        # The number makes it another value, so that a second press is heard too.
        made = {"as": form, "title": title, "text": text, "number": secrets.token_hex(4)}
        return {self._view.made: json.dumps(made)}

    def _version(self, session: str, turn: object, step: object) -> ComponentUpdates:
        if not isinstance(turn, int) or not isinstance(step, int):
            return gr.skip()
        return self._chat.change(lambda talk: talk.show_version(turn, step), session)

    def _fresh(self, session: str, owner: object, search: str | None = "") -> ComponentUpdates:
        conversation = Conversation()
        self._chats.adopt(self._owner(owner), conversation)
        return self._chat.show(session, conversation) | self._listed(session, owner, search)

    def _opened(
        self, session: str, owner: object, chat: str, search: str | None = ""
    ) -> ComponentUpdates:
        try:
            conversation = self._chats.open(self._owner(owner), chat)
        except InputError as error:
            return self._fresh(session, owner, search) | self._chat.notice(error)
        return self._chat.show(session, conversation) | self._listed(session, owner, search)

    def _listed(self, session: str, owner: object, search: str | None) -> ComponentUpdates:
        conversation = self._runtime.conversations.of(session)
        found, count = self._chats.chats(self._owner(owner), search or "")
        shown = html.chat_list(
            found,
            self._strings,
            count=count,
            current=conversation.id,
            begun=bool(conversation.turns),
            days=self._chats.days if self._chats.on else 0,
            searched=bool(search),
        )
        return {self._view.list: shown}

    def _owner(self, secret: object) -> str:
        known = isinstance(secret, str) and SECRET.fullmatch(secret)
        return owner_of(str(secret)) if known else ""
