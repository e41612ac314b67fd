"""What the samples' adapters learn with the preset *balanced*, and zero-init against open gates."""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from demo.bench.report import Bar, Report, Row
from demo.finetune.__main__ import build
from demo.finetune.evaluate import exact, measure, perplexities
from demo.finetune.events import Evaluated
from demo.finetune.examples import Example
from demo.finetune.frozen import Frozen
from demo.finetune.job import Tools, begin
from demo.finetune.judge import ORDINARY, ORDINARY_TOKENS
from demo.finetune.material import read_material
from demo.finetune.presets import Choices, presets
from demo.finetune.run_folder import Request, RunFolder
from demo.finetune.samples import SAMPLES
from demo.finetune.state import Course, State
from demo.finetune.trainer import teach
from demo.settings import Settings
from demo.ui.charts import BOTTOM, HEIGHT, RIGHT, TOP, WIDTH, Line, chart

RACE, LOOK, JUDGED = 100, 10, 200  # steps, steps between two looks, test questions of a look
STYLE = (
    "<style>.chart{font:11px sans-serif;background:#fff}.zero{stroke:#0f766e;fill:none}"
    ".open{stroke:#b45309;fill:none}path{stroke-width:2}.grid{stroke:#e5e7eb}"
    "text{fill:#6b7280}text.y{text-anchor:end}</style>"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `python -m demo.bench learn`."""
    parser.add_argument("--sample", action="append", choices=SAMPLES, help="one or more; else all")
    parser.add_argument("--race", type=Path, metavar="SVG", help="zero-init against open gates")


def run(args: argparse.Namespace) -> Report:
    """Each sample as a person would teach it, from its data to what it knows afterwards."""
    rows, bars = [], []
    for name in args.sample or SAMPLES:
        found = _taught(name)
        rows += [Row(f"{name}: {what}", unit, (value,)) for what, unit, value in found]
        bars += _bars(name, {what: value for what, _, value in found})
    if args.race:
        zero, random = (_race(zero_init) for zero_init in (True, False))
        args.race.write_text(_drawn(zero, random), "utf-8")
        for kind, curve in (("zero-init", zero), ("open", random)):
            rows.append(Row(f"easy-vqa, {kind} gates, {RACE} steps", "%", (100 * curve[-1][1],)))
        ahead = 100 * (zero[-1][1] - random[-1][1])
        bars.append(Bar("zero-init ahead of open gates, points", ahead, least=30))
    return Report("learn", rows, bars)


def _taught(name: str) -> list[tuple[str, str, float]]:
    """(what, unit, value) of one run with the preset."""
    pictures = SAMPLES[name].kind == "pictures"
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        choices = presets(pictures=pictures)["balanced"]
        folder = _folder(Path(place), name, choices)
        tools, material, adapter, _ = begin(folder, folder.request(), build)
        course, looking = material.course, 0.0
        state = State(adapter, choices.settings(), course)
        before = time.monotonic()
        for event in teach(tools.model, state, course):
            now = time.monotonic()
            looking += now - before if isinstance(event, Evaluated) else 0.0
            before = now
        seconds = time.monotonic() - start
        state.settle()
        judged, features = _judged(folder, tools, pictures) or (material.judged, course.features)
        found = [("seconds", "s", seconds), ("seconds without looks", "s", seconds - looking)]
        if SAMPLES[name].kind == "voice":
            frozen = Frozen(tools.model, adapter.spec.layers, judged)
            off, on = (
                measure(frozen, adapter, judged, features, strength=strength).loss
                for strength in (0.0, 1.0)
            )
            found += [("loss before", "nats", off), ("loss after", "nats", on)]
        else:
            right = sum(exact(tools.model, adapter, judged, features))
            found += [("exact before", "%", 100 * state.history[0].exact)]
            found += [("exact after", "%", 100 * right / len(judged))]
        if not pictures:
            ids = tools.base.tokenizer.encode_text(ORDINARY.read_text("utf-8"))[:ORDINARY_TOKENS]
            off, on = perplexities(tools.model, adapter, ids)
            found += [("perplexity of ordinary text rises", "%", 100 * (on / off - 1))]
    return found


def _bars(name: str, found: dict[str, float]) -> list[Bar]:
    bars = []
    kind = SAMPLES[name].kind
    if kind == "pictures":
        bars.append(Bar(f"{name}: exact, %", found["exact after"], least=85))
        bars.append(Bar(f"{name}: seconds without looks", found["seconds without looks"], most=120))
    if kind == "task":
        bars.append(Bar(f"{name}: exact before, %", found["exact before"], most=10))
        bars.append(Bar(f"{name}: exact, %", found["exact after"], least=90))
        bars.append(Bar(f"{name}: seconds", found["seconds"], most=180))
    if kind == "voice":
        falls = 100 * (1 - found["loss after"] / found["loss before"])
        bars.append(Bar(f"{name}: loss falls, %", falls, least=40))
    if kind != "pictures":
        rises = found["perplexity of ordinary text rises"]
        bars.append(Bar(f"{name}: perplexity of ordinary text rises, %", rises, most=10))
    return bars


def _folder(place: Path, name: str, choices: Choices) -> RunFolder:
    folder = RunFolder(place)
    folder.create(Request("", name, choices, Settings(), "", sample=name), None)
    return folder


def _judged(
    folder: RunFolder, tools: Tools, pictures: bool
) -> tuple[Sequence[Example], Tensor | None] | None:
    """All 1,000 test questions where a run itself looks at fewer."""
    if not pictures:
        return None
    with tempfile.TemporaryDirectory() as place:
        # A longer run would look at as many; nothing of it is learned.
        choices = replace(folder.request().choices, steps=1, batch=1)
        wider = _Everything(**vars(choices))
        other = _folder(Path(place), folder.request().sample, choices)
        request = replace(other.request(), choices=wider)
        material = read_material(other, request, tools.base.tokenizer, tools.tower)
        return material.judged, material.course.features


class _Everything(Choices):
    """Choices that judge by all that is held out."""

    judged = 1_000


def _race(zero_init: bool) -> Sequence[tuple[float, float]]:
    """(step, share right) on test questions, with the preset's rates and one kind of gates."""
    choices = replace(presets(pictures=True)["balanced"], steps=RACE, zero_init=zero_init)
    with tempfile.TemporaryDirectory() as place:
        folder = _folder(Path(place), "easy-vqa", choices)
        tools, material, adapter, _ = begin(folder, folder.request(), build)
        held_out: tuple[Example, ...] = material.judged[:JUDGED]
        course = Course(material.course.examples, held_out, material.course.features)
        settings = replace(choices.settings(), evaluate_every=LOOK, patience=RACE)
        events = teach(tools.model, State(adapter, settings, course), course)
        return [(e.step, e.exact) for e in events if isinstance(e, Evaluated)]


def _drawn(zero: Sequence[tuple[float, float]], random: Sequence[tuple[float, float]]) -> str:
    alt = "Share of easy-VQA's test questions answered right, by step: zero-init and open gates"
    lines = [Line("zero", zero, dots=True), Line("open", random, dots=True)]
    drawn = chart(lines, end=RACE, alt=alt, top=1.0, percent=True)
    opening, ending = drawn.index(">") + 1, drawn.rindex("</svg>")
    head = drawn[:opening].replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    names = _name("zero-init gates", zero) + _name("open gates", random)
    return head + STYLE + drawn[opening:ending] + names + "</svg>\n"


def _name(text: str, curve: Sequence[tuple[float, float]]) -> str:
    """What a line is, above its end."""
    y = TOP + (HEIGHT - TOP - BOTTOM) * (1 - curve[-1][1]) - 8
    return f'<text class="y" x="{WIDTH - RIGHT}" y="{y:.1f}">{text}, {curve[-1][1]:.0%}</text>'
