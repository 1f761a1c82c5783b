"""Any frames in any order, any answers, any moment: books balance, nothing unhandled, nothing left behind."""

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.fakes import World
from tests.gateway.http2.peer import DATA, GET, HEADERS, OK, POST, RST, WINDOW_UPDATE, Peer, frame, u32
from tests.gateway.http2.peer import settings as settings_frame

STREAMS = st.sampled_from([0, 1, 1, 3, 3, 5, 7, 9, 2])
SIZED = [*POST, (b"content-length", b"10")]
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
STEPS = st.one_of(
    st.tuples(st.just("ask"), st.sampled_from(["get", "sized", "open", "trailers", "junk"])),
    st.tuples(
        st.just("data"), STREAMS, st.sampled_from([b"", b"01234", b"0123456789", b"x" * 9000]), st.booleans()
    ),
    st.tuples(st.just("reset"), STREAMS),
    st.tuples(st.just("window"), STREAMS, st.sampled_from([0, 1, 1000, 2**31 - 1])),
    st.tuples(st.just("settings"), st.sampled_from([(4, 0), (4, 10), (4, 65_535), (1, 0), (4, 2**31)])),
    st.tuples(st.just("frame"), st.integers(0, 12), st.integers(0, 255), STREAMS, st.binary(max_size=12)),
    st.tuples(
        st.just("answer"),
        st.integers(0, 9),
        st.sampled_from([OK, CHUNKED, HEAD, HEAD + b"y" * 70_000, b"junk\r\n\r\n"]),
    ),
    st.tuples(st.just("connect"), st.booleans()),
    st.tuples(st.just("upstream lost"), st.integers(0, 9)),
    st.tuples(st.just("stick"), st.booleans()),
    st.tuples(st.just("time"), st.sampled_from([0.1, 2.0, 31.0, 61.0])),
    st.tuples(st.just("drain")),
    st.tuples(st.just("end")),
)


class Play:
    """One caller's connection through whatever happens."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.peer = Peer(world)
        self.next = 1

    def ask(self, kind: str) -> None:
        peer, stream = self.peer, self.next
        self.next += 2
        if kind == "get":
            peer.send(peer.headers(stream, GET))
        elif kind == "sized":
            peer.send(peer.headers(stream, SIZED, end=False))
        elif kind == "open":
            peer.send(peer.headers(stream, POST, end=False))
        elif kind == "trailers":
            peer.send(peer.headers(stream, POST, end=False) + peer.headers(stream, [(b"x-t", b"1")]))
        else:
            peer.send(frame(HEADERS, 5, stream, peer.block([(b":method", b"GET"), (b"x", b"a\nb")])))

    def step(self, what: str, *more: object) -> None:
        world, peer = self.world, self.peer
        transports = [transport for transport in world.pool.made if transport.delivers]
        if what == "ask":
            self.ask(str(more[0]))
        elif what == "data":
            stream, payload, end = more
            peer.send(frame(DATA, int(bool(end)), stream, payload))  # type: ignore[arg-type]
        elif what == "reset":
            peer.send(frame(RST, 0, more[0], u32(8)))  # type: ignore[arg-type]
        elif what == "window":
            peer.send(frame(WINDOW_UPDATE, 0, more[0], u32(more[1])))  # type: ignore[arg-type]
        elif what == "settings":
            peer.send(settings_frame(more[0]))  # type: ignore[arg-type]
        elif what == "frame":
            peer.send(frame(*more))  # type: ignore[arg-type]
        elif what == "answer" and transports:
            transports[int(more[0]) % len(transports)].deliver(more[1])  # type: ignore[arg-type, call-overload]
        elif what == "connect" and world.pool.asked:
            if more[0]:
                world.pool.connect()
            else:
                world.pool.fail()
        elif what == "upstream lost" and transports:
            transports[int(more[0]) % len(transports)].lose(ConnectionResetError())  # type: ignore[call-overload]
        elif what == "stick" and not peer.transport.lost:
            if more[0]:
                peer.transport.stick()
            elif peer.transport.stuck:
                peer.transport.drain()
        elif what == "time":
            world.pass_time(float(more[0]), 0.5)  # type: ignore[arg-type]
        elif what == "drain":
            world.plane.drain()
        elif what == "end" and peer.transport.delivers:
            peer.transport.end()
        world.run()


@settings(max_examples=400, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_whatever_happens_the_books_balance_and_nothing_is_left(steps: list[tuple[object, ...]]) -> None:
    with World() as world:
        play = Play(world)
        connection = play.peer.transport.protocol
        for step in steps:
            play.step(*step)  # type: ignore[arg-type]
            assert connection.queued == sum(s.queued for s in connection.streams.values())  # type: ignore[attr-defined]
            assert len(connection.streams) <= 100  # type: ignore[attr-defined]
        if not play.peer.transport.lost:
            play.peer.transport.lose(ConnectionResetError())
        for transport in world.pool.made:
            if not transport.lost:
                transport.lose(ConnectionResetError())
        while world.pool.asked:
            world.pool.fail()
        world.run()
        world.pass_time(70, 1.0)
        assert not connection.streams  # type: ignore[attr-defined]
        assert connection.queued == 0  # type: ignore[attr-defined]
        assert world.plane.in_flight == 0
        assert len(world.calls) == world.plane.begun
        assert not world.plane.orphans
        assert not world.plane.clients
        assert all(call.refusal != "internal_error" for call in world.calls)


@pytest.fixture(autouse=True)
def nothing_unhandled(caplog: pytest.LogCaptureFixture) -> object:
    with caplog.at_level(logging.ERROR):
        yield
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
