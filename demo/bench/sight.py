"""How well `sight` reads pictures that neither it nor the tower was taught with."""

import argparse
import random
import re
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from demo.adapter.adapter import Adapter
from demo.adapter.file import load_adapter
from demo.bench.report import Bar, Report, Row
from demo.bench.shapes import percent
from demo.bench.sight_judge import (
    holds,
    names_it,
    plain_reply,
    same_answer,
    same_broadly,
    same_phrase,
    same_text,
)
from demo.bench.sight_reader import (
    SEED,
    Found,
    Hall,
    Reader,
    entered,
    judged,
    opened,
    seen_by,
)
from demo.finetune.easy_vqa import pictures, questions
from demo.models import load_tower
from demo.recipes.concepts import broad_groups
from demo.recipes.drawings import UNSEEN
from demo.recipes.sight_kinds import known_kinds
from demo.recipes.sight_lessons import (
    Known,
    Others,
    kind_lesson,
    name_lesson,
    refusal_lesson,
    scene_known,
    scene_lesson,
    yes_no_lesson,
)
from demo.recipes.tower import Sources
from demo.recipes.vqa import scenes
from demo.recipes.zero_shot import Exam, drawing_exam, photograph_exam, score
from demo.settings import CHECKPOINTS, Settings
from demo.vision.clip import Tower
from demo.vision.tower_files import FOLDER, LOCAL

TOWER = CHECKPOINTS / FOLDER
SMALL = 200  # pictures for what has no bar
ASIDES = Path(__file__).with_name("asides.tsv")  # questions that no picture is about, and keys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `python -m demo.bench sight`."""
    parser.add_argument("--photographs", type=Path, help="folder with Tiny ImageNet's zips")
    parser.add_argument("--drawings", type=Path, help="folder that demo.recipes.drawings filled")
    parser.add_argument("--tower", type=Path, default=TOWER, help="folder of the adapter's")
    parser.add_argument("--adapter", type=Path, help="a file; else the shipped one")
    parser.add_argument("--limit", type=int, help="only so many of each, drawn at random")


def run(args: argparse.Namespace) -> Report:
    """Photographs of `val.zip`, drawings in a style of their own, and easy-VQA's test scenes."""
    settings = Settings()
    torch.set_num_threads(settings.threads)
    reader = opened(settings, args.adapter)
    tower = load_tower(replace(settings, clip=f"{LOCAL}{args.tower}"))
    shapes = load_adapter(settings.adapters / "shapes.safetensors")[0]
    vocabulary = Sources(True, args.photographs, args.drawings).vocabulary()
    rows: list[Row] = []
    bars: list[Bar] = []
    if args.photographs:
        exam = photograph_exam(args.photographs, tower.preprocessing, args.limit)
        hall = entered(exam, "photo", tower, reader.adapter, vocabulary)
        shares = tower_shares(exam, tower, args.tower)
        rows, bars = of_photographs(reader, hall, known_kinds(vocabulary), shares)
        talk, kept = of_talk(reader, hall)
        rows += talk + chosen(reader.adapter, shapes, "photographs", hall)
        bars += kept
    if args.drawings:
        style = next(iter(UNSEEN))
        exam = drawing_exam(args.drawings, style, tower.preprocessing, args.limit)
        hall = entered(exam, "drawing", tower, reader.adapter, vocabulary)
        found = judged(reader, hall, partial(name_lesson, exam=True), names_it)
        rows += named_rows(f"naming, {style}", found)
        bars.append(Bar(f"naming, {style}, %", found.own, least=60))
        rows += chosen(reader.adapter, shapes, style, hall)
    scene_rows, scene_bars = of_scenes(reader, shapes, tower)
    return Report("sight", rows + scene_rows, bars + scene_bars)


def of_photographs(
    reader: Reader, hall: Hall, kinds: tuple[Known, ...], tower: tuple[float, float, float]
) -> tuple[list[Row], list[Bar]]:
    """Names, kinds, yes and no, beside `tower_shares`."""
    first, five, several = tower
    note = f"{len(hall.known):,} photographs"
    rows = [Row("the tower, top-1", "%", (first,), note), Row("the tower, top-5", "%", (five,))]
    rows.append(Row("the tower, top-1 of four looks", "%", (several,)))
    ask_yes_no = partial(yes_no_lesson, others=Others(kinds), exam=True)
    naming = judged(reader, hall, partial(name_lesson, exam=True), names_it)
    groups = judged(reader, hall, partial(kind_lesson, exam=True, choices=0.0), same_phrase)
    broad = broad_groups()
    broadly = replace(groups, judge=same_broadly(broad))
    tops = judged(reader, hall, partial(kind_lesson, exam=True, choices=1.0), same_phrase)
    yes_no = judged(reader, hall, ask_yes_no, same_answer)
    rows += named_rows("naming", naming)
    rows += found_rows(f"kind, of {len(broad)}", groups)
    rows += found_rows(f"kind, of {len(set(broad.values()))}", broadly)
    rows += found_rows("kind, of a list", tops)
    rows += table("yes or no", len(yes_no.replies), (yes_no.own, yes_no.other, 50.0))
    bars = [
        Bar("the tower, top-1, %", first, least=45),
        Bar("the tower, top-5, %", five, least=72),
        Bar("naming, % of the tower's top-1", 100 * naming.own / max(several, 1e-9), least=90),
        Bar(f"kind, of {len(set(broad.values()))}, %", broadly.own, least=75),
        Bar("yes or no, %", yes_no.own, least=85),
        Bar("naming, replies that another picture changes, %", naming.changed, least=90),
    ]
    return rows, bars


def of_talk(reader: Reader, hall: Hall) -> tuple[list[Row], list[Bar]]:
    """What it must refuse, and what has nothing to do with the picture."""
    chance = random.Random(SEED)
    rows = chance.sample(range(len(hall.known)), min(SMALL, len(hall.known)))
    known = tuple(hall.known[row] for row in rows)
    some = Hall(known, hall.features[rows], hall.others[rows])
    refused = judged(reader, some, partial(refusal_lesson, exam=True), same_text).own
    lines = ASIDES.read_text("utf-8").splitlines()
    texts, keys = zip(*(line.split("\t") for line in lines), strict=True)
    alone = reader.replies(texts, [None] * len(texts), None, strength=0.0)
    pictured = [chance.randrange(len(hall.known)) for _ in texts]
    beside = reader.replies(texts, pictured, hall.features)
    right = [holds(*each) for each in zip(alone, keys, strict=True)]
    kept = percent([holds(r, k) for r, k, own in zip(beside, keys, right, strict=True) if own])
    sighted = [bool(re.match(r"(this|it) (is|may be) ", reply.lower())) for reply in beside]
    found = [
        Row("refusals, word for word", "%", (refused,), f"{len(some.known)} questions"),
        Row("about other things, right by the base alone", "%", (percent(right),), f"{len(texts)}"),
        Row("  answer kept beside a photograph", "%", (kept,), "of those"),
        Row("  answered with the picture", "%", (percent(sighted),)),
    ]
    return found, [Bar("about other things, answer kept, %", kept, least=80)]


def of_scenes(reader: Reader, shapes: Adapter, tower: Tower) -> tuple[list[Row], list[Bar]]:
    """Colour and shape of easy-VQA's scenes, and that *auto* leaves them to `shapes`.

    What that one answers to easy-VQA's own questions is measured by `bench shapes`.
    """
    every = Hall((), *seen_by(reader.adapter, tower, pictures("test")))
    given = sorted(scenes(questions("test")).items())
    some = random.Random(SEED).sample(given, min(SMALL, len(given)))
    rows = [picture for picture, _ in some]
    known = tuple(scene_known(*fact) for _, fact in some)
    hall = Hall(known, every.features[rows], every.others[rows])
    worded = judged(reader, hall, partial(scene_lesson, exam=True), same_phrase)
    left = chosen(reader.adapter, shapes, "easy-VQA's scenes", every)
    found = found_rows("colour and shape of scenes", worded) + left
    return found, [Bar("scenes that auto leaves to shapes, %", 100 - left[0].median, least=99)]


def chosen(sight: Adapter, shapes: Adapter, what: str, hall: Hall) -> list[Row]:
    """Of which share of its pictures *auto* asks `sight`, and not `shapes`."""
    sighted = sight.visual.likeness(hall.features) > shapes.visual.likeness(hall.others)
    note = f"{len(sighted):,} pictures"
    return [Row(f"auto asks sight, {what}", "%", (percent(sighted.tolist()),), note)]


def table(name: str, count: int, shares: tuple[float, float, float]) -> list[Row]:
    """Percent right with the own picture, with another's, and the best without any."""
    own, other, blind = shares
    return [
        Row(name, "%", (own,), f"{count:,} questions"),
        Row("  every picture swapped for one of another group", "%", (other,)),
        Row("  best without a picture", "%", (blind,)),
    ]


def found_rows(name: str, found: Found) -> list[Row]:
    """A result with its blind ones; without a picture, the commonest reply is the best."""
    every = list(zip(found.lessons, found.known, strict=True))
    said = Counter(plain_reply(lesson.reply) for lesson in found.lessons)
    most = max(percent([found.judge(reply, *each) for each in every]) for reply in said)
    return table(name, len(found.replies), (found.own, found.other, most))


def named_rows(name: str, found: Found) -> list[Row]:
    """`found_rows` of names, and how finely they are given."""
    unsure = [reply.lower().startswith(("this may be", "maybe")) for reply in found.replies]
    hedged = [", maybe " in r and not u for r, u in zip(found.replies, unsure, strict=True)]
    return [
        *found_rows(name, found),
        Row('  "a fish, maybe a goldfish"', "%", (percent(hedged),)),
        Row('  "This may be a goldfish."', "%", (percent(unsure),)),
    ]


def tower_shares(exam: Exam, tower: Tower, folder: Path) -> tuple[float, float, float]:
    """Percent of pictures whose caption is the tower's nearest, one of its nearest five, and the
    nearest of four looks, which `sight` takes.
    """
    import open_clip  # here, because it takes seconds

    named = f"{LOCAL}{folder}"
    model, tokenize = open_clip.create_model(named).eval(), open_clip.get_tokenizer(named)
    once, several = (
        score(model, tokenize, [exam], tower.preprocessing, several=each) for each in (False, True)
    )
    first, five = f"{exam.name} top-1", f"{exam.name} top-5"
    return 100 * once[first], 100 * once[five], 100 * several[first]
