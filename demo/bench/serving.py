"""Many people at once: a reply beside long ones, disconnects, minutes of load, a second turn.

All but the second turn are measured on `python app.py` from outside, over its endpoints, with
several random adapters. The second turn runs in process, on the runtime that the page uses: over
`/chat` every question is a conversation of its own.
"""

import argparse
import itertools
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from gradio_client import Client

from demo.bench.app_process import (
    ask,
    cores_in_use,
    join,
    program,
    resident,
    wait_for_page,
    wait_until_ready,
)
from demo.bench.peers.ours import fill
from demo.bench.report import Bar, BenchReport, Figure
from demo.chat.conversation import Conversation, ReplyStats
from demo.llama.base import Base, open_base
from demo.runtime import Runtime
from demo.settings import Sampling, Settings

ADAPTERS = 4


@dataclass(frozen=True)
class RunningApp:
    """A running program."""

    base: Base
    url: str
    pid: int
    adapters: list[str]  # one for each of four visitors


@contextmanager
def running_app(base: Base) -> Iterator[RunningApp]:
    """Run the program with its defaults but for the folder of adapters; end it afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        names = fill(Path(folder), base, ADAPTERS)
        with program("--adapters", folder) as (process, url):
            wait_for_page(process, url)
            wait_until_ready(url)
            yield RunningApp(base, url, process.pid, names)


def embedded_base() -> Base:
    """Return the embedded base, converted if that was never done."""
    return open_base(None, Settings().cache, lambda message, share: None)


def text_of(base: Base, tokens: int) -> str:
    """Return a message of about so many tokens, never more."""
    sentence = "The keeper of the light went up, looked at the sea and wrote down what he saw. "
    each = len(base.tokenizer.encode_text(sentence * 10)) / 10
    return sentence * int(tokens / each)


TOKENS = 1000
SHORT = Sampling(max_new_tokens=12)


def second_turn(base: Base, runs: int) -> tuple[list[Figure], list[Bar]]:
    """Measure the time to first token of a second turn; then of the same turn with another adapter.

    Another adapter makes every kept key and value wrong, so the second time all is prefilled.
    """
    with loaded_runtime(base) as (runtime, adapters):
        cached_and_full_prefill(
            runtime, adapters, text_of(base, TOKENS)
        )  # both prefixes are known from here on
        pairs = [
            cached_and_full_prefill(runtime, adapters, text_of(base, TOKENS)) for _ in range(runs)
        ]
    kept, whole, tokens = zip(*pairs, strict=True)
    note = f"{max(tokens):,.0f} tokens with the second turn"
    rows = [
        Figure("first token of a second turn", "s", kept, note),
        Figure("  the same with everything prefilled", "s", whole),
    ]
    share = 100 * rows[0].median / rows[1].median
    return rows, [Bar("second turn / prefilling it all, %", share, most=20)]


def cached_and_full_prefill(
    runtime: Runtime, adapters: list[str], text: str
) -> tuple[float, float, int]:
    """Return seconds with the kept keys and values, seconds without, and the prompt's tokens."""
    conversation, (own, other, *_) = Conversation(), adapters
    conversation.ask(text)
    answer(runtime, conversation, own)
    conversation.ask("What happened on the next day?")
    kept = answer(runtime, conversation, own)
    conversation.retry()
    whole = answer(runtime, conversation, other)
    return kept, whole, stats_of(conversation).prompt_tokens


def answer(runtime: Runtime, conversation: Conversation, adapter: str) -> float:
    """Answer the last turn; return the seconds until its first token."""
    for _ in runtime.replies.write(conversation, adapter=adapter, sampling=SHORT):
        pass
    return stats_of(conversation).first_token_s


def stats_of(conversation: Conversation) -> ReplyStats:
    """Return what the last reply cost.

    Raises:
        SystemExit: there is none, because it ended in an error.
    """
    turn = conversation.turns[-1]
    if turn.stats is None:
        raise SystemExit(f"“{turn.text[:60]}” got no reply.")
    return turn.stats


@contextmanager
def loaded_runtime(base: Base) -> Iterator[tuple[Runtime, list[str]]]:
    """Open a loaded runtime and the names of its random adapters."""
    with tempfile.TemporaryDirectory() as folder:
        names = fill(Path(folder), base, 2)
        runtime = Runtime(replace(Settings(), adapters=Path(folder)))
        runtime.start()
        while (state := runtime.status().state) == "loading":
            time.sleep(0.1)
        if state == "failed":
            raise SystemExit("The model could not be loaded.")
        try:
            yield runtime, names
        finally:
            runtime.close()


LONG = (
    "Write a long story about a lighthouse keeper and the sea.",
    "Tell me a very long story about a dragon and a village.",
    "Explain in great detail how bread is made, step by step.",
)
LONG_TOKENS = 400
LONG_PATIENCE = 60.0  # seconds until a long reply must have begun
SHORT_QUESTION = "Name some animals of the forest."


def latency_beside_long_replies(program: RunningApp, runs: int) -> tuple[list[Figure], list[Bar]]:
    """Ask for a reply of 20 tokens while three of 400 tokens stream."""
    short_beside_long(program)  # what is loaded with the first words is loaded
    waits, wholes, margins, lengths = zip(
        *(short_beside_long(program) for _ in range(runs)), strict=True
    )
    note = f"the long ones have {min(lengths)} to {max(lengths)} tokens"
    rows = [
        Figure("20-token reply beside three of 400: first word", "s", waits, note),
        Figure("  the whole of it", "s", wholes),
        Figure("  ended before the first long one by", "s", margins),
    ]
    bars = [
        Bar("20-token reply begins, s, the slowest", max(waits), most=0.5),
        Bar("20-token reply ends before the long ones by, s, the closest", min(margins), least=0),
    ]
    return rows, bars


def short_beside_long(program: RunningApp) -> tuple[float, float, float, int]:
    """Return seconds to the first word, to the whole reply, and on to the first long one's end.

    The last is the tokens of the shortest of the long replies.
    """
    began = [threading.Event() for _ in LONG]
    *others, last = program.adapters
    with ThreadPoolExecutor(len(LONG)) as pool:
        long = [
            pool.submit(
                ask, program.url, text, began=event, adapter=name, max_new_tokens=LONG_TOKENS
            )
            for text, event, name in zip(LONG, began, others, strict=True)
        ]
        for event in began:
            event.wait(LONG_PATIENCE)
        short = ask(program.url, SHORT_QUESTION, adapter=last, max_new_tokens=20)
        replies = [future.result() for future in long]
    end = min(reply.last for reply in replies)
    tokens = min(len(program.base.tokenizer.encode_text(reply.text)) for reply in replies)
    return short.wait, short.last - short.asked, end - short.last, tokens


CLIENTS = 8
WARM = 0.2  # share of the time in which caches fill
EACH = 0.5  # seconds between two looks at the memory
AskedQuestion = tuple[str, str, int]  # message, adapter, tokens


@dataclass
class Tally:
    """What the clients saw; every change is one append, so no lock is needed."""

    good: list[AskedQuestion] = field(default_factory=list)
    other: list[AskedQuestion] = field(default_factory=list)  # not the text of the solo run
    failed: list[str] = field(default_factory=list)


def sustained_load(program: RunningApp, minutes: float) -> tuple[list[Figure], list[Bar]]:
    """Hold eight clients' greedy replies against what the same question was answered alone."""
    questions = list(itertools.product((*LONG, SHORT_QUESTION), program.adapters, (20, 60)))
    clients = [Client(program.url, verbose=False) for _ in range(CLIENTS)]
    alone = {question: reply(clients[0], question) for question in questions}
    tally, stop = Tally(), threading.Event()
    with ThreadPoolExecutor(CLIENTS) as pool:
        for number, client in enumerate(clients):
            turn = questions[number * 3 :] + questions[: number * 3]
            pool.submit(visit, client, turn, alone, tally, stop)
        samples = watch(program.pid, 60 * minutes)
        stop.set()
    count = len(tally.good) + len(tally.other) + len(tally.failed)
    note = f"{count} replies to {CLIENTS} clients in {minutes:g} min"
    if tally.failed:
        note += f"; first failure: {tally.failed[0][:80]}"
    growth = slope(samples[int(len(samples) * WARM) :])
    rows = [
        Figure("replies that failed", "", (float(len(tally.failed)),), note),
        Figure("replies unlike their solo run", "", (float(len(tally.other)),)),
        Figure(
            "memory growth after warm-up", "MB/min", (growth,), f"{samples[-1][1]:.0f} MB at last"
        ),
    ]
    bars = [
        Bar("replies as in their solo run", len(tally.good), least=1),
        Bar("replies that failed", len(tally.failed), most=0),
        Bar("replies unlike their solo run", len(tally.other), most=0),
        Bar("memory growth, MB/min", growth, most=1),
    ]
    return rows, bars


def reply(client: Client, question: AskedQuestion) -> str:
    """Return one greedy reply."""
    message, adapter, tokens = question
    return client.predict(message, adapter=adapter, max_new_tokens=tokens, api_name="/chat")


def visit(
    client: Client,
    questions: Sequence[AskedQuestion],
    alone: dict[AskedQuestion, str],
    tally: Tally,
    stop: threading.Event,
) -> None:
    """Ask one question after the other until told to stop, and count what comes back."""
    for question in itertools.cycle(questions):
        if stop.is_set():
            return
        try:
            same = reply(client, question) == alone[question]
            (tally.good if same else tally.other).append(question)
        except Exception as error:  # whatever a visitor meets is a failure to be counted
            tally.failed.append(f"{type(error).__name__}: {error}")
            time.sleep(0.1)


def watch(pid: int, seconds: float) -> list[tuple[float, float]]:
    """Return (minutes, megabytes resident), sampled for so long."""
    start, samples = time.monotonic(), []
    while (now := time.monotonic() - start) < seconds:
        samples.append((now / 60, resident(pid)))
        time.sleep(EACH)
    return samples


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """Return the megabytes a minute, by least squares."""
    return statistics.linear_regression(*zip(*samples, strict=True)).slope


VISITORS = 50
STAY = 0.5  # seconds
PATIENCE = 30.0  # seconds that the last visitor goes on trying
IDLE = 0.2  # cores that a program without visitors uses at most


def disconnects(program: RunningApp) -> tuple[list[Figure], list[Bar]]:
    """Let fifty leave after half a second, all at once; one more asks and stays."""
    with ThreadPoolExecutor(VISITORS) as pool:
        refused = list(pool.map(lambda number: leave(program, number), range(VISITORS))).count(True)
    seconds, tries = ask_until_answered(program)
    cores = cores_in_use(program.pid, 2.0)
    note = f"{refused} of them were refused at once; the last one asked {tries} times"
    rows = [
        Figure(f"20-token reply after {VISITORS} who left", "s", (seconds,), note),
        Figure("  cores in use afterwards", "", (cores,)),
    ]
    bars = [
        Bar("reply after the abandoned ones, s", seconds, most=5),
        Bar("cores in use once all is answered", cores, most=IDLE),
    ]
    return rows, bars


def leave(program: RunningApp, number: int) -> bool:
    """Ask for a long reply and close the connection; say whether it was refused."""
    adapter = program.adapters[number % len(program.adapters)]
    message = LONG[number % len(LONG)]
    try:
        stream = join(program.url, "chat", message=message, adapter=adapter, max_new_tokens=400)
    except OSError:
        return True
    time.sleep(STAY)
    stream.close()
    return False


def ask_until_answered(program: RunningApp) -> tuple[float, int]:
    """Return the seconds until a short reply is whole, and how often it was asked for.

    The first tries may still meet the queue that those who left have not quite given back.
    """
    start, tries = time.perf_counter(), 0
    while True:
        tries += 1
        try:
            reply = ask(program.url, LONG[0], adapter=program.adapters[0], max_new_tokens=20)
        except (OSError, RuntimeError):
            if time.perf_counter() - start > PATIENCE:
                raise
            time.sleep(0.1)
            continue
        return reply.last - start, tries


def add_serve_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `python -m demo.bench serve`."""
    parser.add_argument("--runs", type=int, default=5, help="runs of fairness and second turn")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long eight clients stay")


def run_serve(args: argparse.Namespace) -> BenchReport:
    """Measure one start of the program for its visitors, then the second turn in process."""
    base = embedded_base()
    rows: list[Figure] = []
    bars: list[Bar] = []
    with running_app(base) as program:
        parts = [
            latency_beside_long_replies(program, args.runs),
            disconnects(program),
            sustained_load(program, args.minutes),
        ]
    parts.append(second_turn(base, args.runs))
    for some_rows, some_bars in parts:
        rows += some_rows
        bars += some_bars
    return BenchReport("serve", rows, bars)
