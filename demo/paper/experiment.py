"""One training of an experiment: what it begins with, its curve, and what it ends with."""

import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor

from demo.adapter.adapter import Adapter
from demo.adapter.config import AdapterSpec, VisualSpec
from demo.atomic_file import replace_file
from demo.finetune.data.examples import Example
from demo.finetune.runs.job import Tools, load_tools
from demo.finetune.runs.setup import OPEN_GATE
from demo.finetune.train.config import HIDDEN, TrainSettings
from demo.finetune.train.events import Evaluated, Step
from demo.finetune.train.state import TrainerState, TrainingSet, load_checkpoint, save_checkpoint
from demo.finetune.train.trainer import training_run
from demo.finetune.train.workers import Workers, join
from demo.settings import Settings

NEVER = 10**9  # evaluations without a gain after which a training would stop


@dataclass(frozen=True)
class Experiment:
    """What is trained, and how.

    Attributes:
        examples: to learn.
        held_out: to evaluate on, and to choose the weights by.
        epochs: times that all are trained.
        batch: examples a step.
        rate: the learning rate.
        prompts: a layer.
        layers: that are adapted, from the top; 0 for all.
        zero_init: begin with closed gates.
        seed: of weights and order.
        features: (pictures, S), what the examples' `picture` counts.
        evaluations: evaluations an epoch.
    """

    examples: Sequence[Example]
    held_out: Sequence[Example]
    epochs: float = 5
    batch: int = 16
    rate: float = 9e-3
    prompts: int = 10
    layers: int = 0
    zero_init: bool = True
    seed: int = 0
    features: Tensor | None = None
    evaluations: int = 1

    def settings(self) -> TrainSettings:
        """Return the recipe: steps follow from epochs, weight decay is the paper's."""
        epoch = math.ceil(len(self.examples) / self.batch)
        steps = max(1, round(self.epochs * epoch))
        return TrainSettings(
            steps=steps,
            batch=self.batch,
            rate=self.rate,
            gate_rate=self.rate,
            visual_rate=self.rate / 5,
            warmup=min(max(1, 2 * epoch), max(1, steps // 4)),
            rehearsed=0,
            seed=self.seed,
            evaluate_every=max(1, epoch // self.evaluations),
            patience=NEVER,
        )

    def spec(self, tools: Tools) -> AdapterSpec:
        """Return the adapter's shape."""
        config = tools.base.config
        visual = None if self.features is None else VisualSpec(self.features.shape[1], HIDDEN)
        layers = min(self.layers or config.layers, config.layers)
        return AdapterSpec.for_base(config, layers=layers, prompts=self.prompts, visual=visual)


@dataclass(frozen=True)
class Point:
    """A point of a curve: mean loss of the steps before it, and what is held out."""

    step: int
    epoch: float
    train_loss: float | None
    held_out_loss: float
    held_out_exact: float


@dataclass(frozen=True)
class Trained:
    """What came of an experiment: the adapter at its lowest held-out loss, and the curve there."""

    adapter: Adapter
    curve: tuple[Point, ...]
    seconds: float
    kept_step: int


def paper_tools(llama: str | None) -> Tools:
    """Load the base with a decoder, as a training of the program does."""
    return load_tools(Settings(llama=llama), 64)


def train_adapter(tools: Tools, experiment: Experiment, folder: Path | None = None) -> Trained:
    """Carry out an experiment, or the rest of one that was kept in `folder`.

    Under `accelerate launch` all processes share it; the first one keeps and says what comes.

    Args:
        tools: the base.
        experiment: what is trained.
        folder: where the state and the curve are kept, None for nowhere.
    """
    workers = join()
    if workers:
        experiment = replace(experiment, batch=experiment.batch * workers.count)
    state, training_set = _begun(tools, experiment)
    state.adapter.to(tools.model.device)
    curve = _resumed(state, folder)
    first = workers is None or workers.first
    losses: list[float] = []
    start = time.monotonic()
    epoch = math.ceil(len(experiment.examples) / experiment.batch)
    for event in training_run(tools.model, state, training_set, workers=workers):
        if isinstance(event, Step):
            losses.append(event.loss)
        if isinstance(event, Evaluated) and first:
            trained = mean(losses) if losses else None
            point = Point(event.step, event.step / epoch, trained, event.loss, event.exact)
            curve, losses = [*curve, point], []
            _say(point, experiment, workers)
            _keep(state, curve, folder)
    state.settle()
    return Trained(state.adapter, tuple(curve), time.monotonic() - start, state.kept_step)


def _begun(tools: Tools, experiment: Experiment) -> tuple[TrainerState, TrainingSet]:
    """Return a state before its first step, which follows from the seed alone."""
    training_set = TrainingSet(experiment.examples, experiment.held_out, experiment.features)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(experiment.seed)
        adapter = Adapter(experiment.spec(tools))
    if adapter.visual and experiment.features is not None:
        adapter.visual.measure(experiment.features)
    if not experiment.zero_init:
        torch.nn.init.constant_(adapter.gate, OPEN_GATE)
    return TrainerState(adapter, experiment.settings(), training_set), training_set


def _resumed(state: TrainerState, folder: Path | None) -> list[Point]:
    """Load what was kept of this experiment, if anything was; return the curve so far."""
    if folder is None or not (folder / "state.safetensors").exists():
        return []
    load_checkpoint(state, folder / "state.safetensors")
    lines = json.loads((folder / "curve.json").read_text("utf-8"))
    return [point for point in (Point(**line) for line in lines) if point.step <= state.step]


def _keep(state: TrainerState, curve: Sequence[Point], folder: Path | None) -> None:
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with replace_file(folder / "curve.json") as unfinished:
        unfinished.write_text(json.dumps([vars(point) for point in curve]), "utf-8")
    save_checkpoint(state, folder / "state.safetensors")


def _say(point: Point, experiment: Experiment, workers: Workers | None) -> None:
    facts = {
        **vars(point),
        "of_epochs": experiment.epochs,
        "processes": workers.count if workers else 1,
    }
    print(json.dumps(facts), file=sys.stderr, flush=True)
