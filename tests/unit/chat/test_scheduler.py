"""The loop around a scripted decoder: sequence `m` continues n, n + 1, n + 2 … from its last id."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import pytest

from demo.chat.scheduler import (
    CLOSING,
    DRY_ALLOWED,
    DRY_BASE,
    DRY_MULTIPLIER,
    GenerationRequest,
    Scheduler,
    Stream,
    candidates,
    choose,
    penalised,
    repeats,
    without_loops,
)
from demo.errors import BusyError
from demo.settings import Sampling

pytestmark = pytest.mark.compiles

VOCAB, STOP = 1000, 999
HOLDING = 900  # a prompt that begins so holds the model's thread until it is let go


class Counting:
    """Writes the number after the last one. `pace` steps may be made before it blocks."""

    def __init__(self) -> None:
        self.pace = threading.Semaphore(0)
        self.batches: list[int] = []
        self.released: list[int] = []
        self.prefills: list[tuple[int, int, int]] = []  # slot, start, tokens
        self.begun, self.held = threading.Event(), threading.Event()  # of a prompt of HOLDING

    def prefill(
        self, slot: int, ids: Sequence[int], prefix: object, *, start: int = 0, delta: object = None
    ) -> np.ndarray:
        if ids[0] == HOLDING:
            self.begun.set()
            self.held.wait(60)
        if ids[0] == 13:
            raise ValueError("a fault")
        self.prefills.append((slot, start, len(ids)))
        return self._after(ids[-1])

    def step(self, token: np.ndarray, slot: np.ndarray, position: np.ndarray) -> np.ndarray:
        self.pace.acquire()
        self.batches.append(len(token))
        assert len(set(slot)) == len(slot)
        return np.stack([self._after(last) for last in token])

    def let(self) -> None:
        """Let it make one step, not one more than that which it was let before."""
        self.pace.acquire(blocking=False)
        self.pace.release()

    def release(self, slots: Iterable[int]) -> None:
        self.released += slots

    def _after(self, last: int) -> np.ndarray:
        return np.eye(VOCAB, dtype=np.float32)[last + 1]


@pytest.fixture
def decoder() -> Counting:
    return Counting()


@pytest.fixture
def scheduler(decoder: Counting) -> Iterator[Scheduler]:
    made = Scheduler(decoder, slots=3, running=2, queue=2)
    yield made
    for _ in range(1000):
        decoder.pace.release()
    made.close()


def request(
    *ids: int,
    limit: int = 5,
    seconds: float = 60,
    owner: object = None,
    prefix: object = None,
    kept: bool = True,
) -> GenerationRequest:
    stop = frozenset({STOP})
    owner = owner or object()
    return GenerationRequest(ids, None, prefix, owner, Sampling(), stop, limit, seconds, kept=kept)


def settle(condition: Callable[[], object], decoder: Counting | None = None) -> None:
    """Waits until something holds, letting the decoder make steps if one is given."""
    end = time.monotonic() + 60
    while not condition() and time.monotonic() < end:
        if decoder:
            decoder.let()
        time.sleep(0.005)
    assert condition()


def finish(stream: Stream, decoder: Counting) -> list[int]:
    while not stream.done:
        decoder.let()
        stream.wait(len(stream.ids), 0.05)
    return stream.ids


def test_the_next_token_of_a_passage_said_again_gets_less_likely() -> None:
    logits = np.zeros(20, np.float32)
    passage = list(range(1, 11))
    for said in range(1, 11):  # of ten tokens said again, the eleventh would be 11
        found = without_loops(logits, [*passage, 11, *passage[-said:]])
        expected = max(0.0, DRY_MULTIPLIER * DRY_BASE ** (said - DRY_ALLOWED))
        assert found[11] == pytest.approx(-expected if said >= DRY_ALLOWED else 0)
        assert np.count_nonzero(found) == (said >= DRY_ALLOWED)
    assert not logits.any()


def test_of_two_places_the_longer_passage_counts_and_both_tokens_get_less_likely() -> None:
    passage = list(range(1, 9))
    found = without_loops(np.zeros(20, np.float32), [*passage, 12, *passage[1:], 13, *passage])
    assert found[12] == pytest.approx(-DRY_MULTIPLIER * DRY_BASE ** (8 - DRY_ALLOWED))
    assert found[13] == pytest.approx(-DRY_MULTIPLIER * DRY_BASE ** (7 - DRY_ALLOWED))


def test_what_is_said_once_or_not_at_all_changes_nothing() -> None:
    logits = np.arange(20, dtype=np.float32)
    for ids in ([], [3], [3, 3], list(range(20))):
        assert (without_loops(logits, ids) == logits).all()


def test_a_reply_ends_at_its_limit(scheduler, decoder):
    stream = scheduler.submit(request(100))
    assert finish(stream, decoder) == [101, 102, 103, 104, 105]
    assert stream.stopped == "length"


@pytest.mark.matrix("E4")
def test_a_reply_ends_before_its_stop_token(scheduler, decoder):
    stream = scheduler.submit(request(STOP - 3, limit=50))
    assert finish(stream, decoder) == [997, 998]
    assert stream.stopped == "end"


def test_two_are_decoded_in_one_step_and_a_third_waits(scheduler, decoder):
    streams = [scheduler.submit(request(first, limit=40)) for first in (100, 200, 300)]
    settle(lambda: streams[1].ids, decoder)
    assert scheduler.position(streams[2]) == 1
    finish(streams[0], decoder)
    assert finish(streams[1], decoder) == list(range(201, 241))
    assert finish(streams[2], decoder) == list(range(301, 341))
    assert 2 in decoder.batches
    assert scheduler.position(streams[2]) == 0
    settle(lambda: scheduler.active() == 0)


@pytest.mark.matrix("D2")
def test_a_full_queue_says_how_many_wait(scheduler, decoder):
    running = [scheduler.submit(request(first, limit=900)) for first in (1, 2)]
    settle(lambda: all(stream.ids for stream in running), decoder)
    waiting = [scheduler.submit(request(first)) for first in (300, 400)]
    assert [scheduler.position(stream) for stream in waiting] == [1, 2]
    with pytest.raises(BusyError, match="2 replies wait already"):
        scheduler.submit(request(500))


@pytest.mark.matrix("D4")
def test_cancelling_frees_the_place_within_a_step(scheduler, decoder):
    long = [scheduler.submit(request(first, limit=900)) for first in (1, 2)]
    settle(lambda: all(stream.ids for stream in long), decoder)
    waiting = scheduler.submit(request(300, limit=1))
    long[0].cancel()
    settle(lambda: waiting.done, decoder)
    assert long[0].stopped == "cancelled" and waiting.ids == [301]


def test_a_place_in_the_queue_moves_up(scheduler, decoder):
    long = [scheduler.submit(request(first, limit=900)) for first in (1, 2)]
    settle(lambda: all(stream.ids for stream in long), decoder)
    one, two = (scheduler.submit(request(first)) for first in (300, 400))
    assert (scheduler.position(one), scheduler.position(two)) == (1, 2)
    one.cancel()
    settle(lambda: scheduler.position(two) == 1, decoder)
    assert one.stopped == "cancelled" and not one.ids
    long[0].cancel()
    settle(lambda: scheduler.position(two) == 0, decoder)
    assert finish(two, decoder) == [401, 402, 403, 404, 405]


def test_who_can_begin_at_once_has_no_number(decoder):
    scheduler = Scheduler(decoder, slots=3, running=3, queue=2)
    scheduler.submit(request(HOLDING))
    decoder.begun.wait(60)
    others = [scheduler.submit(request(first)) for first in (100, 200, 300)]
    settle(lambda: [scheduler.position(stream) for stream in others] == [0, 0, 1])
    decoder.held.set()
    for stream in others:
        finish(stream, decoder)
    scheduler.close()


@pytest.mark.matrix("D3")
def test_fifty_who_leave_free_their_places_within_a_step(decoder):
    scheduler = Scheduler(decoder, slots=3, running=2, queue=60)
    left = [scheduler.submit(request(1, limit=900)) for _ in range(50)]
    settle(lambda: left[1].ids, decoder)
    for stream in left:
        stream.cancel()
    steps = len(decoder.batches)
    stayed = scheduler.submit(request(300, limit=3))
    assert finish(stayed, decoder) == [301, 302, 303]
    assert len(decoder.batches) - steps <= 1 + 2  # the one under way, and two of its own
    assert {stream.stopped for stream in left} == {"cancelled"}
    settle(lambda: scheduler.active() == 0)
    scheduler.close()


def test_a_short_reply_ends_before_long_ones_that_began_earlier(decoder):
    scheduler = Scheduler(decoder, slots=4, running=4, queue=2)
    long = [scheduler.submit(request(first, limit=400)) for first in (1, 2, 3)]
    settle(lambda: all(stream.ids for stream in long), decoder)
    before = max(len(stream.ids) for stream in long)
    short = scheduler.submit(request(500, limit=20))
    finish(short, decoder)
    assert not any(stream.done for stream in long)
    # It began at once, and cost the others nothing: one step, one token for everybody.
    assert len(long[0].ids) - before <= 20 + 5
    decoder.pace.release(1000)
    scheduler.close()


def test_a_short_prompt_passes_a_long_one(scheduler, decoder):
    long = scheduler.submit(request(HOLDING, *range(699)))
    decoder.begun.wait(60)
    short = scheduler.submit(request(800, limit=1))
    decoder.held.set()
    settle(lambda: short.done and long.ids, decoder)
    assert [count for _, _, count in decoder.prefills[:4]] == [256, 1, 256, 188]


def test_a_deadline_ends_one_that_still_waits(scheduler, decoder):
    long = [scheduler.submit(request(first, limit=900)) for first in (1, 2)]
    settle(lambda: all(stream.ids for stream in long), decoder)
    late = scheduler.submit(request(300, seconds=0.05))
    time.sleep(0.06)
    settle(lambda: late.done, decoder)
    assert late.stopped == "deadline" and not late.ids


def test_a_deadline_ends_a_reply_with_what_it_has(scheduler, decoder):
    stream = scheduler.submit(request(100, limit=90, seconds=600))
    settle(lambda: stream.ids)
    stream.submitted -= 601
    decoder.pace.release()
    settle(lambda: stream.done)
    assert stream.stopped == "deadline" and stream.ids[0] == 101


@pytest.mark.matrix("D11")
def test_a_fault_ends_its_own_reply_only(scheduler, decoder):
    good = scheduler.submit(request(100, limit=800))
    bad = scheduler.submit(request(13))
    settle(lambda: bad.done, decoder)
    assert isinstance(bad.error, ValueError)
    assert finish(good, decoder) == list(range(101, 901))
    assert finish(scheduler.submit(request(200)), decoder)[0] == 201


def test_what_nobody_uses_for_long_is_given_back(decoder, monkeypatch):
    monkeypatch.setattr("demo.chat.scheduler.UNUSED_SECONDS", 0.05)
    monkeypatch.setattr("demo.chat.scheduler.LOOK_SECONDS", 0.05)
    scheduler = Scheduler(decoder, slots=2, running=1, queue=2)
    me = object()
    stream = scheduler.submit(request(100, 101, owner=me))
    settle(lambda: stream.ids)
    assert not decoder.released
    assert finish(stream, decoder) == [102, 103, 104, 105, 106]
    settle(lambda: decoder.released)
    time.sleep(0.2)
    assert len(decoder.released) == 1  # there is nothing left to give
    finish(scheduler.submit(request(100, 101, 102, owner=me)), decoder)
    assert [(start, tokens) for _, start, tokens in decoder.prefills] == [(0, 2), (0, 3)]
    scheduler.close()


@pytest.mark.matrix("D18")
def test_what_rests_is_given_back_while_others_are_answered(decoder, monkeypatch):
    monkeypatch.setattr("demo.chat.scheduler.LOOK_SECONDS", 0.0)
    scheduler = Scheduler(decoder, slots=3, running=2, queue=2)
    finish(scheduler.submit(request(100, 101)), decoder)
    rests = decoder.prefills[0][0]
    busy = scheduler.submit(request(200, limit=800))
    settle(lambda: busy.ids, decoder)
    assert decoder.released == []  # it was used just now
    monkeypatch.setattr("demo.chat.scheduler.UNUSED_SECONDS", 0.0)
    settle(lambda: decoder.released, decoder)
    assert decoder.released == [rests] and not busy.done
    finish(busy, decoder)
    scheduler.close()


def test_a_model_that_keeps_nothing_sleeps_until_somebody_asks(decoder, monkeypatch):
    looks: list[int] = []
    monkeypatch.setattr("demo.chat.scheduler.UNUSED_SECONDS", 0.05)
    monkeypatch.setattr("demo.chat.scheduler.LOOK_SECONDS", 0.02)
    monkeypatch.setattr(decoder, "release", lambda gone: looks.append(len(gone)))
    scheduler = Scheduler(decoder, slots=2, running=1, queue=2)
    for _ in range(2):
        time.sleep(0.1)
        before = len(looks)
        time.sleep(0.1)
        assert len(looks) == before
        finish(scheduler.submit(request(100)), decoder)
        settle(lambda: 1 in looks)
        looks.clear()
    scheduler.close()


@pytest.mark.matrix("D18")
def test_in_a_pause_what_was_freed_is_given_back_once(decoder, monkeypatch):
    trimmed: list[int] = []
    monkeypatch.setattr("demo.chat.scheduler.LOOK_SECONDS", 0.02)
    monkeypatch.setattr("demo.chat.scheduler.trim", lambda: trimmed.append(1))
    scheduler = Scheduler(decoder, slots=2, running=1, queue=2)
    for count in (1, 2):
        finish(scheduler.submit(request(100)), decoder)
        settle(lambda count=count: len(trimmed) == count)
    time.sleep(0.2)
    assert len(trimmed) == 2
    scheduler.close()


@pytest.mark.matrix("D18")
def test_a_question_that_nobody_goes_on_from_leaves_its_slot_to_the_next(scheduler, decoder):
    for first in (100, 200, 300):
        finish(scheduler.submit(request(first, first + 1, kept=False)), decoder)
    assert {(slot, start) for slot, start, _ in decoder.prefills} == {(0, 0)}


@pytest.mark.matrix("D16")
def test_closing_ends_all(decoder):
    scheduler = Scheduler(decoder, slots=1, running=1, queue=2)
    streams = [scheduler.submit(request(first, limit=90)) for first in (100, 200)]
    settle(lambda: streams[0].ids)

    def end_the_step() -> None:
        settle(lambda: scheduler._closed)
        decoder.pace.release()

    threading.Thread(target=end_the_step).start()
    scheduler.close()
    assert [str(stream.error) for stream in streams] == [CLOSING, CLOSING]


def test_the_next_turn_computes_only_what_is_new(scheduler, decoder):
    finish(scheduler.submit(request(10, 20, 30, owner="anna")), decoder)
    finish(scheduler.submit(request(500, owner="bert")), decoder)
    # The last token of a reply was never fed back, so it is new as well.
    again = request(10, 20, 30, 31, 32, 33, 34, 35, 40, 50, owner="anna")
    assert finish(scheduler.submit(again), decoder) == [51, 52, 53, 54, 55]
    (first, *_), (other, *_), (slot, start, count) = decoder.prefills
    assert (slot, start, count) == (first, 7, 3) and other != first


@pytest.mark.parametrize(
    ("ids", "prefix", "start"),
    [
        ((10, 20, 99), None, 2),  # an edit: the longest common beginning
        ((10, 20, 30), None, 2),  # a retry: one token is always computed
        ((10, 20, 30, 31, 60), "another adapter", 0),
        ((7, 8), None, 0),
    ],
)
def test_a_changed_beginning_or_prefix_is_noticed(scheduler, decoder, ids, prefix, start):
    finish(scheduler.submit(request(10, 20, 30, owner="anna")), decoder)
    finish(scheduler.submit(request(*ids, owner="anna", prefix=prefix)), decoder)
    assert decoder.prefills[-1][1:] == (start, len(ids) - start)


def test_the_least_recently_used_conversation_gives_way(scheduler, decoder):
    for first, owner in ((10, "anna"), (100, "bert"), (200, "cleo"), (300, "dora")):
        finish(scheduler.submit(request(first, first, owner=owner)), decoder)
    finish(scheduler.submit(request(100, 100, 101, 7, owner="bert")), decoder)
    assert decoder.prefills[-1][1] == 3
    finish(scheduler.submit(request(10, 10, 11, 7, owner="anna")), decoder)
    assert decoder.prefills[-1][1] == 0


def test_long_prompts_are_computed_in_slices_between_steps(scheduler, decoder):
    short = scheduler.submit(request(100, limit=400))
    settle(lambda: short.ids, decoder)
    known = len(short.ids)
    long = scheduler.submit(request(*range(600)))
    settle(lambda: long.ids, decoder)
    assert [row[1:] for row in decoder.prefills[1:]] == [(0, 256), (256, 256), (512, 88)]
    assert len(short.ids) >= known + 2


def test_a_fault_leaves_no_half_written_cache(scheduler, decoder):
    finish(scheduler.submit(request(10, 20, owner="anna")), decoder)
    bad = scheduler.submit(request(13, 20, owner="anna"))
    settle(lambda: bad.done, decoder)
    finish(scheduler.submit(request(10, 20, 21, owner="anna")), decoder)
    assert decoder.prefills[-1][1] == 0


LOGITS = np.array([1.0, 3.0, 2.0, -1.0, 0.0], np.float32)


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def test_temperature_zero_takes_the_largest():
    assert choose(LOGITS, [], Sampling(), generator()) == 1


def test_the_penalty_weakens_what_was_seen_on_either_side_of_zero():
    weaker = penalised(LOGITS, np.array([1, 1, 3]), 2.0)
    assert weaker.tolist() == [1.0, 1.5, 2.0, -2.0, 0.0]
    assert LOGITS[1] == 3.0  # the caller's logits stay
    assert choose(LOGITS, np.array([1]), Sampling(repetition_penalty=2.0), generator()) == 2


@pytest.mark.parametrize(
    ("sampling", "kept"),
    [
        (Sampling(temperature=1), [1, 2, 0, 4, 3]),
        (Sampling(temperature=1, top_k=2), [1, 2]),
        (Sampling(temperature=1, top_p=0.6), [1]),
        (Sampling(temperature=1, top_p=0.7), [1, 2]),
        (Sampling(temperature=1, top_k=3, top_p=1.0), [1, 2, 0]),
        (Sampling(temperature=0.01, top_p=1e-6), [1]),
    ],
)
def test_which_tokens_may_be_drawn(sampling, kept):
    ids, probability = candidates(LOGITS, sampling)
    assert ids.tolist() == kept
    assert probability.sum() == pytest.approx(1)


def test_draws_follow_the_probabilities():
    ids, probability = candidates(LOGITS, Sampling(temperature=1))
    random = generator()
    drawn = [choose(LOGITS, [], Sampling(temperature=1), random) for _ in range(4000)]
    for token, share in zip(ids, probability, strict=True):
        assert drawn.count(token) / 4000 == pytest.approx(share, abs=0.03)


def test_a_seed_decides_the_draws():
    draws = [
        [choose(LOGITS, [], Sampling(temperature=1.5), random) for _ in range(20)]
        for random in (np.random.default_rng(7), np.random.default_rng(7))
    ]
    assert draws[0] == draws[1]


@pytest.mark.matrix("D17", "M1")
def test_a_fault_of_the_loop_itself_ends_in_words_and_not_in_silence(
    scheduler: Scheduler, decoder: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(scheduler._slots, "take", lambda *_: 1 / 0)
        stream = scheduler.submit(request(100))
        settle(lambda: stream.done)
        assert isinstance(stream.error, ZeroDivisionError)
    assert finish(scheduler.submit(request(100)), decoder) == [101, 102, 103, 104, 105]


def test_a_reply_that_goes_round_in_circles_is_known_by_three_rounds_of_some_length() -> None:
    varied = list(range(100))
    assert not repeats(varied) and not repeats([])
    assert not repeats([*varied, *[7] * 59])
    assert repeats([*varied, *[7] * 60])
    line = list(range(25))
    assert not repeats([*varied, *line, *line]) and not repeats([*varied, *line, *line, *line[:-1]])
    assert repeats([*varied, *line, *line, *line])
    assert not repeats([*varied, *line, 9, *line, 9, *line])
    assert not repeats([*[*range(65)] * 4])  # a verse with a refrain may be that long
