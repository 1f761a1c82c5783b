"""The resolver asks what is due and for which there is room, takes verdicts, and sends nothing else."""

import asyncio

import msgspec
import pytest

from faregate.gateway.resolving import (
    ASKING_MAX,
    BACK_OFF_S,
    JITTER,
    LOOK_AGAIN_S,
    LOOK_S,
    Resolver,
)
from faregate.records.stored_answer import unpack_answer
from faregate.snapshot.data import Target
from faregate.snapshot.idempotency import AnswerRule, Resolve
from faregate.stores.ledger.about import About, decode_about, encode_about
from faregate.stores.ledger.protocol import COMPLETED, LEASE_S, RELEASED, UNKNOWN
from faregate.stores.ledger.sealing import unseal
from tests.gateway.resolving_stage import EVERY, JSON_OK, LABEL, SECRETS, Stage, on_stage, ready_upstream
from tests.gateway.test_health import PATIENCE_S, serving


def test_a_payment_that_is_found_is_completed_by_one_query_that_says_whose_it_is() -> None:
    async def run() -> None:
        async with on_stage() as (stage, resolver):
            key = await stage.unknown()
            assert await stage.round(resolver) == 0, "the first query is due a second later"
            stage.now += 1.0
            stage.answer = JSON_OK
            assert await stage.round(resolver) == 1
            assert stage.state(key) == COMPLETED
            record = stage.ledger.book.records[key]
            assert (record.by, record.note, record.answer) == ("resolver", "GET answered 200, query 1", b"")
            (request,) = stage.requests
            assert request.startswith(b"GET /v2/payments/pay%201/refunds?key=k%201 HTTP/1.1\r\n")
            for line in (b"X-Consumer-Id: acme", b"X-Api-Version: v2", b"X-Request-Id: req-1"):
                assert b"\r\n" + line + b"\r\n" in request
            assert b"authorization" not in request.lower()
            assert stage.verdicts() == {"completed": 1}
            stage.now += 60.0
            assert await stage.round(resolver) == 0

    asyncio.run(run())


def test_the_querys_answer_is_stored_where_the_route_says_so() -> None:
    async def run() -> None:
        keeps = msgspec.structs.replace(EVERY, keeps_answer=True)
        async with on_stage(keeps) as (stage, resolver):
            plain, card = await stage.unknown(b"plain"), await stage.unknown(b"card")
            stage.now += 1.0
            stage.answer = JSON_OK.replace(b"Date:", b"X-Fee: 3\r\nDate:")
            assert await resolver.look() == 2
            await resolver.settled()
            record = stage.ledger.book.records[plain]
            kept = unpack_answer(unseal(SECRETS, plain, record.attempt, record.answer))
            assert kept == (200, b"Content-Type: application/json\r\nX-Fee: 3\r\n", b'{"id":"pay_1"}')
            assert stage.state(card) == COMPLETED

    asyncio.run(run())


def test_a_querys_answer_that_shows_a_card_is_not_stored() -> None:
    async def run() -> None:
        keeps = msgspec.structs.replace(EVERY, keeps_answer=True)
        async with on_stage(keeps) as (stage, resolver):
            key = await stage.unknown()
            stage.now += 1.0
            body = b'{"card":"4242424242424242"}'
            stage.answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
            await stage.round(resolver)
            assert stage.state(key) == COMPLETED
            assert stage.ledger.book.records[key].answer == b""

    asyncio.run(run())


def test_not_found_proves_nothing_before_the_settling_time_has_passed_by_both_clocks() -> None:
    async def run() -> None:
        async with on_stage() as (stage, resolver):
            key = await stage.unknown()
            stage.now += 3600.0  # the clock was moved, or everything stood still: no pause was waited for yet
            assert await stage.round(resolver) == 1
            assert stage.state(key) == UNKNOWN
            stage.now += 6.0
            await stage.round(resolver)
            assert stage.state(key) == UNKNOWN, "1 + 5 seconds are fewer than 10"
            stage.now += 34.0
            await stage.round(resolver)
            assert stage.state(key) == RELEASED
            assert stage.verdicts() == {"none": 2, "released": 1}

    asyncio.run(run())


def test_a_clock_that_was_moved_back_releases_nothing_early() -> None:
    async def run() -> None:
        async with on_stage() as (stage, resolver):
            key = await stage.unknown()
            for pause_s in (1.0, 6.0):
                stage.now += pause_s
                await stage.round(resolver)
            record = stage.ledger.book.records[key]
            record.due_at = stage.now
            record.changed_at = stage.now - 9.0
            await stage.round(resolver)
            assert stage.state(key) == UNKNOWN, "the pauses say 36 seconds, the clock says 9"

    asyncio.run(run())


@pytest.mark.parametrize("settling", [0.0, 10.0])
def test_without_a_settling_time_not_found_never_releases(settling: float) -> None:
    async def run() -> None:
        resolve = msgspec.structs.replace(EVERY, settling=settling)
        async with on_stage(resolve) as (stage, resolver):
            key = await stage.unknown()
            for _ in range(9):
                stage.now += 25_000.0
                await stage.round(resolver)
            assert (stage.state(key) == UNKNOWN) is (settling == 0.0)

    asyncio.run(run())


def test_a_rule_for_released_is_heeded_at_once() -> None:
    async def run() -> None:
        resolve = Resolve(
            "/q?k={key}", "payments", method="POST", body='{"k":"{key}"}', content_type="application/json",
            done=(AnswerRule((200,), "/state", ("paid",)),), released=(AnswerRule((200,), "/state", ("never",)),),
        )  # fmt: skip
        async with on_stage(resolve) as (stage, resolver):
            for state, wanted in (("pending", UNKNOWN), ("never", RELEASED), ("paid", COMPLETED)):
                key = await stage.unknown(state.encode())
                stage.now += 1.0
                body = b'{"state":"%b"}' % state.encode()
                stage.answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
                await stage.round(resolver)
                assert stage.state(key) == wanted, state
            assert all(request.startswith(b"POST /q?k=") for request in stage.requests)
            assert b"Content-Type: application/json\r\n" in stage.requests[0]

    asyncio.run(run())


def test_pauses_grow_as_written_and_stay_at_the_last() -> None:
    async def run() -> None:
        async with on_stage(msgspec.structs.replace(EVERY, settling=0.0)) as (stage, resolver):
            key = await stage.unknown()
            pauses = []
            for _ in range(8):
                record = stage.ledger.book.records[key]
                pauses.append(record.due_at - stage.now)
                stage.now = record.due_at
                assert await stage.round(resolver) == 1
            wanted = [*BACK_OFF_S, BACK_OFF_S[-1]]
            assert pauses == [pytest.approx(pause, rel=JITTER) for pause in wanted]
            assert len(set(pauses)) == len(pauses), "each with its own jitter"
            assert stage.ledger.book.records[key].tries == 8

    asyncio.run(run())


def no_target(stage: Stage, resolver: Resolver) -> None:
    resolver.follow([stage.route()], {"payments": ready_upstream()})


def http2(stage: Stage, resolver: Resolver) -> None:
    upstream = ready_upstream(Target("t", "127.0.0.1", 1), protocol="h2")
    resolver.follow([stage.route()], {"payments": upstream})


def no_upstream(stage: Stage, resolver: Resolver) -> None:
    resolver.follow([stage.route()], {})


def other_route(stage: Stage, resolver: Resolver) -> None:
    route = stage.route()
    route.data = msgspec.structs.replace(route.data, label="POST /others")
    assert stage.upstream is not None
    resolver.follow([route], {"payments": stage.upstream})


def deaf(stage: Stage, resolver: Resolver) -> None:
    stage.answer = b""


@pytest.mark.parametrize("lacking", [no_target, http2, no_upstream, other_route, deaf])
def test_what_cannot_be_asked_is_put_off_and_stays_unknown(lacking) -> None:
    async def run() -> None:
        async with on_stage() as (stage, resolver):
            key = await stage.unknown()
            lacking(stage, resolver)
            stage.now += 1.0
            assert await stage.round(resolver) == 1
            record = stage.ledger.book.records[key]
            assert (record.state, record.tries) == (UNKNOWN, 1)
            assert record.due_at - stage.now == pytest.approx(5.0, rel=JITTER)
            assert stage.verdicts() == {"unasked": 1}

    asyncio.run(run())


@pytest.mark.parametrize(
    "changes",
    [
        {"sealed_key": b"no seal"},
        {"path": "/v2/payments/..."},
        {"version": "v9"},
        {"path": "/"},
        {"request_id": "a\r\nX: y"},
    ],
    ids=str,
)
def test_a_record_that_does_not_say_what_to_ask_is_put_off(changes: dict[str, object]) -> None:
    async def run() -> None:
        async with on_stage() as (stage, resolver):
            key = await stage.unknown(**changes)
            stage.now += 1.0
            await stage.round(resolver)
            assert (stage.state(key), stage.verdicts(), stage.requests) == (UNKNOWN, {"unasked": 1}, [])

    asyncio.run(run())


def test_a_target_without_a_connection_is_told_to_the_balancer_and_every_pick_is_given_back() -> None:
    async def run() -> None:
        async with on_stage() as (stage, resolver):
            async with serving(stage.serve) as gone:
                pass
            upstream = ready_upstream(gone)
            resolver.follow([stage.route()], {"payments": upstream})
            await stage.unknown()
            stage.now += 1.0
            await stage.round(resolver)
            (target,) = upstream.balancer.targets
            assert (target.in_flight, target.silences) == (0, 1)
            assert stage.upstream is not None
            resolver.follow([stage.route()], {"payments": stage.upstream})
            stage.now += 6.0
            await stage.round(resolver)
            (target,) = stage.upstream.balancer.targets
            assert (target.in_flight, target.silences, target.calls) == (0, 0, 0)

    asyncio.run(run())


def test_no_more_is_taken_from_the_store_than_can_be_asked_at_once() -> None:
    async def run() -> None:
        async with on_stage() as (stage, resolver):
            for number in range(ASKING_MAX + 5):
                await stage.unknown(b"k%d" % number)
            stage.now += 1.0
            stage.hold, stage.answer = asyncio.Event(), JSON_OK
            assert resolver._until_look_s() == pytest.approx(LOOK_S, rel=JITTER)
            assert await resolver.look() == ASKING_MAX
            assert await resolver.look() == 0
            assert resolver._until_look_s() == pytest.approx(LOOK_AGAIN_S, rel=JITTER)
            await stage.asked(ASKING_MAX)
            other = stage.resolver()
            other.follow([stage.route()], {"payments": stage.upstream})
            assert await other.look() == 5, "another worker takes what is left, and none of these"
            stage.hold.set()
            await resolver.settled()
            await other.settled()
            assert stage.verdicts() == {"completed": ASKING_MAX + 5}
            assert len(stage.requests) == ASKING_MAX + 5
            await other.close()

    asyncio.run(run())


def test_a_query_that_is_given_up_is_asked_again_when_its_lease_has_ended() -> None:
    async def run() -> None:
        async with on_stage() as (stage, resolver):
            key = await stage.unknown()
            stage.now += 1.0
            stage.hold, stage.answer = asyncio.Event(), JSON_OK
            await resolver.look()
            await stage.asked(1)
            await resolver.close()
            assert stage.state(key) == UNKNOWN
            stage.hold = None
            assert await stage.round(resolver) == 0
            stage.now += LEASE_S
            assert await stage.round(resolver) == 1
            assert stage.state(key) == COMPLETED

    asyncio.run(run())


def test_an_answer_that_comes_late_or_an_operator_wins_over_the_query() -> None:
    async def run() -> None:
        async with on_stage() as (stage, resolver):
            key = await stage.unknown()
            stage.now += 1.0
            stage.hold, stage.answer = asyncio.Event(), JSON_OK
            await resolver.look()
            await stage.asked(1)
            record = stage.ledger.book.records[key]
            assert await stage.ledger.decide(key, record.attempt, COMPLETED, b"", "ada", "seen in the bank")
            stage.hold.set()
            await resolver.settled()
            assert (record.by, stage.verdicts()) == ("ada", {"late": 1})

    asyncio.run(run())


def test_a_defect_at_one_record_is_logged_and_keeps_no_other_from_a_verdict(caplog, monkeypatch) -> None:
    async def run() -> None:
        async with on_stage() as (stage, resolver):
            broken, sound = await stage.unknown(b"broken"), await stage.unknown(b"sound")
            stage.now += 1.0
            stage.answer = JSON_OK
            asking = resolver._ask

            async def ask(ledger, asked):
                if asked.entry.key == broken:
                    raise ZeroDivisionError
                return await asking(ledger, asked)

            monkeypatch.setattr(resolver, "_ask", ask)
            assert await stage.round(resolver) == 2
            assert (stage.state(broken), stage.state(sound)) == (UNKNOWN, COMPLETED)
            assert stage.ledger.book.records[broken].tries == 1
            assert [record.exc_info is not None for record in caplog.records] == [True]

    asyncio.run(run())


def test_a_verdict_that_the_store_cannot_take_is_asked_for_again_when_the_lease_has_ended() -> None:
    async def run() -> None:
        async with on_stage() as (stage, resolver):
            key = await stage.unknown()
            stage.now += 1.0
            stage.hold, stage.answer = asyncio.Event(), JSON_OK
            await resolver.look()
            await stage.asked(1)
            stage.ledger.away = True
            stage.hold.set()
            await resolver.settled()
            stage.ledger.away = ""
            assert (stage.state(key), stage.verdicts()) == (UNKNOWN, {})
            stage.now += LEASE_S
            assert await stage.round(resolver) == 1
            assert (stage.state(key), stage.verdicts()) == (COMPLETED, {"completed": 1})

    asyncio.run(run())


def test_while_the_ledger_is_away_nothing_is_asked_and_it_is_said_once(caplog) -> None:
    async def run() -> None:
        async with on_stage() as (stage, resolver):
            await stage.unknown()
            stage.now += 1.0
            stage.ledger.away = True
            for _ in range(3):
                assert await stage.round(resolver) == 0
            assert [record.name for record in caplog.records] == ["faregate.ledger"]
            stage.ledger.away = ""
            assert await stage.round(resolver) == 1

    asyncio.run(run())


def test_the_ledger_is_not_asked_without_a_route_that_has_a_query_nor_while_draining(monkeypatch) -> None:
    monkeypatch.setattr("faregate.gateway.resolving.LOOK_S", 0.001)

    async def run() -> None:
        async with on_stage(None) as (stage, resolver):
            asked = asyncio.Event()

            async def due(_most: int) -> list[object]:
                asked.set()
                return []

            stage.ledger.due = due
            assert await resolver.look() == 0
            assert not asked.is_set()
            resolver.follow([stage.route()], {"payments": stage.upstream})
            resolver.start()
            async with asyncio.timeout(PATIENCE_S):
                await asked.wait()
            resolver.leave()
            await asyncio.sleep(0.01)
            asked.clear()
            await asyncio.sleep(0.02)
            assert not asked.is_set()

    asyncio.run(run())


def test_what_a_record_says_can_be_read() -> None:
    about = About("acme", "payments", "v2", LABEL, "req-1", "POST", "/p", 1.0, b"x")
    assert decode_about(encode_about(about)) == about
