"""Tokens a second of one sequence, beside llama.cpp and transformers with bitsandbytes."""

import argparse

from demo.bench.report import Bar, Report, Row
from demo.bench.worker import Contestant

NAMES = {
    "ours": "ours, adapter active in all layers",
    "llama.cpp": "llama.cpp Q8_0",
    "bitsandbytes": "transformers + bitsandbytes 8-bit",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `python -m demo.bench decode`."""
    parser.add_argument("--peers", action="store_true", help="compare; needs tests/peers.txt")
    parser.add_argument("--tokens", type=int, default=128, help="tokens a run")
    parser.add_argument("--runs", type=int, default=5, help="runs of each, in turn")


def run(args: argparse.Namespace) -> Report:
    """Runs the contestants in turn, so that a change of the machine meets all of them."""
    names = list(NAMES) if args.peers else ["ours"]
    contestants = [
        Contestant(name, ["demo.bench.contestants", name, str(args.tokens)]) for name in names
    ]
    speeds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(args.runs):
        for contestant in contestants:
            speeds[contestant.name].append(contestant.run()["tokens_per_s"])
    for contestant in contestants:
        contestant.close()
    rows = [Row(NAMES[name], "tok/s", tuple(runs)) for name, runs in speeds.items()]
    bars = []
    if args.peers:
        mine = rows[0].median
        bars = [
            Bar("ours / llama.cpp Q8_0", mine / rows[1].median, least=1.1),
            Bar("ours / transformers + bitsandbytes", mine / rows[2].median, least=8),
        ]
    return Report("decode", rows, bars)
