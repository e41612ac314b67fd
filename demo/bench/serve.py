"""Many people at once: fairness, visitors who leave, minutes of company, a second turn.

All but the second turn are measured on `python app.py` from outside, over its endpoints.
"""

import argparse

from demo.bench.abandoned import abandoned
from demo.bench.fairness import fairness
from demo.bench.report import Bar, Report, Row
from demo.bench.second_turn import second_turn
from demo.bench.served import embedded_base, served
from demo.bench.steadiness import steadiness


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `python -m demo.bench serve`."""
    parser.add_argument("--runs", type=int, default=5, help="runs of fairness and second turn")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long eight clients stay")


def run(args: argparse.Namespace) -> Report:
    """One start of the program for its visitors, then the second turn in process."""
    base = embedded_base()
    rows: list[Row] = []
    bars: list[Bar] = []
    with served(base) as program:
        parts = [
            fairness(program, args.runs),
            abandoned(program),
            steadiness(program, args.minutes),
        ]
    parts.append(second_turn(base, args.runs))
    for some_rows, some_bars in parts:
        rows += some_rows
        bars += some_bars
    return Report("serve", rows, bars)
