"""The table from which ``adaptive`` draws the two targets it compares.

Drawing must cost one index, honour weights, and take memory that grows with the targets, not their square. A
pair is drawn with probability in proportion to the sum of its two shares; when the comparison then prefers
each in proportion to its own share, every target gets exactly its share of all calls.
"""

from collections.abc import Sequence
from math import ceil
from typing import Final

_SLOTS_MIN: Final = 256
_EXACT_MAX: Final = 32
_SLOTS_PER_TARGET: Final = 16


def _quotas(shares: Sequence[float], slots: int) -> list[int]:
    """``slots`` divided in proportion to ``shares`` by largest remainders, each at least 1."""
    total = sum(shares)
    wanted = [share / total * slots for share in shares]
    quotas = [max(1, int(want)) for want in wanted]
    by_remainder = sorted(range(len(shares)), key=lambda index: quotas[index] - wanted[index])
    for index in by_remainder[: max(0, slots - sum(quotas))]:
        quotas[index] += 1
    return quotas


def pair_table(shares: Sequence[float]) -> list[tuple[int, int]]:
    """Ordered pairs of distinct indices into ``shares``; one index alone is paired with itself, none gives no
    pair.

    Up to 32 equal shares every pair occurs equally often; beyond, each target meets about 32 others, spread
    evenly.
    """
    count = len(shares)
    if count < 2:
        return [(0, 0)] * count
    others = count - 1
    exact = count * others
    slots = exact * ceil(_SLOTS_MIN / exact) if count <= _EXACT_MAX else count * _SLOTS_PER_TARGET
    return [
        (first, (first + 1 + place * others // quota) % count)
        for first, quota in enumerate(_quotas(shares, slots))
        for place in range(quota)
    ]
