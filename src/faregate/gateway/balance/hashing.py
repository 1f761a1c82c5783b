"""``hash:<header|consumer|ip>``: the same key goes to the same target, in every worker, machine and run.

A key falls into one of 16,384 slots by CRC-32, and each slot ranks the targets by weighted rendezvous hashing
(highest -ln(u) / weight wins; Mosharaf, Thaler, Ravishankar 1998 for the unweighted form). So a target that
comes or goes moves its own slots only, weights are exact, memory is one fixed table, and a pick is one
look-up. Slots are ranked when first asked for. Python's own ``hash`` is no use here: it differs from process
to process.
"""

from collections.abc import Sequence
from hashlib import blake2b
from math import log
from random import Random
from typing import Final
from zlib import crc32

from faregate.gateway.balance.base import Balancer
from faregate.gateway.balance.plain import draw_by_share
from faregate.gateway.balance.state import TargetState
from faregate.snapshot.data import Upstream

_SLOTS: Final = 1 << 14
_MASK: Final = (1 << 64) - 1


def target_seed(name: str) -> int:
    """64 bits that stand for a target's name, the same on every machine."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")


def rank(seed: int, slot: int, weight: int) -> float:
    """How strongly a target claims a slot: the lowest rank wins, each in proportion to its weight."""
    # SplitMix64's finaliser (Steele, Lea, Flood 2014): every bit of seed and slot reaches every bit of the
    # result.
    mixed = (seed + slot * 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    mixed ^= mixed >> 31
    return -log(((mixed >> 12) + 0.5) / (1 << 52)) / weight


class HashBalancer(Balancer):
    """Consistent: the owner of the key's slot, or the next in the slot's order when it is out or was tried.

    Slow start does not apply: moving a share of the keys twice would defeat the purpose. A call without a key
    goes to a random target.
    """

    __slots__ = ("_owners", "_seeds")

    def __init__(
        self, upstream: Upstream, targets: Sequence[TargetState], now: float, random: Random
    ) -> None:
        self._seeds = {target: target_seed(target.name) for target in targets}
        self._owners: list[TargetState | None] = []
        super().__init__(upstream, targets, now, random)

    def pick(self, now: float, key: bytes, tried: tuple[TargetState, ...]) -> TargetState | None:
        if now >= self._refresh_at:
            self._refresh(now)
        chosen: TargetState | None
        if tried or not key or not self._ready:
            left = [target for target in self._ready if target not in tried]
            chosen = self._owner(crc32(key) % _SLOTS, left) if key else draw_by_share(left, self._random)
            if chosen is None:
                return None
        else:
            slot = crc32(key) % _SLOTS
            chosen = self._owners[slot]
            if chosen is None:
                chosen = self._owners[slot] = self._owner(slot, self._ready)
                assert chosen is not None
        chosen.in_flight += 1
        if chosen.trial:
            self._refresh_at = 0.0
        return chosen

    def _owner(self, slot: int, targets: Sequence[TargetState]) -> TargetState | None:
        seeds = self._seeds
        return min(targets, key=lambda target: rank(seeds[target], slot, target.data.weight), default=None)

    def _arrange(self) -> None:
        self._owners = [None] * _SLOTS
