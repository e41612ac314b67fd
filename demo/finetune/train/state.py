"""Everything that decides how a run goes on, and the file that it is kept in.

A run whose state was kept between any two events and loaded into a new process ends in the same
bytes as one that was never stopped, on the same machine with the same number of threads.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim.adamw import adamw

from demo.adapter.adapter import Adapter
from demo.atomic_file import replace_file
from demo.errors import CheckpointError
from demo.finetune.data.examples import Example
from demo.finetune.train.config import TrainSettings
from demo.finetune.train.events import EndReason, Evaluated

MOMENTS = "exp_avg", "exp_avg_sq"  # torch's names of AdamW's running means
BETAS, EPSILON = (0.9, 0.95), 1e-8
CHANGES = 0.1  # rate of what is changed beside the prompts, as a share of theirs
PICTURES = 64  # whose features are hashed at once
POOL = 16  # batches that are sorted by length together


@dataclass(frozen=True)
class TrainingSet:
    """What a run learns from.

    Attributes:
        examples: to be learned.
        held_out: to evaluate on, while it learns.
        features: (pictures, S), what `Example.picture` of both counts, or of all tokens
            (pictures, T, S), mapped from a file; or (facts, 1) their places; None without either.
        rehearsed: texts without pictures that are to stay as they are (`loss.py`).
        rehearsal_weight: of what changes in them; at 1 a voice cost 16 % of perplexity.
    """

    examples: Sequence[Example]
    held_out: Sequence[Example] = ()
    features: Tensor | None = field(default=None, repr=False)
    rehearsed: Sequence[Example] = ()
    rehearsal_weight: float = 2.0

    def rehearsed_at(self, step: int, count: int) -> list[Example]:
        """Return `count` texts for a step, so that all take turns."""
        texts = self.rehearsed
        return [texts[(step * count + i) % len(texts)] for i in range(count if texts else 0)]

    def fingerprint(self) -> str:
        """Hash (sha256) all examples and features."""
        digest = hashlib.sha256()
        for part in (self.examples, self.held_out, self.rehearsed):
            for example in part:
                digest.update(repr((example.ids, example.labels, example.picture)).encode())
            digest.update(b"|")
        # In parts: they may be more than fit into memory.
        for part in () if self.features is None else self.features.split(PICTURES):
            digest.update(part.float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


class TrainerState:
    """A run between two events.

    Args:
        adapter: before its first step.
        settings: the recipe.
        training_set: whose fingerprint a checkpoint keeps.

    Attributes:
        adapter: what learns, changed in place.
        settings: the recipe.
        optimizer: of the adapter.
        order: of the examples.
        step: steps done.
        history: the evaluations of the held-out part so far.
        probed: the step after which the probe questions were answered last, -1 before.
        best: the weights at the lowest held-out loss, None before the first evaluation.
    """

    def __init__(
        self, adapter: Adapter, settings: TrainSettings, training_set: TrainingSet
    ) -> None:
        self.adapter, self.settings = adapter, settings
        self.optimizer = AdamW(adapter, settings)
        self.order = Order(lengths(adapter, training_set.examples), settings.batch, settings.seed)
        self.step = 0
        self.history: list[Evaluated] = []
        self.probed = -1
        self.best: dict[str, Tensor] | None = None
        self._facts = {"settings": asdict(settings), "data": training_set.fingerprint()}

    def record_evaluation(self, loss: float, exact: float) -> Evaluated:
        """Add an evaluation of the held-out part to the history; remember the best weights."""
        best = not self.history or loss < min(past.loss for past in self.history)
        if best:
            self.best = {name: x.detach().clone() for name, x in self.adapter.state_dict().items()}
        self.history.append(Evaluated(self.step, loss, exact, best))
        return self.history[-1]

    def eval_due(self) -> bool:
        """Tell whether it is time to evaluate the held-out part."""
        due = self.step % self.settings.evaluate_every == 0 or self.step >= self.settings.steps
        return due and not (self.history and self.history[-1].step == self.step)

    def probe_due(self) -> bool:
        """Tell whether it is time for the probe questions."""
        due = self.step % self.settings.probe_every == 0 or self.step >= self.settings.steps
        return due and self.probed < self.step

    def over(self) -> EndReason | None:
        """Return why the run is over, None while it goes on."""
        if self.step >= self.settings.steps:
            return "done"
        waited = (
            len(self.history)
            - 1
            - max((index for index, past in enumerate(self.history) if past.best), default=0)
        )
        return "early stop" if waited >= self.settings.patience else None

    def prefer_learned(self) -> None:
        """Keep the present weights rather than those of the start, even where these were better.

        For an owner who stops the run and keeps its adapter: one that has learned nothing is of no
        use.
        """
        if self.kept_step == 0 < self.step:
            self.best = None

    @property
    def kept_step(self) -> int:
        """The step whose weights `settle` keeps."""
        if self.best is None:
            return self.step
        return next((past.step for past in reversed(self.history) if past.best), self.step)

    def settle(self) -> None:
        """Load the best weights into the adapter, where there was a held-out part to tell."""
        if self.best is not None:
            self.adapter.load_state_dict(self.best)

    def tensors(self) -> dict[str, Tensor]:
        """Return weights, best weights, moments and random state, by name."""
        out = {f"adapter.{name}": x for name, x in self.adapter.state_dict().items()}
        out |= {f"best.{name}": x for name, x in (self.best or {}).items()}
        out |= {f"optimizer.{name}": x for name, x in self.optimizer.tensors().items()}
        out["order"] = self.order.state()[0]
        return out

    def facts(self) -> dict[str, Any]:
        """Return the rest of the state, for JSON."""
        return {
            **self._facts,
            "step": self.step,
            "position": self.order.state()[1],
            "probed": self.probed,
            "history": [asdict(past) for past in self.history],
        }

    def load(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Go back to what was kept.

        Args:
            tensors: as `tensors` returned them.
            facts: as `facts` returned them.

        Raises:
            CheckpointError: it was kept with other settings or data, or is not whole.
        """
        if any(facts.get(name) != value for name, value in self._facts.items()):
            raise CheckpointError(
                "What was kept of this training belongs to other settings or other data. "
                "Start it anew."
            )
        try:
            self.adapter.load_state_dict(_under("adapter.", tensors))
            self.best = _under("best.", tensors) or None
            self.optimizer.load(_under("optimizer.", tensors))
            self.order.load(tensors["order"], facts["position"])
            self.step, self.probed = facts["step"], facts["probed"]
            self.history = [Evaluated(**past) for past in facts["history"]]
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise CheckpointError(
                "What was kept of this training is damaged. Start it anew."
            ) from error


def save_checkpoint(state: TrainerState, path: Path) -> None:
    """Write the state to one file, whole or not at all; replace what was kept before.

    Tensors are safetensors', the rest is one JSON text in its header. Nothing is unpickled.

    Raises:
        OSError: the disk is full or cannot be written to; what was kept before is still there.
    """
    tensors = {name: x.detach().cpu().contiguous() for name, x in state.tensors().items()}
    data = save(tensors, metadata={"state": json.dumps(state.facts())})
    with replace_file(path) as unfinished:
        unfinished.write_bytes(data)


def load_checkpoint(state: TrainerState, path: Path) -> None:
    """Load into `state` what `save_checkpoint` wrote.

    Raises:
        CheckpointError: the file is damaged, or of other settings or data.
        OSError: it cannot be read.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            facts = json.loads((file.metadata() or {})["state"])
        tensors = load(path.read_bytes())
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(
            "What was kept of this training is damaged. Start it anew."
        ) from error
    state.load(tensors, facts)


class Order:
    """Endless batches: every example once an epoch, those of a batch alike in length.

    An epoch is shuffled, cut into pools of 16 batches, each pool sorted by length and cut into
    batches, and the batches are shuffled again.

    Args:
        lengths: tokens of each example.
        batch: examples of a batch; the last one of a pool may have fewer.
        seed: of all shuffles.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self._lengths, self._batch = lengths, batch
        self._random = torch.Generator().manual_seed(seed)
        self._begin()

    def next(self) -> list[int]:
        """Return the places of the next batch's examples."""
        if self._position == len(self._epoch):
            self._begin()
        self._position += 1
        return self._epoch[self._position - 1]

    def state(self) -> tuple[Tensor, int]:
        """Return the random state before this epoch was drawn, and the batches drawn from it."""
        return self._before, self._position

    def load(self, before: Tensor, position: int) -> None:
        """Take up where `state` was called.

        Args:
            before: the random state before the epoch was drawn.
            position: batches drawn from it.

        Raises:
            ValueError: the epoch has fewer batches.
        """
        self._random.set_state(before)
        self._begin()
        if not 0 <= position <= len(self._epoch):
            raise ValueError(f"batch {position} of an epoch of {len(self._epoch)}")
        self._position = position

    def _begin(self) -> None:
        self._before = self._random.get_state()
        self._position = 0
        order = torch.randperm(len(self._lengths), generator=self._random).tolist()
        pool, batches = POOL * self._batch, []
        for start in range(0, len(order), pool):
            chunk = sorted(order[start : start + pool], key=lambda i: self._lengths[i])
            batches += [chunk[i : i + self._batch] for i in range(0, len(chunk), self._batch)]
        shuffled = torch.randperm(len(batches), generator=self._random).tolist()
        self._epoch: list[list[int]] = [batches[index] for index in shuffled]


def lengths(adapter: Adapter, examples: Sequence[Example]) -> list[int]:
    """Return what examples are sorted by: not at all where each fact has prompts of its own.

    Wordings of one fact are alike in length. In one batch they would be one step of its prompts.
    """
    return [0 if adapter.pool else len(example.ids) for example in examples]


class AdamW:
    """AdamW (arXiv 1711.05101) for an adapter, whose parts learn at rates of their own, in place.

    It is torch's own arithmetic without torch's `Optimizer`: the first one of a process imports
    the compiler of graphs, a third of the time that a training needs to begin.

    Args:
        adapter: what learns.
        settings: rates and weight decay.
    """

    def __init__(self, adapter: Adapter, settings: TrainSettings) -> None:
        # Prompts, gates, projection, each with its rate before any schedule.
        self._groups: list[tuple[list[nn.Parameter], float]] = [
            ([adapter.prompts], settings.rate),
            ([adapter.gate], settings.gate_rate),
        ]
        if adapter.visual:
            self._groups.append((list(adapter.visual.parameters()), settings.visual_rate))
        if adapter.pool:
            self._groups.append((list(adapter.pool.parameters()), settings.rate))
        if adapter.changes:
            self._groups.append((list(adapter.changes.parameters()), CHANGES * settings.rate))
        self._decay = settings.weight_decay
        self._moments: dict[nn.Parameter, dict[str, Tensor]] = {}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self._parts():
            part.grad = None

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """Take one step at `scale` of the rates. What has no gradient stays as it is."""
        for parts, rate in self._groups:
            moved = [(part, part.grad) for part in parts if part.grad is not None]
            moments = [self._of(part) for part, _ in moved]
            first, second = ([each[name] for each in moments] for name in MOMENTS)
            adamw(
                [part for part, _ in moved], [grad for _, grad in moved], first, second, [],
                [each["step"] for each in moments],
                amsgrad=False, beta1=BETAS[0], beta2=BETAS[1], lr=rate * scale,
                weight_decay=self._decay, eps=EPSILON, maximize=False,
            )  # fmt: skip

    def tensors(self) -> dict[str, Tensor]:
        """Return steps () and moments, shaped as their part, by "number of the part.name".

        The names are those of torch's own state, so what an older version kept can be taken up.
        """
        return {
            f"{index}.{name}": x
            for index, part in enumerate(self._parts())
            for name, x in self._moments.get(part, {}).items()
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `tensors` gave.

        Raises:
            KeyError: moments of a part are missing.
            ValueError: they are of another shape.
        """
        for index, part in enumerate(self._parts()):
            if not any(name.startswith(f"{index}.") for name in tensors):
                continue  # it had no gradient yet
            kept = {"step": tensors[f"{index}.step"].cpu()}
            for name in MOMENTS:
                kept[name] = tensors[f"{index}.{name}"].to(part)
                if kept[name].shape != part.shape:
                    raise ValueError(f"{name} of part {index}: {tuple(kept[name].shape)}")
            self._moments[part] = kept

    def _of(self, part: nn.Parameter) -> dict[str, Tensor]:
        if part not in self._moments:
            none = {name: torch.zeros_like(part) for name in MOMENTS}
            self._moments[part] = {"step": torch.tensor(0.0), **none}
        return self._moments[part]

    def _parts(self) -> list[nn.Parameter]:
        return [part for parts, _ in self._groups for part in parts]


def _under(start: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(start): x for k, x in tensors.items() if k.startswith(start)}
