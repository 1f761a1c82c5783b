"""A call that is claimed and sent, over played transports and the model of a ledger: what is asked of the ledger and when, what
reaches the upstream, and what the caller is told."""

import json
from collections.abc import Iterator

import pytest

from faregate.snapshot.idempotency import Idempotency
from faregate.stores.ledger.protocol import CLAIMED, COMPLETED, SENT
from tests.gateway.claimed import BODY, PAID, Claimed, answer, pay, problem, request


@pytest.fixture
def world() -> Iterator[Claimed]:
    with Claimed() as made:
        yield made


def test_a_call_is_claimed_marked_and_settled_before_it_is_answered(world: Claimed) -> None:
    caller = world.call(request())
    assert world.states == [CLAIMED]
    assert world.pool.asked, "only now is a connection wanted"
    there = world.arrive()
    assert world.states == [SENT], "before the first byte"
    assert there.take().endswith(BODY)
    world.loop.call_soon(there.deliver, PAID)
    world.run()
    assert world.states == [COMPLETED]
    status, fields, body = answer(caller)
    assert (status, body) == (201, b'{"id": "p1"}\n')
    assert "idempotent-replayed" not in fields
    assert world.moves == [("claim", CLAIMED), ("mark_sent", SENT), ("settle", COMPLETED)]
    assert [(call.outcome, call.idempotency) for call in world.calls] == [("answered", "completed")]


def test_nothing_is_sent_before_the_ledger_has_answered(world: Claimed) -> None:
    world.ledger.delay = 0.05
    world.call(request())
    assert not world.pool.asked
    world.time.now += 0.01
    world.loop.call_later(0.12, world.loop.stop)
    world.loop.run_forever()
    assert world.pool.asked
    world.loop.call_soon(world.pool.connect)
    world.run()
    assert world.pool.made[-1].written == b"", "claimed, but SENT is not yet stored"
    world.loop.call_later(0.12, world.loop.stop)
    world.loop.run_forever()
    assert world.pool.made[-1].take().endswith(BODY)


def test_with_a_connection_at_hand_claim_and_mark_are_one_move(world: Claimed) -> None:
    pay(world, "k0")
    world.ledger.moves.clear()
    world.call(request("k1"))
    assert world.moves == [("claim", SENT)]
    assert world.pool.made[-1].take().endswith(BODY)


def test_a_long_idle_connection_is_not_trusted_with_a_payment(world: Claimed) -> None:
    pay(world, "k0")
    world.time.now += 27.5  # of 30
    world.call(request("k1"))
    assert world.moves[-1] == ("claim", CLAIMED)
    assert world.pool.asked, "a fresh one"


def test_the_same_again_gets_the_same_bytes_and_reaches_nobody(world: Claimed) -> None:
    first = answer(pay(world, "k1"))
    there = world.pool.made[-1]
    status, fields, body = answer(world.call(request("k1")))
    assert (status, body) == (first[0], first[2])
    assert fields["idempotent-replayed"] == "true"
    assert fields["location"] == "/v1/payments/p1"
    assert "x-other" not in fields
    assert fields["x-request-id"] != first[1]["x-request-id"]
    assert there.written == b""
    assert [call.idempotency for call in world.calls] == ["completed", "replayed"]


def test_a_key_in_quotes_is_the_bare_key(world: Claimed) -> None:
    pay(world, "k1")
    assert answer(world.call(request('"k1"')))[1]["idempotent-replayed"] == "true"


def test_another_request_under_the_key_is_refused(world: Claimed) -> None:
    pay(world, "k1")
    caller = world.call(request("k1", b'{"amount":200}'))
    assert problem(caller) == (422, "idempotency_mismatch", "refused", "never")
    assert world.calls[-1].idempotency == "mismatch"


def test_consumers_do_not_share_keys(world: Claimed) -> None:
    pay(world, "k1")
    world.call(request("k1", more="X-API-Key: other\r\n"))
    assert len(world.states) == 2
    assert world.moves[-1][0] == "claim"
    assert world.pool.made[-1].take().endswith(BODY)


def test_a_key_in_flight_is_told_so(world: Claimed) -> None:
    world.call(request("k1"))
    caller = world.call(request("k1"))
    status, fields, body = answer(caller)
    assert (status, fields["retry-after"], json.loads(body)["code"]) == (409, "1", "idempotency_in_flight")
    assert json.loads(body)["retry"] == "same_request"


def test_who_waits_gets_the_answer_of_the_first() -> None:
    with Claimed(Idempotency(wait=5.0)) as world:
        first = world.call(request("k1"))
        second = world.call(request("k1"))
        there = world.arrive()
        there.take()
        world.loop.call_soon(there.deliver, PAID)
        world.run()
        assert answer(first)[0] == 201
        world.loop.call_later(0.2, world.loop.stop)
        world.loop.run_forever()
        status, fields, _ = answer(second)
        assert (status, fields["idempotent-replayed"]) == (201, "true")


def test_waiting_ends(world: Claimed) -> None:
    with Claimed(Idempotency(wait=1.0)) as waiting:
        waiting.call(request("k1"))
        second = waiting.call(request("k1"))
        waiting.time.now += 2.0
        waiting.loop.call_later(0.1, waiting.loop.stop)
        waiting.loop.run_forever()
        assert problem(second)[:2] == (409, "idempotency_in_flight")


@pytest.mark.parametrize(
    ("key", "code"),
    [
        (None, "idempotency_key_missing"),
        ("a b", "idempotency_key_invalid"),
        ('""', "idempotency_key_invalid"),
        ("schl\xfcssel", "idempotency_key_invalid"),
    ],
)
def test_no_good_key_no_call(world: Claimed, key: str | None, code: str) -> None:
    caller = world.call(request(key))
    assert problem(caller)[:2] == (400, code)
    assert world.moves == []


def test_an_optional_key_may_be_absent() -> None:
    with Claimed(Idempotency(required=False)) as world:
        pay(world, "k1")
        world.ledger.moves.clear()
        caller = world.call(request(None))
        there = world.pool.made[-1]
        assert there.take().endswith(BODY)
        world.loop.call_soon(there.deliver, PAID)
        world.run()
        assert answer(caller)[0] == 201
        assert world.moves == []


def test_a_key_in_the_body() -> None:
    with Claimed(Idempotency(header=b"", pointers=("/merchant", "/out_trade_no"))) as world:
        body = b'{"merchant":"m1","out_trade_no":"o-7"}'
        world.call(request(None, body))
        assert world.states == [CLAIMED]
        assert problem(world.call(request(None, b'{"merchant":"m1"}')))[1] == "idempotency_key_invalid"
        assert problem(world.call(request(None, b"{}")))[1] == "idempotency_key_missing"


def test_a_body_that_comes_in_pieces_is_claimed_once_it_is_whole(world: Claimed) -> None:
    whole = request()
    caller = world.call(whole[:-5])
    assert world.moves == []
    world.say(caller, whole[-5:])
    assert world.states == [CLAIMED]


def test_a_chunked_body_counts_as_its_content(world: Claimed) -> None:
    pay(world, "k1")
    head = b"POST /v1/payments HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    caller = world.call(head + b"5\r\n" + BODY[:5] + b"\r\n9\r\n" + BODY[5:] + b"\r\n0\r\n\r\n")
    assert answer(caller)[1]["idempotent-replayed"] == "true"


def test_a_body_that_stops_coming_claims_nothing(world: Claimed) -> None:
    caller = world.call(request()[:-5])
    world.pass_time(20)
    assert problem(caller)[:2] == (400, "malformed_request")
    assert world.moves == []


def test_an_expected_continue_is_said_before_the_claim(world: Claimed) -> None:
    whole = request(more="Expect: 100-continue\r\n")
    caller = world.call(whole[: -len(BODY)])
    assert caller.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    world.say(caller, BODY)
    assert world.states == [CLAIMED]
