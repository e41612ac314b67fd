"""The recipe of one run, free of torch, so that a page can make one."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class TrainSettings:
    """How an adapter learns. Defaults learn easy-VQA on the embedded base.

    The rates of prompts, gates and projection warm up over `warmup` steps and fall along a half
    cosine. The held-out part is looked at every `evaluate_every` steps; after `patience` looks
    without a lower loss the run stops. Probe questions are answered every `probe_every` steps.
    """

    steps: int
    batch: int = 32
    rate: float = 5e-3
    gate_rate: float = 5e-3
    visual_rate: float = 5e-4
    weight_decay: float = 0.02
    warmup: int = 20
    clip: float = 1.0
    rehearsed: int = 2  # texts a step that are to stay as they are, where a course has some
    seed: int = 0
    evaluate_every: int = 10
    patience: int = 3
    probe_every: int = 25

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.warmup) < 1:
            raise ValueError("steps, batch and warmup are at least 1")
        if min(self.evaluate_every, self.patience, self.probe_every) < 1:
            raise ValueError("evaluate_every, patience and probe_every are at least 1")

    def scale(self, step: int) -> float:
        """The share of the learning rate used at `step`, counted from 0."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        return 0.5 * (
            1 + math.cos(math.pi * (step - self.warmup) / max(1, self.steps - self.warmup))
        )
