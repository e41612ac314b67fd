"""How well the shipped `shapes` adapter reads pictures, and whether it really looks at them."""

import argparse
import random
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

import torch

from demo.adapter.file import load_adapter
from demo.bench.report import Bar, Report, Row
from demo.finetune.evaluate import exact
from demo.finetune.examples import Example
from demo.llama.base import open_base
from demo.models import choose_device, load_llama, load_tower
from demo.recipes.vqa import Question, pictures, questions, single
from demo.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `python -m demo.bench shapes`."""
    parser.add_argument("--limit", type=int, help="only so many questions, drawn at random")


def run(args: argparse.Namespace) -> Report:
    """Every test question with its own picture, then with another one."""
    settings = Settings()
    torch.set_num_threads(settings.threads)
    base = open_base(None, settings.cache, lambda message, share: None)
    model = load_llama(base, choose_device("cpu"), 256)
    adapter, _ = load_adapter(settings.adapters / "shapes.safetensors")
    features = load_tower(settings).batch(pictures("test"))  # (pictures, S)
    rows = questions("test")
    asked = random.Random(0).sample(rows, args.limit) if args.limit else rows
    examples = single(base.tokenizer, asked)

    def share(examples: Sequence[Example]) -> float:
        right = list(exact(model, adapter, examples, features))
        return 100 * sum(right) / len(right)

    start = time.monotonic()
    own, other = share(examples), share(swapped(examples, len(features)))
    minutes = (time.monotonic() - start) / 60
    blind = 100 * best_blind(questions("train"), asked)
    note = f"{len(asked):,} test questions, {minutes:.1f} min"
    table = [
        Row("shapes, exact answers", "%", (own,), note),
        Row("the same, every picture swapped", "%", (other,)),
        Row("best possible without a picture", "%", (blind,), "the commonest answer to a question"),
    ]
    bars = [
        Bar("exact answers, %", own, least=97),
        Bar("exact answers with swapped pictures, %", other, most=62),
    ]
    return Report("shapes", table, bars)


def swapped(examples: Sequence[Example], count: int) -> list[Example]:
    """The same questions with every picture exchanged for another, by a fixed draw."""
    order = list(range(count))
    random.Random(0).shuffle(order)
    # Neighbours in a shuffled circle: nobody keeps a picture, everybody gets one.
    other = {a: b for a, b in zip(order, [*order[1:], order[0]], strict=True)}
    return [replace(example, picture=other[example.picture]) for example in examples]


def best_blind(train: Sequence[Question], test: Sequence[Question]) -> float:
    """The share right when each question gets the answer it most often has in training."""
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for row in train:
        answers[row.question][row.answer] += 1
    best = {question: counts.most_common(1)[0][0] for question, counts in answers.items()}
    return sum(best.get(row.question) == row.answer for row in test) / len(test)
