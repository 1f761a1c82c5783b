"""The judges: what callers were told, what the upstream received and what the log says must be one story.

Pure functions over three records, so that they can be shown to fail (tests/soak/test_invariants.py). Each returns the violations
in words; none is a passed run. Allowed exceptions are written where they are made: what a killed worker takes along, the lines that a
full disk refused (as many as the gateway counted), errors while a fault holds that does harm.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.soak.faults import SLOWING
from tests.soak.lifecycle import LINES_LOST, UPGRADED
from tests.soak.schedule import HARMLESS
from tests.soak.tunnels import Talk, judge_talks
from tests.soak.world import Window
from tests.support.ledger import Entry
from tests.support.live_accounts import Kill
from tests.support.load_keyed import Told

KILL_BEFORE_S: Final = 0.5
"""Calls that ended so shortly before a kill may have no log line: a worker writes every 50 ms, and the machine is busy."""
KILL_AFTER_S: Final = 2.0
"""Connections that the kernel had given to the dead worker show their end a moment later."""
LOST_AFTER_S: Final = 2.0
"""How long a worker may go on losing lines once there is room again: it looks every second."""
STUMPS_EACH: Final = 4
"""A full disk tears a line of each worker, and each stump spoils at most one line of another."""
_NO_ECHO_S: Final = 16.0
_NONE: Final = Entry()


@dataclass
class Story:
    """Everything on record of one run. ``logged``: status and outcome by request id, one per line."""

    told: Sequence[Told]
    ledger: Mapping[str, Entry]
    logged: Mapping[str, list[tuple[int, str]]]
    kills: Sequence[Kill] = ()
    windows: Sequence[Window] = ()
    recovery_s: float = 5.0
    talks: Sequence[Talk] = ()
    lines_lost: float = 0
    """As the gateway counted them."""
    stumps: int = 0
    unlogged: int = 0
    """Calls without a line that ended while the log could not be written."""
    raced: int = 0
    """Calls begun on a connection in the moment in which a drain closed it: never looked at, free to be sent again."""
    taken_along: int = 0
    """Calls and lines that killed workers account for."""
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
        self._judge_losses()
        self.violations += judge_talks(self.talks, self._near_kill, self._harm_at_end)
        return self.violations

    def _judge_losses(self) -> None:
        if self.unlogged > self.lines_lost + self.stumps:
            self._note(
                "lines missing",
                [f"{self.unlogged} on a full disk, {self.lines_lost:.0f} counted, {self.stumps} stumps"],
            )
        made = len(self.kills) + sum(window.name in LINES_LOST for window in self.windows) * STUMPS_EACH
        if self.stumps > made:
            self._note("stumps in the log", [f"{self.stumps}, not more than {made} may be"])

    def _harm_at_end(self, call: Told) -> set[str]:
        """Harmful faults and upgrades that touch the last moments of a tunnel."""
        return {
            window.name for window in self.windows
            if call.ended - _NO_ECHO_S <= window.end + self.recovery_s and call.ended >= window.begin
            and (window.name == UPGRADED or window.name not in HARMLESS)
        }  # fmt: skip

    def _note(self, rule: str, cases: Iterable[str]) -> None:
        self.violations += [f"{rule}: {case}" for case in cases]

    def _judge_call(self, call: Told) -> None:
        entry = self.ledger.get(call.name, _NONE)
        lines = self.logged.get(call.name, [])
        near_kill = self._near_kill(call)
        self._agrees("caller", call.name, "unavailable" if _unavailable(call) else call.outcome, entry)
        for status, outcome in lines:
            self._agrees("log", call.name, outcome, entry)
            if not self._same(call, status, outcome):
                self._note("told and logged differ", [f"{call} against {(status, outcome)}"])
        if len(lines) > 1:
            self._note(f"{len(lines)} log lines", [str(call)])
        elif not lines and self._needs_line(call):
            self._judge_unlogged(call)
        if call.outcome in {"lost", "reset", "unopened"}:
            self._judge_lost(call, handled=bool(lines or entry is not _NONE), near_kill=near_kill)
        if call.outcome == "unread" and (lines or entry is not _NONE):
            self._note("handled behind a closing answer", [self._whole(call)])
        self._outside(call)

    def _judge_unlogged(self, call: Told) -> None:
        if self._line_died(call) or (call.outcome == "lost" and self._near_kill(call)):
            self.taken_along += 1
        elif any(
            window.name in LINES_LOST and window.begin <= call.ended <= window.end + LOST_AFTER_S
            for window in self.windows
        ):
            self.unlogged += 1
        elif not (call.outcome == "lost" and self._raced(call)):
            self._note("0 log lines", [self._whole(call)])

    def _judge_lost(self, call: Told, *, handled: bool, near_kill: bool) -> None:
        if near_kill:
            self.taken_along += 1
        elif call.outcome == "lost" and self._raced(call) and not handled:
            self.raced += 1
        else:
            self._note("no answer and no kill", [self._whole(call)])

    def _raced(self, call: Told) -> bool:
        return call.reused and any(
            window.name == UPGRADED and window.begin <= call.ended and call.sent <= window.end
            for window in self.windows
        )

    def _whole(self, call: Told) -> str:
        """All that is known of a call."""
        entry, lines = self.ledger.get(call.name), self.logged.get(call.name)
        during = [window.name for window in self._touching(call)]
        return f"{call} at the upstream {entry}, logged {lines}, during {', '.join(during) or 'calm'}"

    def _touching(self, call: Told) -> list[Window]:
        return [
            window for window in self.windows
            if call.sent <= window.end + self.recovery_s and call.ended >= window.begin
        ]  # fmt: skip

    def _agrees(self, who: str, name: str, outcome: str, entry: Entry) -> None:
        """The claim about the upstream against the upstream's own record."""
        seen = entry.heads + entry.fragments
        if outcome in {"not_sent", "unavailable"} and seen:
            self._note(f"{who} said {outcome}, upstream received it", [name])
        if outcome == "answered" and entry.complete != 1:
            self._note(f"{who} said answered, upstream never received it whole", [name])
        if outcome == "refused" and entry.complete:
            self._note(f"{who} said refused, upstream received it whole", [name])

    @staticmethod
    def _same(call: Told, status: int, outcome: str) -> bool:
        if call.outcome in {"left", "lost", "reset"}:
            return True  # the caller cannot know
        if call.outcome == "grpc":
            sure = outcome in {"not_sent", "refused"}
            return sure or not _unavailable(call)
        if call.outcome == "cut":
            return outcome == "unknown"
        return (call.status, call.outcome) == (status, outcome)

    @staticmethod
    def _needs_line(call: Told) -> bool:
        """A caller that left may have gone before its head was whole, and calls behind a closing answer never began."""
        return call.outcome not in {"left", "unread", "unopened"}

    def _near_kill(self, call: Told) -> bool:
        """Whether a worker that held the call's connection was killed while the call was on its way."""
        return any(
            call.sent - KILL_AFTER_S <= kill.at <= call.ended + KILL_BEFORE_S
            and (call.port in kill.ports or kill.noted <= call.opened <= kill.gone)
            for kill in self.kills
        )

    def _line_died(self, call: Told) -> bool:
        """Whether a killed worker may have had the call's line; a connection that was over by then tells no worker."""
        return any(call.sent <= kill.gone and kill.at <= call.ended + KILL_BEFORE_S for kill in self.kills)

    def _outside(self, call: Told) -> None:
        """Errors only inside fault windows and the recovery after them; none at all under faults that do no harm."""
        if call.outcome in {"answered", "left", "unread", "lost", "reset", "unopened"} or self._near_kill(
            call
        ):
            return
        touching = self._touching(call)
        if call.code == "overloaded" and any(window.name in SLOWING for window in touching):
            return  # told truly, as everything is; what takes long is let in less
        if not any(window.name not in HARMLESS for window in touching):
            self._note("error outside harmful faults", [self._whole(call)])


def _unavailable(call: Told) -> bool:
    """gRPC's word for what was not sent, on which its clients send again by themselves."""
    return call.outcome == "grpc" and call.code == "14"


def outcomes(told: Sequence[Told]) -> dict[str, int]:
    return counted(f"{call.outcome} {call.code}".strip() for call in told)


def counted(words: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(words).items()))
