"""http-rules.md section 4, H06 to H08, and frames that nobody may send."""

import itertools

import pytest

from tests.gateway.fakes import World
from tests.gateway.http2.peer import (
    CALM,
    COMPRESSION,
    CONTINUATION,
    DATA,
    FLOW,
    FRAME_SIZE,
    GET,
    GOAWAY,
    HEADERS,
    OK,
    PING,
    POST,
    PREFACE,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH,
    REFUSED,
    RST,
    SETTINGS,
    SIZED,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    Peer,
    ended,
    frame,
    settings,
    u32,
)


class TestH06Settings:
    @pytest.mark.parametrize(
        ("pair", "code"),
        [
            ((5, 0), PROTOCOL_ERROR),
            ((5, 16_383), PROTOCOL_ERROR),
            ((5, 1 << 24), PROTOCOL_ERROR),
            ((1, 2**32 - 1), PROTOCOL_ERROR),
            ((2, 2), PROTOCOL_ERROR),
            ((4, 2**31), FLOW),
        ],
    )
    def test_values_that_only_harm_end_the_connection(self, pair: tuple[int, int], code: int) -> None:
        with World() as world:
            peer = Peer(world)
            peer.send(settings(pair))
            ended(peer, code)

    def test_a_large_table_is_not_made_use_of(self) -> None:
        with World() as world:
            peer = Peer(world)
            peer.send(settings((1, 1 << 30)))
            _, answer = peer.call(1)  # whose decoder allows 4096 still
            assert answer.ended

    def test_settings_by_the_thousand_in_one_frame(self) -> None:
        with World() as world:
            peer = Peer(world)
            peer.send(settings(*[(4, n) for n in range(65)]))
            ended(peer, CALM)


class TestH07NeverReads:
    def test_what_a_connection_queues_is_bounded_by_pausing_its_upstreams(self) -> None:
        with World() as world:
            peer = Peer(world, greet=False)
            peer.send(PREFACE + settings((4, 0)))
            for n in range(60):
                peer.request(2 * n + 1)
            upstreams = [world.pool.connect() for _ in range(60)]
            for upstream in upstreams:
                upstream.deliver(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n")
            for _, upstream in itertools.product(range(20), upstreams):
                if upstream.reading:
                    upstream.deliver(b"y" * 32_000)
            assert not any(upstream.reading for upstream in upstreams)
            assert peer.transport.protocol.queued < (1 << 20) + 60 * 32_000  # type: ignore[attr-defined]

    def test_a_drip_of_updates_is_no_progress(self) -> None:
        with World() as world:
            peer = Peer(world, greet=False)
            peer.send(PREFACE + settings((4, 0)))
            peer.request(1)
            upstream = world.pool.connect()
            upstream.deliver(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + b"y" * 100_000)
            peer.request(3)
            small = world.pool.connect()
            small.deliver(b"HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n" + b"y" * 40_000)
            for _ in range(62):
                world.pass_time(0.5)
                peer.send(frame(WINDOW_UPDATE, 0, 1, u32(1)) + frame(WINDOW_UPDATE, 0, 3, u32(1)))
            assert peer.answer(1).reset is not None
            assert peer.answer(3).reset is not None
            assert upstream.aborted
            assert world.plane.in_flight == 0

    def test_a_connection_that_takes_nothing_from_the_wire_is_broken_off(self) -> None:
        with World() as world:
            peer = Peer(world)
            peer.request(1)
            upstream = world.pool.connect()
            peer.transport.stick()
            upstream.deliver(OK)
            world.pass_time(35)
            assert peer.transport.aborted


class TestH08SlowPreface:
    @pytest.mark.parametrize(
        "begun",
        [b"", PREFACE[:10], PREFACE, PREFACE + settings()[:5]],
        ids=["nothing", "half a preface", "no settings", "half settings"],
    )
    def test_the_head_deadline_runs_before_the_first_request(self, begun: bytes) -> None:
        with World() as world:
            peer = Peer(world, greet=False)
            if begun:
                peer.send(begun)
            world.pass_time(9.5)
            assert peer.goaway() is None
            world.pass_time(1)
            peer.take()
            ended(peer, CALM)

    @pytest.mark.parametrize("part", ["block", "frame", "frame head"])
    def test_a_request_s_head_has_the_same_however_its_bytes_drip(self, part: str) -> None:
        with World() as world:
            peer = Peer(world)
            head = frame(HEADERS, 0, 1, peer.block(GET))
            peer.send({"block": head, "frame": head[:20], "frame head": head[:5]}[part])
            for n in range(12):
                world.pass_time(1)
                peer.send(
                    frame(CONTINUATION, 0, 1)
                    if part == "block"
                    else head[20 + n : 21 + n]
                    if part == "frame"
                    else b""
                )
            ended(peer, CALM)
            assert world.plane.begun == 0

    @pytest.mark.parametrize(
        "first", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSMxx", b"\0" * 30]
    )
    def test_anything_but_the_preface_ends_at_once(self, first: bytes) -> None:
        with World() as world:
            peer = Peer(world, greet=False)
            peer.send(first)
            ended(peer, PROTOCOL_ERROR)

    def test_an_idle_connection_ends_by_the_idle_timeout_whatever_pings_it_sends(self) -> None:
        with World() as world:
            peer = Peer(world)
            peer.call(1)
            for _ in range(59):
                world.pass_time(1)
                peer.send(frame(PING, 0, 0, b"12345678"))
            assert peer.goaway() is None
            world.pass_time(4)
            peer.take()
            assert peer.goaway() == 0
            assert peer.transport.ended or peer.transport.closing


BROKEN = {
    "headers on stream 0": (frame(HEADERS, 5, 0, b""), PROTOCOL_ERROR),
    "headers on an even stream": (frame(HEADERS, 5, 2, b"\x82"), PROTOCOL_ERROR),
    "data on stream 0": (frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
    "data on an idle stream": (frame(DATA, 0, 9, b"x"), PROTOCOL_ERROR),
    "window update on an idle stream": (frame(WINDOW_UPDATE, 0, 9, u32(1)), PROTOCOL_ERROR),
    "window update of 0": (frame(WINDOW_UPDATE, 0, 0, u32(0)), PROTOCOL_ERROR),
    "window overflow": (frame(WINDOW_UPDATE, 0, 0, u32(2**31 - 1)), FLOW),
    "window update length": (frame(WINDOW_UPDATE, 0, 0, b"\0\0\1"), FRAME_SIZE),
    "reset on stream 0": (frame(RST, 0, 0, u32(8)), PROTOCOL_ERROR),
    "reset on an idle stream": (frame(RST, 0, 9, u32(8)), PROTOCOL_ERROR),
    "reset length": (frame(RST, 0, 1, b"\0\0\0"), FRAME_SIZE),
    "settings on a stream": (frame(SETTINGS, 0, 1), PROTOCOL_ERROR),
    "settings length": (frame(SETTINGS, 0, 0, b"\0\1\0"), FRAME_SIZE),
    "settings ack with values": (frame(SETTINGS, 1, 0, b"\0\4\0\0\0\0"), FRAME_SIZE),
    "ping on a stream": (frame(PING, 0, 1, b"12345678"), PROTOCOL_ERROR),
    "ping length": (frame(PING, 0, 0, b"1234567"), FRAME_SIZE),
    "priority on stream 0": (frame(PRIORITY, 0, 0, b"\0\0\0\0\0"), PROTOCOL_ERROR),
    "priority length on an idle stream": (frame(PRIORITY, 0, 9, b"\0"), FRAME_SIZE),
    "a push from the caller": (frame(PUSH, 4, 1, u32(2) + b"\x82"), PROTOCOL_ERROR),
    "goaway on a stream": (frame(GOAWAY, 0, 1, u32(0) + u32(0)), PROTOCOL_ERROR),
    "continuation of nothing": (frame(CONTINUATION, 4, 1, b"\x82"), PROTOCOL_ERROR),
    "a frame too long": (frame(DATA, 0, 1, b"x" * 16_385), FRAME_SIZE),
    "more padding than frame": (frame(HEADERS, 0x8 | 5, 1, b"\x09\x82"), PROTOCOL_ERROR),
    "padding without its length": (frame(HEADERS, 0x8 | 5, 1, b""), FRAME_SIZE),
    "priority without its bytes": (frame(HEADERS, 0x20 | 5, 1, b"\0\0"), PROTOCOL_ERROR),
    "a broken field block": (frame(HEADERS, 5, 1, b"\xbe"), COMPRESSION),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_frames_that_nobody_may_send_end_the_connection(broken: str) -> None:
    data, code = BROKEN[broken]
    with World() as world:
        peer = Peer(world)
        peer.send(data)
        ended(peer, code)
        assert world.plane.begun == 0
        assert world.plane.http2_faults == 1


def test_a_stream_that_has_ended_is_not_begun_again() -> None:
    with World() as world:
        peer = Peer(world)
        peer.call(5)
        for stream, code in ((5, STREAM_CLOSED), (3, STREAM_CLOSED)):
            again = Peer(world)
            again.call(5)
            again.send(again.headers(stream, GET))
            ended(again, code)


def test_more_data_than_the_window_allows() -> None:
    with World() as world:
        peer = Peer(world)
        peer.send(peer.headers(1, POST, end=False))
        for _ in range(4):
            peer.send(frame(DATA, 0, 1, b"x" * 16_384))
        assert peer.answer(1).reset is None
        peer.send(frame(DATA, 0, 1, b"x"))
        assert peer.answer(1).reset == FLOW


def test_more_streams_than_a_hundred_are_refused_and_nothing_of_them_is_begun() -> None:
    with World() as world:
        peer = Peer(world)
        for n in range(100):
            peer.request(2 * n + 1)
        begun = world.plane.begun
        assert peer.request(201).reset == REFUSED
        assert world.plane.begun == begun
        assert peer.goaway() is None


def test_a_fault_lets_sent_payments_go_on_to_their_verdict() -> None:
    with World() as world:
        peer = Peer(world)
        peer.request(1, SIZED, b"0123456789")
        payment = world.pool.connect()
        peer.send(frame(PING, 0, 0, b"short"))
        assert peer.goaway() == FRAME_SIZE
        payment.deliver(OK)
        world.run()
        assert [(call.status, call.outcome) for call in world.calls] == [(200, "client_gone")]
        assert world.plane.in_flight == 0
