"""Bodies over HTTP/2 that meet an end: what nobody takes costs the calls beside it nothing, and what is whole is whole."""

import tracemalloc

from faregate.gateway.http2.frames import STREAM_WINDOW_BYTES
from tests.gateway.fakes import World
from tests.gateway.http2.peer import (
    DATA,
    END_STREAM,
    GET,
    OK,
    POST,
    WINDOW_UPDATE,
    Peer,
    frame,
    settings,
    u32,
)

INITIAL_WINDOW = 4


def updates(peer: Peer) -> list[int]:
    """The increments of the connection's window so far; the first makes it a megabyte."""
    return [int.from_bytes(item.payload, "big") for item in peer.control if item.kind == WINDOW_UPDATE]


SIZED = [*POST, (b"content-length", b"10")]


def test_what_came_of_a_body_that_nobody_takes_gives_the_connections_window_back() -> None:
    sized = [*POST, (b"content-length", b"60000")]
    with World() as world:
        peer = Peer(world)
        peer.take()
        begun = sum(
            int.from_bytes(item.payload, "big") for item in peer.control if item.kind == WINDOW_UPDATE
        )
        sent = 0
        for stream in range(1, 25, 2):
            data = peer.headers(stream, sized, end=False)
            peer.send(data + b"".join(frame(DATA, 0, stream, bytes(16_000)) for _ in range(3)))
            sent += 48_000
            world.pool.fail()
            peer.take()
            assert peer.answer(stream).status == 502
        given = sum(
            int.from_bytes(item.payload, "big") for item in peer.control if item.kind == WINDOW_UPDATE
        )
        assert sent - (given - begun) < 1 << 19


def test_w08_a_whole_request_that_waits_for_its_target_is_answered_after_the_callers_end() -> None:
    with World() as world:
        peer = Peer(world)
        halves = frame(DATA, 0, 1, b"01234") + frame(DATA, END_STREAM, 1, b"56789")
        peer.send(peer.headers(1, SIZED, end=False) + halves)
        peer.transport.end()
        assert peer.upstream_takes(OK).endswith(b"0123456789")
        assert peer.answer(1).status == 200


def test_uploads_that_nobody_takes_hold_up_no_other_call_of_the_connection() -> None:
    """Each may fill its own window of 64 KiB; that of the connection is for those that move."""
    with World(targets=1) as world:
        peer = Peer(world)
        stuck = []
        for stream in range(1, 61, 2):
            peer.send(peer.headers(stream, POST, end=False))
            upstream = world.pool.connect()
            upstream.stick()
            stuck.append(upstream)
            for _ in range(4):
                peer.send(frame(DATA, 0, stream, bytes(16_384)))
            room = 65_535 + sum(updates(peer)) - len(stuck) * 65_536
            assert room >= 1 << 19, stream
            assert peer.updates(stream) == []
        body = bytes(16_000)
        peer.send(peer.headers(61, POST, end=False) + frame(DATA, END_STREAM, 61, body))
        sent = world.pool.connect()
        assert len(sent.take()) > len(body)
        sent.deliver(OK)
        peer.take()
        assert peer.answer(61).status == 200
        for upstream in stuck:
            upstream.drain()
        world.run()
        peer.take()
        assert all(peer.updates(stream) for stream in range(1, 61, 2))


def test_while_memory_is_short_what_waits_keeps_the_connection_s_window_until_it_goes_on() -> None:
    with World() as world:
        world.plane.doorkeeper.narrow = True
        peer = Peer(world)
        peer.take()
        begun = sum(updates(peer))
        stuck = []
        for stream in range(1, 21, 2):
            peer.send(peer.headers(stream, POST, end=False))
            upstream = world.pool.connect()
            upstream.stick()
            stuck.append(upstream)
            for _ in range(4):
                peer.send(frame(DATA, 0, stream, bytes(16_384)))
        assert sum(updates(peer)) == begun
        for upstream in stuck[:9]:
            upstream.drain()
        world.run()
        peer.take()
        assert sum(updates(peer)) - begun >= 1 << 19


def test_answers_that_the_caller_does_not_take_hold_up_none_that_it_takes() -> None:
    """Its windows for them are closed; a megabyte of them waits."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n"
    with World() as world:
        peer = Peer(world)
        peer.send(settings((INITIAL_WINDOW, 0)) + frame(WINDOW_UPDATE, 0, 0, u32(1 << 30)))
        for stream in range(1, 51, 2):
            peer.request(stream)
            upstream = world.pool.connect()
            upstream.deliver(head)
            while upstream.reading:
                upstream.deliver(bytes(32_768))
                world.run()
        peer.send(peer.headers(51, GET) + frame(WINDOW_UPDATE, 0, 51, u32(1 << 30)))
        good = world.pool.connect()
        good.deliver(head)
        for _ in range(20):
            assert good.reading
            good.deliver(bytes(50_000))
            peer.take()
        assert len(peer.answer(51).body) == 1_000_000


def test_a_body_that_goes_on_after_its_answer_takes_nothing_of_the_connection_s_window() -> None:
    with World() as world:
        peer = Peer(world)
        peer.send(settings((INITIAL_WINDOW, 0)) + peer.headers(1, POST, end=False))
        world.pool.connect().stick()  # the body is paused
        world.plane.doorkeeper.narrow = True
        world.pool.made[0].deliver(OK)  # the caller does not take it, so the stream stays
        begun = sum(updates(peer))
        for _ in range(64):
            peer.send(frame(DATA, 0, 1, bytes(16_384)))
        assert sum(updates(peer)) - begun >= 1 << 19


def test_a_window_filled_by_small_frames_holds_about_its_bytes() -> None:
    """The window bounds memory, and what is held is counted, by the payload alone."""
    with World() as world:
        peer = Peer(world)
        peer.send(peer.headers(1, [*POST, (b"content-length", b"1000000")], end=False))
        peer.take()
        frames = frame(DATA, 0, 1, b"12345678") * 64
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(STREAM_WINDOW_BYTES // 8 // 64):
                peer.send(frames)
            held = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert peer.answer(1).reset is None
        assert held < 1.5 * STREAM_WINDOW_BYTES
        upstream = world.pool.connect()
        world.run()
        assert upstream.take().endswith(b"12345678" * (STREAM_WINDOW_BYTES // 8))
