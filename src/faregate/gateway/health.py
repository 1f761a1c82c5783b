"""Active health checks: asks each target on its own whether it is well and tells the balancer.

One task per target and worker, plain HTTP/1.1 on its own connection, so that a check is never mistaken for,
nor queued behind, a caller's call. A target counts as healthy until ``unhealthy_after`` checks in a row fail:
refusing all calls at a start because nothing is known yet would make every restart an outage, and a target
that is down in fact is found out by the first calls too. A check passes on a complete header section with
status 200-299 within the timeout; the body is drained for politeness and never judged. What a target sends is
bounded by 64 KiB.
"""

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Final

from faregate.gateway.balance import Balancer, TargetState
from faregate.kernel.clock import Clock, SystemClock
from faregate.snapshot.data import ActiveHealth, Target

ANSWER_BYTES_MAX: Final = 64 << 10
_JITTER: Final = 0.1
_FIRST_WITHIN_S: Final = 1.0
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r\n")
_PATH: Final = re.compile(r"/[!-~]*")

HealthListener = Callable[[str, bool, str], None]
"""Told of each change: target's name, whether it is healthy now, the reason in lower_snake_case."""


def _ignore(name: str, healthy: bool, reason: str) -> None:  # noqa: FBT001 - HealthListener
    """No one listens."""


class HealthChecker:
    """Checks the targets of one balancer while it is started; nothing when the upstream declares no active
    checks.

    ``on_change`` is called in the event loop and must not raise. Raises ValueError when the path is not
    visible ASCII that begins with ``/``. On a reload, close the old one and start one for the new balancer:
    what was found out stays with the targets.
    """

    def __init__(
        self,
        balancer: Balancer,
        on_change: HealthListener = _ignore,
        clock: Clock | None = None,
        random: Random | None = None,
    ) -> None:
        self._balancer = balancer
        self._on_change = on_change
        self._clock = clock or SystemClock()
        self._random = random or Random()  # noqa: S311 - spreads checks, guards nothing
        self._tasks: list[asyncio.Task[None]] = []
        active = balancer.upstream.active
        if active is not None and not _PATH.fullmatch(active.path):
            raise ValueError(
                f"upstream {balancer.upstream.name}: the health path must be visible ASCII from /"
            )

    def start(self) -> None:
        """Begins to check every target; the first check of each falls within a second, at a random moment."""
        active = self._balancer.upstream.active
        if active is not None and not self._tasks:
            self._tasks = [
                asyncio.create_task(self._watch(target, active), name=f"health {target.name}")
                for target in self._balancer.targets
            ]

    async def close(self) -> None:
        """Stops all checks, also those under way, and waits until they have let go of their sockets."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, target: TargetState, active: ActiveHealth) -> None:
        # Workers start together; without a random first moment their checks would always arrive as one burst.
        await asyncio.sleep(self._random.uniform(0.0, min(active.every, _FIRST_WITHIN_S)))
        agreeing = 0
        while True:
            began = self._clock.monotonic()
            reason = await check(target.data, active)
            healthy = not reason
            now = self._clock.monotonic()
            agreeing = 0 if healthy == target.healthy else agreeing + 1
            if agreeing >= (active.healthy_after if healthy else active.unhealthy_after):
                agreeing = 0
                self._balancer.set_active_health(target, healthy, now)
                self._on_change(target.name, healthy, reason or "check_passed")
            pause_s = active.every * self._random.uniform(1.0 - _JITTER, 1.0 + _JITTER)
            await asyncio.sleep(max(0.0, pause_s - (now - began)))


async def check(target: Target, active: ActiveHealth) -> str:
    """One check. Returns "" when it passed, else why not: ``check_timeout``, ``check_connect_failed``,
    ``check_status_503``, ``check_invalid_answer``.
    """
    status: int | None = None
    connected = False
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(active.timeout):
            reader, writer = await asyncio.open_connection(target.host, target.port, limit=ANSWER_BYTES_MAX)
            connected = True
            writer.write(_request(target, active.path))
            head = await reader.readuntil(b"\r\n\r\n")
            status = _status(head)
            await _drain(reader, ANSWER_BYTES_MAX - len(head))
    except TimeoutError:
        # With a status it is the body that dawdles, or a server that keeps the connection open all the same.
        if status is None:
            return "check_timeout"
    except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        # ValueError: a host name that cannot be encoded, or a status line that is none.
        if status is None:
            return "check_invalid_answer" if connected else "check_connect_failed"
    finally:
        if writer is not None:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()
    return "" if 200 <= status <= 299 else f"check_status_{status}"


def _request(target: Target, path: str) -> bytes:
    host = f"[{target.host}]" if ":" in target.host else target.host
    lines = (
        f"GET {path} HTTP/1.1",
        f"Host: {host}:{target.port}",
        "User-Agent: faregate-health",
        "Accept: */*",
        "Connection: close",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def _status(head: bytes) -> int:
    """The status of a header section; raises ValueError when its first line is no HTTP/1 status line."""
    match = _STATUS_LINE.match(head)
    if match is None:
        raise ValueError("no status line")
    return int(match[1])


async def _drain(reader: asyncio.StreamReader, bytes_max: int) -> None:
    """Reads until the server closes or ``bytes_max`` have come, so that well-behaved servers see no reset."""
    while bytes_max > 0:
        part = await reader.read(bytes_max)
        if not part:
            return
        bytes_max -= len(part)
