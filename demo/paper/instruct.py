"""`python -m demo.paper instruct`: section 4.1 on Alpaca's 52,002 rows, or any like them.

The losses of each epoch stand beside those that the authors logged (their issue 154), which a 7B
base reaches; what 135 M parameters reach is said beside, not instead.
"""

import argparse
from pathlib import Path
from typing import Any

from demo.atomic_file import replace_file
from demo.bench.report import machine
from demo.charts import Line, chart
from demo.finetune.train.evaluate import measure
from demo.finetune.train.loss import FrozenBase
from demo.paper.experiment import Experiment, Trained, paper_tools, train_adapter
from demo.paper.instructions import read_instructions
from demo.paper.published import (
    ALPACA_EPOCHS,
    ALPACA_TRAINING,
    ALPACA_VALIDATION,
    BATCH,
    LAYERS_OF_32,
    PROMPTS,
    RATE,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument("data", type=Path, help="alpaca_data.json, or instructions like it")
    parser.add_argument("--epochs", type=float, default=ALPACA_EPOCHS)
    parser.add_argument("--batch", type=int, default=BATCH, help="rows a step of one process")
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--share", type=float, default=0.1, help="of the rows, held out")
    parser.add_argument("--most", type=int, help="rows to learn, to try it")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="where the curves are drawn")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Teach, and print the losses of each epoch."""
    tools = paper_tools(args.llama)
    data = read_instructions(
        args.data, tools.base.tokenizer, share=args.share, most=args.most, seed=args.seed
    )
    layers = max(1, tools.base.config.layers * LAYERS_OF_32 // 32)
    experiment = Experiment(
        data.train,
        data.held_out,
        args.epochs,
        args.batch,
        args.rate,
        prompts=PROMPTS,
        layers=layers,
        seed=args.seed,
    )
    trained = train_adapter(tools, experiment, args.folder)
    frozen = FrozenBase(tools.model, layers, data.held_out)
    base = measure(frozen, trained.adapter, data.held_out, None, strength=0.0).loss
    found = {
        "machine": machine(),
        "rows": {"train": len(data.train), "held_out": len(data.held_out), "refused": data.refused},
        "parameters": trained.adapter.spec.parameters,
        "layers": layers,
        "curve": [vars(point) for point in trained.curve],
        "held_out_loss_of_the_base": base,
        "seconds": trained.seconds,
        "published": {"train": ALPACA_TRAINING, "held_out": ALPACA_VALIDATION},
    }
    print("\n".join(report_lines(found)))
    if args.svg:
        with replace_file(args.svg) as unfinished:
            unfinished.write_text(drawn(trained), "utf-8")
    return found


def report_lines(found: dict[str, Any]) -> list[str]:
    """Say in lines what was found."""
    rows = found["rows"]
    lines = [
        f"{rows['train']:,} rows to learn, {rows['held_out']:,} held out, {rows['refused']:,} "
        f"refused; {found['parameters']:,} parameters in {found['layers']} layers",
        "epoch   train   held out   exact",
    ]
    for point in found["curve"]:
        train = point["train_loss"]
        shown = "    –" if train is None else f"{train:.3f}"
        lines.append(
            f"{point['epoch']:5.1f}   {shown}   {point['held_out_loss']:8.3f}   "
            f"{point['held_out_exact']:5.1%}"
        )
    train, held_out = found["published"]["train"], found["published"]["held_out"]
    return [
        *lines,
        f"The base alone: {found['held_out_loss_of_the_base']:.3f} held out.",
        f"Published for LLaMA 7B, first to last epoch: train {train[0]} → {train[1]}, held out "
        f"{held_out[0]} → {held_out[1]} (other rows are held out there, so shapes compare).",
    ]


def drawn(trained: Trained) -> str:
    """Draw both losses by epoch."""
    curve = trained.curve
    train = [(p.epoch, p.train_loss) for p in curve if p.train_loss is not None]
    held_out = [(p.epoch, p.held_out_loss) for p in curve]
    lines = [Line("loss", train, dots=True), Line("held-out", held_out, dots=True)]
    alt = "Loss of the rows trained and of those held out, by epoch"
    svg = chart(lines, end=max(1.0, curve[-1].epoch), alt=alt)
    return str(svg).replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
