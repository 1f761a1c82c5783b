"""A worker's data plane without sockets: transports, time, connecting and recording are the test's to drive.

Everything between the caller's bytes and the upstream's is the real thing (ClientConnection, Exchange, UpstreamConnection,
Pool's bookkeeping, a balancer, the wheel). Only what the kernel would do is played here: a transport keeps what was written
and ends when told to, and connections to targets come about when the test says so.
"""

import asyncio
from collections.abc import Callable, Iterable
from random import Random
from typing import Self

from faregate.gateway.assembly import ReadyUpstream, Runtime
from faregate.gateway.balance import make_balancer
from faregate.gateway.listener import ClientConnection
from faregate.gateway.plane import Plane
from faregate.gateway.pool import Asker, Pool
from faregate.gateway.router import Router
from faregate.gateway.upgrading import Tunnels
from faregate.gateway.upstream import UpstreamConnection
from faregate.snapshot.call import Call, Identity, ReadyRoute
from faregate.snapshot.data import (
    FORMAT,
    Gateway,
    GatewayLimits,
    Route,
    Snapshot,
    Target,
    Upstream,
    Version,
)

VIA = b"1.1 faregate-test"
OK = b"HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 03:06:25 GMT\r\nContent-Length: 2\r\n\r\n{}"


class Time:
    """Monotonic seconds that pass only when told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class FakeTransport:
    """What asyncio promises of a transport. ``stuck``: the peer takes nothing, so a close waits for ``drain``."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol, peer: str = "203.0.113.9"
    ) -> None:
        self._loop = loop
        self.protocol = protocol
        self._peer = peer
        self.written = bytearray()
        self.reading = True
        self.ended = False  # we sent the end of our side
        self.closing = False
        self.aborted = False
        self.lost = False
        self.stuck = False
        self._unsent = 0
        self.unsent_at_abort = 0
        protocol.connection_made(self)  # type: ignore[arg-type]

    # what the code under test calls

    def write(self, data: bytes) -> None:
        if self.closing or self.lost:
            return
        assert not self.ended, "bytes behind the end of the stream"
        self.written += data
        if self.stuck:
            self._unsent += len(data)

    def write_eof(self) -> None:
        self.ended = True

    def can_write_eof(self) -> bool:
        return True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closing or self.lost

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            if not self.stuck:
                self._loop.call_soon(self.lose, None)

    def abort(self) -> None:
        self.unsent_at_abort = self._unsent
        self.closing = self.aborted = True
        self._loop.call_soon(self.lose, None)

    def set_protocol(self, protocol: asyncio.Protocol) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return self._unsent

    def get_extra_info(self, name: str, default: object = None) -> object:
        return (self._peer, 50000) if name == "peername" else default

    # what the test plays

    @property
    def delivers(self) -> bool:
        """Whether bytes or an end from the peer would reach the protocol now."""
        return self.reading and not self.closing and not self.lost

    def deliver(self, data: bytes) -> None:
        assert self.delivers
        self.protocol.data_received(data)

    def end(self) -> None:
        """The peer sent the end of its side; a protocol that answers falsely is closed, as asyncio does."""
        if not self.protocol.eof_received():
            self.close()

    def lose(self, error: Exception | None = None) -> None:
        if not self.lost:
            self.lost = True
            self.protocol.connection_lost(error)

    def stick(self) -> None:
        self.stuck = True
        self.protocol.pause_writing()

    def drain(self) -> None:
        self.stuck = False
        self._unsent = 0
        self.protocol.resume_writing()
        if self.closing and not self.lost:
            self._loop.call_soon(self.lose, None)

    def take(self) -> bytes:
        """What was written since the last time."""
        data = bytes(self.written)
        self.written.clear()
        return data


class FakeUpstreamConnection(UpstreamConnection):
    """``unseen_end``: its socket is readable and the event loop has not looked yet."""

    __slots__ = ("unseen_end",)

    def has_ended(self) -> bool:
        return getattr(self, "unseen_end", False)


class FakePool(Pool):
    """Connecting is the test's affair: ``asked`` holds who waits for a connection."""

    __slots__ = ("asked", "made", "time")

    def __init__(
        self, target: Target, upstream: Upstream, loop: asyncio.AbstractEventLoop, time: Time
    ) -> None:
        super().__init__(target, upstream, loop, time)
        self.time = time
        self.asked: list[Asker] = []
        self.made: list[FakeTransport] = []

    def open(self, asker: Asker) -> "asyncio.Task[None]":
        self.open_count += 1
        self.asked.append(asker)
        return None  # type: ignore[return-value]  # nobody holds on to it

    def connect(self) -> FakeTransport:
        """The oldest asker gets a connection."""
        asker = self.asked.pop(0)
        transport = self.new_connection()
        asker.connected(transport.protocol, self.time())  # type: ignore[arg-type]
        return transport

    def new_connection(self) -> FakeTransport:
        transport = FakeTransport(self._loop, FakeUpstreamConnection(self, 128))
        self.made.append(transport)
        return transport

    def fail(self, reason: str = "connect_refused") -> None:
        """The oldest asker is told that there is none."""
        asker = self.asked.pop(0)
        self.open_count -= 1
        asker.connect_failed(reason, self.time())


class Records:
    """The records of a worker, in order."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def record(self, call: Call) -> None:
        self.calls.append(call)

    def flush(self) -> int:
        return 0


class CountingPlane(Plane):
    """Counts the exchanges that began."""

    _in_flight = 0
    begun = 0

    @property
    def in_flight(self) -> int:  # type: ignore[override]
        return self._in_flight

    @in_flight.setter
    def in_flight(self, value: int) -> None:
        self.begun += max(0, value - self._in_flight)
        self._in_flight = value


def make_route(
    method: str, template: str, upstream: object, *steps: Callable[[Call], object], **changes: object
) -> ReadyRoute:
    """A ready route of version v1 with these steps."""
    data = Route("payments", 0, method, template, f"{method} {template}", "payments", **changes)  # type: ignore[arg-type]
    route = ReadyRoute(data, Version("v1", "/v1"), upstream)
    route.steps = steps  # type: ignore[assignment]
    route.upstream_headers = b"X-Api-Version: v1\r\n"
    return route


class World:
    """One worker over fakes. ``routes``: given the ready upstream, the ready routes."""

    def __init__(
        self,
        routes: Callable[[object], Iterable[ReadyRoute]] | None = None,
        *,
        targets: int = 1,
        limits: GatewayLimits | None = None,
        trusted: tuple[str, ...] = (),
        **upstream: object,
    ) -> None:
        self.loop = asyncio.new_event_loop()
        self.time = Time()
        self.records = Records()
        declared = Upstream(
            "payments",
            tuple(Target(f"10.0.0.{n}:80", f"10.0.0.{n}", 80) for n in range(1, targets + 1)),
            balance=str(upstream.pop("balance", "round_robin")),
            **upstream,  # type: ignore[arg-type]
        )
        bounds = limits or GatewayLimits()
        self.balancer = make_balancer(declared, None, self.time(), Random(7))
        self.pools = []
        for state in self.balancer.targets:
            state.pool = FakePool(state.data, declared, self.loop, self.time)
            self.pools.append(state.pool)
        self.upstream = ReadyUpstream(declared, self.balancer, self.loop, bounds)
        ready = list((routes or default_routes)(self.upstream))
        snapshot = Snapshot(
            FORMAT,
            1,
            Gateway((), None, 1, "", trusted_proxies=trusted, limits=bounds),
            (),
            (declared,),
            (),
            (),
            (),
            (),
        )
        router = Router((route.data.method, route.data.template, route) for route in ready)
        self.runtime = Runtime(snapshot, router, {"payments": self.upstream}, Tunnels(self.loop))
        self.plane = CountingPlane(self.loop, self.runtime, self.records, VIA, self.time)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.close()

    def client(self, peer: str = "203.0.113.9") -> FakeTransport:
        """A new caller's connection."""
        return FakeTransport(self.loop, ClientConnection(self.plane), peer)

    @property
    def calls(self) -> list[Call]:
        return self.records.calls

    @property
    def pool(self) -> FakePool:
        return self.pools[0]

    def run(self) -> None:
        """Lets everything scheduled happen, and what that schedules."""
        for _ in range(4):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def pass_time(self, seconds: float, step: float = 0.05) -> None:
        """Time goes on, the wheel turning as it would."""
        end = self.time.now + seconds
        while self.time.now < end:
            self.time.now = min(end, self.time.now + step)
            self.plane.wheel.turn(self.time.now)
        self.run()

    def pass_wheel(self, seconds: float, step: float = 0.05) -> None:
        """Time goes on within the loop's turn, the wheel turning as it would."""
        end = self.time.now + seconds
        while self.time.now < end:
            self.time.now = min(end, self.time.now + step)
            self.plane.wheel.turn(self.time.now)

    def exchange_bytes(
        self, request: bytes, answer: bytes = OK, client: FakeTransport | None = None
    ) -> tuple[bytes, bytes]:
        """One whole call: what the upstream and what the caller received for it."""
        caller = client or self.client()
        caller.deliver(request)
        self.run()
        if self.pool.asked:
            self.pool.connect()
        sent = b""
        for transport in self.pool.made:
            if transport.written:
                sent = transport.take()
                transport.deliver(answer)
        self.run()
        return sent, caller.take()


def default_routes(upstream: object) -> list[ReadyRoute]:
    """Two public routes that most tests need."""
    return [
        make_route("GET", "/v1/payments/{id}", upstream),
        make_route("POST", "/v1/payments", upstream),
    ]


def identify(identity: Identity, credential_used: bytes = b"") -> Callable[[Call], None]:
    """A step that finds every caller to be ``identity``."""

    def step(call: Call) -> None:
        call.identity = identity
        call.credential_used = credential_used

    return step
