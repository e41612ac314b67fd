"""Changing the adapter of a conversation: the change itself, and reading the text again with it.

In process, on the CPU decoder and the library that replies go through.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from demo.adapter.library import Fit, Library
from demo.bench.adapters import fill
from demo.bench.report import Bar, Report, Row
from demo.bench.served import embedded_base, text_of
from demo.llama.cache import Base
from demo.llama.decode import Decoder, SlotSizes
from demo.llama.model import Llama, Prefix
from demo.models import MAX_PROMPTS, load_llama
from demo.settings import Settings

T = TypeVar("T")
TOKENS = 1000
ADAPTERS = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `python -m demo.bench switch`."""
    parser.add_argument("--runs", type=int, default=5, help="switches to each of four adapters")


def run(args: argparse.Namespace) -> Report:
    """From one adapter to the next, round and round."""
    settings, base = Settings(), embedded_base()
    torch.set_num_threads(settings.threads)
    model = load_llama(base, torch.device("cpu"), settings.context)
    decoder = Decoder(model, SlotSizes(1, settings.context, MAX_PROMPTS), settings.threads)
    ids = base.tokenizer.encode_text(text_of(base, TOKENS))
    with tempfile.TemporaryDirectory() as folder:
        names = fill(Path(folder), base, ADAPTERS)
        switcher = Switcher(base, model, Library(Path(folder)))
        files = [milliseconds(lambda name=name: switcher.prefix(name))[0] for name in names]
        decoder.prefill(0, ids, None)  # compiles, fills caches
        switches, again = [], []
        for name in names * args.runs:
            spent, prefix = milliseconds(lambda name=name: switcher.prefix(name))
            placed, _ = milliseconds(lambda prefix=prefix: decoder.set_prefix(0, prefix))
            switches.append(spent + placed)
            read, _ = milliseconds(lambda prefix=prefix: decoder.prefill(0, ids, prefix))
            again.append(read)
    rows = [
        Row("the switch: prefix computed and set", "ms", tuple(switches)),
        Row("  the first time, with its file read", "ms", tuple(files)),
        Row("reading the conversation again", "ms", tuple(again), f"{len(ids):,} tokens"),
    ]
    return Report("switch", rows, [Bar("the switch itself, ms", rows[0].median, most=10)])


class Switcher:
    """From an adapter's name to its prefix, computed anew each time."""

    def __init__(self, base: Base, model: Llama, library: Library) -> None:
        self._model, self._library = model, library
        self._fit = Fit(base.name, base.fingerprint, base.config, None, None)

    def prefix(self, name: str) -> Prefix:
        """What a reply does that finds another adapter chosen."""
        adapter, _ = self._library.get(name, self._fit)
        return adapter.fixed_prefix(self._model)


def milliseconds(work: Callable[[], T]) -> tuple[float, T]:
    """How long it took, and what came out."""
    start = time.perf_counter()
    result = work()
    return 1000 * (time.perf_counter() - start), result
