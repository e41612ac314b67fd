"""The loop that owns the model: one thread admits requests, decodes for all, drops the cancelled.

Nobody else runs the model, so no lock is held while it works. All running sequences advance by one
token a step, because reading the weights costs the same for one as for several. Token ids in, token
ids out: text, adapters and pages are somebody else's.
"""

import logging
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from demo.chat.sampling import choose
from demo.chat.slots import Slot, Slots
from demo.errors import BusyError, DemoError
from demo.llama.model import Prefix
from demo.settings import Sampling

log = logging.getLogger(__name__)
SLICE = 256  # tokens of a prompt computed at a time: others stream on in between
Stopped = Literal["end", "length", "cancelled", "deadline"]


class Decodes(Protocol):
    """What the scheduler needs of `Decoder` and `TorchDecoder`."""

    def prefill(
        self, slot: int, ids: Sequence[int], prefix: Prefix | None, *, start: int = 0
    ) -> np.ndarray:
        """Tokens of a prompt into a slot, after its first `start` → logits (V,)."""

    def step(self, token: np.ndarray, slot: np.ndarray, position: np.ndarray) -> np.ndarray:
        """One token for each of B slots → logits (B, V)."""


@dataclass(frozen=True)
class Request:
    """One reply that is wanted."""

    ids: Sequence[int]
    prefix: Callable[[], Prefix | None]  # run by the model's thread when the request is admitted
    prefix_key: Hashable  # equal for equal prefixes
    owner: Hashable  # the conversation: its KV cache is continued when it is still there
    sampling: Sampling
    stop: frozenset[int]
    limit: int  # tokens of the reply at most
    seconds: float  # wall-clock time from submission at most


class Stream:
    """A reply on its way. The scheduler writes, one reader reads, anybody may cancel."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.ids: list[int] = []  # of the reply so far, the stop token left out
        self.stopped: Stopped | None = None
        self.error: Exception | None = None
        self.submitted = time.monotonic()
        self.first: float | None = None  # when the first token was there
        self.last: float | None = None  # when the newest token was there
        self._cancelled = threading.Event()
        self._news = threading.Condition()

    @property
    def done(self) -> bool:
        """No token will follow."""
        return self.stopped is not None or self.error is not None

    @property
    def cancelled(self) -> bool:
        """Somebody wants no more of it."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Ends the reply within one step."""
        self._cancelled.set()

    def wait(self, known: int, seconds: float) -> None:
        """Returns when there are more than `known` tokens, when it is done, or after `seconds`."""
        with self._news:
            self._news.wait_for(lambda: len(self.ids) > known or self.done, seconds)

    def add(self, token: int) -> None:
        """One more token of the reply."""
        with self._news:
            self.last = time.monotonic()
            self.first = self.first or self.last
            self.ids.append(token)
            self._news.notify_all()

    def end(self, stopped: Stopped | None, error: Exception | None = None) -> None:
        """No more tokens, and why."""
        with self._news:
            self.stopped, self.error = stopped, error
            self._news.notify_all()

    def overdue(self) -> Stopped | None:
        """The reason to end it now that lies outside the text, if there is one."""
        if self.cancelled:
            return "cancelled"
        late = time.monotonic() - self.submitted > self.request.seconds
        return "deadline" if late else None


class _Running:
    """A sequence in a slot: `slot.ids` are in the cache, `token` comes next."""

    def __init__(self, stream: Stream, slot: Slot) -> None:
        self.stream, self.slot = stream, slot
        self.prefix: Prefix | None = None
        self.random = np.random.default_rng(stream.request.sampling.seed)
        self.token = -1

    def slice(self) -> Sequence[int]:
        """The next tokens of the prompt to compute; empty once all are."""
        done = len(self.slot.ids)
        return self.stream.request.ids[done : done + SLICE]

    def take(self, logits: np.ndarray) -> bool:
        """Chooses the next token; False when the reply has ended with it."""
        request, ids = self.stream.request, self.stream.ids
        seen = np.array([*request.ids, *ids]) if request.sampling.repetition_penalty != 1 else ids
        self.token = choose(logits, seen, request.sampling, self.random)
        if self.token in request.stop:
            self.stream.end("end")
            return False
        self.stream.add(self.token)
        if len(ids) >= request.limit:
            self.stream.end("length")
            return False
        return True


class Scheduler:
    """Runs requests on up to `running` sequences at once; up to `queue` more wait their turn.

    Args:
        slots: KV caches; those not running keep conversations until they go on.
    """

    def __init__(self, decoder: Decodes, *, slots: int, running: int, queue: int) -> None:
        self._decoder, self._limit, self._queue = decoder, min(running, slots), queue
        self._slots = Slots(slots)
        self._waiting: list[Stream] = []
        self._prefilling: list[_Running] = []
        self._running: list[_Running] = []
        self._change = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name="model", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> Stream:
        """Queues a request.

        Raises:
            BusyError: the queue is full; the message says how many wait.
        """
        stream = Stream(request)
        with self._change:
            # Those who can begin at once are as good as running.
            waiting = len(self._waiting) - self._free()
            if waiting >= self._queue:
                raise BusyError(
                    f"The model is busy and {waiting} replies wait already. "
                    "Please try again in a minute."
                )
            self._waiting.append(stream)
            self._change.notify_all()
        return stream

    def position(self, stream: Stream) -> int:
        """1 for the next in the queue, 0 when it waits for nobody to end."""
        with self._change:
            if stream not in self._waiting:
                return 0
            return max(0, self._waiting.index(stream) + 1 - self._free())

    def active(self) -> int:
        """Replies that are running or waiting."""
        with self._change:
            return self._busy() + len(self._waiting)

    def close(self) -> None:
        """Ends all replies and the thread."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        self._thread.join(timeout=10)

    def _busy(self) -> int:
        return len(self._prefilling) + len(self._running)

    def _free(self) -> int:
        return self._limit - self._busy()

    def _loop(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._closed or self._waiting or self._busy())
                if self._closed:
                    break
            self._sweep()
            self._admit()
            if self._prefilling:
                self._prefill()
            if self._running:
                self._step()
        for stream in [*self._waiting, *(r.stream for r in self._prefilling + self._running)]:
            stream.end("cancelled")

    def _sweep(self) -> None:
        """Drops what was cancelled or is overdue, running and waiting alike."""
        for running in self._prefilling + self._running:
            reason = running.stream.overdue()
            if reason:
                running.stream.end(reason)
                self._release(running)
        with self._change:
            for stream in list(self._waiting):
                reason = stream.overdue()
                if reason:
                    self._waiting.remove(stream)
                    stream.end(reason)

    def _admit(self) -> None:
        with self._change:
            while self._waiting and self._free():
                stream = self._waiting.pop(0)
                request = stream.request
                slot = self._slots.take(request.ids, request.prefix_key, request.owner)
                self._prefilling.append(_Running(stream, slot))

    def _prefill(self) -> None:
        """One slice of the prompt that has least left, so that short ones pass long ones by."""
        running = min(self._prefilling, key=lambda r: len(r.stream.request.ids) - len(r.slot.ids))
        request, slot = running.stream.request, running.slot
        try:
            running.prefix = running.prefix or request.prefix()
            part, start = running.slice(), len(slot.ids)
            logits = self._decoder.prefill(slot.index, part, running.prefix, start=start)
        except Exception as error:  # one bad request must not end the others' replies
            self._fail([running], error)
            return
        slot.ids.extend(part)
        if running.slice():
            return
        if running.take(logits):
            with self._change:
                self._prefilling.remove(running)
                self._running.append(running)
        else:
            self._release(running)

    def _step(self) -> None:
        batch = list(self._running)
        columns = zip(*((r.token, r.slot.index, len(r.slot.ids)) for r in batch), strict=True)
        try:
            logits = self._decoder.step(*(np.array(c, np.int64) for c in columns))
        except Exception as error:
            self._fail(batch, error)
            return
        for running, row in zip(batch, logits, strict=True):
            running.slot.ids.append(running.token)
            if not running.take(row):
                self._release(running)

    def _fail(self, batch: list[_Running], error: Exception) -> None:
        if not isinstance(error, DemoError):
            log.exception("the model failed on %d replies", len(batch))
        for running in batch:
            running.stream.end(None, error)
            self._release(running, keep=False)

    def _release(self, running: _Running, *, keep: bool = True) -> None:
        with self._change:
            home = self._running if running in self._running else self._prefilling
            home.remove(running)
            give = self._slots.give_back if keep else self._slots.discard
            give(running.slot)
