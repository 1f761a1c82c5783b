"""What a review found that would have broken in production, one test each; longer ones are in tests/e2e/test_hard_ends.py."""

import asyncio
import ipaddress
import sys

import pytest

from faregate.gateway.outbound import address_behind
from faregate.gateway.voice import say
from faregate.gateway.wheel import NEVER, TICK_S, Wheel
from tests.gateway.fakes import OK, Time, World
from tests.gateway.http2.peer import GET as H2_GET
from tests.gateway.http2.peer import Peer

GET = b"GET /v1/payments/p1 HTTP/1.1\r\nHost: a\r\n\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"


def test_interim_answers_are_counted_anew_for_each_call() -> None:
    """The final head is the same each time, so that it is taken from memory."""
    with World() as world:
        client = world.client()
        client.deliver(GET)
        server = world.pool.connect()
        for _ in range(30):
            server.deliver(EARLY)
            server.deliver(OK)
            client.deliver(GET)
            world.run()
        assert {call.outcome for call in world.calls} == {"answered"}
        assert len(world.calls) == 30


def test_an_upstream_that_stops_reading_is_told_as_its_own_fault() -> None:
    with World() as world:
        client = world.client()
        client.deliver(b"POST /v1/payments HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\na")
        server = world.pool.connect()
        server.stick()
        world.pass_time(61.0, step=0.5)
        call = world.calls[0]
        assert (call.status, call.outcome, call.reason) == (504, "unknown", "upstream_not_reading")


def test_one_handler_that_fails_leaves_the_others_their_deadlines(caplog: pytest.LogCaptureFixture) -> None:
    class Alarm:
        def __init__(self, *, breaks: bool) -> None:
            self.deadline, self.wheel_at, self.breaks, self.fired = NEVER, NEVER, breaks, 0

        def on_deadline(self, now: float) -> None:
            self.deadline, self.fired = NEVER, self.fired + 1
            if self.breaks:
                raise RuntimeError(str(now))

    loop, time = asyncio.new_event_loop(), Time()
    wheel = Wheel(loop, time, lambda now: None)
    alarms = [Alarm(breaks=True), Alarm(breaks=False)]
    for alarm in alarms:
        alarm.deadline = time.now + TICK_S
        wheel.watch(alarm, time.now)
    for _ in range(4):
        time.now += TICK_S
        wheel.turn(time.now)
    loop.close()
    assert [alarm.fired for alarm in alarms] == [1, 1]
    assert "handler failed" in caplog.text


def test_a_reload_judges_the_peer_of_a_kept_connection_anew() -> None:
    with World(trusted=("203.0.113.0/24",)) as world:
        client = world.client()
        request = GET.replace(b"Host: a", b"Host: a\r\nX-Forwarded-For: 198.51.100.7")
        world.exchange_bytes(request, client=client)
        world.runtime.trusted = ()
        for connection in world.plane.clients:
            connection.forget()
        world.exchange_bytes(request, client=client)
        assert [call.client_ip for call in world.calls] == ["198.51.100.7", "203.0.113.9"]


VOUCHING = GET.replace(b"Host: a", b"Host: a\r\nX-Forwarded-For: 198.51.100.7")


@pytest.mark.parametrize(
    ("trusted", "client_ip", "forwarded"),
    [
        ((), "203.0.113.9", b"203.0.113.9"),
        (("192.0.2.0/24",), "203.0.113.9", b"203.0.113.9"),
        (("203.0.113.0/28",), "198.51.100.7", b"198.51.100.7, 203.0.113.9"),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_a_proxy_vouches_as_the_new_revision_says_before_its_connection_is_told_of_it(
    version: int, trusted: tuple[str, ...], client_ip: str, forwarded: bytes
) -> None:
    """Connections are told in slices, which takes a while where there are many."""
    with World(trusted=("203.0.113.0/24",)) as world, World(trusted=trusted) as later:
        peer = Peer(world) if version == 2 else None
        client = world.client()
        world.plane.adopt(later.runtime)
        if peer is not None:
            peer.request(1, [*H2_GET, (b"x-forwarded-for", b"198.51.100.7")])
        else:
            client.deliver(VOUCHING)
        server = later.pool.connect()
        head = server.take()
        server.deliver(OK)
        assert b"X-Forwarded-For: %b\r\n" % forwarded in head
        assert [call.client_ip for call in world.calls] == [client_ip]


@pytest.mark.parametrize("scope", [b'x"}oops', b"1", b"%"])
def test_a_scope_in_x_forwarded_for_is_not_believed(scope: bytes) -> None:
    trusted = (ipaddress.ip_network("10.0.0.0/8"),)
    assert address_behind(b"fe80::1%" + scope, "10.0.0.1", trusted) == "10.0.0.1"


def test_an_answer_that_waits_for_its_reader_keeps_a_drain_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    with World() as world:
        client = world.client()
        client.deliver(GET)
        server = world.pool.connect()
        assert world.plane.is_busy()
        server.deliver(OK)
        assert not world.plane.is_busy()
        monkeypatch.setattr(client, "get_write_buffer_size", lambda: 5)
        assert (world.plane.in_flight, world.plane.is_busy()) == (0, True)


def test_a_reader_of_stderr_that_is_gone_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def write(self, text: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    say("nobody hears this")
