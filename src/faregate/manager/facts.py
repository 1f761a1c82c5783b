"""What the supervisor says to the manager on its standard input, a JSON object a line.

Anything else on that input, its end too, changes nothing: a manager that is started by hand has none.
"""

import asyncio
import os
import stat
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import msgspec

from faregate.manager.totals import Totals
from faregate.snapshot.managing import Managing

_LINE_BYTES_MAX: Final = 65_536


class Fact(msgspec.Struct):
    """``workers``: how many there shall be. ``stopping``: the gateway is. ``stale``: the configuration on
    disk is not what runs. ``hold``: another manager still answers on the socket. ``revision``: what runs.
    ``file_loads``: how often the configuration file was put to work since the gateway began. ``managing``:
    how changes are made, and where they are kept.
    """

    workers: int | None = None
    stopping: bool = False
    stale: bool = False
    hold: bool = False
    revision: int = 0
    file_loads: int = 0
    managing: Managing | None = None


class Facts:
    """Brings what is said into ``totals``. ``held``: nobody has said yet that it is our turn. ``revision``:
    what runs, as far as it is said; ``reloaded``: called when the configuration file was put to work.
    """

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._buffer = bytearray()
        self._descriptor = -1
        self.held = False
        self.managing = Managing()
        self.revision = 0
        self.reloaded: Callable[[], None] = lambda: None
        self._file_loads = 0
        self.released = asyncio.Event()

    @property
    def public(self) -> str:
        """The host under which browsers come back from a sign-in by the provider, empty for none."""
        found = self.managing.sign_in
        return "" if found is None else urlsplit(found.redirect).hostname or ""

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
        self.managing = fact.managing or self.managing
        totals.stopping, totals.stale = fact.stopping, fact.stale
        self.held = fact.hold
        self.revision = fact.revision or self.revision
        if fact.file_loads > self._file_loads:
            self._file_loads = fact.file_loads
            self.reloaded()
        if not fact.hold:
            self.released.set()
