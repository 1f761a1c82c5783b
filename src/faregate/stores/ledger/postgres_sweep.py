"""How expired records leave PostgreSQL: a bounded batch of one state at a time, each going on where the last
one ended.

The index still lists what was deleted until a vacuum has been there, and while somebody's long transaction
(a dump) keeps it from that, whoever begins at the oldest entry visits every deleted row again: after a
million of them one batch would take longer than a statement may. So a batch begins at the end of the last
record that was dropped. What may stand before that (it was locked, the server's clock was set back) is
looked for every ten minutes.
"""

from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Final, cast

from faregate.stores.ledger.postgres_sql import SWEEP_MOST
from faregate.stores.ledger.protocol import CLAIMED, COMPLETED, RELEASED

WHOLE_S: Final = 600.0
_BEFORE_S: Final = 0.001
"""A time that went through a float may have moved by less."""

Ask = Callable[[Sequence[int | float]], Awaitable[list[tuple[object, ...]]]]
"""Runs ``SWEEP_GONE`` with the lock's number, a state, and where to begin."""


class Sweep:
    """Of one ledger, for as long as the process lives: a connection that was lost forgets nothing."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._ended: dict[int, float] = {}
        self._whole_at: dict[int, float] = {}

    async def drop(self, ask: Ask, lock: int) -> bool:
        """A batch of each state, under the advisory lock behind ``lock``; whether there is more. Raises what
        ``ask`` does.
        """
        more = False
        for state in (CLAIMED, COMPLETED, RELEASED):
            row = (await ask((lock + 1, state, self._begin(state))))[0]
            count, ended = cast("tuple[int, float]", row)
            if count:
                self._ended[state] = ended
            more = more or count == SWEEP_MOST
        return more

    def _begin(self, state: int) -> float:
        """Seconds since the epoch."""
        now = self._clock()
        if now >= self._whole_at.get(state, now):
            self._whole_at[state] = now + WHOLE_S
            return 0.0
        return max(0.0, self._ended.get(state, 0.0) - _BEFORE_S)
