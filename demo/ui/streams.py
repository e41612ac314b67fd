"""Streams of events: a call that nobody listens to ends soon, and every stream has a last word.

Gradio runs each call to its end, whether or not whoever made it ever asks for the answer, and lets
a server that stops cut its streams off.
"""

import asyncio
import json
import logging
import re
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

import gradio as gr
from gradio.queueing import Event, Queue
from gradio.server_messages import EventMessage, UnexpectedErrorMessage
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from demo.ui.strings import ENGLISH, Strings

log = logging.getLogger(__name__)
UNHEARD_SECONDS = 4.0  # after which a call that nobody listens to is dropped
LEFT_SECONDS = 2.0  # after which one is dropped whose listener has gone
LOOK_SECONDS = 1.0
ENDING_SECONDS = 2.0  # that replies have to say that they end, when the program does
READING_SECONDS = 0.3  # for the last word to leave
# Gradio counts an empty name as none in one place and as one in another, and its own marks in a
# name keep everybody else from cancelling.
SESSION_NAME = re.compile(r"[\w.:-]{1,100}")


class Listeners:
    """Middleware that counts who listens to which session or call.

    Who asks for a call that is over, or was dropped, is told so: gradio breaks that answer off.
    """

    def __init__(
        self, app: ASGIApp, queue: Callable[[], Queue], strings: Strings = ENGLISH
    ) -> None:
        self._app, self._queue, self._strings = app, queue, strings
        self._heard: Counter[str] = Counter()
        self._left: dict[str, float] = {}  # when the last listener went (monotonic seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = _listened(scope)
        if key is None:
            await self._app(scope, receive, send)
            return
        if said := self._over(scope["path"], key):
            await Response(said, media_type="text/event-stream")(scope, receive, send)
            return
        self._heard[key] += 1
        self._left.pop(key, None)
        try:
            await self._app(scope, receive, send)
        finally:
            self._heard[key] -= 1
            if not self._heard[key]:
                del self._heard[key]
                self._left[key] = time.monotonic()

    def _over(self, path: str, key: str) -> str:
        """Return what is said of a call or session of which nothing will come, else ""."""
        if "/call/" in path:
            said = f"event: error\ndata: {json.dumps(self._strings.call_gone)}\n\n"
            return "" if _known(self._queue(), key) else said
        if key in self._queue().pending_messages_per_session:
            return ""
        gone = UnexpectedErrorMessage(message=self._strings.call_gone, session_not_found=True)
        return f"data: {gone.model_dump_json()}\n\n"

    async def drop_unheard(self) -> None:
        """Drop the calls that nobody listens to, over and over."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                queue = self._queue()
                # The newest first: none that waits is begun in the place of one that is ended.
                for event in reversed(list(queue.event_ids_to_events.values())):
                    if self._unheard(event):
                        await drop(queue, event)
                self._forget()
            except Exception:
                log.exception("calls that nobody listens to were not dropped")

    def _unheard(self, event: Event) -> bool:
        keys, now = (event.session_hash, event._id), time.monotonic()
        if any(self._heard[key] for key in keys if key):
            return False
        left = max((self._left[key] for key in keys if key in self._left), default=0.0)
        # A page that has heard all that it asked for stops listening, and listens again with the
        # next call.
        heard_once = left > event.enqueue_time and now - left >= LEFT_SECONDS
        return heard_once or now - max(left, event.enqueue_time) >= UNHEARD_SECONDS

    def _forget(self) -> None:
        """Forget those who left so long ago that no call of theirs waits any more."""
        end = time.monotonic() - 2 * UNHEARD_SECONDS
        self._left = {key: left for key, left in self._left.items() if left > end}


def steady(queue: Queue) -> None:
    """Keep any one call from stopping a queue for all, by `queue`'s own methods made stricter.

    A word to a session that is not there raises an error in the loop that begins calls, and gradio
    then begins no more, ever. It is lost instead. Who calls under a name that no session can have
    is refused (`ValueError`).
    """
    push, send = queue.push, queue.send_message

    async def push_named(body: Any, request: Any, username: str | None) -> Any:
        if body.session_hash is not None and not SESSION_NAME.fullmatch(body.session_hash):
            raise ValueError("a session is named by up to 100 letters, digits and . : - _")
        return await push(body, request, username)

    def send_or_lose(event: Event, event_message: EventMessage) -> None:
        with suppress(KeyError):
            send(event, event_message)

    # Gradio makes the queue itself, of its own class.
    queue.push, queue.send_message = push_named, send_or_lose  # type: ignore[method-assign]


async def drop(queue: Queue, event: Event) -> None:
    """Take a call out of the queue, or end it at its next word, and forget what it said."""
    # At once, so that whoever comes for it meanwhile finds nothing and is told so.
    event.alive = False
    waiting = queue.pending_event_ids_session.get(event.session_hash, set())
    waiting.discard(event._id)
    if not waiting:
        queue.pending_event_ids_session.pop(event.session_hash, None)
        with suppress(KeyError):
            del queue.pending_messages_per_session[event.session_hash]
    await queue.clean_events(event_id=event._id)


async def give_last_word(queue: Queue, text: str) -> None:
    """Let calls end by themselves for a moment, then tell all streams that are still open."""
    end = time.monotonic() + ENDING_SECONDS
    while any(queue.active_jobs) and time.monotonic() < end:
        await asyncio.sleep(0.05)
    for messages in list(queue.pending_messages_per_session.values()):
        messages.put_nowait(UnexpectedErrorMessage(message=text))
    await asyncio.sleep(READING_SECONDS)


def part(page: gr.Blocks, text: str) -> None:
    """Say `text` to all who still listen, from the thread that stops the program."""
    loop: asyncio.AbstractEventLoop | None = getattr(page.app.state, "loop", None)
    if loop:
        spoken = asyncio.run_coroutine_threadsafe(give_last_word(page._queue, text), loop)
        with suppress(Exception):  # the server ends, whoever could not be told
            spoken.result(ENDING_SECONDS + 1)


def queue_of(app: Any) -> Queue:
    """Return the queue of a gradio app that is being served."""
    return app.get_blocks()._queue


def _known(queue: Queue, call: str) -> bool:
    """Tell whether something of a call may still come, as gradio looks for it."""
    if event := queue.event_ids_to_events.get(call):
        session = event.session_hash
    else:  # it has ended, and was not heard to its end
        unheard = queue.pending_event_ids_session.items()
        session = next((name for name, calls in unheard if call in calls), call)
    return session in queue.pending_messages_per_session


def _listened(scope: Scope) -> str | None:
    """Return the session or call whose events a request asks for, None where it asks for others."""
    if scope["type"] != "http" or scope["method"] != "GET":
        return None
    path = scope["path"].rstrip("/")
    if path.endswith("/queue/data"):
        query = parse_qs(scope["query_string"].decode("latin-1"))
        return query.get("session_hash", [""])[0]
    return path.rsplit("/", 1)[1] if "/call/" in path else None
