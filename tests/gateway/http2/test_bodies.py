"""Bodies over HTTP/2 that meet an end: what nobody takes costs the calls beside it nothing, and what is whole is whole."""

from tests.gateway.fakes import World
from tests.gateway.http2.peer import DATA, END_STREAM, OK, POST, WINDOW_UPDATE, Peer, frame

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
