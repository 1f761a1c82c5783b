"""The demo's figures: rates, percentiles and shares over the last seconds and over the whole run.

Counts come from the gateway's access log, the same lines that an operator has, so that calls made by hand
are in them too; latency is what the callers measured. Everything is bounded: a histogram has a fixed number
of buckets, the window a fixed number of seconds, the log is read at most ``READ_BYTES_MAX`` at a time.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

WINDOW_S: Final = 3
"""How many whole seconds the running figures cover: short enough to see a change, long enough for a p99."""

READ_BYTES_MAX: Final = 4 << 20

_GROWTH: Final = 1.04
_BUCKETS: Final = 480  # 1 us * 1.04^480 = 150 s


class Histogram:
    """Durations in geometric buckets from 1 us to 150 s; percentiles are exact to 4 %."""

    __slots__ = ("_counts", "count")

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.count = 0

    def add(self, seconds: float) -> None:
        microseconds = max(seconds * 1e6, 1.0)
        self._counts[min(int(math.log(microseconds) / math.log(_GROWTH)), _BUCKETS - 1)] += 1
        self.count += 1

    def merge(self, other: "Histogram") -> None:
        self._counts.update(other._counts)  # noqa: SLF001 - of its own kind
        self.count += other.count

    def percentile(self, percent: float) -> float:
        """Seconds that ``percent`` (0-100) of the durations do not exceed; 0.0 when there are none."""
        rank = math.ceil(self.count * percent / 100)
        seen = 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= rank:
                return float(_GROWTH ** (bucket + 0.5)) / 1e6
        return 0.0


class LogLine(msgspec.Struct):
    """The fields of an access log line (SPEC section 4) that the demo shows."""

    status: int = 0
    outcome: str = ""
    refusal: str = ""
    idempotency: str = ""
    target: str = ""
    duration_us: int = 0
    upstream_us: int = 0


class Figures:
    """What was counted in some stretch of time."""

    __slots__ = (
        "calls",
        "durations",
        "keyed",
        "latency",
        "not_answered",
        "outcomes",
        "refusals",
        "targets",
    )

    def __init__(self) -> None:
        self.calls = 0
        self.outcomes: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.keyed: Counter[str] = Counter()
        self.targets: dict[str, Histogram] = {}
        self.durations = Histogram()
        self.latency = Histogram()
        self.not_answered = 0

    def add_line(self, line: LogLine) -> None:
        self.calls += 1
        self.durations.add(line.duration_us / 1e6)
        self.outcomes[line.outcome] += 1
        if line.refusal:
            self.refusals[line.refusal] += 1
        if line.idempotency:
            self.keyed[line.idempotency] += 1
        if line.target:
            self.targets.setdefault(line.target, Histogram()).add(line.upstream_us / 1e6)

    def merge(self, other: "Figures") -> None:
        self.calls += other.calls
        self.outcomes.update(other.outcomes)
        self.refusals.update(other.refusals)
        self.keyed.update(other.keyed)
        for target, histogram in other.targets.items():
            self.targets.setdefault(target, Histogram()).merge(histogram)
        self.durations.merge(other.durations)
        self.latency.merge(other.latency)
        self.not_answered += other.not_answered


class Window:
    """Figures by second, for the last few seconds, and of the whole run. ``now``: monotonic seconds."""

    def __init__(self, now: float) -> None:
        self.total = Figures()
        self._began = now
        self._seconds: deque[tuple[int, Figures]] = deque(maxlen=WINDOW_S + 1)

    def elapsed_s(self, now: float) -> float:
        return now - self._began

    def _current(self, now: float) -> Figures:
        second = int(self.elapsed_s(now))
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append((second, Figures()))
        return self._seconds[-1][1]

    def add_lines(self, lines: Iterable[LogLine], now: float) -> None:
        current = self._current(now)
        for line in lines:
            current.add_line(line)
            self.total.add_line(line)

    def add_answer(self, latency_s: float | None, now: float) -> None:
        """One call as its caller saw it; None when no usable answer came."""
        for figures in (self._current(now), self.total):
            if latency_s is None:
                figures.not_answered += 1
            else:
                figures.latency.add(latency_s)

    def recent(self, now: float) -> tuple[Figures, int]:
        """Figures of the last whole seconds, and how many these are (1 at least)."""
        second = int(self.elapsed_s(now))
        merged = Figures()
        for at, figures in self._seconds:
            if second - WINDOW_S <= at < second:
                merged.merge(figures)
        return merged, max(1, min(WINDOW_S, second))


class LogTail:
    """Reads what is appended to the access log, from where it ended when the demo began."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0
        self._decoder = msgspec.json.Decoder(LogLine)
        self.unreadable = 0

    def read(self) -> list[LogLine]:
        """The lines that became whole since the last call; what is no JSON is counted in ``unreadable``."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read(READ_BYTES_MAX)
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        lines = []
        for text in whole.splitlines():
            try:
                lines.append(self._decoder.decode(text))
            except msgspec.MsgspecError:
                self.unreadable += 1
        return lines
