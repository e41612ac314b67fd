"""Teaches an adapter from the command line.

    python -m demo.finetune DATA --preset balanced --out NAME

prints the events of the run as JSON lines and puts the adapter among the others under NAME. The
program itself starts `run FOLDER` and `estimate FOLDER` for what a page asked for.

This is a program, not a part of one: it alone in this folder puts parts of all layers together.
Nothing heavy is imported before the guardian is forked.
"""

import argparse
import contextlib
import logging
import os
import signal
import sys
import tempfile
import zipfile
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from demo.errors import DemoError
from demo.finetune.events import Event, Stage, to_json
from demo.finetune.guardian import guard
from demo.finetune.presets import PRESETS, Choices, presets
from demo.finetune.run_folder import Request, RunFolder
from demo.settings import Settings

if TYPE_CHECKING:
    from demo.finetune.job import Tools

NICENESS = 10
FIELDS = frozenset(item.name for item in fields(Choices))
POSITIONS = 1024  # an example and a reply to a question as long
SLOTS = 3  # questions answered at once


def build(settings: Settings, prompts: int) -> "Tools":
    """Opens the base as the program has it, with the same number of threads in every start."""
    import torch
    from accelerate import Accelerator

    from demo.finetune.job import Tools
    from demo.llama.base import open_base
    from demo.llama.decode import Decoder, SlotSizes
    from demo.llama.torch_decode import TorchDecoder
    from demo.models import choose_device, load_llama, load_tower

    # Under `accelerate launch` each process gets a device of its own.
    device = Accelerator(cpu=choose_device(settings.device).type == "cpu").device
    # Sums of matrices depend on it, and a resumed run must end in the same bytes.
    torch.set_num_threads(settings.threads)
    base = open_base(settings.llama, settings.cache, lambda message, share: None)
    model = load_llama(base, device, POSITIONS)
    sizes = SlotSizes(SLOTS, POSITIONS, prompts)
    on_cpu = device.type == "cpu"
    decoder = Decoder(model, sizes, settings.threads) if on_cpu else TorchDecoder(model, sizes)
    return Tools(base, model, decoder, SLOTS, lambda: load_tower(settings))


def run(folder: RunFolder, *, show: bool) -> int:
    """Carries out one run in this process; `show` prints its events → exit code."""
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda got, frame: asked.append(got))
    from demo.finetune.job import Job

    def echo(event: Event) -> None:
        if show:
            print(to_json(event), flush=True)

    # Another process may still be ending in it.
    with folder.lock().acquire(timeout=10):
        return Job(folder, build, lambda: bool(asked), echo).run()


def run_child(path: Path) -> int:
    """What the program starts: at low priority, and never longer than the program lives."""
    guard(sys.stdin.fileno())
    print("guarded", flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on
    os.nice(NICENESS)
    logging.basicConfig()
    return run(RunFolder(path), show=False)


def estimate_child(path: Path) -> int:
    """What the program starts to know what a run will need; one event on the standard output."""
    guard(sys.stdin.fileno())
    print("guarded", flush=True)
    os.nice(NICENESS)
    logging.basicConfig()
    from demo.finetune.job import estimate_run

    try:
        print(to_json(estimate_run(RunFolder(path), build)), flush=True)
    except DemoError as error:
        print(to_json(Stage("failed", str(error))), flush=True)
    return 0


def teach(arguments: list[str]) -> int:
    """`DATA --out NAME`: a run in a folder of its own, then the adapter among the others."""
    args = parse(arguments)
    from demo.finetune.publish import publish
    from demo.finetune.samples import SAMPLES

    chosen = {name: value for name, value in vars(args).items() if name in FIELDS}
    sample = args.data if args.data in SAMPLES and not Path(args.data).exists() else ""
    pictures = SAMPLES[sample].kind == "pictures" if sample else zipfile.is_zipfile(args.data)
    choices = replace(
        presets(pictures=pictures)[args.preset],
        **{n: value for n, value in chosen.items() if value is not None},
    )
    settings = Settings(llama=args.llama, clip=args.clip, adapters=args.adapters)
    with contextlib.ExitStack() as stack:
        place = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = RunFolder(place)
        if not (place / "run.json").exists():
            request = Request("", args.out, choices, settings, args.description, sample=sample)
            data = None if sample else Path(args.data)
            folder.create(request, data, held_out=args.held_out_data)
        code = 0 if folder.read().state == "done" else run(folder, show=True)
        if folder.adapter.exists():
            print(publish(folder.adapter, args.adapters, args.out), file=sys.stderr)
        return code or int(folder.read().state not in ("done", "stopped"))


def parse(arguments: list[str]) -> argparse.Namespace:
    """The flags; those of `Choices` are None where the preset decides."""
    parser = argparse.ArgumentParser(prog="python -m demo.finetune", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("data", metavar="DATA", help="a file, or the name of a sample")
    parser.add_argument("--out", required=True, metavar="NAME", help="of the adapter")
    parser.add_argument("--description", default="")
    parser.add_argument("--preset", choices=PRESETS, default="balanced")
    for item in fields(Choices):
        flag = f"--{item.name.replace('_', '-')}"
        if item.type is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction)
        else:
            parser.add_argument(flag, type=item.type)
    parser.add_argument("--held-out-data", type=Path, help="a second table, only to judge by")
    parser.add_argument("--llama", help="as in app.py")
    parser.add_argument("--clip", help="as in app.py")
    parser.add_argument("--adapters", type=Path, default=Settings.adapters)
    parser.add_argument("--folder", type=Path, help="keeps the run here; named again, it goes on")
    return parser.parse_args(arguments)


def main() -> int:
    """Exit code of the process."""
    arguments = sys.argv[1:]
    if len(arguments) == 2 and arguments[0] == "run":
        return run_child(Path(arguments[1]))
    if len(arguments) == 2 and arguments[0] == "estimate":
        return estimate_child(Path(arguments[1]))
    try:
        return teach(arguments)
    except DemoError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
