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
from demo.finetune.easy_vqa import Question, pictures, questions
from demo.finetune.evaluate import exact
from demo.finetune.examples import Example
from demo.llama.base import open_base
from demo.models import choose_device, load_llama, load_tower
from demo.recipes.vqa import question_group, single
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

    def judged(examples: Sequence[Example]) -> list[bool]:
        return list(exact(model, adapter, examples, features))

    start = time.monotonic()
    right = judged(examples)
    own, other = percent(right), percent(judged(swapped(examples, len(features))))
    minutes = (time.monotonic() - start) / 60
    blind = 100 * best_blind(questions("train"), asked)
    note = f"{len(asked):,} test questions, {minutes:.1f} min"
    table = [
        Row("shapes, exact answers", "%", (own,), note),
        Row("the same, every picture swapped", "%", (other,)),
        Row("best possible without a picture", "%", (blind,), "the commonest answer to a question"),
        *by_kind(asked, right),
    ]
    bars = [
        Bar("exact answers, %", own, least=97),
        Bar("exact answers with swapped pictures, %", other, most=62),
    ]
    return Report("shapes", table, bars)


def percent(right: Sequence[bool]) -> float:
    """The share that is true, 0 to 100."""
    return 100 * sum(right) / len(right)


def by_kind(asked: Sequence[Question], right: Sequence[bool]) -> list[Row]:
    """A row for every kind of question: what it names, whether negated, and its true answer."""
    kinds: dict[str, list[bool]] = defaultdict(list)
    for row, good in zip(asked, right, strict=True):
        negated, shape, answer = question_group(row)
        named = f"{'no ' if negated else ''}{'shape' if shape else 'colour'}?"
        kinds[f"  {named} {answer}" if answer else "  names"].append(good)
    return [Row(k, "%", (percent(v),), f"{len(v)} questions") for k, v in sorted(kinds.items())]


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
