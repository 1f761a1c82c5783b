"""Streams that a gRPC target did not take: they go elsewhere, and a target in good order stays one.

gRPC servers end their connections by age (``max_connection_age``), refuse streams beyond their bound, and say so by frames whose
meaning is that nothing was looked at (RFC 9113 sections 6.8, 8.7).
"""

import struct

import pytest
from jh2.events import StreamEnded

from tests.e2e.grpc_calls import GRPC, MESSAGE, OPEN, Start, start, status_of  # noqa: F401 - a fixture
from tests.support.gateway import GatewayProcess, until
from tests.support.http2_client import Http2Caller
from tests.support.http2_upstream import Asked, Http2Upstream, Serving, unary

pytestmark = pytest.mark.apart
CALLS = 12
TOUCHY = {
    "passive": {"failures": 3, "within": "10s", "eject_for": "30s"},
    "breaker": {"ratio": "20%", "within": "2s", "open_for": "30s"},
}


def goaway(last: int, code: int = 0) -> bytes:
    return b"\0\0\x08\x07\0\0\0\0\0" + struct.pack(">II", last, code)


def ages(serving: Serving, asked: Asked, event: object) -> None:
    """Takes two calls of a connection; the third finds it at its end."""
    if asked.stream < 5:
        unary(serving, asked, event)
    elif isinstance(event, StreamEnded):
        serving.sock.sendall(goaway(2**31 - 1) + goaway(3))


def ask_all(gateway: GatewayProcess, calls: int = CALLS) -> list[tuple[int, int]]:
    with Http2Caller(gateway.port) as caller:
        found = []
        for number in range(calls):
            reply = caller.ask2(
                OPEN, *GRPC, f"X-Request-Id: moved-{number}", method="POST", body=MESSAGE, sized=False
            )
            found.append(status_of(reply))
        return found


def nothing_was_taken_out(gateway: GatewayProcess) -> bool:
    until(lambda: gateway.metric("faregate_target_calls_total", upstream="main") > 0, "the counts")
    return gateway.metric("faregate_target_ejections_total", upstream="main") == 0


@pytest.mark.parametrize("targets", [1, 2])
def test_a_connection_that_ends_by_age_is_replaced_and_its_target_stays(start: Start, targets: int) -> None:  # noqa: F811
    with Http2Upstream(ages) as one, Http2Upstream(ages) as two:
        gateway = start(*[one.url, two.url][:targets], health=TOUCHY)
        assert ask_all(gateway) == [(200, 0)] * CALLS
        assert one.connections >= (CALLS // targets) // 2
        tried = {gateway.log.of(f"moved-{number}")["attempts"] for number in range(CALLS)}
        assert 1 in tried
        assert tried <= {1, 2, 3}
        assert nothing_was_taken_out(gateway)


def test_an_idle_connection_that_ends_in_good_order_costs_nobody_a_try(start: Start) -> None:  # noqa: F811
    def once(serving: Serving, asked: Asked, event: object) -> None:
        unary(serving, asked, event)
        if isinstance(event, StreamEnded):
            serving.sock.sendall(serving.engine.data_to_send() + goaway(asked.stream))

    with Http2Upstream(once) as upstream:
        gateway = start(upstream.url, health=TOUCHY)
        assert ask_all(gateway, 6) == [(200, 0)] * 6
        assert {gateway.log.of(f"moved-{number}")["attempts"] for number in range(6)} == {1}
        assert upstream.connections == 6


def test_a_target_that_refuses_streams_is_passed_over_and_not_taken_out(start: Start) -> None:  # noqa: F811
    def busy(serving: Serving, asked: Asked, event: object) -> None:
        if isinstance(event, StreamEnded):
            serving.engine.reset_stream(asked.stream, 7)

    with Http2Upstream(busy) as first, Http2Upstream(unary) as second:
        gateway = start(first.url, second.url, health=TOUCHY)
        assert ask_all(gateway) == [(200, 0)] * CALLS
        assert len(first.asked) >= CALLS // 3
        assert nothing_was_taken_out(gateway)


def test_a_lone_target_that_refuses_a_stream_is_asked_once_more(start: Start) -> None:  # noqa: F811
    def startled(serving: Serving, asked: Asked, event: object) -> None:
        if asked.stream > 1:
            unary(serving, asked, event)
        elif isinstance(event, StreamEnded):
            serving.engine.reset_stream(asked.stream, 7)

    with Http2Upstream(startled) as upstream:
        gateway = start(upstream.url, health=TOUCHY)
        assert ask_all(gateway, 3) == [(200, 0)] * 3


def test_a_goaway_that_tells_of_an_error_is_the_target_s_failure(start: Start) -> None:  # noqa: F811
    def ill(serving: Serving, asked: Asked, event: object) -> None:
        if isinstance(event, StreamEnded):
            serving.sock.sendall(goaway(0, 2))

    with Http2Upstream(ill) as first, Http2Upstream(unary) as second:
        gateway = start(first.url, second.url, health={"passive": TOUCHY["passive"], "breaker": "off"})
        assert ask_all(gateway) == [(200, 0)] * CALLS
        assert len(first.asked) == 3
        until(lambda: gateway.metric("faregate_target_ejections_total", upstream="main") == 1, "its ejection")
