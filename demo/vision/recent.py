"""A small store of tensors that forgets the ones unused for longest."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from torch import Tensor


class RecentTensors:
    """Tensors by key, at most `limit` bytes of them; safe to use from several threads."""

    def __init__(self, limit: int) -> None:
        self._limit, self._used = limit, 0
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = Lock()

    def get(self, key: str, compute: Callable[[], Tensor]) -> Tensor:
        """The tensor of `key`, computed if it is not there; the caller gets a copy of its own.

        Two threads that miss at once both compute: that costs less than making one wait while it
        holds the lock, and both results are the same.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key].clone()
        value = compute()
        with self._lock:
            if key not in self._kept and value.nbytes <= self._limit:
                self._kept[key] = value.clone()
                self._used += value.nbytes
            while self._used > self._limit:
                self._used -= self._kept.popitem(last=False)[1].nbytes
        return value

    def __len__(self) -> int:
        return len(self._kept)
