"""The end of every call: one append now, its log line and its counts a moment later.

``record`` is a list's own append, so a call pays nanoseconds on its path; ``flush`` renders and counts what
has gathered, in pieces small enough to stay in the processor's cache. The worker decides when (every 50 ms,
and at once when ``FLUSH_AT`` calls wait) and hands the recorder to the metrics feed.
"""

import sys
import time
import traceback
from collections.abc import Callable
from typing import Final

from faregate.records.audit.client import Audit
from faregate.records.lines import Batch, LineRenderer
from faregate.records.metrics import CallMetrics, Deltas
from faregate.records.usage import FLUSH_EVERY_S as USAGE_EVERY_S
from faregate.records.writer import COMPLAINT_INTERVAL_S, LogWriter
from faregate.snapshot.call import Call

FLUSH_AT: Final = 256
"""Calls that may wait before the worker flushes ahead of time."""
FLUSH_EVERY_S: Final = 0.05
_PIECE: Final = 64


def _report_defect() -> None:
    print("faregate: a call could not be logged in full", file=sys.stderr)  # noqa: T201 - nothing else may be trusted here
    # The traceback's frames name code, never values: a call's bytes do not reach stderr.
    stack = traceback.format_tb(sys.exc_info()[2])
    print("".join(stack), type(sys.exc_info()[1]).__name__, file=sys.stderr, flush=True)  # noqa: T201


class Recorder:
    """Takes ended calls. Belongs to the worker's loop thread.

    ``writer`` None: no access log, metrics only. ``digest_key``: see ``bodies.render_body``. ``audit``: takes
    the calls of routes that are recorded in the audit tree.
    """

    __slots__ = (
        "_audit",
        "_audit_drained",
        "_defect_at",
        "_lost_drained",
        "_metrics",
        "_monotonic",
        "_renderer",
        "_usage_at",
        "_writer",
        "pending",
        "record",
    )

    def __init__(
        self,
        writer: LogWriter | None,
        *,
        digest_key: bytes | None = None,
        audit: Audit | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pending: list[Call] = []
        """Calls not yet flushed; only its length is for others to read."""
        self.record: Callable[[Call], None] = self.pending.append
        """Takes a call that has ended and that nobody changes any more."""
        self._writer = writer
        self._audit = audit
        self._audit_drained = (0, 0)
        self._metrics = CallMetrics()
        self._renderer = LineRenderer(self._metrics, digest_key)
        self._lost_drained = 0
        self._monotonic = monotonic
        self._defect_at = float("-inf")
        self._usage_at = monotonic()

    def flush(self) -> int:
        """Renders and counts the pending calls and hands their lines to the writer; returns how many there
        were.
        """
        pending = self.pending
        count = len(pending)
        for start in range(0, count, _PIECE):
            self._flush_piece(pending[start : start + _PIECE])
        del pending[:count]
        return count

    def count(self, name: str, labels: tuple[str, ...]) -> None:
        """Adds one to a metric that no call's end counts."""
        events = self._metrics.events
        events[name, labels] = events.get((name, labels), 0) + 1

    def drain(self, into: Deltas, *, last: bool = False) -> None:
        """Flushes, then adds everything counted since the last drain to ``into``; who called only now and
        then, and while the last of it is on its way not at all, unless this drain is the ``last``.
        """
        self.flush()
        self._metrics.drain(into)
        now = self._monotonic()
        if last or (now - self._usage_at >= USAGE_EVERY_S and not into.usage):
            self._usage_at = now
            self._metrics.drain_usage(into)
        if self._writer is not None:
            lost = self._writer.lines_lost
            into.count("faregate_log_lines_lost_total", (), lost - self._lost_drained)
            self._lost_drained = lost
        audit = self._audit
        if audit is not None:
            records, lost = audit.records, audit.lost
            into.count("faregate_audit_records_total", (), records - self._audit_drained[0])
            into.count("faregate_audit_lost_total", (), lost - self._audit_drained[1])
            self._audit_drained = (records, lost)

    def close(self, timeout_s: float = 2.0) -> bool:
        """Flushes and closes what writes; False when anything was still unwritten after ``timeout_s``."""
        self.flush()
        written = self._writer is None or self._writer.close(timeout_s)
        return (self._audit is None or self._audit.close(timeout_s)) and written

    def _flush_piece(self, calls: list[Call]) -> None:
        try:
            batch = self._renderer.render(calls)
        except Exception:  # noqa: BLE001 - a defect in one call must not take the others' lines with it
            self._flush_singly(calls)
            return
        self._put(batch)

    def _flush_singly(self, calls: list[Call]) -> None:
        now = self._monotonic()
        if now - self._defect_at >= COMPLAINT_INTERVAL_S:
            self._defect_at = now
            _report_defect()
        for call in calls:
            try:
                batch = self._renderer.render_one(call)
            except Exception:  # noqa: BLE001 - counted, and said above
                if self._writer is not None:
                    self._writer.lose(1)
                continue
            self._put(batch)

    def _put(self, batch: Batch) -> None:
        self._metrics.lines += batch.lines
        if self._writer is not None:
            self._writer.put(batch)
        if batch.audited and self._audit is not None:
            self._audit.put_calls(list(batch.audited))
