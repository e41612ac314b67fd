"""Tokens a second while reading a prompt, beside llama.cpp and transformers with --peers."""

import argparse

from demo.bench.decode import OURS, PEERS
from demo.bench.report import Bar, Report, Row
from demo.bench.worker import compare


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `python -m demo.bench prefill`."""
    parser.add_argument("--peers", action="store_true", help="compare; needs tests/peers.txt")
    parser.add_argument("--tokens", type=int, default=512, help="tokens of the prompt")
    parser.add_argument("--runs", type=int, default=5, help="runs of each, in turn")


def run(args: argparse.Namespace) -> Report:
    """One prompt, each contestant in turn."""
    names = ["ours", "llama.cpp", "bitsandbytes"] if args.peers else ["ours"]
    speeds = compare(names, "prefill", args.tokens, 1, args.runs)
    rows = [Row(PEERS.get(name, OURS), "tok/s", runs) for name, runs in speeds.items()]
    bars = []
    if args.peers:
        mine = rows[0].median
        bars = [
            Bar("ours / llama.cpp Q8_0", mine / rows[1].median, least=2),
            Bar("ours / transformers + bitsandbytes", mine / rows[2].median, least=1),
        ]
    return Report("prefill", rows, bars)
