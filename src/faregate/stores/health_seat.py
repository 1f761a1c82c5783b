"""Which of the workers does what only one should do: run the active checks.

The seat is a byte-range lock, so it is free the moment its holder dies. A holder that is stopped, or whose
event loop hangs, keeps its lock but says nothing: after ``SILENT_MS`` the others move on to the next lock,
and the old one, when it wakes, finds that its term is over.
"""

from typing import Final

from faregate.stores import health_layout as layout
from faregate.stores.health import HealthTable

SILENT_MS: Final = 700
"""The holder says at every look, each 50 ms, that it is there."""
_NONE: Final = -1


class Seat:
    """One worker's claim to the seat; ``sit`` is to be called at every look."""

    __slots__ = ("_held", "_table")

    def __init__(self, table: HealthTable) -> None:
        self._table = table
        self._held = _NONE

    def sit(self, now_ms: int) -> bool:
        """Whether the seat is this worker's. About a microsecond."""
        table = self._table
        words = table.words
        term = words[layout.TERM]
        if self._held != term:
            self.rise()
            if not table.locks.take(layout.SEAT_LOCK + term % layout.SEATS):
                if not words[layout.SEATED_MS] <= now_ms <= words[layout.SEATED_MS] + SILENT_MS:
                    self._next_term(term, now_ms)
                return False
            self._held = term
        words[layout.SEATED_MS] = now_ms
        return True

    def rise(self) -> None:
        """Leaves the seat to another."""
        if self._held != _NONE:
            self._table.locks.give(layout.SEAT_LOCK + self._held % layout.SEATS)
            self._held = _NONE

    def _next_term(self, term: int, now_ms: int) -> None:
        """Only one of those who find the holder silent moves on; the others find it done."""
        locked = self._table.lock()
        words = self._table.words
        if words[layout.TERM] == term:
            words[layout.TERM] = term + 1
            words[layout.SEATED_MS] = now_ms  # the next one gets its time
        if locked:
            self._table.unlock()
