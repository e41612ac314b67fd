"""The loop that owns the model: one thread admits requests, decodes for all, drops the cancelled.

Nobody else decodes, so no lock is held while it works. All running sequences advance by one token a
step, because reading the weights costs the same for one as for several. Token ids and prefixes in,
token ids out: text, adapters and pages are somebody else's, and nothing above is called.

A slot keeps its keys and values after its reply has ended, so the next turn of a conversation only
computes what is new; edit, retry and undo continue from the longest common beginning. The number of
slots bounds the memory; the least recently used one is overwritten first.
"""

import logging
import threading
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from demo.errors import BusyError, DemoError, NotReadyError
from demo.llama.base import Base
from demo.llama.decoder import TokenDecoder
from demo.llama.delta import Delta
from demo.llama.model import Llama, Prefix
from demo.memory import trim
from demo.settings import Sampling

log = logging.getLogger(__name__)
CLOSING = "The program is being stopped, so the reply ends here. Please try again in a minute."
UNUSED_SECONDS = 300.0  # after which what is kept of a conversation is dropped from memory
LOOK_SECONDS = 15.0  # between two looks for such, and what nobody asks in is a pause
SLICE = 256  # tokens of a prompt computed at a time: others stream on in between
Stopped = Literal["end", "length", "cancelled", "deadline", "repeated"]
LONGEST_PERIOD, LEAST_REPEATED = 64, 60  # tokens, of what a reply repeats until it is ended
# DRY: tokens said again from which on, by what in logits, times what for each more; and bounds.
DRY_ALLOWED, DRY_MULTIPLIER, DRY_BASE, DRY_LONGEST, DRY_PLACES = 4, 0.8, 1.75, 32, 64


@dataclass(frozen=True)
class GenerationRequest:
    """One reply that is wanted."""

    ids: Sequence[int]
    prefix: Prefix | None  # None for the plain base
    prefix_key: Hashable  # equal for equal prefixes
    owner: Hashable  # the conversation: its KV cache is continued when it is still there
    sampling: Sampling
    stop: frozenset[int]
    limit: int  # tokens of the reply at most
    seconds: float  # wall-clock time from submission at most
    begun: float = field(default_factory=time.monotonic)  # when the work for it began
    delta: Delta | None = None  # what is changed beside the prefix; `prefix_key` is of both
    kept: bool = True  # whether the conversation may go on, so that its KV cache is of use


@dataclass
class Slot:
    """One KV cache of the pool and what it holds."""

    index: int
    owner: Hashable = None  # the conversation that it belongs to
    prefix: Hashable = None  # keys and values depend on the adapter, its picture and strength
    ids: list[int] = field(default_factory=list)  # tokens whose keys and values are there
    used: float | None = None  # when it was given back; None where its memory was, too

    def shared(self, ids: Sequence[int], prefix: Hashable) -> int:
        """Count the tokens of a prompt that it holds; one is left to compute, for its logits."""
        if prefix != self.prefix:
            return 0
        most = min(len(self.ids), len(ids) - 1)
        return next((i for i in range(most) if self.ids[i] != ids[i]), most)


class SlotPool:
    """The free slots of a pool, the least recently used first."""

    def __init__(self, count: int) -> None:
        self._free = [Slot(index) for index in range(count)]

    def take(self, ids: Sequence[int], prefix: Hashable, owner: Hashable) -> Slot:
        """Take the owner's slot, else the oldest, cut to the tokens that the prompt begins with."""
        slot = next((slot for slot in self._free if slot.owner == owner), self._free[0])
        self._free.remove(slot)
        slot.ids = slot.ids[: slot.shared(ids, prefix)]
        slot.owner, slot.prefix = owner, prefix
        return slot

    def give_back(self, slot: Slot, *, keep: bool = True) -> None:
        """Give a slot back; with `keep` it holds what it has until the room is needed."""
        slot.used = time.monotonic()
        if not keep:  # half written; it is the next to be taken: its memory is there
            slot.owner, slot.ids = None, []
        self._free.insert(len(self._free) if keep else 0, slot)

    def keeps(self) -> bool:
        """Tell whether a free slot holds what `forget` will empty."""
        return any(slot.used is not None for slot in self._free)

    def forget(self, unused: float) -> list[int]:
        """Empty the free slots that nobody has used for so many seconds; return which they are."""
        end = time.monotonic() - unused
        gone = [slot for slot in self._free if slot.used is not None and slot.used <= end]
        for slot in gone:
            slot.owner, slot.ids, slot.used = None, [], None
        return [slot.index for slot in gone]


class Stream:
    """A reply on its way. The scheduler writes, one reader reads, anybody may cancel."""

    def __init__(self, request: GenerationRequest) -> None:
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
        """End the reply within one step."""
        self._cancelled.set()

    def wait(self, known: int, seconds: float) -> None:
        """Return when there are more than `known` tokens, when it is done, or after `seconds`."""
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
        """Give the reason to end it now that lies outside the text, if there is one."""
        if self.cancelled:
            return "cancelled"
        return "deadline" if time.monotonic() - self.submitted > self.request.seconds else None


class _Running:
    """A sequence in a slot: `slot.ids` are in the cache, `token` comes next."""

    def __init__(self, stream: Stream, slot: Slot) -> None:
        self.stream, self.slot = stream, slot
        self.random = np.random.default_rng(stream.request.sampling.seed)
        self.token = -1

    def slice(self) -> Sequence[int]:
        """Give the next tokens of the prompt to compute; empty once all are."""
        done = len(self.slot.ids)
        return self.stream.request.ids[done : done + SLICE]

    def take(self, logits: np.ndarray) -> bool:
        """Choose the next token; False when the reply has ended with it."""
        request, ids = self.stream.request, self.stream.ids
        penalty = request.sampling.repetition_penalty
        seen = np.array([*request.ids, *ids] if penalty != 1 else [], np.int64)
        logits = without_loops(logits, ids)
        self.token = choose(logits, seen, request.sampling, self.random)
        if self.token in request.stop:
            self.stream.end("end")
            return False
        self.stream.add(self.token)
        if repeats(ids):
            self.stream.end("repeated")
            return False
        if len(ids) >= request.limit:
            self.stream.end("length")
            return False
        return True


class Scheduler:
    """Runs requests on up to `running` sequences at once; up to `queue` more wait their turn.

    Args:
        slots: KV caches; those not running keep conversations until they go on.
    """

    def __init__(self, decoder: TokenDecoder, *, slots: int, running: int, queue: int) -> None:
        self._decoder, self._limit, self._queue = decoder, min(running, slots), queue
        self._slots = SlotPool(slots)
        self._waiting: list[Stream] = []
        self._prefilling, self._running = list[_Running](), list[_Running]()
        self._change = threading.Condition()
        self._closed, self._worked, self._looked = False, False, time.monotonic()
        self._thread = threading.Thread(target=self._loop, name="model", daemon=True)
        self._thread.start()

    def submit(self, request: GenerationRequest) -> Stream:
        """Queue a request.

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
            self._worked = True
            self._change.notify_all()
        return stream

    def position(self, stream: Stream) -> int:
        """1 for the next in the queue, 0 when it waits for nobody to end."""
        with self._change:
            waits = stream in self._waiting
            return max(0, self._waiting.index(stream) + 1 - self._free()) if waits else 0

    def active(self) -> int:
        """Count the replies that are running or waiting."""
        with self._change:
            return self._busy() + len(self._waiting)

    def close(self) -> None:
        """End all replies and the thread."""
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
                rests = LOOK_SECONDS if self._worked or self._slots.keeps() else None
                asked = self._change.wait_for(
                    lambda: self._closed or self._waiting or self._busy(), rests
                )
                if self._closed:
                    break
            try:
                self._give_back(paused=not asked)
                self._sweep()
                self._admit()
                if self._prefilling:
                    self._prefill()
                if self._running:
                    self._step()
            except Exception as error:  # whoever waits is told, and the thread lives on
                self._fail([*self._prefilling, *self._running], error)
                with self._change:
                    for stream in self._waiting:
                        stream.end(None, error)
                    self._waiting.clear()
        for stream in [*self._waiting, *(r.stream for r in self._prefilling + self._running)]:
            stream.end(None, NotReadyError(CLOSING))

    def _give_back(self, *, paused: bool) -> None:
        """Give back the memory of conversations that rest; in a pause, all that was freed too."""
        if paused or time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked = time.monotonic()
            with self._change:
                gone = self._slots.forget(UNUSED_SECONDS)
            self._decoder.release(gone)  # whoever goes on waits for a prefill
            if paused and (gone or self._worked):
                trim()
                self._worked = False

    def _sweep(self) -> None:
        """Drop what was cancelled or is overdue, running and waiting alike."""
        for running in self._prefilling + self._running:
            if reason := running.stream.overdue():
                running.stream.end(reason)
                self._release(running)
        with self._change:
            for stream in list(self._waiting):
                if reason := stream.overdue():
                    self._waiting.remove(stream)
                    stream.end(reason)

    def _admit(self) -> None:
        with self._change:
            while self._waiting and self._free():
                asked = self._waiting[0].request
                slot = self._slots.take(asked.ids, asked.prefix_key, asked.owner)
                self._prefilling.append(_Running(self._waiting.pop(0), slot))

    def _prefill(self) -> None:
        """One slice of the prompt that has least left, so that short ones pass long ones by."""
        running = min(self._prefilling, key=lambda r: len(r.stream.request.ids) - len(r.slot.ids))
        slot, part, start = running.slot, running.slice(), len(running.slot.ids)
        prefix, delta = running.stream.request.prefix, running.stream.request.delta
        try:
            logits = self._decoder.prefill(slot.index, part, prefix, start=start, delta=delta)
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
            (self._running if running in self._running else self._prefilling).remove(running)
            self._slots.give_back(running.slot, keep=keep and running.stream.request.kept)


@dataclass(frozen=True)
class Engine:
    """A base that answers."""

    base: Base
    model: Llama
    scheduler: Scheduler


def repeats(ids: Sequence[int]) -> bool:
    """Tell whether a reply has said the same at least three times on end, and some 60 tokens of it.

    A small base that has begun so does not find out of it by itself.
    """
    for period in range(1, min(LONGEST_PERIOD, len(ids) // 3) + 1):
        length = max(3 * period, LEAST_REPEATED)
        same = len(ids) >= length and ids[-1] == ids[-1 - period]
        if same and ids[-length:-period] == ids[period - length :]:
            return True
    return False


def without_loops(logits: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """Weaken logits (V,) of tokens that go on with what the reply says again (llama.cpp's DRY).

    Greedy decoding of a small base does not leave a loop. The longer the passage that is said
    again, the less likely its next token; short ones, as names and numbers are, stay.
    """
    said = np.asarray(ids, np.int64)
    places = np.flatnonzero(said[:-1] == said[-1])[-DRY_PLACES:] if len(said) else said
    lengths: dict[int, int] = {}
    for place in places.tolist():
        length = 1
        while length < min(DRY_LONGEST, place + 1) and said[place - length] == said[-1 - length]:
            length += 1
        token = int(said[place + 1])
        lengths[token] = max(length, lengths.get(token, 0))
    weaker = logits.copy() if lengths else logits
    for token, length in lengths.items():
        if length >= DRY_ALLOWED:
            weaker[token] -= DRY_MULTIPLIER * DRY_BASE ** (length - DRY_ALLOWED)
    return weaker


def choose(
    logits: np.ndarray, seen: np.ndarray, sampling: Sampling, random: np.random.Generator
) -> int:
    """Choose the next token's id.

    Args:
        logits: (V,) fp32, left as it is.
        seen: ids of prompt and reply so far, which the repetition penalty weakens.
        sampling: temperature 0 takes the largest logit; else top-k, then top-p, then a draw.
        random: used only for a draw.
    """
    if sampling.repetition_penalty != 1 and len(seen):
        logits = penalised(logits, seen, sampling.repetition_penalty)
    if sampling.temperature == 0:
        return int(logits.argmax())
    ids, probability = candidates(logits, sampling)
    return int(random.choice(ids, p=probability))


def penalised(logits: np.ndarray, seen: np.ndarray, penalty: float) -> np.ndarray:
    """Logits of seen tokens weakened as in CTRL (arXiv 1909.05858, section 4.1).

    Positive ones are divided by the penalty, negative ones multiplied; how often a token was seen
    does not matter.
    """
    weaker = logits.copy()
    ids = np.unique(seen)
    weaker[ids] = np.where(weaker[ids] > 0, weaker[ids] / penalty, weaker[ids] * penalty)
    return weaker


def candidates(logits: np.ndarray, sampling: Sampling) -> tuple[np.ndarray, np.ndarray]:
    """Give the tokens that may be drawn, likeliest first, and their probabilities (fp64, sum 1).

    Top-p keeps the fewest tokens whose probabilities reach it (nucleus sampling, arXiv 1904.09751).
    """
    keep = sampling.top_k or len(logits)
    few = keep < len(logits)
    ids = np.argpartition(logits, -keep)[-keep:] if few else np.arange(len(logits))
    ids = ids[np.argsort(-logits[ids], kind="stable")]
    scaled = logits[ids].astype(np.float64) / sampling.temperature
    probability = np.exp(scaled - scaled[0])
    probability /= probability.sum()
    count = int(np.searchsorted(probability.cumsum(), sampling.top_p)) + 1
    probability = probability[:count]
    return ids[:count], probability / probability.sum()
