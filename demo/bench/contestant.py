"""One contestant's process: `python -m demo.bench.contestant NAME TASK SIZE BATCH`.

Tasks: `decode`, SIZE greedy tokens for each of BATCH sequences; `prefill`, SIZE tokens of a prompt;
`train`, one step on BATCH texts of SIZE tokens. All give tokens a second in total.
"""

import argparse
from typing import Protocol

from demo.bench.worker import serve
from demo.llama.base import open_base
from demo.llama.cache import Base
from demo.llama.chat_template import Message
from demo.settings import Settings

NAMES = ("ours", "llama.cpp", "bitsandbytes", "peft", "peft-bf16")
REPLY = 16  # tokens of a text that are taught; the rest is the question
QUESTION = "Write a long story about a lighthouse keeper and the sea."


class Contestant(Protocol):
    """What every contestant can do; seconds are its own."""

    def decode(self, ids: list[int], count: int, batch: int) -> float:
        """Seconds for `count` greedy tokens of each of `batch` sequences after the prompt."""

    def prefill(self, ids: list[int]) -> float:
        """Seconds from a prompt to the logits of its last token."""

    def train(self, texts: list[list[int]], reply: int) -> float:
        """Seconds for one step that learns the last `reply` tokens of texts of one length."""


def quiet(message: str, share: float | None) -> None:
    """Progress is not wanted here."""


def build(name: str, base: Base, settings: Settings, layers: int) -> Contestant:
    """Loads a contestant; only its own libraries are imported."""
    if name == "ours":
        from demo.bench.ours import Ours

        return Ours(base, settings, layers)
    if name == "llama.cpp":
        from demo.bench.llama_cpp_peer import LlamaCpp

        return LlamaCpp(settings)
    from demo.bench.transformers_peer import Transformers

    adapted = layers if name.startswith("peft") else 0
    return Transformers(base, settings, layers=adapted, int8=name != "peft-bf16")


def main() -> None:
    """Loads, runs once unmeasured, then once for every line on standard input."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("task", choices=("decode", "prefill", "train"))
    parser.add_argument("size", type=int)
    parser.add_argument("batch", type=int)
    parser.add_argument("--layers", type=int, help="that have an adapter; all by default")
    args = parser.parse_args()
    settings = Settings()
    base = open_base(None, settings.cache, quiet)
    contestant = build(args.name, base, settings, args.layers or base.config.layers)
    question = base.tokenizer.chat([Message("user", QUESTION)])

    def measure() -> dict[str, float]:
        text = base.tokenizer.encode_text("The keeper of the light went up. " * args.size)
        if args.task == "decode":
            seconds = contestant.decode(question, args.size, args.batch)
        elif args.task == "prefill":
            seconds = contestant.prefill(text[: args.size])
        else:
            # No two alike: what several texts share might be computed once.
            texts = [text[start:][: args.size] for start in range(args.batch)]
            seconds = contestant.train(texts, REPLY)
        return {"tokens_per_s": args.size * args.batch / seconds}

    measure()  # compiles, fills caches
    serve({"name": args.name}, measure)


if __name__ == "__main__":
    main()
