"""What the chat tab shows: a conversation as the messages of `gr.Chatbot`, and the tab's states.

A turn is one message of the visitor (its text, with a picture before it or the frames of a video
after it) and one or two of the model: the reply, and under it a doubt about the picture and the
line of facts. Always made anew from the server's conversation; what a browser says its history is,
is never read.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import gradio as gr

from demo.chat.conversation import ASK_ABOUT_PICTURE, Conversation, Turn
from demo.errors import ContextFullError, DemoError
from demo.runtime import Reply, Runtime
from demo.ui import html
from demo.ui.chat.tab import ChatView
from demo.ui.files import Uploads
from demo.ui.html import BaseAnswer, ComponentUpdates, Versions, printable, to_markdown
from demo.ui.strings import Strings
from demo.vision.image import thumbnail
from demo.vision.video import Video

# A question about what one can do here, of which the model knows nothing.
_ABOUT_PAGE = re.compile(
    r"\bwhat\b.{0,20}\b(?:can|could|do)\b.{0,6}\b(?:you|this|it)\b.{0,12}"
    r"\b(?:do|offer|able|help)\b|\bwhat (?:are|is) (?:you|this (?:page|site|app|place|tool))\b"
    r"|\bwho are you\b|\bhow (?:can|do|does) (?:you|i|this)\b.{0,12}\b(?:help|work|use|start)\b"
    r"|\byour (?:skills|abilities|capabilities|features)\b|\bhow to (?:use|start)\W*$|^\W*help\W*$"
    r"|你(?:能|会|可以)(?:做|干)(?:什么|啥)|你是谁|怎么用",
    re.IGNORECASE,
)
EMBEDDED = "SmolLM2-135M"  # the base that comes with the program
CHIP = 96  # pixels of the thumbnail beside "picture in use"
ChatMessage = Any  # a dict; gradio's own type asks for fields that it does not read


class Transcript:
    """Renders the conversations of all visitors."""

    def __init__(self, uploads: Uploads, strings: Strings, note: str = "") -> None:
        self._uploads, self._strings, self._note = uploads, strings, note
        # While a reply grows, all is rendered many times a second; a strip goes with its video.
        self._strips: WeakKeyDictionary[Video, str] = WeakKeyDictionary()

    def render(
        self,
        session: str,
        turns: Sequence[Turn],
        running: Reply | None = None,
        places: Sequence[tuple[int, int]] = (),
        bases: Mapping[int, BaseAnswer] | None = None,
    ) -> list[ChatMessage]:
        """Give all messages.

        Args:
            session: of the visitor.
            turns: the conversation.
            running: what there is so far of the reply to the last turn.
            places: of each turn, which of how many versions it is; nothing where all have one.
            bases: what the base alone said, by the number of the turn.
        """
        messages: list[ChatMessage] = []
        for number, turn in enumerate(turns):
            messages.append(self._question(session, turn))
            last = number == len(turns) - 1
            if running and last:
                messages.extend(self._running(running))
                continue
            versions = Versions(number, *places[number]) if places else Versions(number)
            base = (bases or {}).get(turn.number)
            messages.extend(self._answer(turn, versions, base, last=last))
        return messages

    def _question(self, session: str, turn: Turn) -> ChatMessage:
        if turn.picture is None:
            content = [_text(turn.text)]
        elif isinstance(turn.picture, Video):
            content = [_text(turn.text), _html(self._strip(turn.picture))]
        else:
            path = self._uploads.thumbnail(session, turn.picture)
            content = [_picture(str(path), self._strings.picture_alt), _text(turn.text)]
        return {"role": "user", "content": content}

    def _strip(self, video: Video) -> str:
        strip = self._strips.get(video)
        if strip is None:
            strip = self._strips[video] = html.video_strip(video, self._strings)
        return strip

    def _running(self, reply: Reply) -> list[ChatMessage]:
        if not reply.text:
            return [
                _said(
                    _html(
                        html.waiting_line(self._strings.said(reply.waiting) or self._strings.typing)
                    )
                )
            ]
        doubt = [_said(_html(html.doubt_note(self._strings)))] if reply.unfamiliar else []
        return [_said(_text(reply.text)), *doubt]

    def _answer(
        self, turn: Turn, versions: Versions, base: BaseAnswer | None, *, last: bool
    ) -> list[ChatMessage]:
        if not turn.reply:
            line = html.unanswered(self._strings, versions, last=last)
            return [_said(_html(line))]
        messages = [_said(_text(turn.reply))]
        if turn.stats is not None:
            facts = html.reply_footer(
                turn.stats,
                self._strings,
                corrected=turn.corrected,
                unfamiliar=turn.unfamiliar,
                versions=versions,
                last=last,
                note=self._noted(turn, first=not versions.turn),
                base=base,
            )
            messages.append(_said(_html(facts)))
        return messages

    def _noted(self, turn: Turn, *, first: bool) -> str:
        """Say, outside of the reply, what the model could not say in it."""
        told = [self._strings.page_can] if asks_about_page(turn.text) else []
        return " ".join([*told, self._note] if first else told)


class Display(Transcript):
    """The values of the tab's components, for all visitors."""

    def __init__(
        self,
        view: ChatView,
        uploads: Uploads,
        strings: Strings,
        runtime: Runtime,
        bases: Mapping[Conversation, Mapping[int, html.BaseAnswer]],
    ) -> None:
        embedded = runtime.settings.llama is None
        note = strings.small_base.format(base=EMBEDDED) if embedded else ""
        super().__init__(uploads, strings, note)
        self._view, self._runtime, self._bases = view, runtime, bases

    def opening(
        self, session: str, conversation: Conversation, text: str, box: Any
    ) -> ComponentUpdates:
        """Show a message whose video is being opened; it is no turn yet."""
        turns = (*conversation.turns, Turn(text.strip() or ASK_ABOUT_PICTURE))
        waiting = Reply(waiting=self._strings.opening_video)
        return self._busy(session, self.render(session, turns, waiting), box)

    def messages(
        self, session: str, conversation: Conversation, running: Reply | None = None
    ) -> list[ChatMessage]:
        """Give all messages of a conversation."""
        places = conversation.places() if conversation.paths else ()
        bases = self._bases.get(conversation, {})
        return self.render(session, conversation.turns, running, places, bases)

    def started(self, session: str, conversation: Conversation, box: Any) -> ComponentUpdates:
        """Show that a reply begins; the message box gets the value `box` unless None."""
        messages = self.messages(session, conversation, Reply())
        return self._busy(session, messages, box) | self._chip(conversation)

    def working(self, session: str, conversation: Conversation) -> ComponentUpdates:
        """Show the conversation while something is written beside it."""
        return self._busy(session, self.messages(session, conversation), None)

    def settled(self, session: str, conversation: Conversation) -> ComponentUpdates:
        """Show the conversation while nothing is being answered."""
        return {
            self._view.box: self.idle_box(),
            self._view.chatbot: gr.Chatbot(
                feedback_value=liked(conversation.turns),
                value=self.messages(session, conversation),
                elem_classes=[],
            ),
            self._view.notice: gr.Row(visible=False),
            **self._chip(conversation),
        }

    def problem(
        self, session: str, conversation: Conversation, error: DemoError, rejected: Any
    ) -> ComponentUpdates:
        """Show `settled` with what went wrong, and what was not taken back in the message box."""
        box = {self._view.box: self.idle_box(rejected)}
        return self.settled(session, conversation) | box | self.notice(error)

    def notice(self, error: DemoError) -> ComponentUpdates:
        """Show what went wrong, and all else as it is."""
        return {
            self._view.notice: gr.Row(visible=True),
            self._view.notice_text: html.notice(self._strings.said(str(error))),
            self._view.resume: gr.Button(visible=isinstance(error, ContextFullError)),
        }

    @staticmethod
    def idle_box(value: Any = None) -> gr.MultimodalTextbox:
        """Give the message box Send in place of Stop; its content is kept when `value` is None."""
        changes: dict[str, Any] = {}
        if value is not None:
            changes["value"] = value | {"text": printable(value["text"])}
        return gr.MultimodalTextbox(submit_btn=True, stop_btn=False, **changes)

    def _busy(self, session: str, messages: list[ChatMessage], box: Any) -> ComponentUpdates:
        changes: dict[str, Any] = {"submit_btn": False, "stop_btn": True}
        if box is not None:
            changes["value"] = box
        return {
            self._view.chatbot: gr.Chatbot(messages, elem_classes=["streaming"]),
            self._view.box: gr.MultimodalTextbox(**changes),
            self._view.notice: gr.Row(visible=False),
        }

    def _chip(self, conversation: Conversation) -> ComponentUpdates:
        seen = conversation.picture
        if seen is None:
            return {self._view.picture: gr.Row(visible=False)}
        tower = self._runtime.tower
        still = seen.frames[len(seen.frames) // 2] if isinstance(seen, Video) else seen
        return {
            self._view.picture: gr.Row(visible=True),
            self._view.picture_chip: html.picture_chip(
                thumbnail(still, CHIP),
                self._strings,
                video=isinstance(seen, Video),
                sees=tower.sees if tower else "",
            ),
        }


def asks_about_page(text: str) -> bool:
    """Tell whether a short question asks what one can do here; a long one is about something."""
    return len(text) <= 80 and _ABOUT_PAGE.search(text) is not None


def question_at(turns: Sequence[Turn], index: int) -> int | None:
    """Find the turn whose question is message `index` of what `render` gave, or None."""
    return _turn_at(turns, index, 0)


def reply_at(turns: Sequence[Turn], index: int) -> int | None:
    """Find the turn whose reply is message `index`, or None."""
    return _turn_at(turns, index, 1)


def liked(turns: Sequence[Turn]) -> list[str | None]:
    """Give what `gr.Chatbot` shows as the visitor's word, one for each message of the model."""
    words: list[str | None] = []
    for turn in turns:
        words.append("Like" if turn.liked else None)
        if turn.stats is not None and turn.reply:
            words.append(None)  # the line of facts
    return words


def _turn_at(turns: Sequence[Turn], index: int, part: int) -> int | None:
    position = 0
    for number, turn in enumerate(turns):
        if index == position + part:
            return number
        position += 3 if turn.stats is not None and turn.reply else 2
    return None


def _said(part: dict[str, Any]) -> ChatMessage:
    return {"role": "assistant", "content": [part]}


def _text(text: str) -> dict[str, Any]:
    # As a dict: a plain string would lose its indentation on the way (inspect.cleandoc).
    return {"type": "text", "text": to_markdown(text)}


def _html(snippet: str) -> dict[str, Any]:
    return {
        "type": "component",
        "component": "html",
        "value": snippet,
        "constructor_args": {},
        "props": {},
    }


def _picture(path: str, alt: str) -> dict[str, Any]:
    meta = {"_type": "gradio.FileData"}
    file = {"path": path, "mime_type": "image/webp", "meta": meta}
    return {"type": "file", "file": file, "alt_text": alt}
