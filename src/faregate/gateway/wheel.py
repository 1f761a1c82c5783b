"""One coarse timer for all deadlines of a worker.

A connection holds its deadline in an attribute that calls move freely at the cost of a store; the wheel
looks again at the latest after ``LOOK_AGAIN_S``. So a keep-alive call arms no timer at all, and what is
closed is forgotten within that time. A deadline fires at most two ticks late.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

_log = logging.getLogger("faregate.gateway")

TICK_S: Final = 0.05
LOOK_AGAIN_S: Final = 2.0
NEVER: Final = float("inf")


class Timed(Protocol):
    """What the wheel watches: ``deadline`` may be moved at will, ``wheel_at`` is the wheel's own."""

    deadline: float
    wheel_at: float

    def on_deadline(self, now: float) -> None: ...


class Wheel:
    """Deadlines of one event loop; times are monotonic seconds. Not for use from other threads."""

    __slots__ = ("_loop", "_monotonic", "_on_tick", "_slots", "_stopped", "_turned")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        monotonic: Callable[[], float],
        on_tick: Callable[[float], None],
    ) -> None:
        self._loop = loop
        self._monotonic = monotonic
        self._on_tick = on_tick
        self._slots: dict[int, list[tuple[float, Timed]]] = {}
        self._turned = int(monotonic() / TICK_S)
        self._stopped = False

    def start(self) -> None:
        self._loop.call_later(TICK_S, self._tick)

    def stop(self) -> None:
        self._stopped = True
        self._slots.clear()

    def watch(self, timed: Timed, now: float) -> None:
        """Looks at ``timed`` at its deadline or sooner. Call it when ``deadline`` moved before
        ``wheel_at``.
        """
        at = min(timed.deadline, now + LOOK_AGAIN_S)
        timed.wheel_at = at
        index = max(int(at / TICK_S), self._turned) + 1
        self._slots.setdefault(index, []).append((at, timed))

    def turn(self, now: float) -> None:
        """Handles everything due at ``now``; ``_tick`` calls it, and so may tests."""
        current = int(now / TICK_S)
        if current - self._turned > len(self._slots):
            due = sorted(index for index in self._slots if index <= current)
        else:
            due = [index for index in range(self._turned + 1, current + 1) if index in self._slots]
        self._turned = max(self._turned, current)
        for index in due:
            for at, timed in self._slots.pop(index):
                if timed.wheel_at != at:
                    continue  # armed anew since
                timed.wheel_at = NEVER  # also without a deadline: a later one must be watched again
                if timed.deadline <= now:
                    try:
                        timed.on_deadline(now)
                    except Exception:  # noqa: BLE001 - the others of this turn must not lose theirs
                        _log.exception(
                            "a deadline's handler failed"
                        )  # the others of this turn must not wait for it
                if timed.wheel_at == NEVER and timed.deadline != NEVER:
                    self.watch(timed, now)

    def _tick(self) -> None:
        if self._stopped:
            return
        self._loop.call_later(TICK_S, self._tick)
        now = self._monotonic()
        self._on_tick(now)
        self.turn(now)
