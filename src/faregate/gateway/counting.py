"""The supervisor's hold on the counters: the memory that its workers share, and their copy on disk.

The memory is held by a descriptor that workers inherit and a successor takes over; it is gone with the last
of these processes. So what counts an hour or longer is saved every few seconds, and everything at a stop.
"""

import asyncio
import contextlib
import os
import time
from contextlib import closing
from pathlib import Path
from threading import Lock
from typing import Final

from faregate.gateway import voice
from faregate.stores.counters import Counters
from faregate.stores.counters_prepare import Capacity, prepare
from faregate.stores.counters_saved import save

SAVE_EVERY_S: Final = 5.0
"""What a crash of the machine, or of all processes at once, may cost a quota: so many seconds of calls."""
_SHARE: Final = 50
"""Between two saves lies at least so many times what the last one took: 2 % of a core and of the disk."""


class Counting:
    """``memory``: the descriptor of the counters, ours until ``end``."""

    def __init__(self, saved: Path, memory: int) -> None:
        self.memory = memory
        self._saved = saved
        self._failed = False
        self._nothing = False  # the last save found nothing to keep
        self._ended = False
        self._saving = Lock()

    @classmethod
    def begin(cls, saved: Path, capacity: Capacity) -> "Counting":
        """Counters that go on from what lies at ``saved``. Raises OSError, CountersError."""
        prepared = prepare(saved, capacity, now=time.monotonic_ns(), wall=time.time())
        if prepared.event == "unreadable":
            voice.say(
                "the saved counters were unreadable and set aside; all counts, quotas too, begin anew",
                "counters_unreadable",
            )
        return cls(saved, prepared.memory)

    async def keep_saved(self) -> None:
        """Saves what counts an hour or longer, for as long as this process is the gateway."""
        pause = SAVE_EVERY_S
        while True:
            await asyncio.sleep(pause)
            begun = time.monotonic()
            await asyncio.to_thread(self._save_long)
            pause = max(SAVE_EVERY_S, (time.monotonic() - begun) * _SHARE)

    def leave(self) -> None:
        """Another process saves them from now on."""
        with self._saving:
            self._ended = True

    def end(self, *, save: bool) -> None:
        """Lets go of the memory; with ``save``, everything is on disk then. No worker counts any more, or
        another process holds the memory too.
        """
        with self._saving:
            self._ended = True
            if save:
                self._nothing = False
                self._save(everything=True)
            with contextlib.suppress(OSError):
                os.close(self.memory)

    def _save_long(self) -> None:
        """In a thread, which may outlive whoever started it."""
        with self._saving:
            if not self._ended:
                self._save(everything=False)

    def _save(self, *, everything: bool) -> None:
        """A disk that takes nothing is told once, and again when it takes some: limits hold without it."""
        try:
            with closing(Counters(self.memory)) as counters:
                kept = save(
                    counters,
                    self._saved,
                    now=time.monotonic_ns(),
                    wall=time.time(),
                    everything=everything,
                    unless_empty=self._nothing,
                )
        except Exception as error:  # noqa: BLE001 - whatever hinders saving, limits hold and calls go on
            why = (isinstance(error, OSError) and error.strerror) or repr(error)
            if everything:
                voice.say(
                    f"the counters were NOT saved in {self._saved.parent}: {why}; "
                    "the next start goes on from an earlier save, or begins anew",
                    "counters_lost",
                    level="error",
                )
            elif not self._failed:
                self._failed = True
                voice.say(
                    f"cannot save the counters in {self._saved.parent}: {why}; limits hold, "
                    "but what is unsaved at a stop or a crash is lost",
                    "counters_unsaved",
                )
            return
        self._nothing = not kept
        if self._failed:
            self._failed = False
            voice.say("the counters are saved again", "counters_saved")
