"""A request whose connection to its target has no stream for it: none of its body is ever read as a head, and its tries end."""

import asyncio
import gc
import socket
import tracemalloc
from collections.abc import Iterator

import pytest

from faregate.gateway.dispatching import MOVES_MAX
from faregate.gateway.http1.chunked import ChunkError
from faregate.gateway.http2.hpack import FieldReader
from faregate.gateway.http2.upstream_stream import KEPT_BYTES_MAX, H2UpstreamStream
from faregate.snapshot.data import PassiveHealth
from tests.gateway.fakes import FakeTransport, World
from tests.gateway.http2.peer import DATA, GOAWAY, HEADERS, RST, frame, read_frames, settings, u32
from tests.gateway.http2.test_upstream_pool import MAX_STREAMS, FakeDialler, Place, played

CALM = 11
INITIAL_WINDOW = 4
CLIENT_PREFACE_BYTES = 24
ANOTHER_REQUEST = b"DELETE /admin/accounts/1 HTTP/1.1\r\nHost: internal\r\nX-Consumer: root\r\n\r\n"
JSON = b'{"amount": 100, "currency": "EUR"}'
CHUNKED_HEAD = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class Played(FakeDialler):
    """Each connection begins with what ``greeting`` says, before a call can begin on it, and may ``end``."""

    greeting = b""
    ends = False

    def __init__(self, loop: asyncio.AbstractEventLoop, *, fails: bool) -> None:
        super().__init__(loop, fails=fails)
        self.made: list[FakeTransport] = []

    async def dial(self, protocol: asyncio.Protocol, _: float) -> tuple[object, None, object]:
        transport = FakeTransport(self._loop, protocol)
        self.made.append(transport)
        transport.deliver(self.greeting)
        if self.ends:
            self._loop.call_soon(transport.lose)
        return protocol, None, (socket.AF_INET, ("10.0.0.1", 1))


class TwoStreams(Played):
    greeting = settings((MAX_STREAMS, 2))


class Calm(Played):
    greeting = settings() + frame(GOAWAY, 0, 0, u32(0) + u32(CALM))


class Welcoming(Played):
    greeting = settings()


class NoStreams(Played):
    """Takes nothing, says so, and goes."""

    greeting = settings((MAX_STREAMS, 0))
    ends = True


@pytest.fixture
def place() -> Iterator[Place]:
    made = Place()
    yield made
    made.loop.close()


def connections(world: World, kind: type[Played]) -> list[FakeTransport]:
    """Those that the target's pool makes from now on."""
    (state,) = world.balancer.targets
    played(world, state, kind)
    made: list[FakeTransport] = state.pool.dialler.made  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize("stream_comes_free", [True, False])
@pytest.mark.parametrize(
    ("first", "later"),
    [(b"", ANOTHER_REQUEST), (b"", JSON), (JSON[:5], JSON[5:])],
    ids=["another_request", "json", "json_in_two"],
)
def test_a_body_that_comes_behind_a_refused_beginning_is_never_read_as_a_head(
    first: bytes, later: bytes, stream_comes_free: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvloop reads its sockets before it runs what was scheduled, asyncio behind it: the poll is put in here."""
    with World(protocol="h2", breaker=None) as world:
        made = connections(world, TwoStreams)
        callers = [world.client() for _ in range(3)]
        for caller in callers[:2]:
            caller.deliver(b"GET /v1/payments/p1 HTTP/1.1\r\nHost: a\r\n\r\n")
        late = callers[2]
        head = b"POST /v1/payments HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
        late.deliver(head % len(first + later) + first)
        real = world.loop.call_soon
        polls = []

        def poll() -> None:
            if stream_comes_free:
                made[0].deliver(frame(RST, 0, 1, u32(8)))
            late.deliver(later)

        def call_soon(callback: object, *args: object, **more: object) -> object:
            if getattr(callback, "__name__", "") == "not_taken" and not polls:
                polls.append(1)
                real(poll)
            return real(callback, *args, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(world.loop, "call_soon", call_soon)
        world.loop.run_until_complete(asyncio.sleep(0.01))
        world.run()
        assert polls
        reader = FieldReader()
        heads, sent, resets = [], b"", []
        for item in read_frames(bytes(made[0].written)[CLIENT_PREFACE_BYTES:]):
            if item.kind == HEADERS:
                fields = {field[0]: field[1] for field in reader.read(item.payload, 128)}
                heads.append((item.stream, fields[b":method"], fields[b":path"], fields[b":authority"]))
            elif item.kind == DATA:
                sent += item.payload
            elif item.kind == RST:
                resets.append(item.stream)
        both = [(stream, b"GET", b"/v1/payments/p1", b"a") for stream in (1, 3)]
        if stream_comes_free:
            assert heads == [*both, (5, b"POST", b"/v1/payments", b"a")]
            assert sent == first + later
        else:
            assert heads == both
            assert late.written.startswith(b"HTTP/1.1 503 ")
            (call,) = world.calls
            assert (call.reason, call.outcome) == ("upstream_connections", "not_sent")
        assert resets == []
        assert len(made) == 1


def test_a_stream_that_the_target_never_heard_of_is_not_reset(place: Place) -> None:
    """RST_STREAM on an idle stream would end the connection, with every call on it (RFC 9113 section 5.1)."""
    transport = place.connect().connection.connection.transport
    transport.take()
    stream = place.pool.take(place.time())
    assert stream is not None
    assert stream.transport is not None
    with pytest.raises(ChunkError):
        stream.transport.write(CHUNKED_HEAD + b"no size\r\n")
    stream.transport.abort()
    assert transport.take() == b""
    following = place.pool.take(place.time())
    assert following is not None
    assert following.transport is not None
    following.transport.write(CHUNKED_HEAD + b"0\r\n\r\n")
    assert [item.kind for item in read_frames(transport.take())] == [HEADERS]


def test_goaway_with_an_error_before_the_first_call_is_a_failure_that_is_not_asked_again() -> None:
    with World(protocol="h2", passive=PassiveHealth(failures=3), breaker=None) as world:
        made = connections(world, Calm)
        world.client().deliver(b"GET /v1/payments/p1 HTTP/1.1\r\nHost: a\r\n\r\n")
        world.loop.run_until_complete(asyncio.sleep(0.01))
        world.run()
        (call,) = world.calls
        assert (call.reason, call.outcome, call.attempts) == ("goaway_error", "not_sent", 1)
        assert world.balancer.targets[0].faults == 1
        assert len(made) == 1


def test_a_target_whose_connections_never_have_a_stream_is_asked_a_bounded_number_of_times() -> None:
    with World(protocol="h2", attempts=2, breaker=None) as world:
        made = connections(world, NoStreams)
        caller = world.client()
        caller.deliver(b"GET /v1/payments/p1 HTTP/1.1\r\nHost: a\r\n\r\n")
        world.loop.run_until_complete(asyncio.sleep(0.05))
        world.run()
        (call,) = world.calls
        assert (call.reason, call.outcome) == ("no_stream", "not_sent")
        assert caller.written.startswith(b"HTTP/1.1 502 ")
        assert len(made) == MOVES_MAX + call.attempts
        assert call.attempts <= 3
        (state,) = world.balancer.targets
        assert (state.faults, state.in_flight) == (0, 0)


def test_what_is_kept_of_a_body_in_small_pieces_costs_about_its_bytes(place: Place) -> None:
    """Held twice while the window is shut: kept, and waiting to be sent."""
    place.connect().connection.connection.transport.deliver(settings((INITIAL_WINDOW, 0)))
    stream = place.pool.take(place.time())
    assert stream is not None
    transport = stream.transport
    assert transport is not None
    transport.write(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
    pieces = [bytes([number & 0xFF]) * 8 for number in range(KEPT_BYTES_MAX // 8)]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for piece in pieces:
            transport.write(b"".join((piece[:4], piece[4:])))
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert held < 2.5 * KEPT_BYTES_MAX


ENDINGS = {
    "answered": lambda stream: frame(HEADERS, 5, stream, b"\x88"),
    "answered in two": lambda stream: frame(HEADERS, 4, stream, b"\x88") + frame(DATA, 1, stream, b"{}"),
    "reset": lambda stream: frame(RST, 0, stream, u32(8)),
    "no answer": lambda stream: frame(HEADERS, 5, stream, b"\x00\x01a\x01b"),
    "left": None,
}


@pytest.mark.parametrize("how", ENDINGS)
def test_a_stream_that_is_over_is_freed_without_the_garbage_collector(how: str) -> None:
    """A worker collects rarely: what waits for it, a kilobyte a call, were tens of megabytes in a soak of half an hour."""
    with World(protocol="h2", breaker=None) as world:
        made = connections(world, Welcoming)
        for number in range(3):
            caller = world.client()
            caller.deliver(b"GET /v1/payments/p1 HTTP/1.1\r\nHost: a\r\n\r\n")
            world.run()
            gc.collect()
            ending = ENDINGS[how]
            if ending is None:
                caller.lose()
            else:
                made[0].deliver(ending(2 * number + 1))
            world.run()
            del caller
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            gc.collect()
            left = [one for one in gc.garbage if isinstance(one, H2UpstreamStream)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
        assert len(world.calls) == 3
        assert left == []
