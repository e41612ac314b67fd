"""Speed of decoding, prefill, training steps and adapter switches; the first three beside peers.

Each peer runs in a process of its own, in turn with the others. Switches are measured in process,
on the CPU decoder and the library that replies go through.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from demo.adapter.library import Compatibility, Library
from demo.bench.peers.ours import fill
from demo.bench.peers.peer import PeerProcess, compare
from demo.bench.report import Bar, BenchReport, Figure
from demo.bench.serving import embedded_base, text_of
from demo.llama.base import Base, load_llama
from demo.llama.decoder import Decoder, SlotSizes
from demo.llama.model import Llama, Prefix
from demo.model_loading import MAX_PROMPTS
from demo.settings import Settings

T = TypeVar("T")
TOKENS = 1000
ADAPTERS = 4


def add_switch_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `python -m demo.bench switch`."""
    parser.add_argument("--runs", type=int, default=5, help="switches to each of four adapters")


def run_switch(args: argparse.Namespace) -> BenchReport:
    """Change from one adapter to the next, round and round."""
    settings, base = Settings(), embedded_base()
    torch.set_num_threads(settings.threads)
    model = load_llama(base, torch.device("cpu"), settings.context)
    decoder = Decoder(model, SlotSizes(1, settings.context, MAX_PROMPTS), settings.threads)
    ids = base.tokenizer.encode_text(text_of(base, TOKENS))
    with tempfile.TemporaryDirectory() as folder:
        names = fill(Path(folder), base, ADAPTERS)
        switcher = Switcher(base, model, Library(Path(folder)))
        files = [milliseconds(partial(switcher.prefix, name))[0] for name in names]
        decoder.prefill(0, ids, None)  # compiles, fills caches
        switches, again = [], []
        for name in names * args.runs:
            spent, prefix = milliseconds(partial(switcher.prefix, name))
            placed, _ = milliseconds(partial(decoder.set_prefix, 0, prefix))
            switches.append(spent + placed)
            read, _ = milliseconds(partial(decoder.prefill, 0, ids, prefix))
            again.append(read)
    rows = [
        Figure("the switch: prefix computed and set", "ms", tuple(switches)),
        Figure("  the first time, with its file read", "ms", tuple(files)),
        Figure("reading the conversation again", "ms", tuple(again), f"{len(ids):,} tokens"),
    ]
    return BenchReport("switch", rows, [Bar("the switch itself, ms", rows[0].median, most=10)])


class Switcher:
    """From an adapter's name to its prefix, computed anew each time."""

    def __init__(self, base: Base, model: Llama, library: Library) -> None:
        self._model, self._library = model, library
        self._fit = Compatibility(base.name, base.fingerprint, base.config, None, None)

    def prefix(self, name: str) -> Prefix:
        """Compute the prefix as a reply does that finds another adapter chosen."""
        adapter = self._library.load(self._library.find(name), self._fit)
        return adapter.fixed_prefix(self._model)


def milliseconds(work: Callable[[], T]) -> tuple[float, T]:
    """Return how long it took, and what came out."""
    start = time.perf_counter()
    result = work()
    return 1000 * (time.perf_counter() - start), result


TOP = 8  # layers of the second comparison
TRAIN_PEERS = {
    "peft-bf16": "PEFT AdaptionPrompt, bf16",
    "peft": "PEFT AdaptionPrompt, bitsandbytes 8-bit",
}


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `python -m demo.bench train`."""
    parser.add_argument("--peers", action="store_true", help="compare; needs tests/peers.txt")
    parser.add_argument("--tokens", type=int, default=48, help="of a text")
    parser.add_argument("--batch", type=int, default=16, help="texts a step")
    parser.add_argument("--runs", type=int, default=5, help="steps of each, in turn")


def run_train(args: argparse.Namespace) -> BenchReport:
    """Train an adapter in all layers, then in the top ones, 10 prompts a layer."""
    rows, bars = [], []
    peers = list(TRAIN_PEERS) if args.peers else []
    everywhere = _seconds(args, ["ours", *peers])
    top = _seconds(args, ["ours", *peers[:1]], "--layers", str(TOP))
    for where, measured in (("all layers", everywhere), (f"top {TOP} layers", top)):
        for name, seconds in measured.items():
            rows.append(
                Figure(f"{TRAIN_PEERS.get(name, 'ours, 8-bit')}, {where}", "s/step", seconds)
            )
    if peers:
        mine, bf16, int8, mine_top, bf16_top = (row.median for row in rows)
        bars = [
            Bar("PEFT bf16 / ours", bf16 / mine, least=2),
            Bar("PEFT bitsandbytes 8-bit / ours", int8 / mine, least=3.3),
            Bar(f"PEFT bf16 / ours, top {TOP} layers", bf16_top / mine_top, least=4),
        ]
    return BenchReport("train", rows, bars)


def _seconds(
    args: argparse.Namespace, names: list[str], *flags: str
) -> dict[str, tuple[float, ...]]:
    speeds = compare(names, "train", args.tokens, args.batch, args.runs, *flags)
    count = args.tokens * args.batch
    return {name: tuple(count / speed for speed in runs) for name, runs in speeds.items()}


def decode_beside_busy_process(tokens: int, runs: int) -> BenchReport:
    """Measure one sequence, alone and beside a spinning process in turn.

    A process of ours for each, so that neither profits from what the other's choice of threads has
    learned. The first run beside the neighbour counts, its surprise included.
    """
    command = ["demo.bench.peers.peer", "ours", "decode", str(tokens), "1"]
    alone, beside = PeerProcess("ours", command), PeerProcess("ours", command)
    solo, shared = [], []
    for _ in range(runs):
        solo.append(alone.run()["tokens_per_s"])
        with busy_process():
            shared.append(beside.run()["tokens_per_s"])
    alone.close()
    beside.close()
    rows = [
        Figure("ours, one sequence", "tok/s", tuple(solo)),
        Figure("the same beside a spinning process", "tok/s", tuple(shared)),
    ]
    share = 100 * rows[1].median / rows[0].median
    return BenchReport(
        "neighbour", rows, [Bar("beside a busy process / alone, %", share, least=40)]
    )


@contextmanager
def busy_process() -> Iterator[None]:
    """Keep a process spinning that never sleeps."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


DECODE_OURS = "ours, an adapter active in all layers"
DECODE_PEERS = {
    "llama.cpp": "llama.cpp Q8_0",
    "bitsandbytes": "transformers + bitsandbytes 8-bit",
    "peft": "PEFT AdaptionPrompt + bitsandbytes 8-bit",
}


def add_decode_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `python -m demo.bench decode`."""
    parser.add_argument("--peers", action="store_true", help="compare; needs tests/peers.txt")
    parser.add_argument(
        "--neighbour", action="store_true", help="only one sequence, beside a spinning process"
    )
    parser.add_argument("--tokens", type=int, default=128, help="tokens a run and sequence")
    parser.add_argument("--runs", type=int, default=5, help="runs of each, in turn")


def run_decode(args: argparse.Namespace) -> BenchReport:
    """Measure one sequence beside all peers, then four and eight beside llama.cpp's batch."""
    if args.neighbour:
        return decode_beside_busy_process(args.tokens, args.runs)
    rows, bars = [], []
    peers = list(DECODE_PEERS) if args.peers else []
    single = compare(["ours", *peers], "decode", args.tokens, 1, args.runs)
    for name, speeds in single.items():
        rows.append(Figure(DECODE_PEERS.get(name, DECODE_OURS), "tok/s", speeds))
    mine = rows[0].median
    for (name, label), least in zip(DECODE_PEERS.items(), (1.2, 8, 15), strict=True):
        if name in single:
            place = list(single).index(name)
            bars.append(Bar(f"ours / {label}", mine / rows[place].median, least=least))
    for batch in (4, 8):
        several = compare(["ours", *peers[:1]], "decode", args.tokens, batch, args.runs)
        table = [
            Figure(
                f"{DECODE_PEERS.get(name, DECODE_OURS)}, {batch} sequences",
                "tok/s",
                speeds,
                "in total",
            )
            for name, speeds in several.items()
        ]
        if batch == 4:
            bars.append(Bar("4 sequences / 1 sequence", table[0].median / mine, least=2.0))
            if peers:
                ratio = table[0].median / table[1].median
                bars.append(Bar("4 sequences, ours / llama.cpp", ratio, least=1.25))
        rows += table
    return BenchReport("decode", rows, bars)


def add_prefill_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `python -m demo.bench prefill`."""
    parser.add_argument("--peers", action="store_true", help="compare; needs tests/peers.txt")
    parser.add_argument("--tokens", type=int, default=512, help="tokens of the prompt")
    parser.add_argument("--runs", type=int, default=5, help="runs of each, in turn")


def run_prefill(args: argparse.Namespace) -> BenchReport:
    """Measure one prompt, each peer in turn."""
    names = ["ours", "llama.cpp", "bitsandbytes"] if args.peers else ["ours"]
    speeds = compare(names, "prefill", args.tokens, 1, args.runs)
    rows = [
        Figure(DECODE_PEERS.get(name, DECODE_OURS), "tok/s", runs) for name, runs in speeds.items()
    ]
    bars = []
    if args.peers:
        mine = rows[0].median
        bars = [
            Bar("ours / llama.cpp Q8_0", mine / rows[1].median, least=2),
            Bar("ours / transformers + bitsandbytes", mine / rows[2].median, least=1),
        ]
    return BenchReport("prefill", rows, bars)
