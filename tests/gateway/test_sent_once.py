"""W14 and SPEC section 3: a call goes elsewhere only if no byte of it can have arrived, and the words for it are true.

One row per way in which a connection can fail, from before the connect to inside the answer.
"""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.gateway.fakes import OK, FakeTransport, World

POST = b"POST /v1/payments HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
WHOLE, PART = POST + b"abcd", POST + b"ab"
CHUNKED = b"POST /v1/payments HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"


class Row(NamedTuple):
    """``fails``: what happens to the first target. ``elsewhere``: whether the second one then gets the call."""

    request: bytes
    fails: Callable[[World], None]
    elsewhere: bool
    reason: str


def connect_fails(reason: str) -> Callable[[World], None]:
    return lambda world: next(pool for pool in world.pools if pool.asked).fail(reason)


def first_connection(world: World) -> FakeTransport:
    return next(pool for pool in world.pools if pool.asked).connect()


def reset_after_write(world: World) -> None:
    server = first_connection(world)
    assert server.written
    server.lose(ConnectionResetError())


def closed_after_write(world: World) -> None:
    first_connection(world).end()


def write_fails(world: World) -> None:
    """The transport takes the bytes, and its first send fails: some of them may be out."""
    server = first_connection(world)
    server.lose(BrokenPipeError())


def answers_half(world: World) -> None:
    server = first_connection(world)
    server.deliver(b"HTTP/1.1 200 OK\r\nContent-Le")
    server.end()


def made_and_at_once_lost(world: World) -> None:
    """The handshake is done and the connection is gone before the call was handed to it."""
    pool = next(pool for pool in world.pools if pool.asked)
    asker = pool.asked.pop(0)
    transport = pool.new_connection()
    transport.lose(ConnectionResetError())
    asker.connected(transport.protocol, world.time())  # type: ignore[arg-type]


ROWS = {
    "refused": Row(WHOLE, connect_fails("connect_refused"), True, "connect_refused"),
    "name not resolved": Row(WHOLE, connect_fails("name_not_resolved"), True, "name_not_resolved"),
    "connect timeout": Row(WHOLE, connect_fails("connect_timeout"), True, "connect_timeout"),
    "certificate refused": Row(WHOLE, connect_fails("upstream_tls_expired"), True, "upstream_tls_expired"),
    "handshake cut": Row(WHOLE, connect_fails("upstream_tls_cut"), True, "upstream_tls_cut"),
    "refused, body begun": Row(PART, connect_fails("connect_refused"), True, "connect_refused"),
    "handshake done, gone before use": Row(WHOLE, made_and_at_once_lost, True, "closed_before_use"),
    "write failed": Row(WHOLE, write_fails, False, "upstream_reset"),
    "reset after the whole": Row(WHOLE, reset_after_write, False, "upstream_reset"),
    "reset while writing": Row(PART, reset_after_write, False, "upstream_reset"),
    "reset while writing chunks": Row(CHUNKED, reset_after_write, False, "upstream_reset"),
    "closed after the whole": Row(WHOLE, closed_after_write, False, "upstream_closed"),
    "half a head": Row(WHOLE, answers_half, False, "upstream_closed"),
}


@pytest.mark.parametrize("name", ROWS)
def test_only_what_cannot_have_arrived_goes_elsewhere(name: str) -> None:
    row = ROWS[name]
    with World(targets=2, attempts=1, balance="least_requests") as world:
        client = world.client()
        client.deliver(row.request)
        row.fails(world)
        world.run()
        asked = [pool for pool in world.pools if pool.asked]
        assert bool(asked) is row.elsewhere
        if not row.elsewhere:
            call = world.calls[-1]
            assert (call.outcome, call.status, call.attempts, call.reason) == ("unknown", 502, 1, row.reason)
            answer = bytes(client.written)
            assert b'"outcome":"unknown"' in answer
            assert b'"retry":"after_query"' in answer
            return
        server = asked[0].connect()
        client.deliver({PART: b"cd", CHUNKED: b"0\r\n\r\n"}.get(row.request, b""))
        server.deliver(OK)
        call = world.calls[-1]
        assert (call.outcome, call.status, call.attempts) == ("answered", 200, 2)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.elsewhere])
def test_when_no_target_can_be_reached_it_was_not_sent(name: str) -> None:
    row = ROWS[name]
    with World(targets=1, attempts=1) as world:
        client = world.client()
        client.deliver(row.request)
        row.fails(world)
        world.run()
        call = world.calls[-1]
        assert (call.outcome, call.status, call.refusal) == ("not_sent", 502, "upstream_unreachable")
        assert call.reason == row.reason
        answer = bytes(client.written)
        assert b'"outcome":"not_sent"' in answer
        assert b'"retry":"same_request"' in answer


@pytest.mark.parametrize("how", ["closing", "lost", "seen at checkout"])
def test_an_idle_connection_that_has_ended_is_not_used_and_a_fresh_one_takes_the_call(how: str) -> None:
    with World() as world:
        client = world.client()
        world.exchange_bytes(WHOLE, client=client)
        idle = world.pool.made[0]
        if how == "closing":
            idle.closing = True
        elif how == "lost":
            idle.lose(ConnectionResetError())
        else:
            world.time.now += 1.0
            idle.protocol.unseen_end = True  # type: ignore[attr-defined]
        client.deliver(WHOLE)
        assert idle.written == b""
        world.pool.connect().deliver(OK)
        assert [(call.outcome, call.attempts) for call in world.calls] == [("answered", 1)] * 2


def test_an_idle_connection_that_breaks_under_the_call_leaves_it_unknown() -> None:
    """It looked alive, and the kernel took the bytes: whether the server read them, nobody can tell."""
    with World(targets=2, attempts=1) as world:
        client = world.client()
        client.deliver(WHOLE)
        idle = first_connection(world)
        idle.deliver(OK)
        idle.take()
        other = next(pool for pool in world.pools if not pool.made)
        other.open_count = 512  # the idle one is the only way
        client.deliver(WHOLE)
        assert idle.written
        idle.lose(ConnectionResetError())
        assert world.calls[-1].outcome == "unknown"
        assert not any(pool.asked for pool in world.pools)


def test_tries_elsewhere_end_with_the_budget() -> None:
    """W14: of 100 calls at once whose connects fail, ten may try another target, and the rest are told."""
    with World(targets=2, attempts=1, balance="round_robin", passive=None, breaker=None) as world:
        for _ in range(100):
            world.client().deliver(WHOLE)
        for _ in range(200):
            for pool in world.pools:
                if pool.asked:
                    pool.fail()
        tries = sum(call.attempts for call in world.calls)
        assert len(world.calls) == 100
        assert {call.outcome for call in world.calls} == {"not_sent"}
        assert 105 <= tries <= 135
        budget = world.balancer.budget
        assert budget.taken == tries - 100
        assert budget.refused > 0
