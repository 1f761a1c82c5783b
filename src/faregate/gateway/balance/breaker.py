"""What the failures of real calls say about a target: whether to take it out, and whether to let it back.

Two triggers, one machine (``base`` runs it). A count of failures in a short time is for an outlier among
others: its calls go elsewhere, so it may be hasty. The ratio of failures over a window is the circuit breaker
proper, for what stays broken: it may take out even the last target, so that callers get a true ``not_sent``
at once, but for that it must be nearly certain (``BROKEN_SHARE``). Pure figures: the time is brought.
"""

from typing import TYPE_CHECKING, Final

from faregate.snapshot.data import Breaker

if TYPE_CHECKING:
    from faregate.gateway.balance.state import TargetState

TRIALS_MAX: Final = 3
"""Calls at once to a target that is on trial, and good answers in a row that end the trial."""
BROKEN_SHARE: Final = 0.9
"""A target beyond ``max_ejected``, and the last one in use, opens only when this part of its calls gets no
answer at all: half a service is better than none, and an upstream that sheds most calls by 503 serves the
rest.
"""
LAST_OPEN_S: Final = 2.0
"""With no other target in use, an open one is tried again after this time at most."""
_MARKS: Final = 10


def mark(target: "TargetState", now: float, within_s: float) -> None:
    """Notes the counts of this moment, about ``_MARKS`` times a window, and forgets those that lie before
    it.
    """
    marks = target.marks
    if marks and now - marks[-1][0] < within_s / _MARKS:
        return
    marks.append((now, target.calls, target.faults, target.silences))
    while len(marks) > 1 and marks[1][0] <= now - within_s:
        marks.popleft()


def failed_shares(target: "TargetState", now: float, breaker: Breaker) -> tuple[float, float]:
    """The part of the window's calls that failed, and that of those without any answer; 0 both when there
    were fewer than ``breaker.calls``.
    """
    calls_then = faults_then = silences_then = 0
    # What was counted by the newest mark at or before the window's beginning, else by the oldest one there
    # is, does not count any more.
    for at, calls_then, faults_then, silences_then in reversed(target.marks):  # noqa: B007 - the last one looked at
        if at <= now - breaker.within:
            break
    calls = target.calls - calls_then
    if calls < breaker.calls or calls <= 0:
        return 0.0, 0.0
    return (target.faults - faults_then) / calls, (target.silences - silences_then) / calls


def forget(target: "TargetState", now: float) -> None:
    """Begins a new window: what was before the target came back says nothing about it now."""
    target.marks.clear()
    target.marks.append((now, target.calls, target.faults, target.silences))
    target.failures.clear()
