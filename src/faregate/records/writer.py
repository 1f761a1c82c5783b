"""The access log's file and the one thread that writes it.

The worker hands over batches and never waits: the queue is bounded in bytes, and what does not fit, like what
the disk refuses, is counted as lost and said on stderr at most once a minute, and once more when lines are
written again. Workers append to the same file
by whole batches (O_APPEND), so their lines do not mix. The file is opened anew when it was renamed or
removed, as log rotation does.
"""

import os
import stat
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from faregate.records.lines import Batch

QUEUE_BYTES_MAX: Final = 16 << 20
"""Lines that wait for a slow disk: some seconds of a busy worker."""
ROTATION_CHECK_S: Final = 1.0
COMPLAINT_INTERVAL_S: Final = 60.0
_MODE: Final = 0o640
_CLOSE_TIMEOUT_S: Final = 2.0


def _complain_on_stderr(message: str) -> None:
    print(message, file=sys.stderr, flush=True)  # noqa: T201 - the log itself is what failed


class LogWriter:
    """Appends batches to ``path`` in a thread of its own; made after the fork.

    ``monotonic``: seconds. ``complain``: takes one line of text for the operator, called in the writer's
    thread.
    """

    def __init__(
        self,
        path: Path,
        *,
        queue_bytes_max: int = QUEUE_BYTES_MAX,
        monotonic: Callable[[], float] = time.monotonic,
        complain: Callable[[str], None] = _complain_on_stderr,
    ) -> None:
        self._path = path
        self._queue_bytes_max = queue_bytes_max
        self._monotonic = monotonic
        self._complain = complain
        self._queue: SimpleQueue[Batch | None] = SimpleQueue()
        # Each number has one writer, so that none needs a lock: the first two the worker, the others the
        # thread.
        self._bytes_in = 0
        self._lost_in = 0
        self._bytes_out = 0
        self._lost_out = 0
        self._file = -1
        self._torn = False
        self._checked_at = float("-inf")
        self._complained_at = float("-inf")
        self._complained = False  # and not yet said that lines are written again
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    @property
    def lines_lost(self) -> int:
        """Lines that were not written since the start."""
        return self._lost_in + self._lost_out

    def put(self, batch: Batch) -> None:
        """Queues ``batch``, or counts its lines as lost when the queue is full or closed. Never waits."""
        held = batch.bytes_held
        if self._closed or self._bytes_in - self._bytes_out + held > self._queue_bytes_max:
            self._lost_in += batch.lines
            return
        self._bytes_in += held
        self._queue.put(batch)

    def lose(self, lines: int) -> None:
        """Counts lines that could not even be rendered."""
        self._lost_in += lines

    def close(self, timeout_s: float = _CLOSE_TIMEOUT_S) -> bool:
        """Writes what is queued and ends the thread; False when the disk took longer than ``timeout_s``."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (batch := self._queue.get()) is not None:
            try:
                self._write_batch(batch)
            except Exception as error:  # noqa: BLE001 - the thread must outlive any one batch
                self._lost(batch.lines, type(error).__name__)
            finally:
                self._bytes_out += batch.bytes_held
        if self._file >= 0:
            os.close(self._file)

    def _write_batch(self, batch: Batch) -> None:
        data = batch.data
        if batch.deferred:
            data += b"".join([line.render() for line in batch.deferred])
        try:
            self._open_current()
            lost = self._append(data)
        except OSError as error:
            self._lost(batch.lines, os.strerror(error.errno) if error.errno else "cannot open")
            return
        if lost:
            self._lost(*lost)
        elif self._complained:
            self._complained = False
            self._complain(
                f"faregate: access log {self._path}: written again; {self.lines_lost} lines were lost"
            )

    def _open_current(self) -> None:
        """Opens the file, again when ``path`` no longer names it; looked at once a second. Raises OSError."""
        now = self._monotonic()
        if self._file >= 0 and now - self._checked_at < ROTATION_CHECK_S:
            return
        self._checked_at = now
        if self._file >= 0:
            try:
                named, held = self._path.stat(), os.fstat(self._file)
                if (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino):
                    return
            except FileNotFoundError:
                pass
            os.close(self._file)
            self._file = -1
        self._file = os.open(
            self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, _MODE
        )
        self._torn = self._ends_torn()

    def _ends_torn(self) -> bool:
        """Whether the file ends inside a line, as it does when a writer was killed or its machine fell."""
        state = os.fstat(self._file)
        if not stat.S_ISREG(state.st_mode) or not state.st_size:
            return False
        try:
            with self._path.open("rb") as file:
                file.seek(state.st_size - 1)
                return file.read(1) != b"\n"
        except OSError:
            return False  # written to, but not for our eyes

    def _append(self, data: bytes) -> tuple[int, str] | None:
        """Writes all of ``data``; otherwise how many of its lines are lost, and why."""
        if self._torn:
            data = (
                b"\n" + data
            )  # ends the stump that an earlier failure left, so that it spoils no other line
        written = 0
        try:
            while written < len(data):
                written += os.write(self._file, memoryview(data)[written:])
        except OSError as error:
            if written:
                self._torn = data[written - 1] != 0x0A
            return data.count(b"\n", max(written, 1 if data[:1] == b"\n" else 0)), os.strerror(
                error.errno or 0
            )
        self._torn = False
        return None

    def _lost(self, lines: int, why: str) -> None:
        self._lost_out += lines
        now = self._monotonic()
        if now - self._complained_at >= COMPLAINT_INTERVAL_S:
            self._complained_at = now
            self._complained = True
            self._complain(f"faregate: access log {self._path}: {why}; {self.lines_lost} lines lost so far")
