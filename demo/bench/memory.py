"""What the default program holds in memory while four long conversations live in it."""

import argparse
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from demo.bench.client import Answer, ask
from demo.bench.program import peak_memory
from demo.bench.report import Bar, Report, Row
from demo.bench.served import Served, embedded_base, served, text_of
from demo.llama.cache import WEIGHTS

TOKENS = 1000
REPLY = 100
MB = 1024  # kilobytes, the kernel's unit


@dataclass(frozen=True)
class Mappings:
    """Megabytes of some mappings of a process, as `/proc/PID/smaps` has them."""

    resident: float
    dirty: float  # of them private and changed: this process's own, nobody shares them


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `python -m demo.bench memory`: none of its own."""


def run(args: argparse.Namespace) -> Report:
    """Four visitors at once on `python app.py`, each with 1,000 tokens and its own adapter."""
    base = embedded_base()
    with served(base):
        pass  # a first start compiles the kernels, which takes memory that later ones do not
    with served(base) as program:
        before = peak_memory(program.pid)
        replies = converse(program, text_of(base, TOKENS))
        peak = peak_memory(program.pid)
        text = Path(f"/proc/{program.pid}/smaps").read_text()
    together = min(reply.last for reply in replies) - max(reply.first for reply in replies)
    weights, everything = mappings(text, WEIGHTS), mappings(text, "")
    note = f"{len(replies)} conversations of {TOKENS:,} tokens, written side by side"
    rows = [
        Row("peak memory", "MB", (peak,), f"{note} for {together:.1f} s"),
        Row("  the same before the first message", "MB", (before,)),
        Row("  private and changed", "MB", (everything.dirty,)),
        Row("weights, mapped from the cache file", "MB", (weights.resident,)),
        Row("  of them private and changed", "MB", (weights.dirty,)),
    ]
    bars = [
        Bar("peak resident, MB", peak, most=1600),
        Bar("weights in use from the cache file, MB", weights.resident, least=100),
        Bar("weights copied by being changed, MB", weights.dirty, most=1),
    ]
    return Report("memory", rows, bars)


def converse(program: Served, text: str) -> list[Answer]:
    """One conversation an adapter, all at once; each stays in memory when its reply has ended."""

    def one(adapter: str) -> Answer:
        return ask(program.url, text, adapter=adapter, max_new_tokens=REPLY)

    with ThreadPoolExecutor(len(program.adapters)) as pool:
        return list(pool.map(one, program.adapters))


def mappings(smaps: str, name: str) -> Mappings:
    """All mappings whose file ends with `name`; "" takes every one."""
    resident = dirty = 0
    for block in re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", smaps, flags=re.MULTILINE)[1:]:
        header, *lines = block.splitlines()
        if header.rstrip().endswith(name):
            sizes = dict(line.split(":", 1) for line in lines if line.endswith(" kB"))
            resident += int(sizes["Rss"].split()[0])
            dirty += int(sizes["Private_Dirty"].split()[0])
    return Mappings(resident / MB, dirty / MB)
