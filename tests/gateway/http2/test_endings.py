"""How an HTTP/2 connection ends: told twice, so that no request on its way is lost; and by whom it may be ended."""

from faregate.snapshot.call import Call
from tests.gateway.fakes import World, make_route
from tests.gateway.http2.peer import ACK, DATA, END_STREAM, GET, GOAWAY, OK, PING, POST, Peer, frame, u32

SIZED = [*POST, (b"content-length", b"10")]
LAST = 2**31 - 1
ANSWER_PING = frame(PING, ACK, 0, b"faregate")


def is_over(peer: Peer) -> bool:
    peer.take()
    return peer.transport.ended or peer.transport.closing


def test_a_drain_is_told_twice_and_what_was_on_its_way_is_answered() -> None:
    with World() as world:
        peer = Peer(world)
        peer.request(1)
        first = world.pool.connect()
        world.plane.drain()
        peer.take()
        assert peer.last_streams() == [LAST]
        peer.request(3)  # sent before the caller could know
        second = world.pool.connect()
        peer.send(ANSWER_PING)
        assert peer.last_streams() == [LAST, 3]
        first.deliver(OK)
        assert not is_over(peer)
        second.deliver(OK)
        assert is_over(peer)
        assert peer.answer(1).ended
        assert peer.answer(3).ended
        assert [call.outcome for call in world.calls] == ["answered", "answered"]


def test_a_request_after_the_second_goaway_is_not_looked_at() -> None:
    with World() as world:
        peer = Peer(world)
        peer.request(1)
        upstream = world.pool.connect()
        world.plane.drain()
        peer.send(ANSWER_PING)
        begun = world.plane.begun
        peer.send(peer.headers(3, SIZED, end=False) + frame(DATA, END_STREAM, 3, b"0123456789"))
        assert world.plane.begun == begun
        upstream.deliver(OK)
        assert is_over(peer)
        assert peer.answer(1).ended


def test_an_idle_connection_leaves_as_soon_as_the_caller_has_heard_it_and_after_a_second_in_any_case() -> (
    None
):
    with World() as world:
        quick, silent = Peer(world), Peer(world)
        world.plane.drain()
        quick.take()
        silent.take()
        assert world.plane.is_busy()
        quick.send(ANSWER_PING)
        assert is_over(quick)
        assert not is_over(silent)
        world.pass_time(1.2)
        assert is_over(silent)
        world.run()
        assert not world.plane.is_busy()


def test_where_answers_end_their_connections_this_one_ends_too() -> None:
    with World() as world:
        peer = Peer(world)
        world.plane.closes = True  # as under memory pressure
        _, answer = peer.call(1)
        assert (answer.status, answer.ended) == (200, True)
        assert peer.last_streams() == [LAST]


def test_answers_say_nothing_of_a_closing_connection() -> None:
    with World() as world:
        peer = Peer(world)
        peer.request(1)
        upstream = world.pool.connect()
        world.plane.drain()
        upstream.deliver(OK)
        peer.take()
        assert peer.answer(1).field(b"connection") is None


def test_a_stop_answers_what_is_in_progress_and_says_which_requests_were_the_last() -> None:
    with World() as world:
        peer = Peer(world)
        peer.request(1, SIZED, b"0123456789")
        world.pool.connect()
        world.run()
        peer.request(3)
        world.plane.end_calls()
        peer.take()
        assert (peer.answer(1).status, peer.answer(3).status) == (504, 503)
        world.plane.break_off()
        peer.take()
        assert peer.last_streams()[-1] == 3
        assert world.plane.in_flight == 0


def test_a_caller_s_own_goaway_leaves_its_calls_be() -> None:
    with World() as world:
        peer = Peer(world)
        peer.request(1)
        upstream = world.pool.connect()
        peer.send(frame(GOAWAY, 0, 0, u32(0) + u32(0)))
        upstream.deliver(OK)
        peer.take()
        assert peer.answer(1).ended
        assert peer.goaway() is None


def test_w08_a_caller_that_ends_its_side_is_still_answered() -> None:
    with World() as world:
        peer = Peer(world)
        peer.request(1, SIZED, b"0123456789")
        whole = world.pool.connect()
        world.run()
        peer.send(peer.headers(3, SIZED, end=False) + frame(DATA, 0, 3, b"01234"))
        cut = world.pool.connect()
        peer.transport.end()
        peer.take()
        assert cut.aborted
        assert peer.answer(3).status == 400
        assert not is_over(peer)
        whole.deliver(OK)
        assert is_over(peer)
        assert peer.answer(1).status == 200


def test_one_call_s_internal_error_ends_that_call_only() -> None:
    def fail(_: Call) -> None:
        raise ZeroDivisionError

    with World(
        lambda u: [make_route("GET", "/v1/payments/{id}", u), make_route("POST", "/v1/payments", u, fail)]
    ) as world:
        peer = Peer(world)
        peer.request(1)
        first = world.pool.connect()
        assert peer.request(3, SIZED, b"0123456789").status == 500
        first.deliver(OK)
        peer.take()
        assert peer.answer(1).status == 200


def test_h09_the_name_of_the_handshake_holds_for_each_request_of_the_connection() -> None:
    with World() as world:
        peer = Peer(world)
        connection = peer.transport.protocol
        connection.tls, connection.server_name = "TLSv1.3 X", "api.test"  # type: ignore[attr-defined]
        _, own = peer.call(1)
        other = peer.request(
            3, [(name, b"other.test" if name == b":authority" else value) for name, value in GET]
        )
        assert (own.status, other.status) == (200, 421)
        assert peer.call(5)[1].status == 200
        assert world.calls[0].tls == "TLSv1.3 X"


def test_identity_does_not_carry_over_from_one_request_to_the_next() -> None:
    with World() as world:
        peer = Peer(world)
        sent, _ = peer.call(1, [*GET, (b"x-consumer-id", b"forged"), (b"x-real-ip", b"1.2.3.4")])
        assert b"forged" not in sent
        assert b"1.2.3.4" not in sent
        refused = peer.request(3, [*GET, (b"x_consumer_id", b"forged")])
        assert (refused.status, world.calls[-1].reason) == (400, "field_name")
