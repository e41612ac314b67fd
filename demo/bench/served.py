"""The real program with several adapters, ready, for the benchmarks that are about its visitors."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo.bench.adapters import fill
from demo.bench.client import wait_until_ready
from demo.bench.program import program, wait_for_page
from demo.llama.base import open_base
from demo.llama.cache import Base
from demo.settings import Settings

ADAPTERS = 4


@dataclass(frozen=True)
class Served:
    """A running program."""

    base: Base
    url: str
    pid: int
    adapters: list[str]  # one for each of four visitors


@contextmanager
def served(base: Base) -> Iterator[Served]:
    """Everything but the folder of adapters as it is by default; ended afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        names = fill(Path(folder), base, ADAPTERS)
        with program("--adapters", folder) as (process, url):
            wait_for_page(process, url)
            wait_until_ready(url)
            yield Served(base, url, process.pid, names)


def embedded_base() -> Base:
    """The embedded base, converted if that was never done."""
    return open_base(None, Settings().cache, lambda message, share: None)


def text_of(base: Base, tokens: int) -> str:
    """A message of about so many tokens, never more."""
    sentence = "The keeper of the light went up, looked at the sea and wrote down what he saw. "
    each = len(base.tokenizer.encode_text(sentence * 10)) / 10
    return sentence * int(tokens / each)
