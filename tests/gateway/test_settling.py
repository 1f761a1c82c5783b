"""How a claimed call ends, over played transports and the model of a ledger: what is stored, what the caller is told, and that no
record is left unsettled."""

import json
from collections.abc import Iterator

import pytest

from faregate.snapshot.idempotency import AnswerRule, Idempotency
from faregate.stores.ledger.protocol import COMPLETED, SENT, UNKNOWN
from tests.gateway.claimed import PAID, Claimed, answer, pay, problem, request


@pytest.fixture
def world() -> Iterator[Claimed]:
    with Claimed() as made:
        yield made


# ends without an answer


def test_what_was_not_sent_is_free_again(world: Claimed) -> None:
    caller = world.call(request())
    for _ in range(2):
        if world.pool.asked:
            world.loop.call_soon(world.pool.fail)
            world.run()
    assert problem(caller) == (502, "upstream_unreachable", "not_sent", "same_request")
    assert world.states == []
    assert world.calls[-1].idempotency == "released"
    world.call(request())
    assert world.pool.asked, "a repeat runs"


def test_a_cut_after_sending_is_unknown_and_stays_so(world: Claimed) -> None:
    caller = world.call(request())
    there = world.arrive()
    there.take()
    world.loop.call_soon(there.lose)
    world.run()
    assert problem(caller) == (502, "upstream_invalid_response", "unknown", "after_query")
    assert world.states == [UNKNOWN]
    repeated = world.call(request())
    assert problem(repeated) == (409, "idempotency_in_flight", "unknown", "after_query")
    assert (world.calls[-1].idempotency, world.calls[-1].outcome) == ("in_flight", "unknown")
    assert not world.pool.asked


def test_a_timeout_is_unknown(world: Claimed) -> None:
    caller = world.call(request())
    world.arrive().take()
    world.loop.call_soon(world.pass_wheel, 11.0)
    world.run()
    assert problem(caller) == (504, "upstream_timeout", "unknown", "after_query")
    assert world.states == [UNKNOWN]


def test_an_answer_cut_short_was_never_begun(world: Claimed) -> None:
    caller = world.call(request())
    there = world.arrive()
    there.take()
    world.loop.call_soon(there.deliver, b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\nhalf of")
    world.run()
    assert caller.take() == b"", "held back until it is whole and settled"
    world.loop.call_soon(there.lose)
    world.run()
    assert problem(caller)[:3] == (502, "upstream_invalid_response", "unknown")
    assert world.states == [UNKNOWN]


@pytest.mark.parametrize(
    ("status", "settings", "state"),
    [
        (200, Idempotency(), [COMPLETED]),
        (400, Idempotency(), [COMPLETED]),
        (500, Idempotency(), [COMPLETED]),
        (503, Idempotency(), [UNKNOWN]),
        (429, Idempotency(), []),
        (200, Idempotency(stores_all=False), [COMPLETED]),
        (402, Idempotency(stores_all=False), []),
        (500, Idempotency(stores_all=False), [UNKNOWN]),
    ],
)
def test_what_an_answer_settles(status: int, settings: Idempotency, state: list[int]) -> None:
    with Claimed(settings) as world:
        caller = pay(world, "k1", b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\n{}" % status)
        assert answer(caller)[0] == status, "passed on as it is"
        assert world.states == state


def test_an_answer_still_in_progress_is_no_verdict() -> None:
    rule = AnswerRule((), "/trade_state", ("USERPAYING",))
    with Claimed(Idempotency(in_progress=rule)) as world:
        said = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 28\r\n\r\n{"trade_state":"USERPAYING"}'
        assert answer(pay(world, "k1", said))[0] == 200
        assert world.states == [UNKNOWN]
        assert world.calls[-1].outcome == "unknown"


# the caller leaves


def test_a_caller_who_leaves_does_not_cancel_what_was_sent(world: Claimed) -> None:
    caller = world.call(request())
    there = world.arrive()
    there.take()
    world.loop.call_soon(caller.lose)
    world.run()
    assert not there.closing
    world.loop.call_soon(there.deliver, PAID)
    world.run()
    assert world.states == [COMPLETED]
    assert world.calls[-1].outcome == "client_gone"
    assert answer(world.call(request()))[1]["idempotent-replayed"] == "true"


@pytest.mark.parametrize("when", ["claiming", "connecting", "marking"])
def test_a_caller_who_leaves_before_it_was_sent_frees_the_key(world: Claimed, when: str) -> None:
    if when == "claiming":
        world.ledger.delay = 0.02
    caller = world.call(request())
    if when == "marking":
        world.ledger.delay = 0.02
        world.loop.call_soon(world.pool.connect)
        world.run()
    world.loop.call_soon(caller.lose)
    world.run()
    world.loop.call_later(0.1, world.loop.stop)
    world.loop.run_forever()
    assert world.states == []
    assert all(not made.written for made in world.pool.made)
    assert world.calls[-1].outcome == "client_gone"
    assert world.plane.in_flight == 0


# the ledger fails


def test_without_a_ledger_nothing_is_sent(world: Claimed) -> None:
    world.ledger.away = "store_away"
    caller = world.call(request())
    status, fields, body = answer(caller)
    told = json.loads(body)
    assert (status, told["code"], told["outcome"], fields["retry-after"]) == (
        503,
        "store_unavailable",
        "not_sent",
        "1",
    )
    assert not world.pool.asked


def test_a_ledger_that_fails_before_the_first_byte_stops_the_call(world: Claimed) -> None:
    caller = world.call(request())
    world.ledger.away = "store_away"
    there = world.arrive()
    assert there.written == b""
    assert problem(caller)[:3] == (503, "store_unavailable", "not_sent")
    world.ledger.away = ""
    assert world.states == [], "withdrawn once it can be told"


def test_an_answer_that_cannot_be_stored_still_reaches_its_caller(world: Claimed) -> None:
    caller = world.call(request())
    there = world.arrive()
    there.take()
    world.ledger.away = "store_away"
    world.loop.call_soon(there.deliver, PAID)
    world.run()
    assert answer(caller)[0] == 201
    assert world.calls[-1].idempotency == "unknown"
    assert world.states == [SENT]


@pytest.mark.parametrize("when", ["claiming", "marking", "settling"])
def test_a_ledger_that_never_answers_is_given_up(world: Claimed, when: str) -> None:
    if when == "claiming":
        world.ledger.delay = 1000.0
    caller = world.call(request())
    if when != "claiming":
        if when == "marking":
            world.ledger.delay = 1000.0
        there = world.arrive()
        if when == "settling":
            there.take()
            world.ledger.delay = 1000.0
            world.loop.call_soon(there.deliver, PAID)
            world.run()
    world.loop.call_soon(world.pass_wheel, 10.5)
    world.run()
    if when == "settling":
        assert answer(caller)[0] == 201
    else:
        assert problem(caller)[:3] == (503, "store_unavailable", "not_sent")
    assert world.plane.in_flight == 0


# what is not kept


def test_an_answer_with_a_card_number_is_not_kept(world: Claimed) -> None:
    body = b'{"pan":"4111 1111 1111 1111"}'
    pay(
        world,
        "k1",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (len(body), body),
    )
    assert problem(world.call(request("k1"))) == (409, "idempotency_in_flight", "answered", "after_query")
    assert world.calls[-1].idempotency == "not_kept"


def test_a_long_answer_streams_but_its_last_piece_waits(world: Claimed) -> None:
    caller = world.call(request())
    there = world.arrive()
    there.take()
    size = 200_000
    world.loop.call_soon(there.deliver, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
    pieces = [b"x" * 50_000] * 4
    for piece in pieces[:3]:
        world.loop.call_soon(there.deliver, piece)
        world.run()
    assert 50_000 < len(caller.written) < 150_000
    assert world.states == [SENT]
    world.loop.call_soon(there.deliver, pieces[3])
    world.run()
    assert world.states == [COMPLETED]
    assert len(caller.take()) > size
    assert problem(world.call(request()))[2] == "answered"


def test_a_chunked_answer_is_replayed_with_its_length(world: Claimed) -> None:
    first = pay(world, "k1", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    assert b"\r\n5\r\nhello\r\n0\r\n\r\n" in first.take()
    status, fields, body = answer(world.call(request("k1")))
    assert (status, fields["content-length"], body) == (200, "5", b"hello")


def test_stored_answers_cannot_be_read_in_the_store(world: Claimed) -> None:
    pay(world, "k1")
    (record,) = world.ledger.book.standing().values()
    assert record.answer
    assert b"p1" not in record.answer
    assert b"k1" not in record.about


def test_a_stop_leaves_nothing_untold(world: Claimed) -> None:
    sent = world.call(request("k1"))
    world.arrive().take()
    world.call(request("k2"))
    world.loop.call_soon(world.plane.end_calls)
    world.run()
    assert problem(sent)[:3] == (504, "upstream_timeout", "unknown")
    assert world.states == [UNKNOWN], "the one that was sent"
    assert world.plane.in_flight == 0


def test_forwarding_the_key_is_the_upstream_s_choice() -> None:
    for forward in (True, False):
        with Claimed(forward_idempotency_key=forward) as world:
            world.call(request())
            assert (b"Idempotency-Key: k1\r\n" in world.arrive().take()) is forward


# what came of a review


def unreadable(
    status: int, body: bytes = b"\x8b\x06\x80 as brotli", coding: str = "Content-Encoding: br\r\n"
) -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{coding}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("stores_all", [True, False])
def test_an_answer_that_may_say_in_progress_and_cannot_be_read_leaves_the_call_open(
    status: int, stores_all: bool
) -> None:
    rule = AnswerRule((), "/trade_state", ("USERPAYING",))
    with Claimed(Idempotency(in_progress=rule, stores_all=stores_all)) as world:
        pay(world, "k1", unreadable(status))
        assert world.states == [UNKNOWN]
    with Claimed(Idempotency(in_progress=rule, stores_all=stores_all)) as world:
        long = b'{"trade_state":"USERPAYING","pad":"' + b"x" * 70_000 + b'"}'
        pay(world, "k1", unreadable(status, long, ""))
        assert world.states == [UNKNOWN], "whole in one read, and yet too long to be kept"
        caller = world.call(request("k2"))
        there = world.arrive() if world.pool.asked else world.pool.made[-1]
        there.take()
        whole = unreadable(status, long, "")
        for piece in (whole[:40_000], whole[40_000:]):
            world.loop.call_soon(there.deliver, piece)
            world.run()
        assert answer(caller)[0] == status
        assert world.states == [UNKNOWN, UNKNOWN]


def test_an_answer_that_only_its_connection_ends_is_not_told_again(world: Claimed) -> None:
    caller = world.call(request())
    there = world.arrive()
    there.take()
    world.loop.call_soon(
        there.deliver, b'HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n\r\n{"id": "p'
    )
    world.run()
    world.loop.call_soon(there.end)
    world.run()
    assert answer(caller)[0] == 201
    assert problem(world.call(request()))[:3] == (409, "idempotency_in_flight", "answered")


def test_a_caller_who_leaves_while_his_call_is_settled_touches_nobody_else_s_connection(
    world: Claimed,
) -> None:
    first = world.call(request("k1"))
    there = world.arrive()
    there.take()
    world.ledger.delay = 0.05
    world.loop.call_soon(there.deliver, PAID)
    world.run()
    world.ledger.delay = 0.0
    world.call(request("k2"))
    assert there.take().startswith(b"POST"), "on the same connection"
    there.protocol.pause_reading()  # type: ignore[attr-defined]  # the second caller is slow
    world.loop.call_soon(first.lose)
    world.run()
    assert not there.reading


def test_a_connection_that_ends_while_the_ledger_is_told_is_no_failure_of_its_target(world: Claimed) -> None:
    world.ledger.delay = 0.05
    caller = world.call(request())
    world.loop.call_later(0.1, world.loop.stop)
    world.loop.run_forever()
    world.loop.call_soon(world.pool.connect)
    world.run()
    world.loop.call_soon(world.pool.made[-1].end)
    world.run()
    world.loop.call_later(0.3, world.loop.stop)
    world.loop.run_forever()
    assert world.pool.asked, "another connection"
    there = world.arrive()
    assert there.take().endswith(b'{"amount":100}')
    world.ledger.delay = 0.0
    world.loop.call_soon(there.deliver, PAID)
    world.run()
    assert answer(caller)[0] == 201
    assert [call.attempts for call in world.calls] == [1]


def test_a_connection_that_comes_too_late_is_not_used(world: Claimed) -> None:
    world.ledger.delay = 0.0
    caller = world.call(request())
    (asker,) = world.pool.asked
    world.ledger.delay = 0.05
    world.loop.call_soon(asker.internal_error, RuntimeError("for the test"))  # type: ignore[attr-defined]  # an exchange
    world.run()
    world.loop.call_soon(world.pool.connect)
    world.run()
    world.loop.call_later(0.2, world.loop.stop)
    world.loop.run_forever()
    assert all(not made.written for made in world.pool.made)
    assert answer(caller)[0] == 500
    assert world.states == []
