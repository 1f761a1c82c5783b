"""http-rules.md section 4, H01 to H05: what an attacker may send over one HTTP/2 connection, and what it costs."""

import tracemalloc

import pytest

from faregate.gateway.http2.guards import CONTINUATIONS_MAX
from tests.gateway.fakes import World
from tests.gateway.http2.peer import (
    CALM,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FLOW,
    FRAME_SIZE,
    GET,
    HEADERS,
    OK,
    PING,
    POST,
    PREFACE,
    PRIORITY,
    PROTOCOL_ERROR,
    REFUSED,
    RST,
    SIZED,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    Peer,
    ended,
    frame,
    settings,
    u32,
)


class TestH01RapidReset:
    def test_resets_before_an_answer_end_the_connection_after_fifty(self) -> None:
        with World() as world:
            peer = Peer(world)
            stream = 1
            for _ in range(50):
                peer.send(peer.headers(stream, GET) + frame(RST, 0, stream, u32(8)))
                stream += 2
                world.pass_time(0.1)
            assert peer.goaway() is None
            peer.send(peer.headers(stream, GET) + frame(RST, 0, stream, u32(8)))
            ended(peer, CALM)

    def test_the_work_behind_them_is_cancelled_and_counted(self) -> None:
        with World() as world:
            peer = Peer(world)
            for n in range(20):
                peer.send(peer.headers(2 * n + 1, GET) + frame(RST, 0, 2 * n + 1, u32(8)))
            assert world.plane.in_flight == 0
            assert [call.outcome for call in world.calls] == ["client_gone"] * 20

    def test_a_hundred_a_second_is_the_most_even_of_answered_ones(self) -> None:
        with World() as world:
            peer = Peer(world)
            _, answer = peer.call(1)
            assert answer.ended
            for _ in range(100):
                peer.send(frame(RST, 0, 1, u32(8)))
            assert peer.goaway() is None
            peer.send(frame(RST, 0, 1, u32(8)))
            ended(peer, CALM)


class TestH02MadeYouReset:
    @pytest.mark.parametrize(
        ("provocation", "code"),
        [
            (lambda stream: frame(WINDOW_UPDATE, 0, stream, u32(0)), PROTOCOL_ERROR),
            (lambda stream: frame(WINDOW_UPDATE, 0, stream, u32(2**31 - 1)), FLOW),
            (lambda stream: frame(DATA, END_STREAM, stream, b"x"), STREAM_CLOSED),
            (lambda stream: frame(PRIORITY, 0, stream, b"\0\0\0"), FRAME_SIZE),
        ],
        ids=["window 0", "window overflow", "data after the end", "priority length"],
    )
    def test_each_way_resets_one_stream_whose_payment_still_counts_as_in_flight(
        self, provocation: "object", code: int
    ) -> None:
        with World() as world:
            peer = Peer(world)
            peer.request(1, SIZED, b"0123456789")
            payment = world.pool.connect()
            peer.send(provocation(1))  # type: ignore[operator]
            assert peer.answer(1).reset == code
            assert peer.goaway() is None
            assert world.plane.in_flight == 1
            assert not payment.closing
            payment.deliver(OK)
            world.run()
            assert world.plane.in_flight == 0

    def test_reset_payments_keep_their_places_among_the_hundred(self) -> None:
        with World() as world:
            peer = Peer(world)
            for n in range(100):
                stream = 2 * n + 1
                peer.send(
                    peer.headers(stream, SIZED, end=False) + frame(DATA, END_STREAM, stream, b"0123456789")
                )
                world.pool.connect()
                peer.send(frame(WINDOW_UPDATE, 0, stream, u32(2**31 - 1)))
            assert world.plane.in_flight == 100
            assert peer.request(201).reset == REFUSED
            assert world.plane.in_flight == 100

    def test_five_hundred_end_the_connection(self) -> None:
        with World() as world:
            peer = Peer(world)
            for n in range(501):
                stream = 2 * n + 1
                assert peer.goaway() is None
                peer.send(peer.headers(stream, GET) + frame(WINDOW_UPDATE, 0, stream, u32(0)))
                world.pass_time(0.1)
            ended(peer, CALM)


class TestH03ContinuationFlood:
    @pytest.mark.parametrize("piece", [b"", b"x" * 100], ids=["empty", "full"])
    def test_more_than_twenty_frames_of_one_block(self, piece: bytes) -> None:
        with World() as world:
            peer = Peer(world)
            peer.send(frame(HEADERS, 0, 1, peer.block(GET)))
            for _ in range(CONTINUATIONS_MAX):
                peer.send(frame(CONTINUATION, 0, 1, piece))
            assert peer.goaway() is None
            peer.send(frame(CONTINUATION, 0, 1, piece))
            ended(peer, CALM)
            assert world.plane.begun == 0

    def test_more_than_64_kib_of_one_block_is_not_buffered(self) -> None:
        with World() as world:
            peer = Peer(world)
            peer.send(frame(HEADERS, 0, 1, b"x" * 16_384))
            for _ in range(3):
                peer.send(frame(CONTINUATION, 0, 1, b"x" * 16_384))
            assert peer.goaway() is None
            peer.send(frame(CONTINUATION, 0, 1, b"x"))
            ended(peer, CALM)

    def test_a_block_in_pieces_that_keeps_to_the_bounds_is_a_request(self) -> None:
        with World() as world:
            peer = Peer(world)
            block = peer.block(GET)
            pieces = [block[:5], block[5:6], b"", block[6:]]
            peer.send(frame(HEADERS, END_STREAM, 1, pieces[0]))
            for piece in pieces[1:-1]:
                peer.send(frame(CONTINUATION, 0, 1, piece))
            peer.send(frame(CONTINUATION, END_HEADERS, 1, pieces[-1]))
            peer.upstream_takes(OK)
            assert peer.answer(1).ended

    @pytest.mark.parametrize(
        "between",
        [frame(PING, 0, 0, b"12345678"), frame(CONTINUATION, END_HEADERS, 3), frame(77, 0, 1, b"x")],
        ids=["ping", "other stream", "unknown frame"],
    )
    def test_nothing_may_come_between_them(self, between: bytes) -> None:
        with World() as world:
            peer = Peer(world)
            peer.send(frame(HEADERS, 0, 1, peer.block(GET)) + between)
            ended(peer, PROTOCOL_ERROR)


class TestH04HeaderBombs:
    def test_thousands_of_one_byte_references_cost_nothing(self) -> None:
        with World() as world:
            peer = Peer(world)
            peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, peer.block([*GET, (b"x", b"v" * 4000)])))
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            peer.send(frame(HEADERS, END_HEADERS | END_STREAM, 3, b"\xbe" * 16_000))
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            ended(peer, CALM)
            assert peak - before < 1 << 20

    def test_cookie_crumbs_count_one_by_one(self) -> None:
        with World() as world:
            peer = Peer(world)
            assert peer.request(1, [*GET, *[(b"cookie", b"a=b")] * 120]).reset is None
            assert peer.goaway() is None
            peer.send(peer.headers(3, [*GET, *[(b"cookie", b"a=b")] * 129]))
            ended(peer, CALM)

    def test_answers_pinned_by_a_window_of_0_end_by_their_progress_deadline(self) -> None:
        with World() as world:
            peer = Peer(world, greet=False)
            peer.send(PREFACE + settings((4, 0)))
            for n in range(50):
                peer.call(2 * n + 1)
            world.pass_time(31)
            peer.take()
            assert all(peer.answer(2 * n + 1).reset == 8 for n in range(50))
            assert peer.transport.protocol.queued == 0  # type: ignore[attr-defined]


FLOODS = {
    "pings": (100, lambda: frame(PING, 0, 0, b"12345678")),
    "ping answers": (100, lambda: frame(PING, 1, 0, b"12345678")),
    "settings": (49, lambda: settings((4, 65_535))),  # one came with the preface
    "empty data": (100, lambda: frame(DATA, 0, 1)),
    "empty padded data": (100, lambda: frame(DATA, 0x8, 1, b"\0")),
}


class TestH05Floods:
    @pytest.mark.parametrize("flood", FLOODS)
    def test_a_second_s_worth_passes_and_one_more_ends_the_connection(self, flood: str) -> None:
        count, make = FLOODS[flood]
        with World() as world:
            peer = Peer(world)
            if "data" in flood:
                peer.send(peer.headers(1, POST, end=False))
            for _ in range(count):
                peer.send(make())
            assert peer.goaway() is None
            peer.send(make())
            ended(peer, CALM)

    @pytest.mark.parametrize("kind", [PRIORITY, 77], ids=["priority", "unknown"])
    def test_frames_that_do_nothing_have_a_cap_for_life(self, kind: int) -> None:
        with World() as world:
            peer = Peer(world)
            some = frame(kind, 0, 1, b"\0\0\0\0\x10") * 1000
            for _ in range(10):
                peer.send(some)
            assert peer.goaway() is None
            peer.send(frame(kind, 0, 1, b"\0\0\0\0\x10"))
            ended(peer, CALM)

    def test_updates_that_add_nothing_on_ended_streams_are_counted_too(self) -> None:
        with World() as world:
            peer = Peer(world)
            peer.call(1)
            for _ in range(100):
                peer.send(frame(WINDOW_UPDATE, 0, 1, u32(0)))
            assert peer.goaway() is None
            peer.send(frame(WINDOW_UPDATE, 0, 1, u32(0)))
            ended(peer, CALM)
