"""What the supervisor says to the manager on its standard input, a JSON object a line.

Anything else on that input, its end too, changes nothing: a manager that is started by hand has none.
"""

import asyncio
import os
import stat
from typing import Final

import msgspec

from faregate.manager.totals import Totals

_LINE_BYTES_MAX: Final = 4096


class Fact(msgspec.Struct):
    """``workers``: how many there shall be. ``stopping``: the gateway is. ``stale``: the configuration on
    disk is not what runs. ``hold``: another manager still answers on the socket.
    """

    workers: int | None = None
    stopping: bool = False
    stale: bool = False
    hold: bool = False


class Facts:
    """Brings what is said into ``totals``. ``held``: nobody has said yet that it is our turn."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._buffer = bytearray()
        self._descriptor = -1
        self.held = False
        self.released = asyncio.Event()

    def hear(self, descriptor: int) -> None:
        """Begins to listen to ``descriptor`` when it is a pipe or a socket; takes what is there already."""
        try:
            mode = os.fstat(descriptor).st_mode
        except OSError:
            return
        if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
            return
        self._descriptor = descriptor
        os.set_blocking(descriptor, False)
        asyncio.get_running_loop().add_reader(descriptor, self._readable)
        self._readable()

    def _readable(self) -> None:
        try:
            data = os.read(self._descriptor, _LINE_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._buffer += data
        if not data or len(self._buffer) > _LINE_BYTES_MAX * 2:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            self.released.set()
            return
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = bytearray(rest)
        for line in lines:
            try:
                self._take(msgspec.json.decode(line, type=Fact))
            except msgspec.MsgspecError:
                continue

    def _take(self, fact: Fact) -> None:
        totals = self._totals
        if fact.workers is not None:
            totals.expected = fact.workers
        totals.stopping, totals.stale = fact.stopping, fact.stale
        self.held = fact.hold
        if not fact.hold:
            self.released.set()
