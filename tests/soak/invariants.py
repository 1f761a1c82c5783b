"""The judges: what callers were told, what the upstream received and what the log says must be one story.

Pure functions over three records, so that they can be shown to fail (tests/soak/test_invariants.py). Each returns the violations
in words; none is a passed run. Allowed exceptions are written where they are made.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.soak.faults import HARMLESS, Window
from tests.support.ledger import Entry
from tests.support.load_keyed import Told

KILL_BEFORE_S: Final = 0.5
"""Calls that ended so shortly before a kill may have no log line: a worker writes every 50 ms, and the machine is busy."""
KILL_AFTER_S: Final = 2.0
"""Connections that the kernel had given to the dead worker show their end a moment later."""
_NONE: Final = Entry()


@dataclass
class Story:
    """Everything on record of one run. ``logged``: status and outcome by request id, one per line."""

    told: Sequence[Told]
    ledger: Mapping[str, Entry]
    logged: Mapping[str, list[tuple[int, str]]]
    kills: Sequence[float] = ()
    windows: Sequence[Window] = ()
    recovery_s: float = 5.0
    violations: list[str] = field(default_factory=list)

    def judge(self) -> list[str]:
        """All violations."""
        known = {call.name for call in self.told}
        self._note("wrong answer", (f"{call.name}: {call.fault}" for call in self.told if call.fault))
        self._note(
            "sent twice", (name for name, entry in self.ledger.items() if entry.heads + entry.fragments > 1)
        )
        self._note("upstream saw a call nobody made", (name for name in self.ledger if name not in known))
        strange = {name: lines for name, lines in self.logged.items() if name not in known}
        self._note("log has a call nobody made", (f"{name} {lines}" for name, lines in strange.items()
                                                  if lines != [(400, "refused")]))  # fmt: skip
        left = sum(call.outcome == "left" for call in self.told)
        self._note("more broken heads logged than sent", [str(len(strange))] if len(strange) > left else [])
        for call in self.told:
            if not call.fault:
                self._judge_call(call)
        return self.violations

    def _note(self, rule: str, cases: Iterable[str]) -> None:
        self.violations += [f"{rule}: {case}" for case in cases]

    def _judge_call(self, call: Told) -> None:
        entry = self.ledger.get(call.name, _NONE)
        lines = self.logged.get(call.name, [])
        near_kill = self._near_kill(call)
        self._agrees("caller", call.name, call.outcome, entry)
        for status, outcome in lines:
            self._agrees("log", call.name, outcome, entry)
            if not self._same(call, status, outcome):
                self._note("told and logged differ", [f"{call} against {(status, outcome)}"])
        if len(lines) > 1 or (not lines and self._needs_line(call) and not near_kill):
            self._note(f"{len(lines)} log lines", [str(call)])
        if call.outcome == "lost" and not near_kill:
            self._note("no answer and no kill", [str(call)])
        if call.outcome == "unread" and (lines or entry is not _NONE):
            self._note("handled behind a closing answer", [str(call)])
        self._outside(call)

    def _agrees(self, who: str, name: str, outcome: str, entry: Entry) -> None:
        """The claim about the upstream against the upstream's own record."""
        seen = entry.heads + entry.fragments
        if outcome == "not_sent" and seen:
            self._note(f"{who} said not_sent, upstream received it", [name])
        if outcome == "answered" and entry.complete != 1:
            self._note(f"{who} said answered, upstream never received it whole", [name])
        if outcome == "refused" and entry.complete:
            self._note(f"{who} said refused, upstream received it whole", [name])

    @staticmethod
    def _same(call: Told, status: int, outcome: str) -> bool:
        if call.outcome in {"left", "lost"}:
            return True  # the caller cannot know
        if call.outcome == "cut":
            return outcome == "unknown"
        return (call.status, call.outcome) == (status, outcome)

    @staticmethod
    def _needs_line(call: Told) -> bool:
        """A caller that left may have gone before its head was whole, and calls behind a closing answer never began."""
        return call.outcome not in {"left", "unread"}

    def _near_kill(self, call: Told) -> bool:
        return any(call.sent - KILL_AFTER_S <= kill <= call.ended + KILL_BEFORE_S for kill in self.kills)

    def _outside(self, call: Told) -> None:
        """Errors only inside fault windows and the recovery after them; none at all under faults that do no harm."""
        if call.outcome in {"answered", "left", "unread"} or self._near_kill(call):
            return
        touching = [
            window for window in self.windows
            if call.sent <= window.end + self.recovery_s and call.ended >= window.begin
        ]  # fmt: skip
        if not any(window.name not in HARMLESS for window in touching):
            during = ", ".join(window.name for window in touching)
            self._note("error outside harmful faults", [f"{call} during {during or 'calm'}"])


def outcomes(told: Sequence[Told]) -> dict[str, int]:
    return dict(sorted(Counter(f"{call.outcome} {call.code}".strip() for call in told).items()))


def slope_kib_per_minute(samples: Sequence[tuple[float, float]]) -> float:
    """Least squares over (seconds, KiB); the first half, while caches fill, is left out."""
    kept = samples[len(samples) // 2 :]
    if len(kept) < 3:
        return 0.0
    mean_x = sum(x for x, _ in kept) / len(kept)
    mean_y = sum(y for _, y in kept) / len(kept)
    spread = sum((x - mean_x) ** 2 for x, _ in kept)
    return 60 * sum((x - mean_x) * (y - mean_y) for x, y in kept) / spread if spread else 0.0
