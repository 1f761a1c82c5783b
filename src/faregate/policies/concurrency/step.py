"""Concurrency: how many calls of a consumer are in progress, in one slot with a cell for each worker.

A worker adds to its own cell under the partition's lock and takes from it without one: nobody else writes
that cell while the worker lives. When it dies, its cells are emptied by whoever takes its index next
(``stores.counters``), so a place comes back whatever happens to the call or to the worker.
"""

from typing import Final

from faregate.stores.counters import Counter, Counters, Owner
from faregate.stores.counters_layout import Kind

RETRY_NS: Final = 1_000_000_000
"""When a place will be free is not known; a second is what the caller is told."""


class Place:
    """One place taken. Calling it frees the place; calling it again does nothing."""

    __slots__ = ("_cell", "_cells")

    def __init__(self, cells: "memoryview[int]", cell: int) -> None:
        self._cells = cells
        self._cell = cell

    def __call__(self) -> None:
        cell = self._cell
        if cell >= 0:
            self._cell = -1
            try:  # noqa: SIM105 - suppress() costs half a microsecond on every call
                self._cells[cell] -= 1
            except ValueError:
                pass  # after ``Counters.close`` the worker is ending: its places are freed with its index


class Concurrency(Counter):
    """At most ``limit`` calls of a consumer at once, over all workers."""

    __slots__ = ("_cells_used", "index", "limit")

    def __init__(self, counters: Counters, owner: Owner, limit: int) -> None:
        super().__init__(counters, owner, "plan", Kind.CONCURRENCY)
        self.limit = limit
        self._cells_used = counters.cells_used
        self.index = counters.worker_index

    def check(self, now: int, wall: float) -> int:
        """0 = a place is free, else one second in ns. Takes nothing."""
        if self.words[self.word] != self.low:
            self.seek(now, wall)
        return 0 if self._held() < self.limit else RETRY_NS

    def _held(self) -> int:
        used, cell = self._cells_used[0], self.cell
        return self.cells[cell] if used == 1 else sum(self.cells[cell : cell + used])

    def take(self) -> None:
        """Takes the place that ``check`` found."""
        self.cells[self.cell + self.index] += 1

    def place(self) -> Place:
        """What gives the place back that ``take`` took just now."""
        return Place(self.cells, self.cell + self.index)

    def remaining(self) -> int:
        return max(0, self.limit - self._held())
