"""Memory, descriptors and threads of the gateway's processes over a run, process by process.

What counts is private memory (resident without what is shared: files, the mapped counters). A process that was replaced ends its series, and the
slope of a role is fitted to all its processes that lived long enough at once: one slope, a level for each process. The time in
which caches fill is left out of each.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

Point = tuple[float, float]
"""Seconds and KiB."""
WARM_S: Final = 240.0
KEPT_S_MIN: Final = 240.0
"""A process with less than this behind its warm time says nothing about a slope."""
JUDGED_S_MIN: Final = 480.0
"""So much of a role's life must be on record for its slope to be judged."""
KIB_PER_10_MINUTES_MAX: Final = 1024.0
GROWTH_KIB_MAX: Final = 16 << 10
"""For runs too short for slopes: what caches may take at most."""


@dataclass
class Memory:
    """``series``: by role and process id."""

    series: dict[tuple[str, int], list[Point]] = field(default_factory=dict)

    def note(self, role: str, pid: int, seconds: float) -> None:
        kib = private_kib(pid)
        if kib:
            self.series.setdefault((role, pid), []).append((seconds, kib))

    def of(self, role: str) -> list[list[Point]]:
        return [points for (name, _), points in self.series.items() if name == role]

    @property
    def roles(self) -> list[str]:
        return sorted({role for role, _ in self.series})

    def report(self, *, long: bool) -> tuple[dict[str, object], list[str]]:
        """Figures by role, and violations."""
        figures: dict[str, object] = {}
        violations = []
        for role in self.roles:
            all_series = self.of(role)
            kept = [points for series in all_series if (points := settled(series))]
            seconds = sum(points[-1][0] - points[0][0] for points in kept)
            slope = pooled_slope(kept) * 600
            growth = max(series[-1][1] - series[0][1] for series in all_series)
            figures[role] = {
                "processes": len(all_series),
                "begin_kib": round(all_series[0][0][1]),
                "end_kib": round(all_series[-1][-1][1]),
                "growth_kib_max": round(growth),
                "fitted_seconds": round(seconds),
                "kib_per_10_minutes": round(slope, 1) if kept else None,
            }
            if long and seconds < JUDGED_S_MIN:
                violations.append(f"memory of the {role}: only {seconds:.0f} s on record, no slope")
            elif long and slope > KIB_PER_10_MINUTES_MAX:
                violations.append(f"memory of the {role}: {slope:.0f} KiB in 10 minutes")
            elif not long and growth > GROWTH_KIB_MAX:
                violations.append(f"memory of the {role} grew {growth:.0f} KiB")
        return figures, violations


def settled(series: Sequence[Point]) -> list[Point]:
    """What is behind the warm time; nothing when that is too little."""
    kept = [point for point in series if point[0] >= series[0][0] + WARM_S]
    return kept if kept and kept[-1][0] - kept[0][0] >= KEPT_S_MIN else []


def pooled_slope(many: Iterable[Sequence[Point]]) -> float:
    """KiB a second: least squares of one slope over several series, each with a level of its own."""
    product = spread = 0.0
    for series in many:
        mean_x = sum(x for x, _ in series) / len(series)
        mean_y = sum(y for _, y in series) / len(series)
        product += sum((x - mean_x) * (y - mean_y) for x, y in series)
        spread += sum((x - mean_x) ** 2 for x, _ in series)
    return product / spread if spread else 0.0


def private_kib(pid: int) -> float:
    """0 when there is no such process."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0.0
    return (int(resident) - int(shared)) * 4.0


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))
