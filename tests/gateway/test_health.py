"""Active checks against real servers on 127.0.0.1: what passes, what fails and why, and when the balancer is
told.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from random import Random
from types import SimpleNamespace

import msgspec
import pytest

from faregate.gateway.balance import Balancer, make_balancer
from faregate.gateway.health import ANSWER_BYTES_MAX, HealthChecker, check
from faregate.snapshot.data import ActiveHealth, Target, Upstream

FAST = ActiveHealth(path="/healthz", every=0.01, timeout=2.0, healthy_after=2, unhealthy_after=3)
"""Checks that end by an answer: the timeout is only there to end a broken test."""
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PATIENCE_S = 20.0

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler):
    """A server on a free port; yields the Target. Connections still open at the end are cut."""
    tasks: set[asyncio.Task[None]] = set()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(connection, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield Target(name=f"127.0.0.1:{port}", host="127.0.0.1", port=port)
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def answers(answer: bytes, *, keep_open: bool = False) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if keep_open:
            await reader.read()

    return handle


def balancer_for(*targets: Target, active: ActiveHealth | None = FAST) -> Balancer:
    return make_balancer(Upstream(name="payments", targets=targets, active=active), None, time.monotonic())


async def check_once(handler: Handler, active: ActiveHealth = FAST) -> str:
    async with serving(handler) as target:
        return await check(target, active)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (OK, ""),
        (b"HTTP/1.0 204 No Content\r\n\r\n", ""),
        (b"HTTP/1.1 200\r\n\r\n", ""),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 300_000, ""),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "check_status_503"),
        (b"HTTP/1.1 301 Moved\r\nLocation: /login\r\n\r\n", "check_status_301"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "check_status_100"),
        (b"", "check_invalid_answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "check_invalid_answer"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "check_invalid_answer"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "check_invalid_answer"),
        (b" HTTP/1.1 200 OK\r\n\r\n", "check_invalid_answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "check_invalid_answer"),
        (
            b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * (ANSWER_BYTES_MAX + 10) + b"\r\n\r\n",
            "check_invalid_answer",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, bytes) else value or "passes",
)
def test_verdict_of_an_answer(answer: bytes, verdict: str) -> None:
    assert asyncio.run(check_once(answers(answer))) == verdict


def test_an_endless_header_section_is_cut_at_64_kib() -> None:
    sent = 0

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X: y\r\n" * 1000)
            await writer.drain()
            sent += 6000

    assert asyncio.run(check_once(endless)) == "check_invalid_answer"
    assert sent < 20_000_000, "what the socket buffers took, not what a timeout's worth of reading would be"


def test_a_silent_server_times_out() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    assert asyncio.run(check_once(silent, msgspec.structs.replace(FAST, timeout=0.05))) == "check_timeout"


def test_a_server_that_keeps_the_connection_open_still_passes() -> None:
    assert (
        asyncio.run(check_once(answers(OK, keep_open=True), msgspec.structs.replace(FAST, timeout=0.2))) == ""
    )


def test_a_closed_port_fails_to_connect() -> None:
    async def run() -> str:
        async with serving(answers(OK)) as target:
            pass
        return await check(target, FAST)

    assert asyncio.run(run()) == "check_connect_failed"


def test_a_host_name_that_cannot_be_encoded_fails_to_connect() -> None:
    assert (
        asyncio.run(check(Target(name="bad", host="a" * 70 + "..x", port=1), FAST)) == "check_connect_failed"
    )


def test_what_is_sent() -> None:
    heads: list[bytes] = []

    async def record(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK)

    async def run() -> Target:
        async with serving(record) as target:
            await check(target, FAST)
            return target

    target = asyncio.run(run())
    lines = heads[0].split(b"\r\n")
    assert lines[0] == b"GET /healthz HTTP/1.1"
    assert b"Host: " + target.name.encode() in lines
    assert b"Connection: close" in lines


@pytest.mark.parametrize("path", ["healthz", "", "/a b", "/a\r\nX: y", "/é"])
def test_a_path_that_would_break_the_request_line_is_refused(path: str) -> None:
    balancer = balancer_for(Target(name="a", host="127.0.0.1", port=1), active=ActiveHealth(path=path))
    with pytest.raises(ValueError, match="health path"):
        HealthChecker(balancer)


class Switched:
    """A server whose health is switched by the test; ``checks`` counts what it answered."""

    def __init__(self) -> None:
        self.answer = OK
        self.checks = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.checks += 1
        writer.write(self.answer)


async def next_change(changes: "asyncio.Queue[tuple[str, bool, str]]") -> tuple[str, bool, str]:
    async with asyncio.timeout(PATIENCE_S):
        return await changes.get()


def test_the_balancer_is_told_after_the_declared_number_of_checks_and_only_of_changes() -> None:
    async def run() -> None:
        first, second = Switched(), Switched()
        changes: asyncio.Queue[tuple[str, bool, str]] = asyncio.Queue()
        async with serving(first) as one, serving(second) as two:
            balancer = balancer_for(one, two)
            told: list[bool] = []
            checker = HealthChecker(balancer, lambda *change: changes.put_nowait(change), random=Random(1))
            tell = balancer.set_active_health
            checker._balancer = SimpleNamespace(  # type: ignore[assignment]
                upstream=balancer.upstream,
                targets=balancer.targets,
                set_active_health=lambda target, healthy, now: (
                    told.append(healthy),
                    tell(target, healthy, now),
                ),
            )
            assert [status.state for status in balancer.states()] == ["up", "up"], (
                "healthy until checks say otherwise"
            )
            first.answer = b"HTTP/1.1 500 Broken\r\n\r\n"
            checker.start()
            assert await next_change(changes) == (one.name, False, "check_status_500")
            assert first.checks == FAST.unhealthy_after
            assert [status.state for status in balancer.states()] == ["unhealthy", "up"]
            assert balancer.pick(time.monotonic(), b"", ()) is balancer.targets[1]
            first.answer = OK
            failed_checks = first.checks
            assert await next_change(changes) == (one.name, True, "check_passed")
            assert first.checks - failed_checks >= FAST.healthy_after
            assert balancer.targets[0].ramp < 1.0, "returns by slow start"
            await checker.close()
            assert told == [False, True]

    asyncio.run(run())


def test_one_good_check_between_bad_ones_starts_the_count_anew() -> None:
    async def run() -> None:
        script = iter([False, False, True, False, False, True])
        done = asyncio.Event()

        async def flapping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            good = next(script, None)
            if good is None:
                done.set()
            writer.write(b"HTTP/1.1 503 Busy\r\n\r\n" if good is False else OK)

        async with serving(flapping) as target:
            changes: list[tuple[str, bool, str]] = []
            checker = HealthChecker(balancer_for(target), lambda *change: changes.append(change))
            checker.start()
            async with asyncio.timeout(PATIENCE_S):
                await done.wait()
            await checker.close()
            assert changes == []

    asyncio.run(run())


def test_close_ends_a_check_under_way_and_may_be_called_twice() -> None:
    async def run() -> None:
        connected, gone = asyncio.Event(), asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connected.set()
            with suppress(OSError):
                await reader.read()
            gone.set()

        async with serving(silent) as target:
            checker = HealthChecker(balancer_for(target, active=msgspec.structs.replace(FAST, timeout=300.0)))
            checker.start()
            checker.start()
            async with asyncio.timeout(PATIENCE_S):
                await connected.wait()
                await checker.close()
                await gone.wait()
            await checker.close()
            assert [task for task in asyncio.all_tasks() if task.get_name().startswith("health ")] == []

    asyncio.run(run())


def test_without_declared_checks_nothing_is_started() -> None:
    async def run() -> None:
        checker = HealthChecker(balancer_for(Target(name="a", host="127.0.0.1", port=1), active=None))
        checker.start()
        assert len(asyncio.all_tasks()) == 1
        await checker.close()

    asyncio.run(run())
