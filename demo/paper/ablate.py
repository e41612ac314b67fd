"""`python -m demo.paper ablate layers|init|epochs`: Tables 4, 5 and 6, and Figure 7.

On ScienceQA's problems without a picture, or on easy-VQA, which comes with the program. Every
setting is trained from several seeds, and their spread is printed beside the mean.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

from demo.atomic_file import replace_file
from demo.bench.report import machine
from demo.charts import Line, chart
from demo.errors import InputError
from demo.finetune.data.read import read_table
from demo.finetune.data.table import NO_LIMITS
from demo.finetune.runs.job import Tools, begin
from demo.finetune.runs.run_folder import RunFolder, RunRequest
from demo.finetune.train.config import presets
from demo.paper.experiment import Experiment, Trained, paper_tools, train_adapter
from demo.paper.published import EPOCHS, INIT, LAYERS
from demo.paper.scienceqa import encoded, parts_of
from demo.settings import Settings

KINDS = ("layers", "init", "epochs")
JUDGED = 200  # of easy-VQA's test questions
STYLE = (
    "<style>.chart{font:11px sans-serif;background:#fff}path{fill:none;stroke-width:2}"
    ".a{stroke:#0f766e}.b{stroke:#b45309}.c{stroke:#6d28d9}.grid{stroke:#e5e7eb}"
    "text{fill:#6b7280}text.y{text-anchor:end}</style>"
)


@dataclass(frozen=True)
class Variant:
    """One setting of an ablation, and what the paper reports for its own."""

    name: str
    experiment: Experiment
    published: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("data", help="easy-vqa, or ScienceQA's problems.json")
    parser.add_argument("--steps", type=int, default=100, help="of easy-VQA's trainings")
    parser.add_argument("--epochs", type=float, default=4, help="of ScienceQA's trainings")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=9e-3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--most", type=int, help="problems of each part, to try it")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="where the curves are drawn")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Learn every setting from every seed, and print the table."""
    if args.seeds < 1:
        raise InputError("Please use at least one seed.")
    tools, experiment = _experiment(args)
    found: dict[str, Any] = {"machine": machine(), "kind": args.kind, "settings": {}}
    curves: dict[str, list[Trained]] = {}
    for variant in variants(args.kind, experiment, tools.base.config.layers):
        trained = [
            train_adapter(
                tools, replace(variant.experiment, seed=args.seed + n), _place(args, variant, n)
            )
            for n in range(args.seeds)
        ]
        curves[variant.name] = trained
        found["settings"][variant.name] = summary(trained) | {"published": variant.published}
    print("\n".join(report_lines(found)))
    if args.svg:
        with replace_file(args.svg) as unfinished:
            unfinished.write_text(drawn(args.kind, curves), "utf-8")
    return found


def variants(kind: str, experiment: Experiment, layers: int) -> list[Variant]:
    """Return the settings of a table: those of the paper, as shares of what this base has."""
    if kind == "init":
        return [
            Variant("zero-init", experiment, f"{INIT['zero']}"),
            Variant("random-init", replace(experiment, zero_init=False), f"{INIT['random']}"),
        ]
    if kind == "layers":
        return [
            Variant(
                f"{count} of {layers} layers",
                replace(experiment, layers=count),
                f"{accuracy} with {of} of 32",
            )
            for of, accuracy in LAYERS.items()
            for count in [max(1, round(layers * of / 30))]
        ]
    return [
        Variant(
            f"{experiment.epochs * of / 30:g} epochs",
            replace(experiment, epochs=experiment.epochs * of / 30),
            f"{row[2]} after {of}, losses {row[0]} and {row[1]}",
        )
        for of, row in EPOCHS.items()
    ]


def summary(trained: Sequence[Trained]) -> dict[str, Any]:
    """Return the mean and the spread over seeds, of the end of each curve."""
    last = [each.curve[-1] for each in trained]
    exact = [100 * point.held_out_exact for point in last]
    return {
        "parameters": trained[0].adapter.spec.parameters,
        "accuracy": [round(value, 2) for value in exact],
        "mean": round(mean(exact), 2),
        "spread": round(max(exact) - min(exact), 2),
        "train_loss": round(mean(p.train_loss or 0.0 for p in last), 4),
        "held_out_loss": round(mean(p.held_out_loss for p in last), 4),
        "curves": [[vars(point) for point in each.curve] for each in trained],
    }


def report_lines(found: Mapping[str, Any]) -> list[str]:
    """Say in lines what was found, with the paper's figure beside."""
    lines = []
    for name, row in found["settings"].items():
        seeds = ", ".join(f"{value:.1f}" for value in row["accuracy"])
        lines.append(
            f"{name:<18} {row['mean']:6.2f} % exact (seeds {seeds}; spread {row['spread']:.1f}), "
            f"loss {row['train_loss']:.3f} trained, {row['held_out_loss']:.3f} held out, "
            f"{row['parameters']:,} parameters; published for 7B: {row['published']}"
        )
    return lines


def drawn(kind: str, curves: Mapping[str, Sequence[Trained]]) -> str:
    """Draw the held-out part by step: accuracy, or the losses of Figure 7 for the epochs."""
    lines, end = [], 1.0
    for colour, trained in zip("abc", curves.values(), strict=False):
        for each in trained:
            spots = [
                (float(p.step), p.held_out_loss if kind == "epochs" else p.held_out_exact)
                for p in each.curve
            ]
            lines.append(Line(colour, spots))
            end = max(end, spots[-1][0])
    what = "Held-out loss" if kind == "epochs" else "Share of held-out replies that are exact"
    alt = f"{what} by step: {', '.join(curves)}"
    shown = chart(lines, end=end, alt=alt, top=None if kind == "epochs" else 1.0)
    head = str(shown).replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    at = head.index(">") + 1
    return head[:at] + STYLE + head[at:] + "\n"


def _experiment(args: argparse.Namespace) -> tuple[Tools, Experiment]:
    """Return the base and what every setting learns."""
    if args.data == "easy-vqa":
        return _easy_vqa(args)
    if not Path(args.data).is_file():
        raise InputError(f"There is no file “{args.data}”. Please give problems.json or easy-vqa.")
    tools = paper_tools(args.llama)
    table = read_table(Path(args.data), "problems", NO_LIMITS)
    parts = parts_of(table, pictured=False, most=args.most)
    examples = {
        name: [encoded(tools, problem)[1] for problem in parts[name]] for name in ("train", "val")
    }
    fitting = {name: [e for e in part if len(e.ids) < 512] for name, part in examples.items()}
    experiment = Experiment(
        fitting["train"], fitting["val"], args.epochs, args.batch, args.rate, evaluations=2
    )
    return tools, experiment


def _easy_vqa(args: argparse.Namespace) -> tuple[Tools, Experiment]:
    preset = presets(pictures=True)["balanced"]
    choices = replace(preset, steps=args.steps, batch=args.batch, seed=args.seed)
    with tempfile.TemporaryDirectory() as place:
        folder = RunFolder(Path(place))
        settings = Settings(llama=args.llama)
        folder.create(RunRequest("", "ablate", choices, settings, sample="easy-vqa"), None)
        tools, material, _, _ = begin(folder, folder.request())
    training_set = material.training_set
    evaluations = max(1, round(10 * len(training_set.examples) / (args.steps * args.batch)))
    experiment = Experiment(
        training_set.examples,
        material.held_out[:JUDGED],
        args.steps * args.batch / len(training_set.examples),
        args.batch,
        preset.rate,
        layers=preset.layers,
        features=training_set.features,
        evaluations=evaluations,
    )
    return tools, experiment


def _place(args: argparse.Namespace, variant: Variant, seed: int) -> Path | None:
    """Return where one training is kept, each in a folder of its own."""
    name = f"{variant.name.replace(' ', '-')}-{seed}"
    return args.folder / name if args.folder else None
