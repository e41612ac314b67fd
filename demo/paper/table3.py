"""`python -m demo.paper table3`: what an adapter, LoRA and full fine-tuning cost, in one run.

The same rows, the same order, the same batch and epochs; the held-out loss of each stands beside,
as a cheap way that learns nothing would be no gain.
"""

import argparse
from pathlib import Path
from typing import Any

from demo.adapter.adapter import Adapter
from demo.bench.report import machine
from demo.finetune.train.evaluate import measure
from demo.finetune.train.loss import FrozenBase
from demo.paper.experiment import Experiment, paper_tools, train_adapter
from demo.paper.instructions import read_instructions
from demo.paper.published import COSTS, RATE
from demo.paper.whole import (
    FULL_RATE,
    LORA_RATE,
    Taught,
    held_out_loss,
    teach_model,
    untaught,
    with_lora,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument("data", type=Path, help="instructions and replies")
    parser.add_argument("--epochs", type=float, default=1)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--most", type=int, help="rows to learn")
    parser.add_argument("--without-lora", action="store_true", help="where PEFT is not installed")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Teach three times, and print the table."""
    tools = paper_tools(args.llama)
    data = read_instructions(args.data, tools.base.tokenizer, most=args.most, seed=args.seed)
    experiment = Experiment(
        data.train, data.held_out, args.epochs, args.batch, RATE, seed=args.seed
    )
    trained = train_adapter(tools, experiment, args.folder)
    adapter: Adapter = trained.adapter
    frozen = FrozenBase(tools.model, adapter.spec.layers, data.held_out)
    off, on = (measure(frozen, adapter, data.held_out, None, strength=s).loss for s in (0.0, 1.0))
    rows: dict[str, dict[str, float]] = {
        "base alone": {"parameters": 0, "bytes": 0, "seconds": 0.0, "held_out_loss": off},
        "adapter": {
            "parameters": adapter.spec.parameters,
            "bytes": 4 * adapter.spec.parameters,
            "seconds": trained.seconds,
            "held_out_loss": on,
        },
    }
    if not args.without_lora:
        taught = teach_model(with_lora(tools.base, args.seed), experiment, LORA_RATE)
        rows["LoRA"] = _row(taught, experiment)
    rows["full fine-tuning"] = _row(
        teach_model(untaught(tools.base), experiment, FULL_RATE), experiment
    )
    found = {
        "machine": machine(),
        "rows": {"train": len(data.train), "held_out": len(data.held_out)},
        "epochs": args.epochs,
        "costs": rows,
        "published": dict(COSTS),
    }
    print("\n".join(report_lines(found)))
    return found


def _row(taught: Taught, experiment: Experiment) -> dict[str, float]:
    return {
        "parameters": taught.parameters,
        "bytes": taught.bytes,
        "seconds": taught.seconds,
        "held_out_loss": held_out_loss(taught.model, experiment.held_out),
    }


def report_lines(found: dict[str, Any]) -> list[str]:
    """Say in lines what was found, with the paper's Table 3 below."""
    lines = [f"{'':<18}{'parameters':>14}{'storage':>12}{'time':>10}{'held out':>10}"]
    for name, row in found["costs"].items():
        lines.append(
            f"{name:<18}{row['parameters']:>14,}{row['bytes'] / 2**20:>9.2f} MB"
            f"{row['seconds']:>8.1f} s{row['held_out_loss']:>10.3f}"
        )
    published = (f"  {name}: {', '.join(row)}" for name, row in found["published"].items())
    return [
        *lines,
        "The adapter is timed with the evaluations of each epoch, the others without.",
        "Published, LLaMA 7B on eight A100 (arXiv 2303.16199, Table 3):",
        *published,
    ]
