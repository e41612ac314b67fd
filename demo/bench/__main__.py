"""Every figure of this project, as a command: `python -m demo.bench NAME [--json] [--check]`."""

import argparse
import importlib
import sys
from collections.abc import Callable
from typing import Any

BENCHMARKS = {  # by command: the module that measures it, and what it prints
    "decode": ("speed", "tokens a second of 1, 4 and 8 sequences, beside peers with --peers"),
    "prefill": ("speed", "tokens a second of a prompt, beside peers with --peers"),
    "serve": (
        "serving",
        "many people at once: fairness, visitors who leave, steadiness, second turn",
    ),
    "memory": (
        "footprint",
        "megabytes with four long conversations, and that the weights are there once",
    ),
    "kv": (
        "kv_bits",
        "what 16 bits for keys and values cost and give, beside 32",
    ),
    "learn": ("learning", "what the samples teach, and zero-init against open gates with --race"),
    "teach": (
        "teach",
        "facts as taught, asked otherwise, near but untaught, and what else changes",
    ),
    "train": ("speed", "seconds a training step, beside peers with --peers"),
    "curve": (
        "learning",
        "the loss of our training beside PEFT's, on the same texts; needs tests/peers.txt",
    ),
    "adapters": (
        "adapters",
        "what prompts, biases and norms, and LoRA cost of decoding and of reading a prompt; "
        "with --many, what a thousand adapters in the folder cost",
    ),
    "switch": (
        "speed",
        "milliseconds to change the adapter, and what reading everything again costs",
    ),
    "startup": ("footprint", "seconds to the page and to the first token, and memory"),
    "beside": (
        "latency_during_training",
        "time to first token of the chat beside a training, against idle",
    ),
    "resume": (
        "resume",
        "bytes that differ once a training was killed again and again, and resumed",
    ),
    "photo": ("footprint", "seconds from a 12-megapixel photo to the first word about it"),
    "page": (
        "page",
        "seconds and bytes until the page, a long chat, a thousand chats are there, in Chromium",
    ),
    "shapes": ("vqa", "exact answers of the adapter `shapes` on easy-VQA's test questions"),
    "sampling": (
        "sampling",
        "replies that loop, are cut or wrong, of 100 prompts under several ways of drawing",
    ),
    "sight": (
        "sight",
        "what the adapter `sight` names and answers, of pictures it was not taught with",
    ),
}


def main() -> int:
    """Run one benchmark; return 1 when --check finds a bar missed."""
    parser = argparse.ArgumentParser(prog="python -m demo.bench", description=__doc__)
    commands = parser.add_subparsers(dest="name", required=True)
    for name, (module, summary) in BENCHMARKS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        command.add_argument("--json", action="store_true", help="print JSON instead of a table")
        command.add_argument("--check", action="store_true", help="exit 1 when a bar is missed")
        if name in sys.argv[1:2]:  # the others would be imported for seconds, and not used
            _function(module, f"add_{name}_arguments")(command)
    args = parser.parse_args()
    report = _function(BENCHMARKS[args.name][0], f"run_{args.name}")(args)
    print(report.to_json() if args.json else report.text())
    if args.check and report.shortfall():
        print(f"missed: {report.shortfall()}")
        return 1
    return 0


def _function(module: str, name: str) -> Callable[..., Any]:
    """Return a function of a module of this package, imported when it is asked for."""
    return getattr(importlib.import_module(f"demo.bench.{module}"), name)


if __name__ == "__main__":
    sys.exit(main())
