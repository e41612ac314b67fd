"""The turns of a conversation → what `gr.Chatbot` shows.

A turn is one message of the visitor (its text, with a picture before it or the frames of a video
after it) and one or two of the model:
the reply, and the line of facts under it. Always made anew from the server's conversation; what a
browser says its history is, is never read.
"""

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from demo.chat.conversation import Turn
from demo.runtime import Reply
from demo.ui import snippets
from demo.ui.markup import to_markdown
from demo.ui.strings import Strings
from demo.ui.uploads import Uploads
from demo.vision.video import Video

THUMBNAIL = 512  # pixels; the page shows it smaller and this is what a click enlarges
Message = dict[str, Any]


class Transcript:
    """Renders conversations for one page."""

    def __init__(self, uploads: Uploads, strings: Strings) -> None:
        self._uploads = uploads
        self._strings = strings
        # While a reply grows, all is rendered many times a second; a strip goes with its video.
        self._strips: WeakKeyDictionary[Video, str] = WeakKeyDictionary()

    def render(
        self, session: str, turns: Sequence[Turn], running: Reply | None = None
    ) -> list[Message]:
        """All messages; `running` is what there is so far of the reply to the last turn."""
        messages: list[Message] = []
        for number, turn in enumerate(turns):
            messages.append(self._question(session, turn))
            last = number == len(turns) - 1
            messages.extend(self._running(running) if running and last else self._answer(turn))
        return messages

    @staticmethod
    def turn_of(turns: Sequence[Turn], index: int) -> int | None:
        """The turn whose question is message `index` of what `render` gave, or None."""
        return _turn_at(turns, index, 0)

    @staticmethod
    def reply_of(turns: Sequence[Turn], index: int) -> int | None:
        """The turn whose reply is message `index`, or None."""
        return _turn_at(turns, index, 1)

    @staticmethod
    def liked(turns: Sequence[Turn]) -> list[str | None]:
        """What `gr.Chatbot` shows as the visitor's word, one for each message of the model."""
        words: list[str | None] = []
        for turn in turns:
            words.append("Like" if turn.liked else None)
            if turn.stats is not None and turn.reply:
                words.append(None)  # the line of facts
        return words

    def _question(self, session: str, turn: Turn) -> Message:
        content = [_text(to_markdown(turn.text))]
        if isinstance(turn.picture, Video):
            content.append(_html(self._strip(turn.picture)))
        elif turn.picture is not None:
            path = self._uploads.thumbnail(session, turn.picture, THUMBNAIL)
            content.insert(0, _picture(str(path), self._strings.picture_alt))
        return {"role": "user", "content": content}

    def _strip(self, video: Video) -> str:
        strip = self._strips.get(video)
        if strip is None:
            strip = self._strips[video] = snippets.video_strip(video, self._strings)
        return strip

    def _running(self, reply: Reply) -> list[Message]:
        if reply.text:
            return [{"role": "assistant", "content": [_text(to_markdown(reply.text))]}]
        line = snippets.waiting_line(reply.waiting or self._strings.typing)
        return [{"role": "assistant", "content": [_html(line)]}]

    def _answer(self, turn: Turn) -> list[Message]:
        if not turn.reply:
            line = snippets.muted(self._strings.unanswered)
            return [{"role": "assistant", "content": [_html(line)]}]
        messages = [{"role": "assistant", "content": [_text(to_markdown(turn.reply))]}]
        if turn.stats is not None:
            line = snippets.reply_footer(turn.stats, self._strings, corrected=turn.corrected)
            messages.append({"role": "assistant", "content": [_html(line)]})
        return messages


def _turn_at(turns: Sequence[Turn], index: int, part: int) -> int | None:
    """The turn whose question (0) or reply (1) is message `index`."""
    position = 0
    for number, turn in enumerate(turns):
        if index == position + part:
            return number
        position += 3 if turn.stats is not None and turn.reply else 2
    return None


def _text(markdown: str) -> Message:
    # As a dict: a plain string would lose its indentation on the way (inspect.cleandoc).
    return {"type": "text", "text": markdown}


def _html(snippet: str) -> Message:
    return {
        "type": "component",
        "component": "html",
        "value": snippet,
        "constructor_args": {},
        "props": {},
    }


def _picture(path: str, alt: str) -> Message:
    meta = {"_type": "gradio.FileData"}
    file = {"path": path, "mime_type": "image/webp", "meta": meta}
    return {"type": "file", "file": file, "alt_text": alt}
