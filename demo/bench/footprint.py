"""What the default program costs, measured on `python app.py` from outside.

`memory`: megabytes while four long conversations live in it. `photo`: the time from a 12-megapixel
photo to the first word about it. `startup`: the time of a second start to the page and to the first
token.
"""

import argparse
import re
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gradio_client import Client, handle_file
from PIL import Image

from demo.bench.app_process import (
    TimedAnswer,
    ask,
    peak_memory,
    program,
    wait_for_page,
    wait_until_ready,
)
from demo.bench.report import Bar, BenchReport, Figure
from demo.bench.serving import RunningApp, embedded_base, running_app, text_of
from demo.llama.base import WEIGHTS

TOKENS = 1000
REPLY = 100
MB = 1024  # kilobytes, the kernel's unit


@dataclass(frozen=True)
class Mappings:
    """Megabytes of some mappings of a process, as `/proc/PID/smaps` has them."""

    resident: float
    dirty: float  # of them private and changed: this process's own, nobody shares them


def add_memory_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `python -m demo.bench memory`, which has none of its own."""


def run_memory(args: argparse.Namespace) -> BenchReport:
    """Measure `python app.py` with four visitors, each with 1,000 tokens and an own adapter."""
    base = embedded_base()
    with running_app(base):
        pass  # a first start compiles the kernels, which takes memory that later ones do not
    with running_app(base) as program:
        before = peak_memory(program.pid)
        replies = converse(program, text_of(base, TOKENS))
        peak = peak_memory(program.pid)
        text = Path(f"/proc/{program.pid}/smaps").read_text()
    together = min(reply.last for reply in replies) - max(reply.first for reply in replies)
    weights, everything = mappings(text, WEIGHTS), mappings(text, "")
    note = f"{len(replies)} conversations of {TOKENS:,} tokens, written side by side"
    rows = [
        Figure("peak memory", "MB", (peak,), f"{note} for {together:.1f} s"),
        Figure("  the same before the first message", "MB", (before,)),
        Figure("  private and changed", "MB", (everything.dirty,)),
        Figure("weights, mapped from the cache file", "MB", (weights.resident,)),
        Figure("  of them private and changed", "MB", (weights.dirty,)),
    ]
    bars = [
        Bar("peak resident, MB", peak, most=1600),
        Bar("weights in use from the cache file, MB", weights.resident, least=100),
        Bar("weights copied by being changed, MB", weights.dirty, most=1),
    ]
    return BenchReport("memory", rows, bars)


def converse(program: RunningApp, text: str) -> list[TimedAnswer]:
    """Hold one conversation an adapter, all at once; each stays in memory after its reply."""

    def one(adapter: str) -> TimedAnswer:
        return ask(program.url, text, adapter=adapter, max_new_tokens=REPLY)

    with ThreadPoolExecutor(len(program.adapters)) as pool:
        return list(pool.map(one, program.adapters))


def mappings(smaps: str, name: str) -> Mappings:
    """Sum the mappings whose file ends with `name`; "" takes every one."""
    resident = dirty = 0
    for block in re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", smaps, flags=re.MULTILINE)[1:]:
        header, *lines = block.splitlines()
        if header.rstrip().endswith(name):
            sizes = dict(line.split(":", 1) for line in lines if line.endswith(" kB"))
            resident += int(sizes["Rss"].split()[0])
            dirty += int(sizes["Private_Dirty"].split()[0])
    return Mappings(resident / MB, dirty / MB)


SIZE = 4000, 3000


def add_photo_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `python -m demo.bench photo`."""
    parser.add_argument("--runs", type=int, default=5, help="photos, none like another")


def run_photo(args: argparse.Namespace) -> BenchReport:
    """Measure the time to the first word, sending and reading the file included."""
    with tempfile.TemporaryDirectory() as folder:
        photos = [
            made_up(Path(folder) / f"{number}.jpg", number) for number in range(args.runs + 1)
        ]
        size = photos[0].stat().st_size / 2**20
        seconds = first_words(photos)[1:]
    row = Figure("first word about a photo", "s", seconds, f"JPEG of {size:.1f} MB")
    return BenchReport("photo", [row], [Bar("first word about a photo, s", row.median, most=0.7)])


def first_words(photos: list[Path]) -> tuple[float, ...]:
    """Return the seconds from sending each photo to the first word about it."""
    with program() as (process, url):
        wait_for_page(process, url)
        wait_until_ready(url)
        client = Client(url, verbose=False)
        return tuple(_first_word(client, photo) for photo in photos)


def _first_word(client: Client, photo: Path) -> float:
    start = time.perf_counter()
    picture = handle_file(photo)
    job = client.submit("What is this?", picture, max_new_tokens=8, api_name="/chat")
    next(text for text in job if text)
    seconds = time.perf_counter() - start
    job.result()
    return seconds


def made_up(path: Path, seed: int) -> Path:
    """Write a photo of nothing, as large as a telephone's: soft colours with fine grain."""
    chance = np.random.default_rng(seed)
    colours = Image.fromarray(chance.integers(0, 256, (12, 16, 3), np.uint8))
    soft = np.asarray(colours.resize(SIZE, Image.Resampling.BICUBIC), np.int16)
    grain = chance.integers(-6, 7, (SIZE[1], SIZE[0], 1), np.int16)
    Image.fromarray((soft + grain).clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return path


def add_startup_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `python -m demo.bench startup`."""
    parser.add_argument("--runs", type=int, default=3, help="starts that are measured")


def run_startup(args: argparse.Namespace) -> BenchReport:
    """Start the program once to fill its caches, then measures."""
    starts = [measure() for _ in range(args.runs + 1)][1:]
    served, token, memory = zip(*starts, strict=True)
    rows = [
        Figure("page served", "s", served),
        Figure("first token", "s", token),
        Figure("peak memory", "MB", memory, "resident, after the first reply"),
    ]
    bars = [
        Bar("page served, s", rows[0].median, most=5),
        Bar("first token, s", rows[1].median, most=12),
    ]
    return BenchReport("startup", rows, bars)


def measure() -> tuple[float, float, float]:
    """Return seconds until the page, seconds until the first token, peak megabytes."""
    start = time.perf_counter()
    with program() as (process, url):
        wait_for_page(process, url)
        served = time.perf_counter() - start
        client = Client(url, verbose=False)
        job = client.submit(message="Say hello.", max_new_tokens=8, api_name="/chat")
        next(text for text in job if text)
        token = time.perf_counter() - start
        job.result()
        return served, token, peak_memory(process.pid)
