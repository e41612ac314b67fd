"""What an adapter of each kind costs of decoding and of reading a prompt, beside the plain base.

All kinds take turns on one decoder and one base, so what else the machine does meets them alike.
Prompts of an adapter are attended to; what changes products adds work of its own to each of them.
"""

import argparse
import statistics
import time
from collections.abc import Callable
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
STEPS, PROMPT = 48, 256
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
    """Decode and read with each kind in turn, and compare medians of the ratios of a turn.

    With `--many` another thing is measured instead: what a folder of a thousand costs.
    """
    settings, base = Settings(), embedded_base()
    if args.many:
        return many_adapters(base, args.files, args.requests, args.starts)
    torch.set_num_threads(settings.threads)
    model = load_llama(base, torch.device("cpu"), settings.context)
    decoder = Decoder(model, SlotSizes(1, settings.context, 16), settings.threads)
    ids = base.tokenizer.encode_text(text_of(base, PROMPT))[:PROMPT]
    values: dict[str, Values] = {"the plain base": (None, None)}
    values |= {name: opened(base, model, changes) for name, changes, _, _ in KINDS}
    decoding: dict[str, list[float]] = {name: [] for name in values}
    reading: dict[str, list[float]] = {name: [] for name in values}
    for turn in range(args.runs + 1):  # the first one compiles and warms
        for name, (prefix, delta) in values.items():
            read = _seconds(partial(decoder.prefill, 0, ids, prefix, delta=delta))
            step = _seconds(partial(_decode, decoder, len(ids)))
            if turn:
                reading[name].append(len(ids) / read)
                decoding[name].append(STEPS / step)
    rows, bars = [], []
    for what, found in (("decoding", decoding), ("a prompt", reading)):
        plain = found["the plain base"]
        rows.append(Figure(f"{what}, the plain base", "tok/s", tuple(plain)))
        for name, _, of_steps, of_prompts in KINDS:
            rows.append(Figure(f"  with {name}", "tok/s", tuple(found[name])))
            cost = statistics.median(a / b - 1 for a, b in zip(plain, found[name], strict=True))
            most = of_steps if found is decoding else of_prompts
            bars.append(Bar(f"{what} with {name}, share slower", cost, most=most))
    return BenchReport("adapters", rows, bars)


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


def _decode(decoder: Decoder, start: int) -> None:
    for position in range(start, start + STEPS):
        decoder.step(np.array([7]), np.array([0]), np.array([position]))


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
