"""The writer's process: ``python -m faregate.records.audit.program FOLDER [SETTINGS] [--events]``.

Started by the supervisor, whose standard input tells it, a JSON object a line: settings as they now are, as
in SETTINGS (``origin``, ``publish``, ``every_s``, ``every_records``); ``leave``: true, another takes over. It
waits for the folder's lock until whoever had it has gone, and ends by itself once its supervisor is gone and
nobody is connected.
"""

import gc
import json
import os
import signal
import sys
from pathlib import Path
from typing import Final

from faregate.kernel.events import speak_in_events
from faregate.kernel.folder_lock import FolderLock
from faregate.kernel.unix_sockets import listen
from faregate.records.audit.calls import CallRecords
from faregate.records.audit.checkpoints import Publisher
from faregate.records.audit.opening import open_tree
from faregate.records.audit.places import SOCKET, TreeError
from faregate.records.audit.server import EVERY_RECORDS, EVERY_S, Server

_SAY_WAITING_S: Final = 10.0


class _Line:
    """The supervisor's words, read without waiting."""

    def __init__(self, settings: str) -> None:
        self.ended = False
        self.leave = False
        self.told: dict[str, object] = {}
        self._rest = b""
        os.set_blocking(0, False)
        self._take(settings.encode())

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
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            told = json.loads(line)
        except ValueError:
            return
        if isinstance(told, dict):
            self.leave = self.leave or told.get("leave") is True
            self.told.update(told)

    def text(self, name: str) -> str:
        value = self.told.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str, default: float) -> float:
        value = self.told.get(name)
        return float(value) if isinstance(value, int | float) and value > 0 else default


def main() -> int:
    """Runs the process; returns its exit status."""
    gc.disable()  # nothing here makes cycles
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's is the supervisor's to answer
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    arguments = [one for one in sys.argv[1:] if one != "--events"]
    if len(arguments) != len(sys.argv) - 1:
        speak_in_events("audit")
    return _serve(Path(arguments[0]), _Line(arguments[1] if len(arguments) > 1 else "{}"))


def _say(text: str) -> None:
    print(f"faregate: {text}", file=sys.stderr, flush=True)  # noqa: T201 - a program's voice


class _Program:
    """The server on a folder whose lock is held, and what the supervisor says meanwhile."""

    def __init__(self, folder: Path, line: _Line) -> None:
        self._folder = folder
        self._line = line
        opened = open_tree(folder, line.text("origin"))
        key = (folder.parent / "digest.key").read_bytes()
        self.server = Server(opened, CallRecords(key), listen(folder / SOCKET), _say)
        self.server.begin()
        self._verifier = opened.signer.verifier
        self._publishes = ""
        wanted = line.text("origin")
        if wanted and wanted != self._verifier.name:
            stays = f"is {self._verifier.name}'s and stays so"
            _say(f"the audit tree in {folder} {stays}: gateway.audit.origin is for a new one")

    def run(self) -> int:
        """Returns the exit status."""
        server = self.server
        server.watch(0, self._told)
        signal.signal(signal.SIGTERM, self._stop)
        self._told()
        server.run()
        failed = server.tree.failed
        if failed:
            _say(f"the audit tree in {self._folder}: {failed}")
        server.end()
        return 1 if failed else 0

    def _stop(self, *_: object) -> None:
        self.server.stopping = True

    def _told(self) -> None:
        line, server = self._line, self.server
        line.read()
        if line.ended:
            server.unwatch(0)
            server.leave_when_alone = True
        server.stopping = server.stopping or line.leave
        server.every_s = line.number("every_s", EVERY_S)
        server.every_records = int(line.number("every_records", EVERY_RECORDS))
        publishes = line.text("publish")
        if publishes != self._publishes:
            self._publishes = publishes
            if server.publisher is not None:
                server.publisher.close(0.0)
            server.publisher = Publisher(Path(publishes), self._verifier, _say) if publishes else None


def _serve(folder: Path, line: _Line) -> int:
    said: list[float] = []

    def goes_on(waited_s: float) -> bool:
        line.read()
        if waited_s > _SAY_WAITING_S and not said:
            said.append(waited_s)
            _say(f"the audit tree in {folder} is held by another process; waiting for it to leave")
        return not (line.leave or line.ended)

    try:
        lock = FolderLock.take(folder, goes_on)
        if lock is None:
            return 0
        program = _Program(folder, line)
    except TreeError as error:
        _say(str(error))
        return 1
    except OSError as error:
        _say(f"the audit tree in {folder} cannot be used: {error.strerror or error}")
        return 1
    status = program.run()
    lock.free()
    return status


if __name__ == "__main__":
    sys.exit(main())
