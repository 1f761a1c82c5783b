"""A worker's watch over itself: is the loop on time, is there memory left; and what follows when not.

Looked at on the wheel's tick: the loop's lag at each, resident memory every 250 ms, and between ticks
whenever callers have had a worker hold another hundredth of it (``Plane.held``). From 85 % of the memory
that the worker may use on, callers' timeouts shrink; from 92 % on answers end their connections; from 95 % on
hardly a call and hardly a connection is let in (http-rules.md section 7). Freed memory is handed back to the
system, since the share is measured by what the system sees. Nothing here closes the door altogether: a worker
whose memory does not fall keeps serving a few at a time.
"""

import ctypes
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from faregate.gateway.plane import Plane

_log = logging.getLogger("faregate.worker")

LOOK_EVERY_S: Final = 0.25
LOOK_OFTEN_AT: Final = 0.7
"""From here on at every tick: in a quarter of a second a flood fills tens of megabytes."""
SHRINK_AT: Final = 0.85
CLOSE_AT: Final = 0.92
REFUSE_AT: Final = 0.95
PATIENCE_MIN: Final = 0.1
"""Of the configured timeouts, what is left of them at ``REFUSE_AT``."""
EASE: Final = 0.02
"""A level once reached is left this much lower, so that it does not flicker."""
TRIM_EVERY_S: Final = 2.0
SAY_EVERY_S: Final = 60.0
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """This process's resident memory; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - a path object costs more
            return int(file.read().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def give_back() -> None:
    """Hands freed memory back to the system where the C library can."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):
        return


def patience(share: float) -> float:
    """Part of the configured timeouts that holds at ``share`` of the memory."""
    over = min(1.0, max(0.0, (share - SHRINK_AT) / (REFUSE_AT - SHRINK_AT)))
    return 1.0 - over * (1.0 - PATIENCE_MIN)


class Overload:
    """Watches one worker. ``watched_bytes``: the memory it may use; ``resident`` measures, ``trim`` gives
    back.
    """

    __slots__ = (
        "_closing",
        "_looked_at",
        "_resident",
        "_said_at",
        "_ticked_at",
        "_trim",
        "_trimmed_at",
        "lag_s",
        "share",
        "watched_bytes",
    )

    def __init__(
        self,
        watched_bytes: int,
        now: float,
        resident: Callable[[], int] = resident_bytes,
        trim: Callable[[], None] = give_back,
    ) -> None:
        self.watched_bytes = watched_bytes
        self.lag_s = 0.0
        self.share = 0.0
        self._closing = False
        self._resident = resident
        self._trim = trim
        self._ticked_at = now
        self._looked_at = now
        self._trimmed_at = now - TRIM_EVERY_S
        self._said_at = now - SAY_EVERY_S

    def tick(self, plane: "Plane", now: float, tick_s: float) -> None:
        """One tick of the wheel, which was due ``tick_s`` after the one before."""
        lag_s = self.lag_s = max(0.0, now - self._ticked_at - tick_s)
        self._ticked_at = now
        plane.admission.tick(now, lag_s)
        if self.share >= LOOK_OFTEN_AT or now - self._looked_at >= LOOK_EVERY_S:
            self.look(plane, now)
        plane.set_least()

    def look(self, plane: "Plane", now: float) -> None:
        """Measures memory, and has follow what must."""
        self._looked_at = now
        before = self.share
        share = self.share = self._resident() / self.watched_bytes if self.watched_bytes else 0.0
        if share < SHRINK_AT and before < SHRINK_AT:
            plane.set_patience(1.0)  # also after a reload
            return
        plane.set_patience(patience(share))
        self._closing = share >= CLOSE_AT or (self._closing and share >= CLOSE_AT - EASE)
        plane.closes = plane.draining or self._closing
        short = share >= REFUSE_AT or (plane.doorkeeper.narrow and share >= REFUSE_AT - EASE)
        plane.doorkeeper.narrow = short
        plane.admission.memory(short=short)
        if share > before or share >= CLOSE_AT:
            for client in plane.clients:
                client.hurry(now)
        if share >= SHRINK_AT and now - self._trimmed_at >= TRIM_EVERY_S:
            self._trimmed_at = now
            self._trim()
        if short and now - self._said_at >= SAY_EVERY_S:
            self._said_at = now
            _log.warning(
                "memory is short: %d of %d MiB; calls and connections are refused",
                int(share * self.watched_bytes) >> 20,
                self.watched_bytes >> 20,
            )
