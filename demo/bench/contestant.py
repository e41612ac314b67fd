"""One contestant's process: `python -m demo.bench.contestant NAME TASK SIZE BATCH`.

Tasks: `decode`, SIZE greedy tokens for each of BATCH sequences; `prefill`, SIZE tokens of a prompt.
Both give tokens a second in total.
"""

import argparse
from typing import Protocol

from demo.bench.worker import serve
from demo.llama.base import open_base
from demo.llama.cache import Base
from demo.llama.chat_template import Message
from demo.settings import Settings

QUESTION = "Write a long story about a lighthouse keeper and the sea."


class Contestant(Protocol):
    """What every contestant can do; seconds are its own."""

    def decode(self, ids: list[int], count: int, batch: int) -> float:
        """Seconds for `count` greedy tokens of each of `batch` sequences after the prompt."""

    def prefill(self, ids: list[int]) -> float:
        """Seconds from a prompt to the logits of its last token."""


def quiet(message: str, share: float | None) -> None:
    """Progress is not wanted here."""


def build(name: str, base: Base, settings: Settings) -> Contestant:
    """Loads a contestant; only its own libraries are imported."""
    if name == "ours":
        from demo.bench.ours import Ours

        return Ours(base, settings)
    if name == "llama.cpp":
        from demo.bench.llama_cpp_peer import LlamaCpp

        return LlamaCpp(settings)
    from demo.bench.transformers_peer import Transformers

    return Transformers(base, settings, adapter=name == "peft")


def main() -> None:
    """Loads, runs once unmeasured, then once for every line on standard input."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=("ours", "llama.cpp", "bitsandbytes", "peft"))
    parser.add_argument("task", choices=("decode", "prefill"))
    parser.add_argument("size", type=int)
    parser.add_argument("batch", type=int)
    args = parser.parse_args()
    settings = Settings()
    base = open_base(None, settings.cache, quiet)
    contestant = build(args.name, base, settings)
    question = base.tokenizer.chat([Message("user", QUESTION)])

    def measure() -> dict[str, float]:
        if args.task == "decode":
            seconds = contestant.decode(question, args.size, args.batch)
        else:
            ids = base.tokenizer.encode_text("The keeper of the light went up. " * args.size)
            seconds = contestant.prefill(ids[: args.size])
        return {"tokens_per_s": args.size * args.batch / seconds}

    measure()  # compiles, fills caches
    serve({"name": args.name}, measure)


if __name__ == "__main__":
    main()
