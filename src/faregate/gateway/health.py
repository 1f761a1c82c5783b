"""Active health checks: asks each target on its own whether it is well and tells the balancer.

One task per target, in one worker of the machine (``gateway.health_sharing``); plain HTTP/1.1 on its own
connection, so that a check is never mistaken for, nor queued behind, a caller's call. A target counts as
healthy until ``unhealthy_after`` checks in a row fail: refusing all calls at a start because nothing is known
yet would make every restart an outage, and a target that is down in fact is found out by the first calls too.
A check passes on a complete header section with status 200-299 within the timeout; the body is drained for
politeness and never judged. What a target sends is bounded by 64 KiB.
"""

import asyncio
import re
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from random import Random
from typing import Final

from faregate.gateway.balance import Balancer, TargetState
from faregate.gateway.pool import Pool
from faregate.gateway.upstream_tls import TlsClient, reason_of
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
    visible ASCII that begins with ``/``.
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
        self._started = False
        self._waiting: dict[str, asyncio.TimerHandle] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        _insist_on_path(balancer)

    def start(self) -> None:
        """Begins to check every target; the first check of each falls within a second, at a random moment."""
        self._started = True
        active = self._balancer.upstream.active
        if active is None:
            return
        loop = asyncio.get_running_loop()
        for target in self._balancer.targets:
            name = target.name
            if name not in self._tasks and name not in self._waiting:
                # Targets are met together; without a random first moment their checks would always come as
                # one burst.
                within_s = self._random.uniform(0.0, min(active.every, _FIRST_WITHIN_S))
                self._waiting[name] = loop.call_later(within_s, self._begin, target, active)

    def stop(self) -> None:
        """Stops all checks, also those under way; ``start`` begins anew."""
        self._started = False
        for name in {*self._waiting, *self._tasks}:
            self._drop(name)

    def follow(self, balancer: Balancer) -> None:
        """Goes on with the upstream's next balancer: targets that stay are checked in their old rhythm.

        Raises as the constructor does, and then nothing has changed.
        """
        _insist_on_path(balancer)
        before, self._balancer = self._balancer.upstream.active, balancer
        kept = {target.name for target in balancer.targets} if balancer.upstream.active == before else set()
        for name in {*self._waiting, *self._tasks} - kept:
            self._drop(name)
        if self._started:
            self.start()

    async def close(self) -> None:
        """Stops all checks and waits until they have let go of their sockets."""
        self.stop()
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _begin(self, target: TargetState, active: ActiveHealth) -> None:
        del self._waiting[target.name]
        self._tasks[target.name] = asyncio.create_task(
            self._watch(target, active), name=f"health {target.name}"
        )

    def _drop(self, name: str) -> None:
        handle = self._waiting.pop(name, None)
        if handle is not None:
            handle.cancel()
        task = self._tasks.pop(name, None)
        if task is not None:
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            task.cancel()

    async def _watch(self, target: TargetState, active: ActiveHealth) -> None:
        agreeing = 0
        while True:
            began = self._clock.monotonic()
            reason = await check(target.data, active, _tls_of(target))
            healthy = not reason
            now = self._clock.monotonic()
            agreeing = 0 if healthy == target.healthy else agreeing + 1
            if agreeing >= (active.healthy_after if healthy else active.unhealthy_after):
                agreeing = 0
                self._balancer.set_active_health(target, healthy, now)
                self._on_change(target.name, healthy, reason or "check_passed")
            pause_s = active.every * self._random.uniform(1.0 - _JITTER, 1.0 + _JITTER)
            await asyncio.sleep(max(0.0, pause_s - (now - began)))


class HealthChecks:
    """The checkers of all upstreams of the running revision; they work while ``run(True)`` was said last."""

    def __init__(self, on_change: HealthListener = _ignore) -> None:
        self._on_change = on_change
        self._checkers: dict[str, HealthChecker] = {}
        self.running = False

    def follow(self, balancers: Iterable[Balancer]) -> None:
        """Goes on with these balancers, by upstream name."""
        before, self._checkers = self._checkers, {}
        for balancer in balancers:
            name = balancer.upstream.name
            checker = before.pop(name, None)
            if checker is None:
                checker = HealthChecker(balancer, self._on_change)
                if self.running:
                    checker.start()
            else:
                checker.follow(balancer)
            self._checkers[name] = checker
        for gone in before.values():
            gone.stop()

    def run(self, wanted: bool) -> None:  # noqa: FBT001 - a switch
        """Starts or stops all checks."""
        if wanted == self.running:
            return
        self.running = wanted
        for checker in self._checkers.values():
            if wanted:
                checker.start()
            else:
                checker.stop()

    async def close(self) -> None:
        """Stops all checks and waits until they have let go of their sockets."""
        self.running = False
        for checker in self._checkers.values():
            await checker.close()


def _insist_on_path(balancer: Balancer) -> None:
    active = balancer.upstream.active
    if active is not None and not _PATH.fullmatch(active.path):
        raise ValueError(f"upstream {balancer.upstream.name}: the health path must be visible ASCII from /")


def _tls_of(target: TargetState) -> TlsClient | None:
    """How the calls of ``target`` speak TLS; its checks do likewise."""
    return target.pool.dialler.tls if isinstance(target.pool, Pool) else None


async def check(target: Target, active: ActiveHealth, tls: TlsClient | None = None) -> str:
    """One check. Returns "" when it passed, else why not: ``check_timeout``, ``check_connect_failed``,
    ``check_status_503``, ``check_invalid_answer``, ``check_tls_expired``.
    """
    status: int | None = None
    connected = False
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(active.timeout):
            reader, writer = await asyncio.open_connection(
                target.host,
                target.port,
                limit=ANSWER_BYTES_MAX,
                ssl=None if tls is None else await tls.context(asyncio.get_running_loop()),
                server_hostname=None if tls is None else tls.server_name or target.host,
            )
            connected = True
            writer.write(_request(target, active.path))
            head = await reader.readuntil(b"\r\n\r\n")
            status = _status(head)
            await _drain(reader, ANSWER_BYTES_MAX - len(head))
    except TimeoutError:
        # With a status it is the body that dawdles, or a server that keeps the connection open all the same.
        if status is None:
            return "check_timeout"
    except ssl.SSLError as error:
        if status is None:
            return "check_invalid_answer" if connected else reason_of(error).replace("upstream", "check")
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
