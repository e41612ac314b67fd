"""Teaches an adapter from the command line.

    python -m demo.finetune DATA --preset balanced --out NAME

prints the events of the run as JSON lines and puts the adapter among the others under NAME. DATA is
a file, a folder, the id of a data set of the Hub, or the name of a sample; it may have any size.

    accelerate launch --num_processes N -m demo.finetune DATA …

shares one run among N processes on one machine: each computes `--batch` rows of a step.

    python -m demo.finetune DATA --check [--json]

reads and checks the data and stops: what would be taught, what is refused and why. `--question`,
`--answer` and the like name the columns where their own names do not say it. What a
page asked for is carried out by `runs/process.py`.

    python -m demo.finetune --recipe caption --data FOLDER --captions captions_train2017.json \\
        --llama LLAMA --clip ViT-L-14:openai --out NAME

teaches to see as the authors did, through the resampler and all tokens of the tower; `--recipe
instruct` with LLaVA's conversations. Features are kept in a file of the run (0.4 MB a picture at
ViT-L/14), not in memory.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import zipfile
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.errors import DataError, DemoError, InputError
from demo.finetune.data.dataset import AIMS
from demo.finetune.runs.process import carry_out
from demo.finetune.runs.run_folder import RunFolder, RunRequest
from demo.finetune.train.config import PRESETS, PROJECTORS, TrainingOptions, presets
from demo.settings import Settings

if TYPE_CHECKING:
    from demo.finetune.data.columns import Layout
    from demo.finetune.data.table import Table
    from demo.finetune.train.workers import Workers

MOST_NAMED = 24  # columns in a message
COLUMNS = {  # flags that name columns, and what `Layout` calls them
    "question": "question",
    "answer": "reply",
    "input": "input",
    "picture": "picture",
    "system": "system",
    "conversations": "chat",
    "history": "history",
    "options": "options",
    "split": "split",
    "text": "text",
}
RECIPES: dict[str, dict[str, Any]] = {  # what the authors did, where no flag says otherwise
    "caption": {"projector": "resampler", "aim": "style", "prompts": 10},
    "instruct": {"projector": "resampler", "aim": "task", "prompts": 10},
}
FIELDS = frozenset(item.name for item in fields(TrainingOptions))


def teach(arguments: list[str]) -> int:
    """Carry out `DATA --out NAME` in a folder of its own; put the adapter among the others."""
    args = parse(arguments)
    from demo.finetune.data.samples import SAMPLES

    chosen = {name: value for name, value in vars(args).items() if name in FIELDS}
    sample = args.data if args.data in SAMPLES and not Path(args.data).exists() else ""
    workers = _workers()
    if workers and not workers.first:
        place = workers.told(None)  # once the first process has made the run
        return carry_out(RunFolder(place), show=False, workers=workers) if place else 0
    with contextlib.ExitStack() as stack:
        place = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if not sample:
            args.data = _found(args, place)
        return _teach(args, sample, place, chosen, workers)


def _workers() -> "Workers | None":
    """Return the processes that `accelerate launch` started with this one; None for one alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    from demo.finetune.train.workers import join

    return join()


def _found(args: argparse.Namespace, place: Path) -> Path:
    """Find the data: a file, a folder, or what is fetched from the Hub into the run's folder.

    Raises:
        InputError: there is no such file.
        DataError: there is no such data set on the Hub.
    """
    from demo.finetune.data.hub import fetch_rows, is_hub_id

    for path in (args.pictures, args.held_out_data):
        if path and not path.exists():
            raise InputError(f"There is no file “{path}”. Please check the path.")
    if Path(args.data).exists():
        return Path(args.data)
    if not is_hub_id(args.data):
        raise InputError(f"There is no file “{args.data}”. Please check the path.")

    def progress(message: str, share: float | None) -> None:
        print(message, file=sys.stderr)

    return fetch_rows(args.data, place / "hub", progress, rows=args.rows)


def _teach(
    args: argparse.Namespace,
    sample: str,
    place: Path,
    chosen: dict[str, Any],
    workers: "Workers | None",
) -> int:
    """Check the data, or carry out a run with it in the folder `place`."""
    from demo.adapter.library import publish
    from demo.finetune.data.samples import SAMPLES

    pictures = bool(args.pictures) or (
        SAMPLES[sample].kind == "pictures"
        if sample
        else args.data.is_dir() or zipfile.is_zipfile(args.data)
    )
    choices = replace(
        presets(pictures=pictures)[args.preset],
        **RECIPES.get(args.recipe, {}),
    )
    choices = replace(choices, **{n: value for n, value in chosen.items() if value is not None})
    settings = Settings(llama=args.llama, clip=args.clip, adapters=args.adapters)
    layout = None
    if args.check or any(getattr(args, f"{flag}_column") for flag in COLUMNS):
        table, layout = _read(args, sample)
        if args.check:
            if workers:
                workers.told(None)
            return _check(args, table, layout, choices, settings)
    folder = RunFolder(place)
    if not (place / "run.json").exists():
        request = RunRequest(
            "",
            args.out,
            choices,
            settings,
            args.description,
            layout=layout,
            sample=sample,
            pictures=str(args.pictures.resolve()) if args.pictures else "",
        )
        folder.create(request, None if sample else args.data, held_out=args.held_out_data)
    done = folder.read().state == "done"
    if workers:
        workers.told(None if done else place)
    code = 0 if done else carry_out(folder, show=True, workers=workers)
    if folder.adapter.exists():
        print(publish(folder.adapter, args.adapters, args.out), file=sys.stderr)
    return code or int(folder.read().state not in ("done", "stopped"))


def _read(args: argparse.Namespace, sample: str) -> tuple["Table", "Layout"]:
    """Read the table, and say which of its columns means what.

    Raises:
        DataError: it cannot be read, or neither its names nor the flags say what they mean.
    """
    from demo.finetune.data.column_doubts import why_unknown
    from demo.finetune.data.columns import choose
    from demo.finetune.data.read import read_table, with_pictures
    from demo.finetune.data.samples import load_sample
    from demo.finetune.data.table import NO_LIMITS, excerpt

    table = load_sample(sample) if sample else read_table(args.data, args.data.name, NO_LIMITS)
    if args.pictures:
        table = with_pictures(table, args.pictures)
    named = {field: getattr(args, f"{flag}_column") for flag, field in COLUMNS.items()}
    named["options"] = tuple(filter(None, (named["options"] or "").split(",")))
    layout = choose(table, named)
    if layout is None:
        names = ", ".join(map(excerpt, table.columns[:MOST_NAMED]))
        if len(table.columns) > MOST_NAMED:
            names += f" and {len(table.columns) - MOST_NAMED:,} more"
        raise DataError(
            f"{why_unknown(table.columns)} The columns are {names}. Name them with --question NAME "
            "--answer NAME."
        )
    return table, layout


def _check(
    args: argparse.Namespace,
    table: "Table",
    layout: "Layout",
    choices: TrainingOptions,
    settings: Settings,
) -> int:
    """Print what would be taught. Returns the exit code: 2 where nothing can be."""
    from demo.finetune.data.read import read_table
    from demo.finetune.data.summary import as_text, summarise
    from demo.finetune.data.table import NO_LIMITS
    from demo.finetune.runs.setup import check_settings
    from demo.llama.base import open_base

    base = open_base(settings.llama, settings.cache, lambda message, share: None)
    second = args.held_out_data
    held_out = second and read_table(second, second.name, NO_LIMITS)
    found = summarise(table, layout, base.tokenizer, check_settings(choices), held_out)
    print(json.dumps(found, ensure_ascii=False, indent=1) if args.json else as_text(found))
    return 2 if found["error"] else 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the flags; those of `TrainingOptions` are None where the preset decides."""
    parser = argparse.ArgumentParser(prog="python -m demo.finetune", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="?",
        help="a file, a folder, a data set of the Hub (owner/name:configuration), or a sample",
    )
    parser.add_argument("--out", metavar="NAME", help="of the adapter")
    parser.add_argument("--check", action="store_true", help="read and check the data, and stop")
    parser.add_argument("--json", action="store_true", help="with --check: print JSON")
    parser.add_argument("--description", default="")
    parser.add_argument("--preset", choices=PRESETS, default="balanced")
    for item in fields(TrainingOptions):
        flag = f"--{item.name.replace('_', '-')}"
        if item.name == "projector":
            parser.add_argument(flag, choices=PROJECTORS, help="what of a picture is projected")
        elif item.name == "aim":
            parser.add_argument(flag, choices=(*AIMS, "auto"), help="what the rows teach")
        elif item.type is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction)
        else:
            parser.add_argument(flag, type=item.type)
    for flag, field in COLUMNS.items():
        several = "columns, with commas between" if field == "options" else "column"
        parser.add_argument(
            f"--{flag}", dest=f"{flag}_column", metavar="COLUMN", help=f"the {several}"
        )
    parser.add_argument(
        *("--pictures", "--data"),
        dest="pictures",
        type=Path,
        metavar="FOLDER",
        help="where a table's pictures lie",
    )
    parser.add_argument("--recipe", choices=RECIPES, help="what the authors of the paper did")
    parser.add_argument("--captions", metavar="FILE", help="the same as DATA")
    parser.add_argument("--rows", type=int, metavar="N", help="of each part of a Hub data set")
    parser.add_argument("--held-out-data", type=Path, help="a second table, only to judge by")
    parser.add_argument("--llama", help="as in app.py")
    parser.add_argument("--clip", help="as in app.py")
    parser.add_argument("--adapters", type=Path, default=Settings.adapters)
    parser.add_argument("--folder", type=Path, help="keeps the run here; named again, it goes on")
    args = parser.parse_args(arguments)
    args.data = args.data or args.captions
    if args.data is None:
        parser.error("the following arguments are required: DATA (or --captions)")
    if args.out is None and not args.check:
        parser.error("the following arguments are required: --out (or --check)")
    return args


def main() -> int:
    """Do what the command line asks for and return the exit code."""
    arguments = sys.argv[1:]
    try:
        return teach(arguments)
    except DemoError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
