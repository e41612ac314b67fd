"""The order in which examples are shown, and the place in it, which can be kept and taken up."""

from collections.abc import Sequence

import torch
from torch import Tensor

POOL = 16  # batches that are sorted by length together


class Order:
    """Endless batches: every example once an epoch, those of a batch alike in length.

    An epoch is shuffled, cut into pools of 16 batches, each pool sorted by length and cut into
    batches, and the batches are shuffled again.

    Args:
        lengths: tokens of each example.
    """

    def __init__(self, lengths: Sequence[int], batch: int, seed: int) -> None:
        self._lengths, self._batch = lengths, batch
        self._random = torch.Generator().manual_seed(seed)
        self._begin()

    def next(self) -> list[int]:
        """The places of the next batch's examples."""
        if self._position == len(self._epoch):
            self._begin()
        self._position += 1
        return self._epoch[self._position - 1]

    def state(self) -> tuple[Tensor, int]:
        """The random state before this epoch was drawn, and the batches drawn from it."""
        return self._before, self._position

    def load(self, before: Tensor, position: int) -> None:
        """Takes up where `state` was called."""
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
