"""What happens in the chat: one method an event, each a plain function of its inputs.

Every method gives a dictionary {component: new value}. The conversation is the server's, found by
the visitor's secret session id, never what the browser sends back as its history. `controls` are
the browser's secret, by which its own adapters are known, the system prompt, and the fields of
Sampling. One reply at a time is let through for each visitor, and told when it has to stop.
"""

import logging
import threading
import time
import unicodedata
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr

from demo.adapter.library import owner_of
from demo.chat.conversation import Conversation
from demo.chat.picture_question import refuse_unshown
from demo.errors import BusyError, DemoError, InputError
from demo.runtime import Runtime
from demo.settings import Sampling
from demo.ui import html
from demo.ui.chat.beside import BaseAnswers
from demo.ui.chat.tab import ChatView
from demo.ui.chat.view import EMBEDDED, Display, question_at, reply_at
from demo.ui.files import Uploads
from demo.ui.html import ComponentUpdates, from_markdown
from demo.ui.strings import Strings
from demo.vision.image import open_picture

RETRY_TEMPERATURE = 0.7  # of another answer, where the replies are not drawn
MOST_PICTURES = 4  # of a message
STOP_SECONDS = 5.0  # how long a new chat waits for the running reply to end
# Changes a conversation, and gives what the page shows until that is done.
Begin = Callable[[Conversation], Iterable[ComponentUpdates]]
Change = Callable[[Conversation], ComponentUpdates | None]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Box:
    """The message box while a reply is written, and where it is refused; None leaves it so."""

    during: Any = None
    refused: Any = None


def is_foreign(text: str) -> bool:
    """Tell whether most letters of a text belong to another script than English is written in."""
    letters = [letter for letter in text if letter.isalpha()]
    known = sum(unicodedata.name(letter, "").startswith(("LATIN", "GREEK")) for letter in letters)
    return 2 * known < len(letters)


class StopSign(threading.Event):
    """Set when a reply has to stop; `left` says that its chat is about to leave the page."""

    left = False


class Turnstile:
    """One place per session. A second click on Send finds it taken and makes no second reply."""

    def __init__(self, busy_message: str) -> None:
        self._busy_message = busy_message
        self._taken: dict[str, StopSign] = {}
        self._lock = threading.Lock()

    @contextmanager
    def enter(self, session: str) -> Iterator[StopSign]:
        """Hold the place of `session`; the event is set when the reply has to stop.

        Raises:
            BusyError: a reply of this session is running.
        """
        stop = StopSign()
        with self._lock:
            if session in self._taken:
                raise BusyError(self._busy_message)
            self._taken[session] = stop
        try:
            yield stop
        finally:
            with self._lock:
                del self._taken[session]

    def is_taken(self, session: str) -> bool:
        """Say whether a reply of `session` is running."""
        with self._lock:
            return session in self._taken

    def stop(self, session: str) -> None:
        """Ask the running reply of `session`, if any, to stop."""
        with self._lock:
            if stop := self._taken.get(session):
                stop.set()

    def wait(self, session: str, seconds: float) -> bool:
        """Stop the running reply of `session`, and leave it → whether it ended in `seconds`."""
        with self._lock:
            if stop := self._taken.get(session):
                stop.left = True
                stop.set()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.is_taken(session):
                return True
            time.sleep(0.02)
        return False


class ChatHandlers:
    """The events of the chat tab, for all visitors."""

    def __init__(
        self,
        runtime: Runtime,
        view: ChatView,
        uploads: Uploads,
        strings: Strings,
        samples: Path,
    ) -> None:
        self._runtime = runtime
        self._view = view
        self._strings = strings
        self._samples = samples
        self._uploads = uploads
        self._bases = BaseAnswers(runtime, strings)
        self._display = Display(view, uploads, strings, runtime, self._bases.known)
        self._turnstile = Turnstile(strings.being_answered)

    def send(
        self, session: str, message: dict[str, Any], adapter: str, *controls: Any
    ) -> Iterator[ComponentUpdates]:
        """Send. Inputs: session, message box, adapter, controls. Outputs: the whole tab."""
        text, files = message["text"] or "", message["files"] or [None]
        if self._is_repeated(session, text, files[-1]):
            yield {}  # a generator that says nothing empties what it could have changed
            return
        if len(files) > MOST_PICTURES:
            error = InputError(self._strings.many_pictures.format(most=MOST_PICTURES))
            yield self._display.notice(error)
            return
        # Each is asked about by itself, in a turn of its own.
        for place, file in enumerate(files):
            rest = files[place + 1 :]
            yield from self._send_one(session, text, file, rest, adapter, controls)
            if rest and not self._answered(session):
                return  # what was not looked at is in the box again

    def _answered(self, session: str) -> bool:
        """Tell whether the last message was answered, and nobody stopped the reply."""
        turns = self._runtime.conversations.of(session).turns
        last = turns[-1].stats if turns and turns[-1].reply else None
        return last is not None and last.stopped != "cancelled"

    def _send_one(
        self,
        session: str,
        text: str,
        file: str | None,
        rest: list[str],
        adapter: str,
        controls: tuple[Any, ...],
    ) -> Iterator[ComponentUpdates]:
        """Send a message with one of its pictures; `rest` are those that it is sent with next."""
        # The embedded base would answer it with emoji; what a visitor taught may well know it.
        embedded = adapter in ("auto", "none") and self._runtime.settings.llama is None
        foreign = embedded and is_foreign(text)
        # What cannot be sent stays in the box, but for a picture that is no picture.
        refused: dict[str, Any] = {"text": text, "files": [*rest]}
        box = _Box({"text": "", "files": [*rest]}, refused)

        def begin(conversation: Conversation) -> Iterator[ComponentUpdates]:
            if file and self._uploads.is_video(file):
                yield self._display.opening(session, conversation, text, box.during)
            try:
                picture = self._uploads.open(file, session) if file else None
            except BusyError:
                refused["files"].insert(0, file)
                raise
            try:
                if foreign:
                    raise InputError(self._strings.foreign.format(base=EMBEDDED))
                if picture is None:
                    refuse_unshown(text, conversation, adapter)
                conversation.ask(text, picture)
            except InputError:
                if picture:
                    refused["files"].insert(0, str(self._uploads.hand_back(picture)))
                raise

        yield from self._answer(begin, session, adapter, controls, box=box)

    def example(
        self, event: gr.SelectData, session: str, adapter: str, *controls: Any
    ) -> Iterator[ComponentUpdates]:
        """Ask an example. Inputs: session, adapter, controls. Outputs: the whole tab."""

        def begin(conversation: Conversation) -> Iterable[ComponentUpdates]:
            examples, index = self._view.examples, event.index
            example = None
            if isinstance(index, int) and 0 <= index < len(examples):
                example = examples[index]
            text = event.value.get("text") if isinstance(event.value, dict) else None
            if isinstance(text, str) and (example is None or text != example.text):
                conversation.ask(text)  # of a row that was taught: as if the visitor had typed it
                return ()
            # Else only the number of the card is believed; text and picture are the server's.
            if example is None:
                raise InputError(self._strings.nothing_here)
            picture = None
            if example.picture:
                picture = open_picture(self._samples / example.picture)
            conversation.ask(example.text, picture)
            return ()

        yield from self._answer(begin, session, adapter, controls)

    def retry(
        self, session: str, adapter: str, *controls: Any, drop_oldest: bool = False
    ) -> Iterator[ComponentUpdates]:
        """Answer the last turn once more. Inputs: session, adapter, controls. Outputs: the tab.

        It is another answer: drawn, unless it is set how, and each time another draw. With
        `drop_oldest` the oldest turns are left out where the window is full.
        """
        answers = 0

        def begin(conversation: Conversation) -> Iterable[ComponentUpdates]:
            nonlocal answers
            answers = conversation.retry()
            return ()

        def redraw(sampling: Sampling) -> Sampling:
            if not answers:
                return sampling
            warmth = sampling.temperature or RETRY_TEMPERATURE
            return replace(sampling, temperature=warmth, seed=(sampling.seed + answers) % 2**32)

        yield from self._answer(
            begin, session, adapter, controls, drop_oldest=drop_oldest, redraw=redraw
        )

    def go_on(self, session: str, adapter: str, *controls: Any) -> Iterator[ComponentUpdates]:
        """Continue a reply that was cut. Inputs: session, adapter, controls. Outputs: the tab."""

        def begin(conversation: Conversation) -> Iterable[ComponentUpdates]:
            conversation.go_on()
            return ()

        yield from self._answer(begin, session, adapter, controls)

    def ask_base(self, session: str, adapter: str, *controls: Any) -> Iterator[ComponentUpdates]:
        """Ask the base too. Inputs: session, adapter, controls. Outputs: the whole tab."""
        conversation = self._runtime.conversations.of(session)
        owner, _, *numbers = controls
        try:
            with self._turnstile.enter(session) as stop:
                yield self._display.working(session, conversation)
                for _ in self._bases.write(conversation, owner, numbers, stop):
                    yield self._display.working(session, conversation)
            yield {} if stop.left else self._display.settled(session, conversation)
        except DemoError as error:
            if self._turnstile.is_taken(session):  # the running reply is left alone
                yield self._display.notice(error)
            else:
                yield self._display.problem(session, conversation, error, None)

    def edit(
        self, event: gr.EditData, session: str, adapter: str, *controls: Any
    ) -> Iterator[ComponentUpdates]:
        """Edit a message. Inputs: session, adapter, controls. Outputs: the whole tab.

        A question in new words is answered anew; a reply in new words is a correction.
        """
        if isinstance(event.index, int):
            turns = self._runtime.conversations.of(session).turns
            reply = reply_at(turns, event.index)
            if reply is not None:
                text = from_markdown(str(event.value))
                yield self.change(lambda talk: talk.correct(reply, text), session)
                return

        def begin(conversation: Conversation) -> Iterable[ComponentUpdates]:
            turn = None
            if isinstance(event.index, int):
                turn = question_at(conversation.turns, event.index)
            if turn is None:
                raise InputError(self._strings.nothing_here)
            conversation.edit(turn, from_markdown(str(event.value)))
            return ()

        yield from self._answer(begin, session, adapter, controls)

    def like(self, event: gr.LikeData, session: str) -> ComponentUpdates:
        """Like a reply. Inputs: session. Outputs: the whole tab."""

        def change(conversation: Conversation) -> None:
            reply = None
            if isinstance(event.index, int):
                reply = reply_at(conversation.turns, event.index)
            if reply is None:
                raise InputError(self._strings.nothing_here)
            conversation.like(reply, event.liked is True)

        return self.change(change, session)

    def stop(self, session: str) -> ComponentUpdates:
        """Stop the running reply. Inputs: session. Outputs: message box."""
        self._turnstile.stop(session)
        return {self._view.box: self._display.idle_box()}

    def undo(self, session: str) -> ComponentUpdates:
        """Take the last turn back into the box. Inputs: session. Outputs: the whole tab."""

        def change(conversation: Conversation) -> ComponentUpdates:
            if not conversation.turns:
                return {}
            text, picture = conversation.undo()
            files = [str(self._uploads.hand_back(picture))] if picture else []
            return {self._view.box: self._display.idle_box({"text": text, "files": files})}

        return self.change(change, session)

    def show(self, session: str, conversation: Conversation) -> ComponentUpdates:
        """Show another chat; a reply that is running on this page is stopped, and kept."""
        self._turnstile.wait(session, STOP_SECONDS)
        end = time.monotonic() + STOP_SECONDS  # of one on a page that was just left
        while conversation.answering and time.monotonic() < end:
            time.sleep(0.02)
        self._runtime.conversations.show(session, conversation)
        return self._display.settled(session, conversation)

    def notice(self, error: DemoError) -> ComponentUpdates:
        """Show what went wrong, and all else as it is."""
        return self._display.notice(error)

    def change(self, change: Change, session: str) -> ComponentUpdates:
        """Do `change` unless a reply is running, and show what there is then.

        Inputs: session. Outputs: the whole tab.
        """
        try:
            with self._turnstile.enter(session):
                conversation = self._runtime.conversations.of(session)
                changed = change(conversation)
            return self._display.settled(session, conversation) | (changed or {})
        except DemoError as error:
            return self._display.notice(error)
        except Exception:
            logger.exception("an action failed")
            return self._display.notice(DemoError(self._strings.unexpected))

    def dismiss(self) -> ComponentUpdates:
        """Dismiss the notice. Outputs: notice."""
        return {self._view.notice: gr.Row(visible=False)}

    def describe_adapter(self, adapter: str, owner: object) -> ComponentUpdates:
        """Describe the chosen adapter. Inputs: adapter, owner. Outputs: its note."""
        cards = self._runtime.library.cards(owner_of(str(owner)), self._runtime.tower)
        return {self._view.adapter_note: html.adapter_note(adapter, cards, self._strings)}

    def forget(self, session: str) -> None:
        """Stop what still runs for a visitor who has gone, and drop what is kept."""
        self._turnstile.stop(session)
        self._runtime.forget(session)
        self._uploads.forget(session)

    def _is_repeated(self, session: str, text: str, file: str | None) -> bool:
        """Tell whether this is the second press of Send for what is being answered."""
        if file or not self._turnstile.is_taken(session):
            return False
        turns = self._runtime.conversations.of(session).turns
        return not text.strip() or bool(turns) and turns[-1].text == text

    def _answer(
        self,
        begin: Begin,
        session: str,
        adapter: str,
        controls: tuple[Any, ...],
        *,
        drop_oldest: bool = False,
        redraw: Callable[[Sampling], Sampling] | None = None,
        box: _Box = _Box(),
    ) -> Iterator[ComponentUpdates]:
        """Do `begin`, then stream the reply."""
        try:
            with self._turnstile.enter(session) as stop:
                end = yield from self._stream(
                    begin, session, stop, adapter, controls, drop_oldest, redraw, box
                )
            # Whoever sees the reply complete may send the next message: the place is free by then.
            yield end
        except BusyError as error:  # of the turnstile: the running reply is left alone
            yield self._display.notice(error)

    def _stream(
        self,
        begin: Begin,
        session: str,
        stop: StopSign,
        adapter: str,
        controls: tuple[Any, ...],
        drop_oldest: bool,
        redraw: Callable[[Sampling], Sampling] | None,
        box: _Box,
    ) -> Generator[ComponentUpdates, None, ComponentUpdates]:
        """Show the reply as it grows; what is shown at its end is returned."""
        refused = box.refused
        try:
            owner, system, *numbers = controls
            sampling = Sampling(*numbers)
            conversation = self._runtime.conversations.of(session)
            conversation.set_system(system or "")
            yield from begin(conversation)
            refused, sampling = None, redraw(sampling) if redraw else sampling
            yield self._display.started(session, conversation, box.during)
            replies = self._runtime.replies.write(
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
                    yield {self._view.chatbot: self._display.messages(session, conversation, reply)}
            if stop.left:
                return {}  # another chat is on the page by now
            return self._display.settled(session, conversation)
        except DemoError as error:
            problem = error
        except Exception:
            logger.exception("a reply failed")
            problem = DemoError(self._strings.unexpected)
        conversation = self._runtime.conversations.of(session)
        return self._display.problem(session, conversation, problem, refused)
