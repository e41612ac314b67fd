"""What trainings learn: the samples with the preset *balanced*, and our loss beside PEFT's.

`learn` teaches each sample as a person would; with `--race` zero-init gates run against open ones.

`curve` sets our trainer beside PEFT's AdaptionPrompt, step by step on the same texts. Both begin
with the same prompts and closed gates, read the same batches in the same order, and learn with the
same rates; PEFT in fp32, because in bf16 most of a step is lost on prompts that are as large as 1.
PEFT has one gate a layer, the paper one a head: ours is measured with both. Each learns from two
starting points: how far these are apart is what a curve may differ by.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from demo.adapter.adapter import Adapter
from demo.adapter.config import AdapterSpec
from demo.bench.peers.ours import PROMPTS
from demo.bench.peers.peer import quiet
from demo.bench.peers.transformers import from_base, padded
from demo.bench.report import Bar, BenchReport, Figure
from demo.charts import BOTTOM, HEIGHT, RIGHT, TOP, WIDTH, Line, chart
from demo.finetune.data.conversation import Exchange
from demo.finetune.data.examples import IGNORED, Example, encode
from demo.finetune.data.samples import PIRATE, SAMPLES, load_sample
from demo.finetune.runs.job import Tools, begin
from demo.finetune.runs.run_folder import RunFolder, RunRequest
from demo.finetune.runs.setup import prepare_data
from demo.finetune.train.config import TrainingOptions, TrainSettings, presets
from demo.finetune.train.evaluate import ORDINARY, ORDINARY_TOKENS, exact, measure, perplexities
from demo.finetune.train.events import Evaluated
from demo.finetune.train.loss import FrozenBase
from demo.finetune.train.state import Order, TrainerState, TrainingSet
from demo.finetune.train.trainer import train, training_run
from demo.llama.base import Base, choose_device, load_llama, open_base
from demo.settings import Settings

RACE, LOOK, JUDGED = 100, 10, 200  # steps, steps between two looks, test questions of a look
STYLE = (
    "<style>.chart{font:11px sans-serif;background:#fff}.zero{stroke:#0f766e;fill:none}"
    ".open{stroke:#b45309;fill:none}path{stroke-width:2}.grid{stroke:#e5e7eb}"
    "text{fill:#6b7280}text.y{text-anchor:end}</style>"
)


def add_learn_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `python -m demo.bench learn`."""
    parser.add_argument("--sample", action="append", choices=SAMPLES, help="one or more; else all")
    parser.add_argument("--race", type=Path, metavar="SVG", help="zero-init against open gates")


def run_learn(args: argparse.Namespace) -> BenchReport:
    """Teach each sample as a person would teach it, from its data to what it knows afterwards."""
    rows, bars = [], []
    for name in args.sample or SAMPLES:
        found = _taught(name)
        rows += [Figure(f"{name}: {what}", unit, (value,)) for what, unit, value in found]
        bars += _bars(name, {what: value for what, _, value in found})
    if args.race:
        zero, random = (_race(zero_init) for zero_init in (True, False))
        args.race.write_text(_drawn(zero, random), "utf-8")
        for kind, curve in (("zero-init", zero), ("open", random)):
            rows.append(Figure(f"easy-vqa, {kind} gates, {RACE} steps", "%", (100 * curve[-1][1],)))
        ahead = 100 * (zero[-1][1] - random[-1][1])
        bars.append(Bar("zero-init ahead of open gates, points", ahead, least=30))
    return BenchReport("learn", rows, bars)


def _taught(name: str) -> list[tuple[str, str, float]]:
    """Return (what, unit, value) of one run with the preset."""
    pictures = SAMPLES[name].kind == "pictures"
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        choices = presets(pictures=pictures)["balanced"]
        folder = _folder(Path(place), name, choices)
        tools, material, adapter, _ = begin(folder, folder.request())
        training_set, looking = material.training_set, 0.0
        state = TrainerState(adapter, choices.settings(), training_set)
        before = time.monotonic()
        for event in training_run(tools.model, state, training_set):
            now = time.monotonic()
            looking += now - before if isinstance(event, Evaluated) else 0.0
            before = now
        seconds = time.monotonic() - start
        state.settle()
        judged, features = _judged(folder, tools, pictures) or (
            material.held_out,
            training_set.features,
        )
        found = [("seconds", "s", seconds), ("seconds without looks", "s", seconds - looking)]
        if SAMPLES[name].kind == "voice":
            frozen = FrozenBase(tools.model, adapter.spec.reach(tools.model.config), judged)
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


def _folder(place: Path, name: str, choices: TrainingOptions) -> RunFolder:
    folder = RunFolder(place)
    folder.create(RunRequest("", name, choices, Settings(), "", sample=name), None)
    return folder


def _judged(
    folder: RunFolder, tools: Tools, pictures: bool
) -> tuple[Sequence[Example], Tensor | None] | None:
    """Return all 1,000 test questions where a run itself looks at fewer."""
    if not pictures:
        return None
    with tempfile.TemporaryDirectory() as place:
        # A longer run would look at as many; nothing of it is learned.
        choices = replace(folder.request().choices, steps=1, batch=1)
        wider = _Everything(**vars(choices))
        other = _folder(Path(place), folder.request().sample, choices)
        request = replace(other.request(), choices=wider)
        material = prepare_data(other, request, tools.base.tokenizer, tools.tower)
        return material.held_out, material.training_set.features


class _Everything(TrainingOptions):
    """Options that judge by all that is held out."""

    judged = 1_000


def _race(zero_init: bool) -> Sequence[tuple[float, float]]:
    """Return (step, share right) on test questions, with the preset's rates, by kind of gates."""
    choices = replace(presets(pictures=True)["balanced"], steps=RACE, zero_init=zero_init)
    with tempfile.TemporaryDirectory() as place:
        folder = _folder(Path(place), "easy-vqa", choices)
        tools, material, adapter, _ = begin(folder, folder.request())
        held_out: tuple[Example, ...] = material.held_out[:JUDGED]
        training_set = TrainingSet(
            material.training_set.examples, held_out, material.training_set.features
        )
        settings = replace(choices.settings(), evaluate_every=LOOK, patience=RACE)
        events = training_run(
            tools.model, TrainerState(adapter, settings, training_set), training_set
        )
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
    """Write what a line is, above its end."""
    y = TOP + (HEIGHT - TOP - BOTTOM) * (1 - curve[-1][1]) - 8
    return f'<text class="y" x="{WIDTH - RIGHT}" y="{y:.1f}">{text}, {curve[-1][1]:.0%}</text>'


SEEDS = (0, 1)  # of the prompts to begin with
POINTS = 2  # means of so many equal parts of a curve are shown


def add_curve_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `python -m demo.bench curve`."""
    parser.add_argument("--steps", type=int, default=20)


def run_curve(args: argparse.Namespace) -> BenchReport:
    """Learn the sample `pirate`, 16 rows a step, an adapter in all layers."""
    settings = Settings()
    torch.set_num_threads(settings.threads)
    base = open_base(None, settings.cache, quiet)
    rows = [row.cells for row in load_sample(PIRATE.name).rows]
    examples = [
        encode(base.tokenizer, [Exchange(row["prompt"], row["response"])])
        for row in rows
        if row["split"] == "train"
    ]
    recipe = TrainSettings(args.steps, batch=16)
    ours, tied, theirs = [], [], []
    for seed in SEEDS:
        torch.manual_seed(seed)
        spec = AdapterSpec.for_base(base.config, layers=base.config.layers, prompts=PROMPTS)
        adapter = Adapter(spec)
        start = adapter.prompts.detach().clone()
        ours.append(_ours(base, deepcopy(adapter), examples, recipe, settings))
        adapter.gate.register_hook(_tie)
        tied.append(_ours(base, adapter, examples, recipe, settings))
        theirs.append(list(islice(_theirs(base, start, examples, recipe), args.steps)))
    return BenchReport("curve", *compared(ours, tied, theirs))


def compared(
    ours: Sequence[Sequence[float]],
    tied: Sequence[Sequence[float]],
    theirs: Sequence[Sequence[float]],
) -> tuple[list[Figure], list[Bar]]:
    """Set parts of the curves side by side; the bars say whether `tied` and `theirs`, with one gate
    a layer, differ by more than two starts do.
    """
    size = max(1, len(ours[0]) // POINTS)
    names = "ours, a gate a head", "ours, a gate a layer", "PEFT's, a gate a layer"
    rows, between, apart = [], [], []
    for first in range(0, size * POINTS, size):
        part = slice(first, first + size)
        means = [[mean(curve[part]) for curve in curves] for curves in (ours, tied, theirs)]
        for name, values in zip(names, means, strict=True):
            where = f"steps {first + 1} to {first + size}"
            rows.append(Figure(f"loss of {name}, {where}", "nats", tuple(values)))
        between.append(abs(mean(means[1]) - mean(means[2])))
        apart.append(max(max(values) - min(values) for values in means[1:]))
    first_loss = abs(tied[0][0] / theirs[0][0] - 1)
    bars = [
        Bar("first loss, ours and PEFT's apart, %", 100 * first_loss, most=1),
        Bar("curves apart / two starts apart", max(between) / max(apart), most=1),
    ]
    return rows, bars


def _tie(slope: Tensor) -> Tensor:
    """Tie a layer's gates: (L, H) gradients all alike, as long as their sum over heads."""
    return (slope.sum(1, keepdim=True) / slope.shape[1] ** 0.5).expand_as(slope)


def _ours(
    base: Base,
    adapter: Adapter,
    examples: Sequence[Example],
    recipe: TrainSettings,
    settings: Settings,
) -> list[float]:
    model = load_llama(base, choose_device("cpu"), settings.context)
    return [step.loss for step in train(model, adapter, examples, None, recipe)]


def _theirs(
    base: Base, start: Tensor, examples: Sequence[Example], recipe: TrainSettings
) -> Iterator[float]:
    """Yield the losses of PEFT's adapter; the loop is ours, as its own would be another recipe."""
    model = _adapted(base, start)
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        learned, lr=recipe.rate, betas=(0.9, 0.95), weight_decay=recipe.weight_decay
    )
    order = Order([len(e.ids) for e in examples], recipe.batch, recipe.seed)
    for step in range(recipe.steps):
        optimizer.param_groups[0]["lr"] = recipe.rate * recipe.scale(step)
        part = [examples[place] for place in order.next()]
        ids, labels = padded([e.ids for e in part], 0), padded([e.labels for e in part], IGNORED)
        there = padded([[1] * len(e.ids) for e in part], 0)
        logits = model(input_ids=ids, attention_mask=there).logits  # (B, T, V)
        loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learned, recipe.clip)
        optimizer.step()
        yield loss.item()


def _adapted(base: Base, start: Tensor) -> nn.Module:
    """Return transformers' LLaMA in fp32 with PEFT's adapter, its prompts (L, K, D) as `start`."""
    from peft import AdaptionPromptConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    layers, prompts, _ = start.shape
    with tempfile.TemporaryDirectory() as folder:
        from_base(base).save_pretrained(folder)
        plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config = AdaptionPromptConfig(adapter_len=prompts, adapter_layers=layers, task_type="CAUSAL_LM")
    model = get_peft_model(plain, config)
    found = [p for name, p in model.named_parameters() if name.endswith("adaption_prompt")]
    with torch.no_grad():
        for parameter, own in zip(found, start, strict=True):
            parameter.copy_(own[None])
    return model
