"""What the supervisor tells the operator, worded in one place: lines of text, or events for a program.

Text goes to standard error, where the children's own words go too. Events are what ``run --json`` was asked
for, so they go to standard output, one JSON object a line; then the children's words are events as well.
"""

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Final

from faregate.gateway.budget import mebibytes
from faregate.kernel.events import event_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from faregate.gateway.budget import Budget
    from faregate.snapshot.data import GatewayLimits, Outline


_LEVELS: Final = {
    "failed": "error",
    "reload_failed": "error",
    "upgrade_failed": "error",
    "last_good": "error",
    "worker_failed": "error",
    "worker_stuck": "error",
    "worker_ended": "warning",
    "manager_ended": "warning",
    "ledger_ended": "warning",
    "audit_ended": "warning",
    "restart_needed": "warning",
    "listeners_late": "warning",
    "counters_unsaved": "warning",
    "counters_unreadable": "warning",
    "calls_cut": "warning",
}
"""How grave an event is, where it is not ``info`` and whoever says it does not tell."""


class Voice:
    """How this process speaks; chosen once, before anything is said: it has one standard output."""

    events = False


def say(text: str, event: str = "notice", *, level: str = "", **facts: object) -> None:
    """One line to the operator; ``event``, ``level`` (empty: that of the event) and ``facts`` (JSON) are for
    programs that listen.
    """
    with contextlib.suppress(OSError, ValueError):  # whoever read it is gone; the work goes on
        if Voice.events:
            line = event_line(event, text, facts, level=level or _LEVELS.get(event, "info"))
            print(line, flush=True)  # noqa: T201 - the supervisor's voice
        else:
            print(f"faregate: {text}", file=sys.stderr, flush=True)  # noqa: T201 - likewise


def started(
    listen: "Sequence[str]", manager: str | None, workers: int, snapshot: "Outline", seconds: float
) -> None:
    processes = f"{workers} worker{'' if workers == 1 else 's'}"
    routes = f"{snapshot.routes} route{'' if snapshot.routes == 1 else 's'}"
    say(
        f"listening on {', '.join(listen)}; manager {manager or 'off'}; {processes}; {routes}; "
        f"revision {snapshot.revision}; ready in {seconds:.1f} s",
        "started",
        listen=listen,
        manager=manager,
        workers=workers,
        routes=snapshot.routes,
        revision=snapshot.revision,
        seconds=round(seconds, 3),
    )


def bounded(budget: "Budget", limits: "GatewayLimits") -> None:
    """The ceiling of a worker's memory, and what it follows from (promise P6 of http-rules.md)."""
    text = f"memory: a worker keeps below {mebibytes(budget.bound)}"
    if budget.watched < budget.fillable:
        text += (
            f"; its {limits.connections} connections and {limits.calls} calls could fill "
            f"{mebibytes(budget.fillable)}, so load is shed before that"
        )
    say(
        text,
        "memory",
        bound_bytes=budget.bound,
        fillable_bytes=budget.fillable,
        connections=limits.connections,
        calls=limits.calls,
    )


def reloaded(revision: int, seconds: float) -> None:
    text = f"revision {revision} in all workers after {seconds:.2f} s"
    say(text, "reloaded", revision=revision, seconds=round(seconds, 3))


def published(revision: int, wanted: int, seconds: float) -> None:
    """``wanted``: the number that the manager gave it."""
    said = "" if wanted == revision else f" (the manager's {wanted})"
    text = f"revision {revision}{said} published to all workers after {seconds:.2f} s"
    say(text, "published", revision=revision, wanted=wanted, seconds=round(seconds, 3))


def canary_began(revision: int, percent: int, consumers: "Sequence[str]", seconds: float) -> None:
    whose = [f"{percent} % of calls"] if percent else []
    whose += [f"{len(consumers)} consumers"] if consumers else []
    text = f"canary {revision} has {' and '.join(whose)} in all workers after {seconds:.2f} s"
    say(text, "canary_began", revision=revision, percent=percent, consumers=list(consumers))


def canary_ended(revision: int, why: str) -> None:
    say(f"canary {revision} has ended: {why}", "canary_ended", revision=revision, reason=why)


def publish_failed(why: str, revision: int) -> None:
    """A change of the manager's that came to nothing; ``revision`` is the one that goes on."""
    say(f"{why}; revision {revision} stays", "publish_failed", revision=revision)


def stays(why: str, revision: int) -> None:
    """A reload that came to nothing; ``revision`` is the one that goes on."""
    say(f"{why}; revision {revision} stays", "reload_failed", revision=revision)


def last_good(why: str, revision: int, path: "Path") -> None:
    """A start that does not run what the file says."""
    place = f"revision {revision} ({path})"
    text = f"{why}; STARTING ON THE LAST GOOD SNAPSHOT, {place}; mend the file and reload"
    say(text, "last_good", revision=revision, path=str(path))


def listening(addresses: "Sequence[str]") -> None:
    say(f"listening on {', '.join(addresses)}", "listening", listen=addresses)


def succeeded(pid: int, version: str) -> None:
    """A successor has taken over."""
    text = f"process {pid} (faregate {version}) has taken over; calls in progress finish here"
    say(text, "succeeded", pid=pid, version=version)


def worker_ended(worker: int, status: int, pause: float) -> None:
    text = f"worker {worker} ended ({ending(status)}); starting another in {pause:.1f} s"
    say(text, "worker_ended", worker=worker, ending=ending(status))


def manager_ended(status: int) -> None:
    say(f"manager ended ({ending(status)}); starting another", "manager_ended", ending=ending(status))


def manager_renewed() -> None:
    say("manager starts again, for its settings have changed", "manager_renewed")


def ledger_ended(status: int, pause: float) -> None:
    text = f"ledger ended ({ending(status)}); starting another in {pause:.1f} s"
    say(text, "ledger_ended", ending=ending(status))


def audit_ended(status: int, pause: float) -> None:
    text = f"audit tree's writer ended ({ending(status)}); starting another in {pause:.1f} s"
    say(text, "audit_ended", ending=ending(status))


def stopping(grace: float, wait: float = 0.0) -> None:
    before = f"not ready any more; in {wait:.0f} s " if wait else ""
    text = f"stopping: {before}no new connections; calls in progress have {grace:.0f} s"
    say(text, "stopping", grace_s=grace, wait_s=wait)


def stopping_at_once() -> None:
    say("stopping at once: calls in progress are cut", "stopping", grace_s=0, wait_s=0)


def calls_cut(calls: int, *, at_once: bool = False) -> None:
    """They were not let finish; ``calls`` is 0 where a worker was killed and cannot tell. ``at_once``: no
    grace time was given, or left.
    """
    counted = f"{calls} call{'' if calls == 1 else 's'}" if calls else "calls"
    was = "was" if calls == 1 else "were"
    when = "at the stop" if at_once else "when the grace time ended"
    text = f"{counted} {was} still running {when} and {was} cut"
    say(text, "calls_cut", calls=calls)


def stopped(status: int) -> None:
    """The last word of this process, for programs: people see the prompt return."""
    if Voice.events:
        say("stopped", "stopped", pid=os.getpid(), status=status)


def ending(status: int) -> str:
    """How a process ended, from its exit status."""
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
