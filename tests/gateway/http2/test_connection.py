"""Calls over HTTP/2: alike with those over HTTP/1.1 in what upstream and log see, and independent of each other."""

import pytest

from faregate.gateway.http2.stream import PROGRESS_BYTES, QUEUED_HIGH_BYTES
from faregate.kernel.problems import Refusal
from faregate.snapshot.call import Call
from tests.gateway.fakes import World, make_route
from tests.gateway.http2.peer import (
    DATA,
    END_STREAM,
    GET,
    HEADERS,
    OK,
    PING,
    POST,
    RST,
    SETTINGS,
    WINDOW_UPDATE,
    Peer,
    frame,
    settings,
    u32,
)

SIZED = [*POST, (b"content-length", b"10")]
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def without_ids(head: bytes) -> list[bytes]:
    lines = head.split(b"\r\n")
    return [line for line in lines if not line.startswith((b"X-Request-Id", b"traceparent"))]


def test_the_upstream_cannot_tell_which_protocol_the_caller_spoke() -> None:
    with World() as world:
        fields = [*SIZED, (b"accept", b"*/*"), (b"idempotency-key", b"k1")]
        sent, _ = Peer(world).call(1, fields, b"0123456789")
        old, _ = world.exchange_bytes(
            b"POST /v1/payments HTTP/1.1\r\nhost: api.test\r\ncontent-length: 10\r\naccept: */*\r\n"
            b"idempotency-key: k1\r\n\r\n0123456789"
        )
        assert without_ids(sent) == without_ids(old)


def test_the_record_of_a_call_is_the_same_as_over_http_1_1() -> None:
    with World() as world:
        Peer(world).call(1, SIZED, b"0123456789")
        world.exchange_bytes(
            b"POST /v1/payments HTTP/1.1\r\nHost: api.test\r\nContent-Length: 10\r\n\r\n0123456789"
        )
        one, other = world.calls
        for member in ("outcome", "status", "method", "path", "request_bytes", "response_bytes", "client_ip"):
            assert getattr(one, member) == getattr(other, member), member


def test_calls_of_one_connection_run_at_once_and_are_answered_in_any_order() -> None:
    with World() as world:
        peer = Peer(world)
        for stream in (1, 3, 5):
            peer.request(stream)
        first, second, third = (world.pool.connect() for _ in range(3))
        for transport, body in ((third, b"c"), (first, b"a"), (second, b"b")):
            transport.deliver(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + body)
        peer.take()
        assert [peer.answer(stream).body for stream in (1, 3, 5)] == [b"a", b"b", b"c"]
        assert all(peer.answer(stream).ended for stream in (1, 3, 5))
        assert world.plane.in_flight == 0


def test_an_answer_in_chunks_is_data_and_its_trailers_go_to_who_asked_for_them() -> None:
    body = b"3\r\nabc\r\n4\r\ndefg\r\n0\r\nGrpc-Status: 0\r\n\r\n"
    with World() as world:
        peer = Peer(world)
        _, asked = peer.call(1, [*GET, (b"te", b"trailers")], answer=CHUNKED + body)
        _, plain = peer.call(3, GET, answer=CHUNKED + body)
        assert (asked.body, asked.trailers, asked.ended) == (b"abcdefg", [(b"grpc-status", b"0")], True)
        assert (plain.body, plain.trailers, plain.ended) == (b"abcdefg", [], True)


def test_an_answer_without_a_body_ends_with_its_head() -> None:
    with World(lambda u: [make_route(method, "/v1/payments/{id}", u) for method in ("GET", "HEAD")]) as world:
        peer = Peer(world)
        _, head = peer.call(1, [(b":method", b"HEAD"), *GET[1:]])
        assert (head.status, head.body, head.ended) == (200, b"", True)
        _, empty = peer.call(3, GET, answer=b"HTTP/1.1 204 No Content\r\n\r\n")
        assert (empty.status, empty.ended, empty.field(b"content-length")) == (204, True, None)


def test_interim_answers_go_on_and_expect_is_answered_by_us() -> None:
    with World() as world:
        peer = Peer(world)
        peer.send(peer.headers(1, [*SIZED, (b"expect", b"100-continue")], end=False))
        assert [dict(fields)[b":status"] for fields in peer.answer(1).interim] == [b"100"]
        peer.send(frame(DATA, END_STREAM, 1, b"0123456789"))
        peer.upstream_takes(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)
        answer = peer.answer(1)
        assert [dict(fields)[b":status"] for fields in answer.interim] == [b"100", b"103"]
        assert (answer.status, answer.body) == (200, b"{}")


def test_a_sized_body_reaches_the_upstream_whole_only_once_the_stream_has_ended() -> None:
    with World() as world:
        peer = Peer(world)
        peer.send(peer.headers(1, SIZED, end=False) + frame(DATA, 0, 1, b"01234"))
        world.run()
        upstream = world.pool.connect()
        world.run()
        assert upstream.take().endswith(b"01234")
        peer.send(frame(DATA, 0, 1, b"56789"))
        assert upstream.take() == b""
        peer.send(frame(DATA, END_STREAM, 1))
        assert upstream.take() == b"56789"


@pytest.mark.parametrize(
    "data",
    [[b"0123456789a"], [b"01234", b"567890"], [b"01234"], [b""]],
    ids=["more at once", "more in the end", "less", "nothing"],
)
def test_h09_a_body_that_is_not_as_long_as_said_never_reaches_the_upstream_as_a_whole(
    data: list[bytes],
) -> None:
    with World() as world:
        peer = Peer(world)
        peer.send(peer.headers(1, SIZED, end=False))
        world.run()
        upstream = world.pool.connect()
        for piece in data[:-1]:
            peer.send(frame(DATA, 0, 1, piece))
        peer.send(frame(DATA, END_STREAM, 1, data[-1]))
        assert len(upstream.written.partition(b"\r\n\r\n")[2]) < 10
        assert upstream.aborted
        assert (peer.answer(1).status, world.calls[0].reason) == (400, "length_mismatch")
        assert peer.goaway() is None


def test_a_body_that_the_upstream_does_not_take_gives_no_window_back() -> None:
    with World() as world:
        peer = Peer(world)
        peer.send(peer.headers(1, POST, end=False))
        world.run()
        upstream = world.pool.connect()
        upstream.stick()
        for _ in range(4):
            peer.send(frame(DATA, 0, 1, b"x" * 16_000))
        assert not [item for item in peer.control if item.kind == WINDOW_UPDATE][1:]
        updates = peer.updates(1)
        assert updates == []
        upstream.drain()
        peer.take()
        assert sum(peer.updates(1)) >= 32_768


def test_the_windows_of_a_long_body_are_given_back_as_it_is_taken() -> None:
    with World(lambda u: [make_route("POST", "/v1/payments", u, body_bytes=8 << 20)]) as world:
        peer = Peer(world)
        peer.send(peer.headers(1, POST, end=False))
        world.run()
        world.pool.connect()
        sent, window = 0, 65_536
        while sent < 3 << 20:
            assert window >= 16_384, "the stream's window ran dry"
            peer.send(frame(DATA, 0, 1, b"x" * 16_384))
            sent += 16_384
            window = 65_536 + sum(peer.updates(1)) - sent
        total = sum(int.from_bytes(i.payload, "big") for i in peer.control if i.kind == WINDOW_UPDATE)
        assert 65_535 + total - sent >= 1 << 19


def test_an_answer_waits_for_the_caller_s_windows_and_pauses_its_upstream() -> None:
    with World() as world:
        peer = Peer(world, greet=False)
        peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings((4, 10)))
        peer.request(1)
        upstream = world.pool.connect()
        upstream.deliver(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n")
        for _ in range(4):
            upstream.deliver(b"y" * 20_000)
        peer.take()
        assert peer.answer(1).body == b"y" * 10
        assert not upstream.reading
        peer.send(frame(WINDOW_UPDATE, 0, 1, u32(200_000)))
        peer.send(frame(WINDOW_UPDATE, 0, 0, u32(200_000)))
        assert peer.answer(1).body == b"y" * 80_000
        assert upstream.reading
        for _ in range(6):
            upstream.deliver(b"y" * 20_000)
            peer.take()
        peer.take()
        assert (len(peer.answer(1).body), peer.answer(1).ended) == (200_000, True)


def test_a_smaller_window_for_all_streams_may_turn_negative_and_is_waited_for() -> None:
    with World() as world:
        peer = Peer(world)
        peer.request(1)
        upstream = world.pool.connect()
        upstream.deliver(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"y" * 30_000)
        peer.take()
        peer.send(settings((4, 100)))
        upstream.deliver(b"y" * 30_000)
        peer.take()
        assert len(peer.answer(1).body) == 30_000
        peer.send(settings((4, 65_535)))
        assert (len(peer.answer(1).body), peer.answer(1).ended) == (60_000, True)


def test_streams_take_turns() -> None:
    with World() as world:
        peer = Peer(world, greet=False)
        peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings((4, 1 << 20)))
        for stream in (1, 3):
            peer.request(stream)
        for _ in range(2):
            world.pool.connect().deliver(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + b"y" * 60_000)
        peer.take()
        assert len(peer.answer(1).body) + len(peer.answer(3).body) == 65_535
        assert abs(len(peer.answer(1).body) - len(peer.answer(3).body)) <= 16_384


def test_an_answer_cut_by_its_upstream_resets_its_stream_and_no_other() -> None:
    with World() as world:
        peer = Peer(world)
        peer.request(1)
        peer.request(3)
        first, second = world.pool.connect(), world.pool.connect()
        first.deliver(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        first.lose(ConnectionResetError())
        peer.take()
        assert (peer.answer(1).reset, peer.answer(1).ended) == (2, False)
        second.deliver(OK)
        peer.take()
        assert peer.answer(3).ended
        assert {call.outcome for call in world.calls} == {"unknown", "answered"}


def test_a_refusal_of_a_request_with_a_body_tells_the_caller_to_stop_sending() -> None:
    def refuse(_: Call) -> Refusal:
        return Refusal("permission_denied", reason="test")

    with World(lambda upstream: [make_route("POST", "/v1/payments", upstream, refuse)]) as world:
        peer = Peer(world)
        peer.send(peer.headers(1, SIZED, end=False))
        assert (peer.answer(1).status, peer.answer(1).ended, peer.answer(1).reset) == (403, True, 0)
        peer.send(frame(DATA, END_STREAM, 1, b"0123456789"))  # was on its way
        whole = peer.request(3, SIZED, b"0123456789")
        assert (whole.status, whole.reset, peer.goaway()) == (403, None, None)


def test_w08_a_caller_who_resets_a_sent_payment_does_not_cancel_it_and_a_read_ends_at_once() -> None:
    with World() as world:
        peer = Peer(world)
        peer.request(1, SIZED, b"0123456789")
        payment = world.pool.connect()
        peer.request(3)
        read = world.pool.connect()
        peer.send(frame(RST, 0, 1, u32(8)) + frame(RST, 0, 3, u32(8)))
        assert not payment.closing
        assert read.aborted
        assert world.plane.in_flight == 1
        payment.deliver(OK)
        world.run()
        assert world.plane.in_flight == 0
        by_method = {call.method: call.outcome for call in world.calls}
        assert by_method == {b"POST": "client_gone", b"GET": "client_gone"}
        assert next(call for call in world.calls if call.method == b"POST").status == 200
        assert peer.answer(1).fields == []


def test_a_reset_inside_the_body_cuts_the_upstream_s_request() -> None:
    with World() as world:
        peer = Peer(world)
        peer.send(peer.headers(1, SIZED, end=False) + frame(DATA, 0, 1, b"0123"))
        world.run()
        upstream = world.pool.connect()
        peer.send(frame(RST, 0, 1, u32(8)))
        assert upstream.aborted
        assert world.calls[0].outcome == "client_gone"


def test_a_lost_connection_ends_its_reads_and_lets_its_payments_go_on() -> None:
    with World() as world:
        peer = Peer(world)
        peer.request(1, SIZED, b"0123456789")
        payment = world.pool.connect()
        peer.request(3)
        read = world.pool.connect()
        peer.transport.lose(ConnectionResetError())
        world.run()
        assert read.aborted
        payment.deliver(OK)
        world.run()
        assert [call.outcome for call in world.calls] == ["client_gone", "client_gone"]
        assert world.plane.in_flight == 0
        assert not world.plane.clients
        assert not world.plane.orphans


def test_request_trailers_are_judged_and_not_passed_on() -> None:
    with World() as world:
        peer = Peer(world)
        peer.send(
            peer.headers(1, POST, end=False)
            + frame(DATA, 0, 1, b"abcd")
            + peer.headers(1, [(b"x-sum", b"1")])
        )
        sent = peer.upstream_takes(OK)
        assert sent.endswith(b"\r\n\r\n4\r\nabcd\r\n0\r\n\r\n")
        assert peer.answer(1).ended
        peer.send(
            peer.headers(3, POST, end=False)
            + frame(DATA, 0, 3, b"abcd")
            + peer.headers(3, [(b"authorization", b"x")])
        )
        world.run()
        assert world.calls[-1].reason == "trailer_forbidden"
        assert peer.answer(3).status == 400


def test_frames_may_come_in_any_pieces() -> None:
    with World() as world:
        peer = Peer(world, greet=False)
        whole = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings() + peer.headers(1, SIZED, end=False)
        for byte in whole + frame(DATA, END_STREAM, 1, b"0123456789"):
            peer.transport.deliver(bytes([byte]))
        assert peer.upstream_takes(OK).endswith(b"0123456789")
        assert peer.answer(1).ended


def test_padding_and_priority_are_taken_off() -> None:
    with World() as world:
        peer = Peer(world)
        block = peer.block(SIZED)
        peer.send(frame(HEADERS, 0x4 | 0x8 | 0x20, 1, b"\x03" + b"\0\0\0\0\x10" + block + b"\0\0\0"))
        peer.send(frame(DATA, 0x8 | END_STREAM, 1, b"\x04" + b"0123456789" + b"\0\0\0\0"))
        assert peer.upstream_takes(OK).endswith(b"\r\n\r\n0123456789")
        assert peer.answer(1).ended


def test_pings_and_settings_are_answered() -> None:
    with World() as world:
        peer = Peer(world)
        peer.send(frame(PING, 0, 0, b"12345678"))
        assert [item.payload for item in peer.control if item.kind == PING] == [b"12345678"]
        assert [item.flags for item in peer.control if item.kind == SETTINGS] == [0, 1]


def test_settings_sent_are_those_of_the_rules() -> None:
    with World() as world:
        peer = Peer(world)
        sent = next(item.payload for item in peer.control if item.kind == SETTINGS)
        pairs = {sent[at + 1]: int.from_bytes(sent[at + 2 : at + 6], "big") for at in range(0, len(sent), 6)}
        assert pairs == {1: 4096, 2: 0, 3: 100, 4: 65_536, 5: 16_384, 6: 65_536}
        update = next(item.payload for item in peer.control if item.kind == WINDOW_UPDATE)
        assert int.from_bytes(update, "big") + 65_535 == 1 << 20


def test_a_caller_who_reads_nothing_of_an_ended_answer_is_given_up() -> None:
    with World() as world:
        peer = Peer(world, greet=False)
        peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings((4, 0)))
        peer.call(1)
        assert peer.answer(1).status == 200
        world.pass_time(31)
        peer.take()
        assert peer.answer(1).reset == 8
        assert peer.goaway() is None


def test_a_caller_who_takes_its_answer_slowly_but_surely_gets_it_all() -> None:
    with World() as world:
        peer = Peer(world, greet=False)
        peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings((4, 0)))
        body = b"y" * (QUEUED_HIGH_BYTES - 1000)
        peer.call(1, answer=b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        while not peer.answer(1).ended:
            world.pass_time(20)
            peer.send(frame(WINDOW_UPDATE, 0, 1, u32(PROGRESS_BYTES)))
            assert peer.answer(1).reset is None
        assert peer.answer(1).body == body
