"""Everything that decides how a run goes on, as tensors and plain values that can be kept.

A run whose state was kept between any two events and loaded into a new process ends in the same
bytes as one that was never stopped, on the same machine with the same number of threads.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from demo.adapter.adapter import Adapter
from demo.errors import CheckpointError
from demo.finetune.events import Evaluated, Why
from demo.finetune.examples import Example
from demo.finetune.optimizer import AdamW
from demo.finetune.order import Order
from demo.finetune.train_settings import TrainSettings


@dataclass(frozen=True)
class Course:
    """What is taught: examples, the part held out, features (pictures, S) that both point to.

    `rehearsed` are texts without pictures that are to stay as they are (`rehearsal.py`).
    """

    examples: Sequence[Example]
    held_out: Sequence[Example] = ()
    features: Tensor | None = field(default=None, repr=False)
    rehearsed: Sequence[Example] = ()

    def rehearsed_at(self, step: int, count: int) -> list[Example]:
        """The texts of a step, so many of them, all in turn."""
        texts = self.rehearsed
        return [texts[(step * count + i) % len(texts)] for i in range(count if texts else 0)]

    def fingerprint(self) -> str:
        """sha256 over all examples and features."""
        digest = hashlib.sha256()
        for part in (self.examples, self.held_out, self.rehearsed):
            for example in part:
                digest.update(repr((example.ids, example.labels, example.picture)).encode())
            digest.update(b"|")
        if self.features is not None:
            digest.update(self.features.float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


class State:
    """A run between two events.

    Attributes:
        adapter: what learns, changed in place.
        step: steps done.
        history: what the held-out part gave, so far.
        probed: the step after which the probe questions were answered last, -1 before.
        best: the weights at the lowest held-out loss, None before the first look.
    """

    def __init__(self, adapter: Adapter, settings: TrainSettings, course: Course) -> None:
        self.adapter, self.settings = adapter, settings
        self.optimizer = AdamW(adapter, settings)
        self.order = Order([len(e.ids) for e in course.examples], settings.batch, settings.seed)
        self.step = 0
        self.history: list[Evaluated] = []
        self.probed = -1
        self.best: dict[str, Tensor] | None = None
        self._facts = {"settings": asdict(settings), "data": course.fingerprint()}

    def look(self, loss: float, exact: float) -> Evaluated:
        """Takes up what the held-out part gives; the best weights are remembered."""
        best = not self.history or loss < min(past.loss for past in self.history)
        if best:
            self.best = {name: x.detach().clone() for name, x in self.adapter.state_dict().items()}
        self.history.append(Evaluated(self.step, loss, exact, best))
        return self.history[-1]

    def look_due(self) -> bool:
        """Whether it is time for the held-out part."""
        due = self.step % self.settings.evaluate_every == 0 or self.step >= self.settings.steps
        return due and not (self.history and self.history[-1].step == self.step)

    def probe_due(self) -> bool:
        """Whether it is time for the probe questions."""
        due = self.step % self.settings.probe_every == 0 or self.step >= self.settings.steps
        return due and self.probed < self.step

    def over(self) -> Why | None:
        """Why the run is over, None while it goes on."""
        if self.step >= self.settings.steps:
            return "done"
        waited = (
            len(self.history)
            - 1
            - max((index for index, past in enumerate(self.history) if past.best), default=0)
        )
        return "early stop" if waited >= self.settings.patience else None

    def prefer_learned(self) -> None:
        """Where the start was better than all that came after, the weights as they are are kept.

        For an owner who stops the run and keeps what there is: nothing at all helps nobody.
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
        """The adapter takes the best weights, where there was a held-out part to tell."""
        if self.best is not None:
            self.adapter.load_state_dict(self.best)

    def tensors(self) -> dict[str, Tensor]:
        """Weights, best weights, moments and random state, by name."""
        out = {f"adapter.{name}": x for name, x in self.adapter.state_dict().items()}
        out |= {f"best.{name}": x for name, x in (self.best or {}).items()}
        out |= {f"optimizer.{name}": x for name, x in self.optimizer.tensors().items()}
        out["order"] = self.order.state()[0]
        return out

    def facts(self) -> dict[str, Any]:
        """The rest, for JSON."""
        return {
            **self._facts,
            "step": self.step,
            "position": self.order.state()[1],
            "probed": self.probed,
            "history": [asdict(past) for past in self.history],
        }

    def load(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Goes back to what was kept.

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


def _under(start: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(start): x for k, x in tensors.items() if k.startswith(start)}
