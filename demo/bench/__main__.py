"""Every figure of this project, as a command: `python -m demo.bench NAME [--json] [--check]`."""

import argparse
import importlib
import sys

BENCHMARKS = {
    "decode": "tokens a second of 1, 4 and 8 sequences, beside peers with --peers",
    "prefill": "tokens a second of a prompt, beside peers with --peers",
    "serve": "many people at once: fairness, visitors who leave, steadiness, second turn",
    "memory": "megabytes with four long conversations, and that the weights are there once",
    "learn": "what the samples teach, and zero-init against open gates with --race",
    "train": "seconds a training step, beside peers with --peers",
    "curve": "the loss of our training beside PEFT's, on the same texts; needs tests/peers.txt",
    "switch": "milliseconds to change the adapter, and what reading everything again costs",
    "startup": "seconds to the page and to the first token, and memory",
    "beside": "time to first token of the chat beside a training, against idle",
    "resume": "bytes that differ once a training was killed again and again, and resumed",
    "photo": "seconds from a 12-megapixel photo to the first word about it",
    "shapes": "exact answers of the adapter `shapes` on easy-VQA's test questions",
    "sight": "what the adapter `sight` names and answers, of pictures it was not taught with",
}


def main() -> int:
    """Runs one benchmark. Exit status 1 when --check finds a bar missed."""
    parser = argparse.ArgumentParser(prog="python -m demo.bench", description=__doc__)
    commands = parser.add_subparsers(dest="name", required=True)
    for name, summary in BENCHMARKS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        command.add_argument("--json", action="store_true", help="print JSON instead of a table")
        command.add_argument("--check", action="store_true", help="exit 1 when a bar is missed")
        if name in sys.argv[1:2]:  # the others would be imported for seconds, and not used
            importlib.import_module(f"demo.bench.{name}").add_arguments(command)
    args = parser.parse_args()
    report = importlib.import_module(f"demo.bench.{args.name}").run(args)
    print(report.to_json() if args.json else report.text())
    if args.check and report.shortfall():
        print(f"missed: {report.shortfall()}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
