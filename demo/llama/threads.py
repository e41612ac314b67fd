"""How many threads the next step uses: a choice that follows what else runs on the machine.

A step has some 150 parallel regions and every one ends at a barrier. While another busy process
holds a core, one of our threads is off the processor for a time slice (about 8 ms) and all others
wait for it, so two threads can be a hundred times slower than one. The program cannot see its
neighbours, but it can time its own steps.
"""

FIRST_PROBE, LAST_PROBE = 32, 1024  # steps between two looks at the other choice
MEMORY = 0.7  # weight of the past in the running mean of a step's seconds


class ThreadChoice:
    """All threads or one, whichever was faster of late. The other is tried again now and then.

    A trial that loses doubles the time to the next one, so that a neighbour which stays costs
    little, and one that leaves is noticed within some seconds.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._seconds: dict[tuple[int, int], float] = {}  # (threads, batch) → running mean
        self._until_probe = self._interval = FIRST_PROBE
        self._current = threads

    @property
    def current(self) -> int:
        """The choice in force, without a trial of the other."""
        return self._current

    def pick(self, batch: int) -> int:
        """The number of threads for a step of `batch` sequences."""
        if self.threads == 1:
            return 1
        other = self._other()
        if (other, batch) not in self._seconds and (self._current, batch) in self._seconds:
            return other
        self._until_probe -= 1
        return other if self._until_probe <= 0 else self._current

    def record(self, threads: int, batch: int, seconds: float) -> None:
        """A step took so long."""
        probed = threads != self._current
        known = self._seconds.get((threads, batch))
        # A trial starts afresh: what the other choice cost long ago says nothing about now.
        mean = seconds if known is None or probed else MEMORY * known + (1 - MEMORY) * seconds
        self._seconds[threads, batch] = mean
        other = self._seconds.get((self._other(), batch))
        here = self._seconds.get((self._current, batch))
        won = other is not None and here is not None and other < here
        if won:
            self._current = self._other()
        if probed or won:
            self._interval = FIRST_PROBE if won else min(2 * self._interval, LAST_PROBE)
            self._until_probe = self._interval

    def _other(self) -> int:
        return 1 if self._current > 1 else self.threads
