"""The paper's own experiments (arXiv 2303.16199), each as one command.

    python -m demo.paper scienceqa problems.json.gz        # Table 2
    python -m demo.paper instruct alpaca_data.json         # section 4.1, the curve of the losses
    python -m demo.paper table3 DATA                       # parameters, storage, time
    python -m demo.paper ablate layers|init|epochs DATA    # Tables 4, 5 and 6, Figure 7
    python -m demo.paper compare DATA                      # replies side by side, and a blind file

Without `--llama` the embedded base of 135 M parameters learns, and the published figure of a 7B
base stands beside; the same commands run with `--llama`, and under `accelerate launch`.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path

from demo.atomic_file import replace_file
from demo.errors import DemoError

COMMANDS = {
    "instruct": "teach instructions, with losses beside the published curve",
    "scienceqa": "ScienceQA by its published rules, beside Table 2 and blind baselines",
    "table3": "parameters, storage and time of an adapter, LoRA and full fine-tuning",
    "ablate": "inserted layers, zero-init attention, epochs",
    "compare": "base, adapter, LoRA, full fine-tuning and a few-shot prompt side by side",
}


def main() -> int:
    """Run one experiment; return 2 where its data cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m demo.paper", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="name", required=True)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if name not in sys.argv[1:2]:  # the others would be imported for seconds, and not used
            continue
        module = importlib.import_module(f"demo.paper.{name}")
        module.add_arguments(command)
        command.add_argument("--llama", help="as in app.py")
        command.add_argument("--json", type=Path, metavar="FILE", help="where the figures are put")
        command.add_argument("--folder", type=Path, help="keeps the training; named again, goes on")
        command.add_argument("--seed", type=int, default=0)
        command.set_defaults(run=module.run)
    args = parser.parse_args()
    try:
        found = args.run(args)
    except DemoError as error:
        print(error, file=sys.stderr)
        return 2
    if found is not None and args.json:
        with replace_file(args.json) as unfinished:
            unfinished.write_text(json.dumps(found, ensure_ascii=False, indent=1), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
