"""A tunnel between two played transports: what passes, who is told of an end and when, and that every end frees everything."""

from collections.abc import Iterator
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faregate.gateway.assembly import Runtime
from faregate.kernel.problems import Refusal
from faregate.snapshot.call import PeerCertificate
from faregate.snapshot.data import Upgrade
from tests.gateway.fakes import World, make_route
from tests.gateway.tunnelled import PATH, SWITCH, Tunnelled
from tests.support.websocket import CLOSE, PING, TEXT, closing, frame, said, upgrade


@pytest.fixture
def world() -> Iterator[Tunnelled]:
    with Tunnelled() as made:
        yield made


def reason(world: World) -> str:
    (call,) = world.calls
    assert (call.status, call.outcome, call.refusal) == (101, "answered", "")
    return call.reason


def close_of(data: bytes) -> tuple[int, str]:
    """Code and reason of the one Close frame, masked or not, that ``data`` is."""
    assert data[0] == 0x80 | CLOSE, data
    if data[1] & 0x80:
        mask, payload = data[2:6], data[6:]
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    else:
        payload = data[2:]
    assert len(payload) == data[1] & 0x7F
    return int.from_bytes(payload[:2], "big"), payload[2:].decode()


def test_close_said_by_both_ends_the_tunnel(world: Tunnelled) -> None:
    caller, there = world.open()
    assert world.plane.in_flight == 0, "a tunnel is no call in progress"
    assert world.plane.is_busy()
    caller.deliver(said(TEXT, b"hi") + said(CLOSE, closing(1000)))
    assert there.take() == said(TEXT, b"hi") + said(CLOSE, closing(1000))
    assert not there.closing
    there.deliver(frame(TEXT, b"wait") + frame(CLOSE, closing(1000)))
    assert caller.take() == frame(TEXT, b"wait") + frame(CLOSE, closing(1000))
    world.pass_time(3)
    assert reason(world) == "client_closed"
    assert world.calls[0].request_bytes == len(said(TEXT, b"hi") + said(CLOSE, closing(1000)))
    world.assert_nothing_left()


def test_who_does_not_answer_close_is_cut_after_5_s(world: Tunnelled) -> None:
    caller, there = world.open()
    caller.deliver(said(CLOSE, closing(1000)))
    world.pass_time(4.9)
    assert not there.closing
    world.pass_time(0.4)
    assert there.aborted
    assert reason(world) == "client_closed"
    world.assert_nothing_left()


def test_a_close_of_ours_waits_for_the_end_of_the_other_sides_frame(world: Tunnelled) -> None:
    caller, there = world.open()
    whole = frame(TEXT, b"x" * 50)
    there.deliver(whole[:20])
    world.plane.drain()
    assert caller.take() == whole[:20], "nothing stands inside a frame"
    assert close_of(there.take()) == (1001, "draining")
    there.deliver(whole[20:30])
    assert caller.take() == whole[20:30]
    there.deliver(whole[30:] + frame(TEXT, b"more") + frame(CLOSE, closing(1001)))
    data = caller.take()
    assert data.startswith(whole[30:])
    assert close_of(data[len(whole) - 30 :]) == (1001, "draining"), "what comes behind the frame goes nowhere"
    caller.deliver(said(CLOSE, closing(1001)))
    world.pass_time(2)
    assert reason(world) == "draining"
    world.assert_nothing_left()


def test_a_withdrawn_certificate_ends_the_tunnel_of_its_connection(world: Tunnelled) -> None:
    """What a listener does when new authorities or a revocation list no longer bear the caller's certificate."""
    peer = PeerCertificate(
        sha256=b"s" * 32, thumbprint=b"t", subject=(), chain=(), issuer=b"", serial=1, ends=inf
    )
    caller, there = world.open(certificate=peer)
    (client,) = world.plane.clients
    client.certificate = None
    client.drain()
    assert close_of(caller.take()) == (1008, "certificate_withdrawn")
    assert close_of(there.take())[0] == 1001


def test_a_listener_that_is_taken_away_ends_its_tunnels_with_1001(world: Tunnelled) -> None:
    caller, there = world.open()
    (client,) = world.plane.clients
    client.drain()
    assert close_of(caller.take()) == (1001, "draining")
    assert close_of(there.take()) == (1001, "draining")


def test_a_tunnel_that_opens_while_the_worker_drains_is_told_at_once(world: Tunnelled) -> None:
    caller = world.client()
    caller.deliver(upgrade(PATH))
    world.run()
    there = world.pool.connect()
    world.plane.drain()
    there.take()
    there.deliver(SWITCH)
    head, _, rest = caller.take().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert close_of(rest) == (1001, "draining")


def test_a_stop_tells_and_ends_at_once(world: Tunnelled) -> None:
    caller, there = world.open()
    world.plane.end_calls()
    assert close_of(caller.take()) == (1001, "gateway_stopped")
    assert close_of(there.take()) == (1001, "gateway_stopped")
    world.pass_time(2)
    assert reason(world) == "gateway_stopped"
    world.assert_nothing_left()


@pytest.mark.parametrize(
    ("given_settings", "lasts", "why"),
    [(Upgrade(idle=10), 10.0, "idle"), (Upgrade(idle=10, lifetime=4), 4.0, "lifetime")],
)
def test_w13_idle_and_lifetime(given_settings: Upgrade, lasts: float, why: str) -> None:
    with Tunnelled(given_settings) as world:
        caller, there = world.open()
        world.pass_time(lasts - 0.1)
        assert caller.take() == b""
        world.pass_time(0.3)
        assert close_of(caller.take()) == (1001, why)
        assert close_of(there.take()) == (1001, why)


@pytest.mark.parametrize("side", ["caller", "upstream"])
def test_w13_a_byte_of_either_side_keeps_the_tunnel(side: str) -> None:
    with Tunnelled(Upgrade(idle=10)) as world:
        caller, there = world.open()
        for _ in range(3):
            world.pass_time(8)
            if side == "caller":
                caller.deliver(said(PING, b""))
            else:
                there.deliver(frame(PING, b""))
        assert not caller.closing
        world.pass_time(10.2)
        assert close_of(caller.take()[-8:]) == (1001, "idle")


def test_w13_the_credentials_end_is_the_tunnels() -> None:
    with Tunnelled() as world:
        world.valid_until = world.time() + world.plane.wall_offset + 30
        caller, there = world.open()
        world.pass_time(29.9)
        assert caller.take() == b""
        world.pass_time(0.3)
        assert close_of(caller.take()) == (1008, "credential_expired")
        assert close_of(there.take()) == (1008, "credential_expired")


def test_a_caller_who_is_barred_between_reloads_is_found_within_a_minute(world: Tunnelled) -> None:
    caller, _ = world.open()
    world.pass_time(59)
    world.bar = Refusal("credential_invalid", reason="key_withdrawn")
    world.pass_time(1.2)
    assert close_of(caller.take()) == (1008, "credential_invalid")


def reloaded(world: Tunnelled, *, takes_upgrades: bool = True) -> Runtime:
    """Another revision with the same route, at work."""
    route = make_route("GET", PATH, world.upstream)
    if takes_upgrades:
        world.equip(route, world.plane.tunnels)
    router = type(world.runtime.router)([("GET", PATH, route)])
    before = world.runtime
    fresh = object.__new__(Runtime)
    fresh.__dict__.update(before.__dict__)
    fresh.router, fresh.revision = router, before.revision + 1
    world.plane.adopt(fresh)
    world.run()
    return fresh


def test_after_a_reload_a_tunnel_holds_nothing_of_the_old_revision(world: Tunnelled) -> None:
    caller, _ = world.open()
    fresh = reloaded(world)
    (tunnel,) = world.plane.tunnels.open
    exchange = tunnel.exchange
    assert exchange.runtime is fresh
    assert exchange.call.route is fresh.router.find(PATH.encode()).methods[b"GET"]  # type: ignore[union-attr]
    assert caller.take() == b""


@pytest.mark.parametrize(
    ("refusal", "takes_upgrades", "code"),
    [
        (Refusal("consumer_suspended", reason="x"), True, "consumer_suspended"),
        (Refusal("credential_invalid", reason="x"), True, "credential_invalid"),
        (None, False, "route_gone"),
    ],
)
def test_w13_a_reload_ends_the_tunnels_of_whom_it_bars(
    world: Tunnelled, refusal: Refusal | None, takes_upgrades: bool, code: str
) -> None:
    caller, there = world.open()
    world.bar = refusal
    reloaded(world, takes_upgrades=takes_upgrades)
    assert close_of(caller.take()) == (1008, code)
    assert close_of(there.take())[0] == 1001


def test_what_cannot_be_known_ends_no_tunnel(world: Tunnelled) -> None:
    caller, _ = world.open()
    world.bar = Refusal("store_unavailable", reason="keys_unavailable")
    reloaded(world)
    assert caller.take() == b""


def test_back_pressure_holds_the_other_side_only(world: Tunnelled) -> None:
    caller, there = world.open()
    caller.stick()
    assert not there.reading
    assert caller.reading
    caller.drain()
    assert there.reading
    there.stick()
    assert not caller.reading
    there.drain()
    assert caller.reading


@pytest.mark.parametrize(
    ("side", "why"), [("caller", "stalled_reader"), ("upstream", "upstream_not_reading")]
)
def test_a_side_that_takes_nothing_for_30_s_is_given_up(world: Tunnelled, side: str, why: str) -> None:
    caller, there = world.open()
    (caller if side == "caller" else there).stick()
    for _ in range(6):  # the other one talks all the time
        world.pass_time(4.9)
        if side == "caller":
            caller.deliver(said(PING))
        else:
            there.deliver(frame(PING))
    assert not world.calls
    world.pass_time(1.2)
    assert reason(world) == why
    world.assert_nothing_left()


def test_the_end_of_one_side_is_passed_on_and_the_other_may_finish(world: Tunnelled) -> None:
    caller, there = world.open()
    caller.end()
    assert there.ended
    assert not there.closing
    there.deliver(frame(TEXT, b"last"))
    assert caller.take() == frame(TEXT, b"last")
    there.end()
    world.pass_time(2)
    assert reason(world) == "client_eof"
    world.assert_nothing_left()


def test_after_one_sides_end_the_other_has_5_s(world: Tunnelled) -> None:
    caller, there = world.open()
    there.end()
    assert caller.ended
    world.pass_time(5.3)
    assert reason(world) == "upstream_eof"
    assert caller.aborted
    world.assert_nothing_left()


@pytest.mark.parametrize(("side", "why"), [("caller", "client_reset"), ("upstream", "upstream_reset")])
def test_a_reset_is_passed_on_as_a_break(world: Tunnelled, side: str, why: str) -> None:
    caller, there = world.open()
    lost, other = (caller, there) if side == "caller" else (there, caller)
    lost.lose(ConnectionResetError())
    world.run()
    assert other.aborted
    assert reason(world) == why
    world.assert_nothing_left()


def test_the_worker_keeps_half_of_its_connections_for_calls() -> None:
    with Tunnelled(most=1) as world:
        world.open()
        caller = world.client()
        caller.deliver(upgrade(PATH))
        assert b'"code":"overloaded"' in caller.take()
        assert world.calls[-1].reason == "tunnels"


def test_a_place_is_free_again_when_the_upstream_declines(world: Tunnelled) -> None:
    caller = world.client()
    caller.deliver(upgrade(PATH))
    world.run()
    there = world.pool.connect()
    assert world.plane.tunnels._held == 1
    there.deliver(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n{}")
    world.run()
    assert caller.take().startswith(b"HTTP/1.1 403 ")
    assert world.plane.tunnels._held == 0
    assert world.pool.idle_count == 1, "an ordinary answer leaves an ordinary connection"


CALLER_SAYS = (
    said(TEXT, b"one")
    + said(2, b"z" * 300)
    + said(PING, b"p")
    + said(TEXT, b"a", final=False)
    + said(0, b"b")
)
UPSTREAM_SAYS = frame(TEXT, b"uno") + frame(2, b"q" * 70_000) + frame(PING, b"p")
EVENTS = st.sampled_from(
    [
        *["caller"] * 6, *["upstream"] * 6, "caller close", "upstream close", "caller end", "upstream end", "caller reset",
        "upstream reset", "caller bad", "upstream bad", "drain", "bar", "stop", "caller sticks", "upstream sticks", "time",
    ]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(EVENTS, st.integers(1, 90)), max_size=40))
def test_whatever_happens_bytes_stay_in_order_and_the_end_frees_everything(
    events: list[tuple[str, int]],
) -> None:
    with Tunnelled() as world:
        caller, there = world.open()
        said_so_far = {"caller": 0, "upstream": 0}
        texts = {"caller": CALLER_SAYS, "upstream": UPSTREAM_SAYS}
        to_caller, to_there = bytearray(), bytearray()
        clean = True
        silent = set()
        for what, size in events:
            side, _, act = what.partition(" ")
            transport = {"caller": caller, "upstream": there}.get(side)
            if transport is None:
                {
                    "drain": world.plane.drain, "stop": world.plane.end_calls, "time": lambda: world.pass_time(2),
                    "bar": lambda: setattr(world, "bar", Refusal("consumer_suspended", reason="x")) or reloaded(world),
                }[side]()  # fmt: skip
                clean = clean and side == "time"
            elif act in {"", "close", "bad"} and transport.delivers and side not in silent:
                at = said_so_far[side]
                if not act:
                    transport.deliver(texts[side][at : at + size] or b"")
                    said_so_far[side] = min(at + size, len(texts[side]))
                else:
                    clean = False
                    speak = said if (side == "caller") == (act == "close") else frame
                    transport.deliver(speak(CLOSE, closing(1000)))
            elif act == "end" and transport.delivers and side not in silent:
                silent.add(side)
                transport.end()
                clean = False
            elif act == "reset" and not transport.lost:
                transport.lose(ConnectionResetError())
                clean = False
            elif act == "sticks" and not transport.stuck and not transport.closing and not transport.lost:
                transport.stick()
                transport.drain()
            world.run()
            to_caller += caller.take()
            to_there += there.take()
        if clean:
            sent = texts["caller"][: said_so_far["caller"]]
            assert sent.startswith(bytes(to_there))
            assert len(sent) - len(to_there) < 14
            sent = texts["upstream"][: said_so_far["upstream"]]
            assert sent.startswith(bytes(to_caller))
            assert len(sent) - len(to_caller) < 14
        world.plane.end_calls()
        world.pass_time(3)
        assert len(world.calls) == 1
        reason(world)
        world.assert_nothing_left()
