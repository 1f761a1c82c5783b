"""The ledger's process: ``python -m faregate.stores.ledger.embedded.program FOLDER DISK_BYTES [--events]``.

Started by the supervisor, whose standard input tells it, a JSON object a line: ``disk_bytes``, the bound as
it now is; ``leave``: true, another takes over. It waits for the folder's lock until whoever had it has
gone, and ends by itself once its supervisor is gone and no worker is connected. It never ends on its own
while workers need it.
"""

import gc
import json
import os
import signal
import sys
from pathlib import Path
from typing import Final

from faregate import compiled

_SAY_WAITING_S: Final = 10.0


class _Line:
    """The supervisor's words, read without waiting."""

    def __init__(self) -> None:
        self.ended = False
        self.leave = False
        self.disk_bytes = 0
        self._rest = b""
        os.set_blocking(0, False)

    def read(self) -> None:
        try:
            data = os.read(0, 4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.ended = True
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            try:
                told = json.loads(line)
            except ValueError:
                continue
            if isinstance(told, dict):
                self.leave = self.leave or told.get("leave") is True
                size = told.get("disk_bytes")
                self.disk_bytes = size if isinstance(size, int) else self.disk_bytes


def main() -> int:
    """Runs the process; returns its exit status."""
    gc.disable()  # nothing here makes cycles, and millions of keys would be walked for none
    compiled.install()
    from faregate.kernel.events import speak_in_events  # noqa: PLC0415 - only after the compiled form is found

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's is the supervisor's to answer
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    folder, disk_bytes = Path(sys.argv[1]), int(sys.argv[2])
    if "--events" in sys.argv[3:]:
        speak_in_events("ledger")
    return _serve(folder, disk_bytes)


def _say(text: str) -> None:
    print(f"faregate: {text}", file=sys.stderr, flush=True)  # noqa: T201 - a program's voice


def _serve(folder: Path, disk_bytes: int) -> int:
    from faregate.stores.ledger.embedded.opening import FolderLock, open_book  # noqa: PLC0415
    from faregate.stores.ledger.embedded.places import listen  # noqa: PLC0415
    from faregate.stores.ledger.embedded.server import Server  # noqa: PLC0415
    from faregate.stores.ledger.protocol import LedgerError  # noqa: PLC0415

    line = _Line()
    said: list[float] = []

    def goes_on(waited_s: float) -> bool:
        line.read()
        if waited_s > _SAY_WAITING_S and not said:
            said.append(waited_s)
            _say(f"the ledger in {folder} is held by another process; waiting for it to leave")
        return not (line.leave or line.ended)

    try:
        lock = FolderLock.take(folder, goes_on)
        if lock is None:
            return 0
        book, clock = open_book(folder, line.disk_bytes or disk_bytes)
        server = Server(book, clock, listen(folder / "socket"), _say)
    except LedgerError as error:
        _say(str(error))
        return 1
    except OSError as error:
        _say(f"the ledger in {folder} cannot be used: {error.strerror or error}")
        return 1

    def told() -> None:
        before = line.disk_bytes
        line.read()
        if line.disk_bytes != before:
            book.log.bound(line.disk_bytes)
        if line.ended:
            server.unwatch(0)
            server.leave_when_alone = True
        server.stopping = server.stopping or line.leave

    def stop(*_: object) -> None:
        server.stopping = True

    server.watch(0, told)
    signal.signal(signal.SIGTERM, stop)
    told()
    server.run()
    server.close()
    lock.free()
    return 0


if __name__ == "__main__":
    sys.exit(main())
