"""What the supervisor tells the operator, worded in one place: lines of text, or events for a program.

Text goes to standard error, where children's own words of distress go too. Events are what ``run --json``
was asked for, so they go to standard output, one JSON object a line, and nothing else does.
"""

import contextlib
import signal
import sys
from typing import TYPE_CHECKING

from faregate.kernel.events import event_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faregate.snapshot.data import Outline


class Voice:
    """How this process speaks; chosen once, before anything is said: it has one standard output."""

    events = False


def say(text: str, event: str = "notice", **facts: object) -> None:
    """One line to the operator; ``event`` and ``facts`` (JSON) are for programs that listen."""
    with contextlib.suppress(OSError, ValueError):  # whoever read it is gone; the work goes on
        if Voice.events:
            print(event_line(event, text, **facts), flush=True)  # noqa: T201 - the supervisor's voice
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


def reloaded(revision: int, seconds: float) -> None:
    text = f"revision {revision} in all workers after {seconds:.2f} s"
    say(text, "reloaded", revision=revision, seconds=round(seconds, 3))


def stays(why: str, revision: int) -> None:
    """A reload that came to nothing; ``revision`` is the one that goes on."""
    say(f"{why}; revision {revision} stays", "reload_failed", revision=revision)


def worker_ended(worker: int, status: int, pause: float) -> None:
    text = f"worker {worker} ended ({ending(status)}); starting another in {pause:.1f} s"
    say(text, "worker_ended", worker=worker, ending=ending(status))


def manager_ended(status: int) -> None:
    say(f"manager ended ({ending(status)}); starting another", "manager_ended", ending=ending(status))


def stopping(grace: float) -> None:
    text = f"stopping: no new connections; calls in progress have {grace:.0f} s"
    say(text, "stopping", grace_s=grace)


def ending(status: int) -> str:
    """How a process ended, from its exit status."""
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
