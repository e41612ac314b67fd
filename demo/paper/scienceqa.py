"""`python -m demo.paper scienceqa`: Table 2 on whatever problems there are.

Trained on train, chosen on val, and test is looked at once. Without pictures the problems that have
none are trained and asked; with `--images` all of them, as in the paper: global features of several
layers of the tower, through an MLP, are added to every prompt.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from demo.adapter.adapter import Adapter
from demo.bench.report import machine
from demo.errors import DataError
from demo.finetune.data.conversation import Exchange
from demo.finetune.data.examples import Example, encode
from demo.finetune.data.pictures import FolderPictures, PictureStore
from demo.finetune.data.read import read_table
from demo.finetune.data.table import NO_LIMITS, Table
from demo.finetune.runs.job import POSITIONS, Tools
from demo.finetune.train.evaluate import ProbeQuestion, answers, measure
from demo.finetune.train.loss import FrozenBase
from demo.paper.experiment import Experiment, Trained, paper_tools, train_adapter
from demo.paper.published import GROUPS, SCIENCEQA
from demo.paper.science import (
    Problem,
    accuracy,
    blind,
    choice_of,
    interval,
    mcnemar,
    problems_of,
    reply_of,
    table_lines,
)

REPLY_TOKENS = 10  # of “The answer is (A).”, and some to see that it goes on
SHOTS = 3  # solved problems before the one that the base is asked


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument("data", type=Path, help="problems.json, also in gzip, or Parquet")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="split/id/image.png below it")
    parser.add_argument("--epochs", type=float, default=6)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=9e-3)
    parser.add_argument("--layers", type=int, default=0)
    parser.add_argument("--window", type=int, default=512, help="tokens; longer ones are left out")
    parser.add_argument("--most", type=int, help="problems of each part, to try it")


def run(args: argparse.Namespace) -> dict[str, Any] | None:
    """Train, choose, ask, and print the table."""
    table = read_table(args.data, args.data.name, NO_LIMITS)
    parts = parts_of(table, pictured=bool(args.images or table.pictures), most=args.most)
    tools = paper_tools(args.llama)
    features = _features(tools, table, args.images, parts)
    ask = partial(encoded, tools, features=features)
    fitting = {
        name: [p for p in part if len(ask(p)[1].ids) < args.window] for name, part in parts.items()
    }
    long = {name: len(part) - len(fitting[name]) for name, part in parts.items()}
    experiment = Experiment(
        [ask(p)[1] for p in fitting["train"]],
        [ask(p)[1] for p in fitting["val"]],
        args.epochs,
        args.batch,
        args.rate,
        layers=args.layers,
        seed=args.seed,
        features=None if features is None else features[0],
        evaluations=2,
    )
    trained = train_adapter(tools, experiment, args.folder)
    found = scored(tools, trained, fitting, features, args.seed)
    found |= {"machine": machine(), "left_out_too_long": long, "epochs": args.epochs}
    print("\n".join(report_lines(found)))
    return found


def parts_of(table: Table, *, pictured: bool, most: int | None = None) -> dict[str, list[Problem]]:
    """Return the problems of train, val and test; without pictures those that need none.

    Raises:
        DataError: it is not ScienceQA, or a part is empty.
    """
    problems = [p for p in problems_of(table) if pictured or not p.image]
    parts = {name: [p for p in problems if p.split == name] for name in ("train", "val", "test")}
    if empty := next((name for name, part in parts.items() if not part), None):
        raise DataError(f"There is no problem of the part “{empty}” that can be asked.")
    return {name: part[:most] for name, part in parts.items()}


def encoded(
    tools: Tools,
    problem: Problem,
    *,
    features: tuple[Tensor, dict[str, int]] | None = None,
    choice: int | None = None,
) -> tuple[ProbeQuestion, Example]:
    """Return a problem as a question, and as an example with the right reply or another one."""
    reply = problem.reply if choice is None else reply_of(choice)
    picture = None if features is None else features[1].get(problem.id, 0)
    example = encode(tools.base.tokenizer, [Exchange(problem.prompt, reply)], picture)
    return ProbeQuestion.of(problem.prompt, example, tools.base.tokenizer), example


def scored(
    tools: Tools,
    trained: Trained,
    parts: dict[str, list[Problem]],
    features: tuple[Tensor, dict[str, int]] | None,
    seed: int,
) -> dict[str, Any]:
    """Ask the test problems once, and the base beside; return all figures."""
    test = parts["test"]
    guess = random.Random(seed)
    ask = [encoded(tools, p, features=features)[0] for p in test]
    replies = replies_of(tools, trained.adapter, ask, features)
    ours = [choice_of(reply, p, guess) for reply, p in zip(replies, test, strict=True)]
    likely = partial(likeliest, tools, trained.adapter, features=features)
    base = likely(test, strength=0.0)
    shots = likely(_with_shots(tools, test, parts["train"]), strength=0.0)
    rows = {
        **blind(test, parts["train"]),
        "base alone, likeliest option": accuracy(test, base),
        f"base alone, {SHOTS} solved before": accuracy(test, shots),
        "adapter, as written": accuracy(test, ours),
        "adapter, likeliest option": accuracy(test, likely(test, strength=1.0)),
    }
    right = sum(choice == p.answer for choice, p in zip(ours, test, strict=True))
    best = max(rows[name]["average"] for name in ("random", "commonest index", "longest option"))
    return {
        "problems": {name: len(part) for name, part in parts.items()},
        "pictures": features is not None,
        "parameters": trained.adapter.spec.parameters,
        "accuracy": rows,
        "interval": interval(right, len(test)),
        "ahead_of_blind": round(rows["adapter, as written"]["average"] - best, 2),
        "p_against_base": mcnemar(test, ours, base),
        "p_against_shots": mcnemar(test, ours, shots),
        "replies_that_name_no_option": sum("The answer is (" not in reply for reply in replies),
        "curve": [vars(point) for point in trained.curve],
        "kept_step": trained.kept_step,
        "seconds": round(trained.seconds, 1),
    }


def replies_of(
    tools: Tools,
    adapter: Adapter,
    questions: Sequence[ProbeQuestion],
    features: tuple[Tensor, dict[str, int]] | None,
) -> list[str]:
    """Decode greedily, some questions at once."""
    found: list[str] = []
    for start in range(0, len(questions), tools.slots):
        found += answers(
            tools.decoder,
            tools.model,
            tools.base.tokenizer,
            adapter,
            questions[start : start + tools.slots],
            None if features is None else features[0],
            longest=REPLY_TOKENS,
        )
    return found


def likeliest(
    tools: Tools,
    adapter: Adapter,
    problems: Sequence[Problem],
    *,
    strength: float,
    features: tuple[Tensor, dict[str, int]] | None = None,
) -> list[int]:
    """Return the option whose reply has the lowest loss, which asks nothing of a base's manners."""
    found = []
    seen = None if features is None else features[0]
    asked = [
        [
            encoded(tools, problem, features=features, choice=choice)[1]
            for choice in range(len(problem.choices))
        ]
        for problem in problems
    ]
    frozen = FrozenBase(tools.model, adapter.spec.layers, [each for row in asked for each in row])
    for options in asked:
        losses = [
            measure(frozen, adapter, [option], seen, strength=strength).loss for option in options
        ]
        found.append(losses.index(min(losses)))
    return found


def _with_shots(
    tools: Tools, problems: Sequence[Problem], trained: Sequence[Problem]
) -> list[Problem]:
    """Put some solved problems, the shortest, before the questions that have room for them."""
    short = sorted(trained, key=lambda p: len(p.prompt))[:SHOTS]
    before = "\n\n".join(f"{p.prompt}\n{p.reply}" for p in short)
    longer = [replace(p, question=f"{before}\n\n{p.question}") for p in problems]
    return [
        new if len(encoded(tools, new)[1].ids) < POSITIONS else old
        for old, new in zip(problems, longer, strict=True)
    ]


def _features(
    tools: Tools, table: Table, images: Path | None, parts: dict[str, list[Problem]]
) -> tuple[Tensor, dict[str, int]] | None:
    """Return (pictures, S) and the row of each problem; row 0, all zero, is of none."""
    if not images and not table.pictures:
        return None
    store = PictureStore(FolderPictures(images) if images else table.pictures)
    tower = tools.tower()
    rows, places = [torch.zeros(1, tower.feature_size)], dict[str, int]()
    for part in parts.values():
        for problem in (p for p in part if p.image):
            name = f"{problem.split}/{problem.id}/{problem.image}" if images else problem.image
            places[problem.id] = len(rows)
            rows.append(tower.batch_features([store.resolve(name).open()]))
            print(f"{len(rows) - 1:,} pictures", end="\r", file=sys.stderr)
    return torch.cat(rows), places


def report_lines(found: dict[str, Any]) -> list[str]:
    """Say in lines what was found, with every row of the paper's Table 2 below."""
    groups = [g for g in GROUPS if g in found["accuracy"]["adapter, as written"]]
    published = {name: dict(zip(GROUPS, row, strict=True)) for name, row in SCIENCEQA.items()}
    low, high = found["interval"]
    counts = found["problems"]
    return [
        f"{counts['train']:,} problems to learn, {counts['val']:,} to choose by, "
        f"{counts['test']:,} asked; {found['parameters']:,} parameters",
        *table_lines(found["accuracy"], groups),
        f"adapter: 95 % interval {low} to {high}; {found['ahead_of_blind']:+} points from the best "
        f"blind baseline; p = {found['p_against_base']:.3g} against the base alone, "
        f"{found['p_against_shots']:.3g} with {SHOTS} solved before",
        "",
        "Published, on all 4,241 test problems (arXiv 2303.16199, Table 2):",
        *table_lines(published, GROUPS),
    ]
