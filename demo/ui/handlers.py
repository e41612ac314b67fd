"""What happens in the chat: one method an event, each a plain function of its inputs.

Every method gives a dictionary {component: new value}. The conversation is the server's, found by
the visitor's secret session id, never what the browser sends back as its history. `controls` are
the browser's secret, by which its own adapters are known, the system prompt, and the fields of
Sampling.
"""

import logging
import secrets
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr

from demo.chat.conversation import Conversation
from demo.errors import BusyError, DemoError, InputError
from demo.runtime import Runtime
from demo.settings import Sampling
from demo.teaching import owner_of
from demo.ui import snippets
from demo.ui.chat import ChatView
from demo.ui.display import Display, Updates
from demo.ui.markup import from_markdown, printable
from demo.ui.strings import Strings
from demo.ui.transcript import Transcript
from demo.ui.turnstile import Turnstile
from demo.ui.uploads import Uploads

STOP_SECONDS = 5.0  # how long a new chat waits for the running reply to end
Begin = Callable[[Conversation], None]
logger = logging.getLogger(__name__)


class ChatHandlers:
    """The events of the chat tab, for all visitors."""

    def __init__(
        self,
        runtime: Runtime,
        view: ChatView,
        session: gr.State,
        uploads: Uploads,
        strings: Strings,
        samples: Path,
    ) -> None:
        self._runtime = runtime
        self._view = view
        self._strings = strings
        self._samples = samples
        self._uploads = uploads
        self._transcript = Transcript(uploads, strings)
        self._display = Display(view, session, self._transcript, strings, runtime.sees)
        self._turnstile = Turnstile(strings.being_answered)

    def send(
        self, session: str | None, message: dict[str, Any], adapter: str, *controls: Any
    ) -> Iterator[Updates]:
        """Send. Inputs: session, message box, adapter, controls. Outputs: the whole tab."""

        def begin(conversation: Conversation) -> None:
            for path in unused:
                self._uploads.discard(path)
            try:
                picture = self._uploads.open(last) if last else None
            except BusyError:
                rejected["files"].append(last)
                raise
            try:
                conversation.ask(text, picture)
            except InputError:
                if picture:
                    rejected["files"].append(str(self._uploads.hand_back(picture)))
                raise

        text = message["text"] or ""
        *unused, last = message["files"] or [None]
        opening = printable(text) if last and self._uploads.is_video(last) else None
        empty = {"text": "", "files": []}
        # What cannot be sent stays in the box, but for a picture that is no picture.
        rejected: dict[str, Any] = {"text": printable(text), "files": []}
        if self._is_repeated(session, text, last):
            yield {}  # a generator that says nothing empties what it could have changed
            return
        yield from self._answer(
            session, begin, adapter, controls, box=empty, rejected=rejected, opening=opening
        )

    def example(
        self, event: gr.SelectData, session: str | None, adapter: str, *controls: Any
    ) -> Iterator[Updates]:
        """Example card. Inputs: session, adapter, controls. Outputs: the whole tab."""

        def begin(conversation: Conversation) -> None:
            # Only the number of the card is believed; its text and picture are the server's.
            if not isinstance(event.index, int) or not 0 <= event.index < len(self._view.examples):
                raise InputError(self._strings.nothing_here)
            example = self._view.examples[event.index]
            picture = None
            if example.picture:
                picture = self._uploads.sample(self._samples / example.picture)
            conversation.ask(example.text, picture)

        yield from self._answer(session, begin, adapter, controls)

    def retry(self, session: str | None, adapter: str, *controls: Any) -> Iterator[Updates]:
        """Retry. Inputs: session, adapter, controls. Outputs: the whole tab."""
        yield from self._answer(session, Conversation.retry, adapter, controls)

    def resume(self, session: str | None, adapter: str, *controls: Any) -> Iterator[Updates]:
        """Continue without the oldest turns. Inputs, outputs: as `retry`."""
        yield from self._answer(session, Conversation.retry, adapter, controls, drop_oldest=True)

    def edit(
        self, event: gr.EditData, session: str | None, adapter: str, *controls: Any
    ) -> Iterator[Updates]:
        """Edit of a message. Inputs: session, adapter, controls. Outputs: the whole tab.

        A question in new words is answered anew; a reply in new words is a correction.
        """
        if session and isinstance(event.index, int):
            turns = self._runtime.conversation(session).turns
            reply = self._transcript.reply_of(turns, event.index)
            if reply is not None:
                text = from_markdown(str(event.value))
                yield self._change(session, lambda talk: talk.correct(reply, text))
                return

        def begin(conversation: Conversation) -> None:
            turn = None
            if isinstance(event.index, int):
                turn = self._transcript.turn_of(conversation.turns, event.index)
            if turn is None:
                raise InputError(self._strings.nothing_here)
            conversation.edit(turn, from_markdown(str(event.value)))

        yield from self._answer(session, begin, adapter, controls)

    def like(self, event: gr.LikeData, session: str | None) -> Updates:
        """Thumb up under a reply. Inputs: session. Outputs: the whole tab."""

        def change(conversation: Conversation) -> None:
            reply = None
            if isinstance(event.index, int):
                reply = self._transcript.reply_of(conversation.turns, event.index)
            if reply is None:
                raise InputError(self._strings.nothing_here)
            conversation.like(reply, event.liked is True)

        return self._change(session, change)

    def stop(self, session: str | None) -> Updates:
        """Stop. Inputs: session. Outputs: message box."""
        if session:
            self._turnstile.stop(session)
        return {self._view.box: self._display.idle_box()}

    def undo(self, session: str | None) -> Updates:
        """Undo: the last turn goes back to the box. Inputs: session. Outputs: the whole tab."""

        def change(conversation: Conversation) -> Updates:
            if not conversation.turns:
                return {}
            text, picture = conversation.undo()
            files = [str(self._uploads.hand_back(picture))] if picture else []
            value = {"text": printable(text), "files": files}
            return {self._view.box: self._display.idle_box(value)}

        return self._change(session, change)

    def clear(self, session: str | None) -> Updates:
        """New chat. Inputs: session. Outputs: the whole tab."""
        if session:
            self._turnstile.wait(session, STOP_SECONDS)
        return self._change(session, Conversation.clear)

    def remove_picture(self, session: str | None) -> Updates:
        """Remove the picture in use. Inputs: session. Outputs: the whole tab."""
        return self._change(session, Conversation.remove_picture)

    def dismiss(self) -> Updates:
        """Dismiss the notice. Outputs: notice."""
        return {self._view.notice: gr.Row(visible=False)}

    def describe_adapter(self, adapter: str, owner: object) -> Updates:
        """Adapter chosen. Inputs: adapter, owner. Outputs: its note."""
        cards = self._runtime.adapters(owner_of(str(owner)))
        return {self._view.adapter_note: snippets.adapter_note(adapter, cards, self._strings)}

    def forget(self, session: str | None) -> None:
        """A visitor has gone: stops what still runs and drops what is kept."""
        if not session:
            return
        self._turnstile.stop(session)
        self._runtime.forget(session)
        self._uploads.forget(session)

    def _answer(
        self,
        session: str | None,
        begin: Begin,
        adapter: str,
        controls: tuple[Any, ...],
        *,
        drop_oldest: bool = False,
        box: Any = None,
        rejected: Any = None,
        opening: str | None = None,
    ) -> Iterator[Updates]:
        """Does `begin`, then streams the reply.

        Args:
            box, rejected: the value of the message box then, and when it is refused.
            opening: the message that is shown while its video is opened.
        """
        # A secret that never leaves the server; gradio's own id of a session is the browser's.
        session = session or secrets.token_urlsafe(32)
        try:
            with self._turnstile.enter(session) as stop:
                end = yield from self._reply(
                    session, stop, begin, adapter, controls, drop_oldest, box, rejected, opening
                )
            # Whoever sees the reply complete may send the next message: the place is free by then.
            yield end
        except BusyError as error:  # of the turnstile: the running reply is left alone
            yield self._display.notice(error)

    def _reply(
        self,
        session: str,
        stop: threading.Event,
        begin: Begin,
        adapter: str,
        controls: tuple[Any, ...],
        drop_oldest: bool,
        box: Any,
        rejected: Any,
        opening: str | None,
    ) -> Generator[Updates, None, Updates]:
        """Streams the reply; what is shown at its end is returned."""
        try:
            conversation = self._runtime.conversation(session)
            owner, system, *numbers = controls
            sampling = Sampling(*numbers)
            conversation.set_system(printable(system or ""))
            if opening is not None:
                yield self._display.opening(session, conversation, opening, box)
            begin(conversation)
            rejected = None
            yield self._display.started(session, conversation, box)
            replies = self._runtime.reply(
                conversation,
                adapter=adapter,
                sampling=sampling,
                owner=owner_of(str(owner)),
                drop_oldest=drop_oldest,
            )
            with closing(replies):  # whoever left or pressed Stop costs nothing more
                for reply in replies:
                    if stop.is_set():
                        break
                    yield self._display.growing(session, conversation, reply)
            return self._settled(session)
        except DemoError as error:
            return self._problem(session, error, rejected)
        except Exception:
            logger.exception("a reply failed")
            return self._problem(session, DemoError(self._strings.unexpected), rejected)

    def _change(
        self, session: str | None, change: Callable[[Conversation], Updates | None]
    ) -> Updates:
        """Does `change` unless a reply is running, and shows what there is then."""
        if not session:  # nothing was sent yet
            return gr.skip()
        try:
            with self._turnstile.enter(session):
                changed = change(self._runtime.conversation(session))
            return self._settled(session) | (changed or {})
        except DemoError as error:
            return self._display.notice(error)
        except Exception:
            logger.exception("an action failed")
            return self._display.notice(DemoError(self._strings.unexpected))

    def _is_repeated(self, session: str | None, text: str, file: str | None) -> bool:
        """Whether this is the second press of Send for what is being answered."""
        if not session or file or not self._turnstile.is_taken(session):
            return False
        turns = self._runtime.conversation(session).turns
        return not text.strip() or bool(turns) and turns[-1].text == text

    def _settled(self, session: str) -> Updates:
        return self._display.settled(session, self._runtime.conversation(session))

    def _problem(self, session: str, error: DemoError, rejected: Any) -> Updates:
        conversation = self._runtime.conversation(session)
        return self._display.problem(session, conversation, error, rejected)
