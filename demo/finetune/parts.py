"""Which examples are learned and which are held out. The same question never stands in both."""

import random
from collections.abc import Hashable, Sequence


def draw_held_out(keys: Sequence[Hashable], share: float, seed: int) -> frozenset[int]:
    """Places of about `share` of the keys; equal keys go together, and not all of them.

    At least one is held out when `share` is above 0 and there are two different keys. A key that
    is shared by so many that the share would double is not held out.

    Args:
        share: 0 to 0.5.
        seed: the same seed and keys give the same places.
    """
    groups: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        groups.setdefault(key, []).append(place)
    if share <= 0 or len(groups) < 2:
        return frozenset()
    wanted = max(1, round(share * len(keys)))
    most = min(2 * wanted, len(keys) - 1)  # something stays to learn from
    order = list(groups.values())
    random.Random(seed).shuffle(order)
    chosen: list[int] = []
    for group in order:
        if len(chosen) >= wanted:
            break
        if len(chosen) + len(group) <= most:
            chosen += group
    if not chosen:  # every group is large: the smallest is the least harm
        chosen = min(order, key=len)
    return frozenset(chosen)
