"""How well the shipped `shapes` adapter reads pictures, and whether it really looks at them."""

import argparse
import random
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

import torch

from checkpoints.recipes.data.easy_vqa import question_group, single
from demo.adapter.adapter import load_adapter
from demo.bench.report import Bar, BenchReport, Figure
from demo.finetune.data.examples import Example
from demo.finetune.data.samples import EasyVQAQuestion, pictures, questions
from demo.finetune.train.evaluate import exact
from demo.llama.base import choose_device, load_llama, open_base
from demo.model_loading import load_tower
from demo.settings import Settings


def add_shapes_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `python -m demo.bench shapes`."""
    parser.add_argument("--limit", type=int, help="only so many questions, drawn at random")


def run_shapes(args: argparse.Namespace) -> BenchReport:
    """Ask every test question with its own picture, then with another one."""
    settings = Settings()
    torch.set_num_threads(settings.threads)
    base = open_base(None, settings.cache, lambda message, share: None)
    model = load_llama(base, choose_device("cpu"), 256)
    adapter, _ = load_adapter(settings.adapters / "shapes.safetensors")
    features = load_tower(settings).batch_features(pictures("test"))  # (pictures, S)
    rows = questions("test")
    asked = random.Random(0).sample(rows, args.limit) if args.limit else rows
    examples = single(base.tokenizer, asked)

    def judged(examples: Sequence[Example]) -> list[bool]:
        return list(exact(model, adapter, examples, features))

    start = time.monotonic()
    right = judged(examples)
    own, other = percent(right), percent(judged(swapped(examples, len(features))))
    minutes = (time.monotonic() - start) / 60
    blind = 100 * best_blind(questions("train"), asked)
    note = f"{len(asked):,} test questions, {minutes:.1f} min"
    table = [
        Figure("shapes, exact answers", "%", (own,), note),
        Figure("the same, every picture swapped", "%", (other,)),
        Figure(
            "best possible without a picture", "%", (blind,), "the commonest answer to a question"
        ),
        *by_kind(asked, right),
    ]
    bars = [
        Bar("exact answers, %", own, least=97),
        Bar("exact answers with swapped pictures, %", other, most=62),
    ]
    return BenchReport("shapes", table, bars)


def percent(right: Sequence[bool]) -> float:
    """Return the share that is true, 0 to 100."""
    return 100 * sum(right) / len(right)


def by_kind(asked: Sequence[EasyVQAQuestion], right: Sequence[bool]) -> list[Figure]:
    """Return a row for every kind of question: what it names, whether negated, the true answer."""
    kinds: dict[str, list[bool]] = defaultdict(list)
    for row, good in zip(asked, right, strict=True):
        negated, shape, answer = question_group(row)
        named = f"{'no ' if negated else ''}{'shape' if shape else 'colour'}?"
        kinds[f"  {named} {answer}" if answer else "  names"].append(good)
    return [Figure(k, "%", (percent(v),), f"{len(v)} questions") for k, v in sorted(kinds.items())]


def swapped(examples: Sequence[Example], count: int) -> list[Example]:
    """Return the same questions with every picture exchanged for another, by a fixed draw."""
    order = list(range(count))
    random.Random(0).shuffle(order)
    # Neighbours in a shuffled circle: nobody keeps a picture, everybody gets one.
    other = {a: b for a, b in zip(order, [*order[1:], order[0]], strict=True)}
    return [
        replace(example, picture=None if example.picture is None else other[example.picture])
        for example in examples
    ]


def best_blind(train: Sequence[EasyVQAQuestion], test: Sequence[EasyVQAQuestion]) -> float:
    """Return the share right when each question gets the answer it most often has in training."""
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for row in train:
        answers[row.question][row.answer] += 1
    best = {question: counts.most_common(1)[0][0] for question, counts in answers.items()}
    return sum(best.get(row.question) == row.answer for row in test) / len(test)
