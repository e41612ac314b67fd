"""As many threads as help on a machine that is shared with other work."""

import time
from collections.abc import Sequence

import torch

TRY = 12  # steps of the fastest number for each that a try of another is expected to last
NEWEST = 0.4  # weight of the newest step in a number's average


class Pace:
    """Takes steps with the number of threads that was fastest lately.

    Two threads wait for each other many times a step: where another process holds one core, a
    single thread is up to three times faster, and on a quiet machine half as fast.
    """

    def __init__(self, choices: Sequence[int]) -> None:
        self.choices = tuple(choices)
        self._seconds: dict[int, float] = {}
        self._tries: dict[int, int] = {}
        self._idle: dict[int, float] = {}  # seconds since each number was last used

    def threads(self) -> int:
        """For the next step; now and then one that was not the fastest, the slower the rarer."""
        for number in self.choices:
            if self._tries.get(number, 0) < 2:
                return number
        for number in self.choices:
            if self._idle[number] > TRY * self._seconds[number]:
                return number
        return min(self.choices, key=lambda number: self._seconds[number])

    def start(self) -> None:
        """Call before a step."""
        self._number = self.threads()
        torch.set_num_threads(self._number)
        self._begun = time.monotonic()

    def stop(self) -> None:
        """Call after a step."""
        seconds = time.monotonic() - self._begun
        tries = self._tries[self._number] = self._tries.get(self._number, 0) + 1
        # The first step with a number also makes ready what later ones find: it says nothing.
        before = self._seconds[self._number] if tries > 2 else seconds
        self._seconds[self._number] = before + NEWEST * (seconds - before)
        self._idle = {n: self._idle.get(n, 0.0) + seconds for n in self.choices}
        self._idle[self._number] = 0.0

    def forget(self) -> None:
        """Call when steps become longer or shorter for everyone."""
        self._seconds.clear()
        self._tries.clear()

    def __str__(self) -> str:
        return ", ".join(f"{n} threads {s:.1f} s" for n, s in sorted(self._seconds.items()))
