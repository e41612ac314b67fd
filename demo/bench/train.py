"""A training step beside PEFT's AdaptionPrompt, the other implementation of the same paper."""

import argparse

from demo.bench.report import Bar, Report, Row
from demo.bench.worker import compare

TOP = 8  # layers of the second comparison
PEERS = {
    "peft-bf16": "PEFT AdaptionPrompt, bf16",
    "peft": "PEFT AdaptionPrompt, bitsandbytes 8-bit",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `python -m demo.bench train`."""
    parser.add_argument("--peers", action="store_true", help="compare; needs tests/peers.txt")
    parser.add_argument("--tokens", type=int, default=48, help="of a text")
    parser.add_argument("--batch", type=int, default=16, help="texts a step")
    parser.add_argument("--runs", type=int, default=5, help="steps of each, in turn")


def run(args: argparse.Namespace) -> Report:
    """An adapter in all layers, then in the top ones, 10 prompts a layer."""
    rows, bars = [], []
    peers = list(PEERS) if args.peers else []
    everywhere = _seconds(args, ["ours", *peers])
    top = _seconds(args, ["ours", *peers[:1]], "--layers", str(TOP))
    for where, measured in (("all layers", everywhere), (f"top {TOP} layers", top)):
        for name, seconds in measured.items():
            rows.append(Row(f"{PEERS.get(name, 'ours, 8-bit')}, {where}", "s/step", seconds))
    if peers:
        mine, bf16, int8, mine_top, bf16_top = (row.median for row in rows)
        bars = [
            Bar("PEFT bf16 / ours", bf16 / mine, least=2),
            Bar("PEFT bitsandbytes 8-bit / ours", int8 / mine, least=3.3),
            Bar(f"PEFT bf16 / ours, top {TOP} layers", bf16_top / mine_top, least=4),
        ]
    return Report("train", rows, bars)


def _seconds(
    args: argparse.Namespace, names: list[str], *flags: str
) -> dict[str, tuple[float, ...]]:
    speeds = compare(names, "train", args.tokens, args.batch, args.runs, *flags)
    count = args.tokens * args.batch
    return {name: tuple(count / speed for speed in runs) for name, runs in speeds.items()}
