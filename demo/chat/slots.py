"""Which KV cache a request continues: the one its conversation left behind, if it is still there.

A slot keeps its keys and values after its reply has ended, so the next turn of a conversation only
computes what is new; edit, retry and undo continue from the longest common beginning. The number of
slots bounds the memory; the least recently used one is overwritten first.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field


@dataclass
class Slot:
    """One KV cache of the pool and what it holds."""

    index: int
    owner: Hashable = None  # the conversation that it belongs to
    prefix: Hashable = None  # keys and values depend on the adapter, its picture and strength
    ids: list[int] = field(default_factory=list)  # tokens whose keys and values are there

    def shared(self, ids: Sequence[int], prefix: Hashable) -> int:
        """How many tokens of a prompt it holds. At least one is left to compute: its logits."""
        if prefix != self.prefix:
            return 0
        most = min(len(self.ids), len(ids) - 1)
        return next((i for i in range(most) if self.ids[i] != ids[i]), most)


class Slots:
    """The free slots of a pool, the least recently used first."""

    def __init__(self, count: int) -> None:
        self._free = [Slot(index) for index in range(count)]

    def take(self, ids: Sequence[int], prefix: Hashable, owner: Hashable) -> Slot:
        """The owner's slot, else the oldest, cut to the tokens that the prompt begins with."""
        slot = next((slot for slot in self._free if slot.owner == owner), self._free[0])
        self._free.remove(slot)
        slot.ids = slot.ids[: slot.shared(ids, prefix)]
        slot.owner, slot.prefix = owner, prefix
        return slot

    def give_back(self, slot: Slot) -> None:
        """What it holds stays until somebody else needs the room."""
        self._free.append(slot)

    def discard(self, slot: Slot) -> None:
        """Gives it back empty: what it holds may be half written."""
        slot.owner, slot.ids = None, []
        self._free.insert(0, slot)
