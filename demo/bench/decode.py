"""Tokens a second while decoding, beside llama.cpp, transformers and PEFT with --peers."""

import argparse

from demo.bench.neighbour import neighbour
from demo.bench.report import Bar, Report, Row
from demo.bench.worker import compare

OURS = "ours, an adapter active in all layers"
PEERS = {
    "llama.cpp": "llama.cpp Q8_0",
    "bitsandbytes": "transformers + bitsandbytes 8-bit",
    "peft": "PEFT AdaptionPrompt + bitsandbytes 8-bit",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `python -m demo.bench decode`."""
    parser.add_argument("--peers", action="store_true", help="compare; needs tests/peers.txt")
    parser.add_argument(
        "--neighbour", action="store_true", help="only one sequence, beside a spinning process"
    )
    parser.add_argument("--tokens", type=int, default=128, help="tokens a run and sequence")
    parser.add_argument("--runs", type=int, default=5, help="runs of each, in turn")


def run(args: argparse.Namespace) -> Report:
    """One sequence beside all peers, then four and eight beside llama.cpp's batch."""
    if args.neighbour:
        return neighbour(args.tokens, args.runs)
    rows, bars = [], []
    peers = list(PEERS) if args.peers else []
    single = compare(["ours", *peers], "decode", args.tokens, 1, args.runs)
    for name, speeds in single.items():
        rows.append(Row(PEERS.get(name, OURS), "tok/s", speeds))
    mine = rows[0].median
    for (name, label), least in zip(PEERS.items(), (1.2, 8, 15), strict=True):
        if name in single:
            place = list(single).index(name)
            bars.append(Bar(f"ours / {label}", mine / rows[place].median, least=least))
    for batch in (4, 8):
        several = compare(["ours", *peers[:1]], "decode", args.tokens, batch, args.runs)
        table = [
            Row(f"{PEERS.get(name, OURS)}, {batch} sequences", "tok/s", speeds, "in total")
            for name, speeds in several.items()
        ]
        if batch == 4:
            bars.append(Bar("4 sequences / 1 sequence", table[0].median / mine, least=2.0))
            if peers:
                ratio = table[0].median / table[1].median
                bars.append(Bar("4 sequences, ours / llama.cpp", ratio, least=1.25))
        rows += table
    return Report("decode", rows, bars)
