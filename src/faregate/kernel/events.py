"""What the gateway's processes say to a program that watches them: one JSON object a line on standard output.

All of them write such lines under ``faregate run --json``: the supervisor its events, the child that compiles
its diagnostics, and each of them whatever it logs, prints to standard error or dies of. The form stands here
because none of them may import the others. A line goes out in one write, so that those of several processes
do not mix. Only what the interpreter itself says when it breaks down still goes to standard error as it is.
"""

import io
import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Final

TRACE_CHARACTERS_MAX: Final = 2_000
MESSAGE_CHARACTERS_MAX: Final = 1_000
"""So that a line of plain text fits into what a pipe takes at once (``PIPE_BUF``, 4096 bytes on Linux)."""
_STDOUT: Final = 1


def event_line(
    event: str,
    message: str,
    facts: Mapping[str, object],
    *,
    level: str = "info",
    process: str = "supervisor",
) -> str:
    """One line without its end: ``time`` (RFC 3339, UTC, ms), ``event``, ``message``, ``level``, ``process``,
    then ``facts``, which must be JSON. ``level``: ``info``, ``warning`` or ``error``.
    """
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps(
        {"time": time, "event": event, "message": message, "level": level, "process": process, **facts}
    )


class _Words:
    """Writes the lines of one process. ``facts``: what tells it from others of its kind."""

    def __init__(self, process: str, facts: dict[str, object]) -> None:
        self._process = process
        self._facts = facts

    def say(self, level: str, message: str, **facts: object) -> None:
        line = event_line(
            "log",
            message[:MESSAGE_CHARACTERS_MAX],
            {**self._facts, **facts},
            level=level,
            process=self._process,
        )
        try:
            os.write(_STDOUT, line.encode() + b"\n")
        except OSError:
            return  # whoever read it is gone; the work goes on

    def died(
        self, kind: type[BaseException], error: BaseException | None, where: TracebackType | None
    ) -> None:
        """For ``sys.excepthook``."""
        self.say("error", f"{kind.__name__}: {error}", exception=_trace(kind, error, where))


class _Handler(logging.Handler):
    """Makes an event of each record."""

    def __init__(self, words: _Words) -> None:
        super().__init__()
        self._words = words

    def emit(self, record: logging.LogRecord) -> None:
        """A record that cannot be said harms nobody but itself, as with all handlers."""
        try:
            self._say(record)
        except Exception:  # noqa: BLE001 - arguments and their text are anybody's
            self.handleError(record)

    def _say(self, record: logging.LogRecord) -> None:
        level = {logging.WARNING: "warning"}.get(record.levelno, "info" if record.levelno < 30 else "error")
        facts: dict[str, object] = {"logger": record.name}
        if record.exc_info and record.exc_info[0] is not None:
            facts["exception"] = _trace(*record.exc_info)
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - arguments that do not fit, or have no text: then without them
            message = str(record.msg)
        self._words.say(level, message, **facts)


class _Stream(io.TextIOBase):
    """Stands for standard error: every line printed there is an event."""

    def __init__(self, words: _Words) -> None:
        self._words = words
        self._begun = ""
        self._lock = threading.RLock()  # a finalizer or a signal may print in the midst of a write

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        """The real one, for those who write below Python."""
        return 2

    def write(self, text: str) -> int:
        with self._lock:
            *lines, rest = (self._begun + text).split("\n")
            self._begun = rest[-MESSAGE_CHARACTERS_MAX:]
        for line in lines:
            if line.strip():
                self._words.say("error", line)
        return len(text)


def speak_in_events(process: str, level: int = logging.INFO, **facts: object) -> None:
    """From now on this process says everything in events. ``process``: its kind; ``level``: of what it logs;
    ``facts``: members of each of its ``log`` events.
    """
    words = _Words(process, facts)
    logging.basicConfig(level=level, handlers=[_Handler(words)], force=True)
    sys.excepthook = words.died
    sys.stderr = _Stream(words)


def _trace(kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> str:
    """Its last part, where the cause stands."""
    return "".join(traceback.format_exception(kind, error, where))[-TRACE_CHARACTERS_MAX:]
