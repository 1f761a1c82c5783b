"""The one line from a process to the tree's writer: a thread that sends a batch, waits until it is durable,
and sends it again to whoever writes next if the answer did not come.

Whoever reports never waits here: ended calls are queued, bounded in bytes, and those that find no room are
counted as lost and said on standard error at most once a minute; an event that must be kept has a deadline,
and its reporter is told what came of it. Events go before calls.
"""

import contextlib
import secrets
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from faregate.kernel.unix_sockets import connect, is_readable
from faregate.records.audit import wire
from faregate.records.audit.leaf import Entry
from faregate.records.audit.places import SOCKET
from faregate.records.audit.wire import AWAY, Batch, Told, WireError

QUEUE_BYTES_MAX: Final = 16 << 20
"""Calls that wait for the writer: some 30,000."""
EVENTS_MAX: Final = 1024
"""Events that wait; further ones are refused."""
_BATCH_BYTES: Final = 256 << 10
_BATCH_EVENTS: Final = 256
_SOURCE_BYTES: Final = 8
_GATHER_S: Final = 0.05
"""Ended calls wait so long for others: a sync costs as much as the records of thirty calls."""
_PAUSE_S: Final = 0.02
_PAUSE_MAX_S: Final = 0.5
_LOOK_S: Final = 0.05
_ANSWER_S: Final = 10.0
"""A writer that takes longer is asked anew."""
COMPLAINT_INTERVAL_S: Final = 60.0


def _complain_on_stderr(message: str) -> None:
    print(message, file=sys.stderr, flush=True)  # noqa: T201 - must be heard where nothing is recorded


class Waiting:
    """An event on its way. ``tell`` is called in the line's thread with its place and hash, or with the
    reason why it is not kept, as far as is known. ``over``: nobody waits for it.
    """

    __slots__ = ("deadline", "entry", "over", "tell")

    def __init__(
        self, entry: Entry, deadline: float, tell: "Callable[[tuple[int, bytes] | str], None]"
    ) -> None:
        self.entry = entry
        self.deadline = deadline
        self.tell = tell
        self.over = False

    def end(self, what: "tuple[int, bytes] | str") -> None:
        if not self.over:
            self.over = True
            self.tell(what)


class Line:
    """To the writer on ``folder``. The thread begins with the first thing to say."""

    def __init__(
        self,
        folder: Path,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        complain: Callable[[str], None] = _complain_on_stderr,
    ) -> None:
        self._path = folder / SOCKET
        self._monotonic = monotonic
        self._complain = complain
        self._calls: deque[tuple[bytes, int]] = deque()
        self._events: deque[Waiting] = deque()
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._gathering = False
        self._give_up_at = float("inf")
        # Each number has one writer, so that none needs a lock: those ending in _in the reporters' thread,
        # the others the line's.
        self._bytes_in = 0
        self._lost_in = 0
        self._bytes_out = 0
        self._lost_out = 0
        self._kept = 0
        self._sock: socket.socket | None = None
        self._source = secrets.token_bytes(_SOURCE_BYTES)
        self._number = 0
        self._complained_at = float("-inf")
        self._complained = False

    @property
    def records(self) -> int:
        """Calls whose records are durable."""
        return self._kept

    @property
    def lost(self) -> int:
        """Calls of which no record was kept."""
        return self._lost_in + self._lost_out

    def put_calls(self, lines: bytes, count: int) -> None:
        """Queues ``count`` lines of the access log, or counts them as lost. Never waits."""
        if self._closing or self._bytes_in - self._bytes_out + len(lines) > QUEUE_BYTES_MAX:
            self._lost_in += count
            return
        self._bytes_in += len(lines)
        self._calls.append((lines, count))
        if not self._gathering or self._bytes_in - self._bytes_out >= _BATCH_BYTES:  # else it looks by itself
            self._stir()

    def put(self, waiting: Waiting) -> bool:
        """Queues an event; False where too many wait, or the line is closed."""
        if self._closing or len(self._events) >= EVENTS_MAX:
            return False
        self._events.append(waiting)
        self._stir()
        return True

    def close(self, timeout_s: float) -> bool:
        """Sends what is queued and ends the thread; False when that took longer than ``timeout_s``, and what
        was left is counted as lost.
        """
        self._give_up_at = self._monotonic() + timeout_s
        self._closing = True
        self._ending.set()
        thread = self._thread
        if thread is None:
            return True
        self._wake.set()
        thread.join(timeout_s + 2 * _LOOK_S)
        return not thread.is_alive()

    def _stir(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
            self._thread.start()
        self._wake.set()

    # in the line's thread

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._events or self._calls:
                self._gather()
                self._deliver()
            if self._closing and not self._events and not self._calls:
                break
        self._drop()

    def _gather(self) -> None:
        """Lets calls wait for others, until there is a batch of them, an event, or the end."""
        if self._bytes_in - self._bytes_out >= _BATCH_BYTES:
            return
        self._gathering = True
        self._wake.clear()  # of calls that came while others were sent
        if not (self._events or self._closing):
            self._wake.wait(_GATHER_S)
        self._gathering = False

    def _deliver(self) -> None:
        """One batch, until it is durable or nobody waits for it any more."""
        events, chunks, size = self._gathered()
        count = sum(one for _, one in chunks)
        self._number += 1
        again = False
        pause = _PAUSE_S
        try:
            while events or chunks:
                batch = Batch(
                    wire.VERSION,
                    self._source,
                    self._number,
                    again,
                    [lines for lines, _ in chunks],
                    [(one.entry.head, one.entry.tail) for one in events],
                )
                told, sent = self._asked(batch, events)
                again = again or sent
                if told is not None and told.error == wire.BROKEN and events:
                    _end(events, told.error)  # what is wrong is one of them
                    events = []
                    continue
                if told is not None and (not told.error or told.error == wire.BROKEN):
                    self._take(told, events, count)
                    return
                why = AWAY if told is None else told.error
                if told is not None:  # it keeps nothing now, and those who wait should know
                    _end(events, why)
                events = self._in_time(events, why)
                events += self._fresh(_BATCH_EVENTS - len(events))
                if count:
                    self._say(f"faregate: no audit record can be kept ({why}); calls' records are held back")
                if self._monotonic() >= self._give_up_at:
                    _end(events, why)
                    self._lost_out += count
                    return
                if not self._ending.wait(pause):
                    pause = min(2 * pause, _PAUSE_MAX_S)
                else:
                    time.sleep(_LOOK_S)
        finally:
            self._bytes_out += size

    def _gathered(self) -> tuple[list[Waiting], list[tuple[bytes, int]], int]:
        events = self._fresh(_BATCH_EVENTS)
        chunks: list[tuple[bytes, int]] = []
        size = 0
        while self._calls and size < _BATCH_BYTES:
            chunks.append(self._calls.popleft())
            size += len(chunks[-1][0])
        return events, chunks, size

    def _fresh(self, most: int) -> list[Waiting]:
        """Events that came meanwhile and are still waited for."""
        events: list[Waiting] = []
        while self._events and len(events) < most:
            one = self._events.popleft()
            if not one.over:
                events.append(one)
        return events

    def _in_time(self, events: list[Waiting], why: str) -> list[Waiting]:
        """Those for which somebody still waits; the others are told."""
        now = self._monotonic()
        for one in [*events, *self._events]:
            if one.deadline <= now:
                one.end(why)
        return [one for one in events if not one.over]

    def _take(self, told: Told, events: list[Waiting], count: int) -> None:
        if told.error:
            self._lost_out += count
            self._say(f"faregate: the audit tree's writer refused {count} records; {self.lost} lost so far")
            return
        for one, kept in zip(events, told.kept, strict=True):
            one.end(kept)
        self._kept += count - told.refused
        self._lost_out += told.refused
        if self._complained:
            self._complained = False
            self._complain(f"faregate: audit records are kept again; {self.lost} were lost")

    def _say(self, text: str) -> None:
        now = self._monotonic()
        if now - self._complained_at >= COMPLAINT_INTERVAL_S:
            self._complained_at = now
            self._complained = True
            self._complain(text)

    def _asked(self, batch: Batch, events: list[Waiting]) -> tuple[Told | None, bool]:
        """The answer, None when none came; and whether the batch may have been read."""
        sent = False
        try:
            if self._sock is not None and is_readable(self._sock):
                self._drop()  # its process has ended
            if self._sock is None:
                self._sock = connect(self._path, _LOOK_S)
            sock = self._sock
            sock.settimeout(_ANSWER_S)
            sent = True
            sock.sendall(wire.framed(batch))
            told = self._answer(sock, events)
            if told is not None and told.number == batch.number:
                return told, True
        except (OSError, WireError):
            pass
        self._drop()
        return None, sent

    def _answer(self, sock: socket.socket, events: list[Waiting]) -> Told | None:
        """Raises OSError, ``WireError``."""
        sock.settimeout(_LOOK_S)
        deadline = self._monotonic() + _ANSWER_S
        data = bytearray()
        while True:
            try:
                piece = sock.recv(64 << 10)
            except TimeoutError:
                now = self._monotonic()
                self._in_time(events, AWAY)
                if now >= min(deadline, self._give_up_at):
                    return None
                continue
            if not piece:
                return None
            data += piece
            if len(data) >= wire.LENGTH.size:
                end = wire.LENGTH.size + wire.length_of(data, 0)
                if len(data) >= end:
                    return wire.read_told(bytes(data[wire.LENGTH.size : end]))

    def _drop(self) -> None:
        sock, self._sock = self._sock, None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.close()


def _end(events: list[Waiting], why: str) -> None:
    for one in events:
        one.end(why)
