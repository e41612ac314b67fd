"""What the chat tab shows in each of its states, as {component: new value}."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from demo.chat.conversation import ASK_ABOUT_PICTURE, Conversation, Turn
from demo.errors import ContextFullError, DemoError
from demo.runtime import Reply
from demo.ui import snippets
from demo.ui.chat import ChatView
from demo.ui.strings import Strings
from demo.ui.transcript import Transcript
from demo.vision.media import thumbnail
from demo.vision.video import Video

CHIP = 96  # pixels of the thumbnail beside "picture in use"
Updates = dict[Any, Any]


class Display:
    """The values of the tab's components, for all visitors."""

    def __init__(
        self,
        view: ChatView,
        session: gr.State,
        transcript: Transcript,
        strings: Strings,
        sees: Callable[[], str],
    ) -> None:
        self._view, self._session, self._sees = view, session, sees
        self._transcript, self._strings = transcript, strings

    def opening(self, session: str, conversation: Conversation, text: str, box: Any) -> Updates:
        """The message was sent and its video is being opened; it is no turn yet."""
        answered = [turn for turn in conversation.turns if turn.reply]
        turns = (*answered, Turn(text.strip() or ASK_ABOUT_PICTURE))
        waiting = Reply(waiting=self._strings.opening_video)
        return self._busy(session, self._transcript.render(session, turns, waiting), box)

    def started(self, session: str, conversation: Conversation, box: Any) -> Updates:
        """The reply to the last turn begins; the message box gets the value `box` unless None."""
        messages = self._transcript.render(session, conversation.turns, Reply())
        return self._busy(session, messages, box) | self._chip(conversation)

    def growing(self, session: str, conversation: Conversation, reply: Reply) -> Updates:
        """What there is of the reply."""
        return {self._view.chatbot: self._transcript.render(session, conversation.turns, reply)}

    def settled(self, session: str, conversation: Conversation) -> Updates:
        """Nothing is being answered."""
        return {
            self._session: session,
            self._view.chatbot: gr.Chatbot(
                self._transcript.render(session, conversation.turns),
                feedback_value=self._transcript.liked(conversation.turns),
                elem_classes=[],
            ),
            self._view.box: self.idle_box(),
            self._view.notice: gr.Row(visible=False),
            **self._chip(conversation),
        }

    def problem(
        self, session: str, conversation: Conversation, error: DemoError, rejected: Any
    ) -> Updates:
        """As `settled`, with what went wrong, and what was not taken back in the message box."""
        box = {self._view.box: self.idle_box(rejected)}
        return self.settled(session, conversation) | box | self.notice(error)

    def notice(self, error: DemoError) -> Updates:
        """What went wrong, and all else as it is."""
        return {
            self._view.notice: gr.Row(visible=True),
            self._view.notice_text: snippets.notice(str(error)),
            self._view.resume: gr.Button(visible=isinstance(error, ContextFullError)),
        }

    @staticmethod
    def idle_box(value: Any = None) -> gr.MultimodalTextbox:
        """The message box with Send in place of Stop; its content is kept when `value` is None."""
        changes = {} if value is None else {"value": value}
        return gr.MultimodalTextbox(submit_btn=True, stop_btn=False, **changes)

    def _busy(self, session: str, messages: list[dict[str, Any]], box: Any) -> Updates:
        changes = {"submit_btn": False, "stop_btn": True}
        if box is not None:
            changes["value"] = box
        return {
            self._session: session,
            self._view.chatbot: gr.Chatbot(messages, elem_classes=["streaming"]),
            self._view.box: gr.MultimodalTextbox(**changes),
            self._view.notice: gr.Row(visible=False),
        }

    def _chip(self, conversation: Conversation) -> Updates:
        seen = conversation.picture
        if seen is None:
            return {self._view.picture: gr.Row(visible=False)}
        video = isinstance(seen, Video)
        small = thumbnail(seen.frames[len(seen.frames) // 2] if video else seen, CHIP)
        return {
            self._view.picture: gr.Row(visible=True),
            self._view.picture_chip: snippets.picture_chip(
                small, self._strings, video=video, sees=self._sees()
            ),
        }
