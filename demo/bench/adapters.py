"""What an adapter of each kind costs of decoding and of reading a prompt, beside the plain base.

All kinds take turns on one decoder and one base, so what else the machine does meets them alike.
Prompts of an adapter are attended to; what changes products adds work of its own to each of them.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from demo.adapter.adapter import Adapter
from demo.adapter.config import AdapterSpec, DeltaSpec
from demo.bench.many_adapters import many_adapters
from demo.bench.report import Bar, BenchReport, Figure
from demo.bench.serving import embedded_base, text_of
from demo.llama.base import Base, load_llama
from demo.llama.decoder import Decoder, SlotSizes
from demo.llama.delta import Delta
from demo.llama.model import Llama, Prefix
from demo.settings import Settings

Values = tuple[Prefix | None, Delta | None]
STEPS, PROMPTS, PROMPT = 48, 6, 256
STEP, READING, PLAIN = "decoding", "a prompt", "the plain base"
# Kind, what it changes, and how much slower than the base it may be, decoding and reading.
KINDS: tuple[tuple[str, dict[str, bool | int] | None, float, float], ...] = (
    ("prompts", None, 0.05, 0.03),
    ("prompts, biases and norms", {"bias": True, "norms": True}, 0.08, 0.08),
    ("prompts and LoRA 16", {"rank": 16}, 0.15, 0.15),
)


def add_adapters_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `python -m demo.bench adapters`."""
    parser.add_argument("--runs", type=int, default=7, help="turns that each kind takes")
    parser.add_argument("--many", action="store_true", help="only starts and requests with many")
    parser.add_argument("--files", type=int, default=1_000, help="how many adapters are many")
    parser.add_argument("--requests", type=int, default=10_000, help="evenly over all of them")
    parser.add_argument("--starts", type=int, default=3, help="starts with few and with many")


def run_adapters(args: argparse.Namespace) -> BenchReport:
    """Decode and read with each kind in turn, token by token, and compare what each takes.

    With `--many` another thing is measured instead: what a folder of a thousand costs.
    """
    settings, base = Settings(), embedded_base()
    if args.many:
        return many_adapters(base, args.files, args.requests, args.starts)
    torch.set_num_threads(settings.threads)
    model = load_llama(base, torch.device("cpu"), settings.context)
    ids = base.tokenizer.encode_text(text_of(base, PROMPT))[:PROMPT]
    values: dict[str, Values] = {PLAIN: (None, None)}
    values |= {name: opened(base, model, changes) for name, changes, _, _ in KINDS}
    decoder = Decoder(model, SlotSizes(len(values), settings.context, 16), settings.threads)
    times = {what: {name: list[float]() for name in values} for what in (STEP, READING)}
    for turn in range(args.runs + 1):  # the first one compiles and warms
        for what, found in zip(times, one_turn(decoder, ids, values), strict=True):
            for name, seconds in found.items():
                times[what][name] += [undisturbed(seconds)] if turn else []
    rows, bars = [], []
    for what, tokens in ((STEP, 1), (READING, len(ids))):
        plain = times[what][PLAIN]
        for name, kind in times[what].items():
            speeds = tuple(tokens / seconds for seconds in kind)
            label = f"{what}, {name}" if name == PLAIN else f"  with {name}"
            note = f"at a load of {os.getloadavg()[0]:.0f}" if name == PLAIN else ""
            rows.append(Figure(label, "tok/s", speeds, note))
        for name, _, of_steps, of_prompts in KINDS:
            # Within a turn: with the load, the decoder changes the threads that it works with.
            pairs = zip(times[what][name], plain, strict=True)
            cost = statistics.median(slow / fast - 1 for slow, fast in pairs)
            most = of_steps if what == STEP else of_prompts
            bars.append(Bar(f"{what} with {name}, share slower", cost, most=most))
    return BenchReport("adapters", rows, bars)


def one_turn(
    decoder: Decoder, ids: list[int], values: dict[str, Values]
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Read a prompt with each kind, then step with each in turn → seconds of steps and prompts."""
    reading: dict[str, list[float]] = {name: [] for name in values}
    for _ in range(PROMPTS):
        for slot, (name, (prefix, delta)) in enumerate(values.items()):
            read = partial(decoder.prefill, slot, ids, prefix, delta=delta)
            reading[name].append(_seconds(read))
    steps: dict[str, list[float]] = {name: [] for name in values}
    for place in range(len(ids), len(ids) + STEPS):
        for slot, name in enumerate(values):
            column = (np.array([number]) for number in (7, slot, place))
            steps[name].append(_seconds(partial(decoder.step, *column)))
    return steps, reading


def undisturbed(seconds: Sequence[float]) -> float:
    """Give the first decile: what else the machine does only ever adds to a time."""
    return float(np.quantile(seconds, 0.1))


def opened(base: Base, model: Llama, changes: dict[str, bool | int] | None) -> Values:
    """Make a random adapter with open gates; its values."""
    torch.manual_seed(0)
    delta = DeltaSpec.for_base(base.config, **changes) if changes else None  # type: ignore[arg-type]
    layers = base.config.layers
    adapter = Adapter(AdapterSpec.for_base(base.config, layers=layers, prompts=10, delta=delta))
    torch.nn.init.constant_(adapter.gate, 0.1)
    for part in adapter.changes.parameters() if adapter.changes else ():
        torch.nn.init.normal_(part, 0, 1e-3)
    return adapter.fixed_prefix(model), adapter.fixed_delta(model)


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
