"""What one common call costs in Python alone: a proxied GET over fake transports, no kernel, in one process.

Run: ``python -m benchmarks.micro_exchange`` (a few seconds). Prints microseconds per call, the best of 15
rounds: the whole call, its two halves (the caller's request until the upstream's transport has it; the
upstream's answer until the caller's has it and the record is taken), and what a head costs that was never
seen before. Everything between the two transports is the real thing; routes are public and the recorder keeps
nothing, so policies and log lines are not in these figures (micro_jwt, micro_counters, micro_records).
"""

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from typing import Final, cast

from faregate.gateway.assembly import ReadyUpstream, Runtime
from faregate.gateway.balance import make_balancer
from faregate.gateway.http1.request import parse_fields
from faregate.gateway.http1.response import parse_response
from faregate.gateway.listener import ClientConnection
from faregate.gateway.plane import Plane
from faregate.gateway.pool import Pool
from faregate.gateway.router import Router
from faregate.gateway.upgrading import Tunnels
from faregate.gateway.upstream import UpstreamConnection
from faregate.snapshot.call import Call, ReadyRoute
from faregate.snapshot.data import FORMAT, Gateway, Route, Snapshot, Target, Upstream, Version

ROUNDS: Final = 15
CALLS: Final = 4_000
WARM_UP_CALLS: Final = 2_000
FAR_AHEAD_S: Final = 1e9
"""Idle connections date from the future, so that none is old enough to be looked at: none has a socket."""

FIELDS: Final = (
    b"Host: 127.0.0.1:8080\r\nUser-Agent: acme-sdk/1.4\r\nAccept: application/json\r\nAuthorization: Bearer "
    + b"e" * 640
    + b"\r\nX-Correlation: abc\r\n\r\n"
)
REQUEST: Final = b"GET /v2/payments/pay_0123456789 HTTP/1.1\r\n" + FIELDS
_BODY: Final = (
    b'{"id":"pay_0123456789abcdef","status":"captured","amount_minor":1250,"currency":"EUR","reference":"order-77",'
    b'"created":"2026-11-23T01:02:03Z","captured_minor":1250,"refunded_minor":0}'
)
ANSWER_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 03:06:25 GMT\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\nConnection: keep-alive\r\n"
    b"X-Upstream: abc\r\n\r\n" % len(_BODY)
)
ANSWER: Final = ANSWER_HEAD + _BODY


class Transport:
    """Takes what is written and does nothing."""

    def write(self, data: bytes) -> None: ...

    def set_write_buffer_limits(self, high: int) -> None: ...

    def get_extra_info(self, name: str) -> tuple[str, int] | None:
        return ("127.0.0.1", 50_000) if name == "peername" else None

    def is_closing(self) -> bool:
        return False


class NoRecords:
    """A recorder that keeps nothing."""

    def record(self, call: Call) -> None: ...

    def flush(self) -> int:
        return 0


class Bench:
    """One caller's connection and one idle connection to each of two targets."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        declared = Upstream(
            "payments", tuple(Target(f"127.0.0.1:{port}", "127.0.0.1", port) for port in (9101, 9102))
        )
        snapshot = Snapshot(FORMAT, 1, Gateway((), None, 1, ""), (), (declared,), (), (), (), ())
        balancer = make_balancer(declared, None, time.monotonic())
        upstream = ReadyUpstream(declared, balancer, loop, snapshot.gateway.limits)
        runtime = Runtime(snapshot, Router(_routes(upstream)), {"payments": upstream}, Tunnels(loop))
        plane = Plane(loop, runtime, NoRecords(), b"1.1 faregate-bench")
        self.client = ClientConnection(plane)
        self.client.connection_made(_transport())
        for pool in upstream.pools:
            _add_idle(pool)

    def ask(self) -> UpstreamConnection:
        """The client half; returns the connection that now carries the call."""
        client = self.client
        client.data_received(REQUEST)
        exchange = client.exchange
        assert exchange is not None
        connection = exchange._upstream_connection  # noqa: SLF001 - the bench plays the event loop
        assert connection is not None
        return connection

    @staticmethod
    def answer(connection: UpstreamConnection) -> None:
        """The upstream half."""
        connection.data_received(ANSWER)
        connection.idle_since += FAR_AHEAD_S


def _transport() -> asyncio.Transport:
    return cast("asyncio.Transport", Transport())


def _routes(upstream: ReadyUpstream) -> Iterator[tuple[str, str, ReadyRoute]]:
    version = Version("v2", "/v2")
    for method, template in (("GET", "/v2/payments/{id}"), ("POST", "/v2/payments")):
        ready = ReadyRoute(
            Route("payments", 0, method, template, f"{method} {template}", "payments"), version, upstream
        )
        ready.upstream_headers = b"X-Api-Version: v2\r\n"
        yield method, template, ready


def _add_idle(pool: Pool) -> None:
    connection = UpstreamConnection(pool, 128)
    connection.connection_made(_transport())
    pool.open_count = 1
    pool.give_back(connection, time.monotonic() + FAR_AHEAD_S)


def call_and_halves(bench: Bench) -> tuple[float, float, float]:
    """Microseconds per whole call, client half and upstream half, the best of the rounds each."""
    ask, answer, clock = bench.ask, bench.answer, time.perf_counter
    whole, first, second = [], [], []
    for _ in range(ROUNDS):
        started = clock()
        for _ in range(CALLS):
            answer(ask())
        whole.append(clock() - started)
        client_s = upstream_s = 0.0
        for _ in range(CALLS):
            begun = clock()
            connection = ask()
            asked = clock()
            answer(connection)
            upstream_s += clock() - asked
            client_s += asked - begun
        first.append(client_s)
        second.append(upstream_s)
    return _per_call(min(whole)), _per_call(min(first)), _per_call(min(second))


def new_heads(parse: Callable[[bytes], object], head: bytes, marked: bytes) -> float:
    """Microseconds per head of which one line was never met before (``marked`` is replaced by a number)."""
    numbered = iter(range(10**9))
    seconds = []
    for _ in range(ROUNDS):
        heads = [head.replace(marked, b"n-%09d" % next(numbered)) for _ in range(CALLS)]
        started = time.perf_counter()
        for each in heads:
            parse(each)
        seconds.append(time.perf_counter() - started)
    return _per_call(min(seconds))


def _per_call(seconds: float) -> float:
    return seconds / CALLS * 1e6


def main() -> None:
    loop = asyncio.new_event_loop()
    bench = Bench(loop)
    for _ in range(WARM_UP_CALLS):
        bench.answer(bench.ask())
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # as a worker runs
    whole, client_half, upstream_half = call_and_halves(bench)
    rows = (
        ("whole call", whole),
        ("client half", client_half),
        ("upstream half", upstream_half),
        ("parse of a new head", new_heads(lambda head: parse_fields(head, 128), FIELDS, b"abc")),
        ("parse of a new answer", new_heads(lambda head: parse_response(head, 128), ANSWER_HEAD, b"abc")),
    )
    print(f"{'us per call, best of ' + str(ROUNDS):28}{'us':>8}")
    for name, figure in rows:
        print(f"{name:28}{figure:8.2f}")
    loop.close()


if __name__ == "__main__":
    main()
