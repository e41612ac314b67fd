"""How well few rows are taught, part by part, by sets that no recipe was chosen by.

    python -m demo.bench teach                          sets of fifteen facts, each by itself
    python -m demo.bench teach --part fifty             fifty facts at once
    python -m demo.bench teach --part rounds            ten rounds of five facts by *teach more*
    python -m demo.bench teach --part identity FILE     LLaMA-Factory's identity.json
    python -m demo.bench teach --part labels FILE …     public texts and labels, 100 rows each

What is taught is asked word for word, and otherwise, in people's own words; then what is near but
was never taught, which must not get a taught answer; then ordinary questions, of which those count
that the plain base answers right. With `--lora` the same rows are taught to LoRA beside it, for as
many seconds.
"""

import argparse
from pathlib import Path

from demo.bench.report import BenchReport
from demo.bench.taught.fact_sets import set_names
from demo.bench.taught.facts import run_fifty, run_sets
from demo.bench.taught.identity import run_identity
from demo.bench.taught.labels import run_labels
from demo.bench.taught.rounds import run_rounds
from demo.finetune.train.config import PRESETS

PARTS = {"sets": "taste"} | dict.fromkeys(("fifty", "rounds", "identity", "labels"), "balanced")


def add_teach_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `python -m demo.bench teach`."""
    names = set_names()
    parser.add_argument("files", nargs="*", type=Path, help="public files: identity's or labels'")
    parser.add_argument("--part", choices=PARTS, default="sets")
    parser.add_argument("--set", action="append", choices=names, help="one or more; else all")
    parser.add_argument("--preset", choices=PRESETS, help="else taste for sets, balanced for more")
    parser.add_argument("--seeds", type=int, default=1, help="so many trainings of each")
    parser.add_argument("--lora", action="store_true", help="LoRA beside it, for as many seconds")
    parser.set_defaults(sets=names)


def run_teach(args: argparse.Namespace) -> BenchReport:
    """Teach one part's rows from each seed and ask everything.

    Raises:
        SystemExit: a file that the part needs is not there.
    """
    preset, seeds = args.preset or PARTS[args.part], args.seeds
    wanted = {"identity": 1, "labels": len(args.files) or 1}.get(args.part, 0)
    if len(args.files) != wanted:
        raise SystemExit(f"--part {args.part} takes {wanted} file{'s' * (wanted != 1)}.")
    for path in args.files:
        if not path.exists():
            raise SystemExit(f"There is no file “{path}”. Please check the path.")
    if args.part == "identity":
        found = run_identity(args.files[0], preset, seeds, lora=args.lora)
    elif args.part == "labels":
        found = run_labels(args.files, preset, seeds, lora=args.lora)
    elif args.part == "rounds":
        found = run_rounds(preset, seeds)
    elif args.part == "fifty":
        found = run_fifty(preset, seeds, lora=args.lora)
    else:
        found = run_sets(args.set or args.sets, preset, seeds, lora=args.lora)
    return BenchReport("teach" if args.part == "sets" else f"teach --part {args.part}", *found)
