"""Which calls a worker begins, by class, by what the loop's lag and its memory say; and who may connect. Time is given."""

import os
from collections.abc import Callable

import pytest

from faregate.gateway.admission import CALLS_MIN, CRITICAL, LAG_S, LOW, NORMAL, Admission, shares_of
from faregate.gateway.doorkeeper import Doorkeeper
from faregate.gateway.gradient import Gate
from faregate.gateway.wheel import TICK_S
from faregate.snapshot.call import Call, ReadyRoute
from faregate.snapshot.data import GatewayLimits
from faregate.stores.shared_counts import SharedCounts, create
from tests.gateway.fakes import OK, FakeTransport, World, make_route

ALL = frozenset({LOW, NORMAL, CRITICAL})


@pytest.mark.parametrize(
    ("priorities", "most"),
    [
        (ALL, {LOW: 60, NORMAL: 80, CRITICAL: 100}),
        (frozenset({NORMAL}), {NORMAL: 100}),
        (frozenset({LOW, NORMAL}), {LOW: 75, NORMAL: 100}),
        (frozenset({NORMAL, CRITICAL}), {NORMAL: 80, CRITICAL: 100}),
    ],
    ids=["all classes", "one class keeps nothing for others", "no critical", "no low"],
)
def test_each_class_has_its_share_of_the_calls(priorities: frozenset[int], most: dict[int, int]) -> None:
    admission = Admission(100, priorities)
    for priority, count in most.items():
        assert admission.refusal(priority, count) == ""
        assert admission.refusal(priority, count + 1) == "calls_in_progress"
    assert admission.least == min(most.values())


def run(admission: Admission, lag_s: float, seconds: float, now: float = 100.0) -> float:
    end = now + seconds
    while now < end:
        now += TICK_S + lag_s
        admission.tick(now, lag_s)
    return now


def test_one_long_pause_is_no_standing_lag() -> None:
    admission = Admission(1000, ALL)
    admission.tick(100.0, 2.0)
    admission.tick(100.05, 0.0)
    admission.tick(101.0, 0.9)
    assert admission.limit == 1000


def test_a_standing_lag_lowers_the_limit_step_by_step_to_its_floor() -> None:
    admission = Admission(1000, ALL)
    now = run(admission, LAG_S * 2, 0.6)
    assert CALLS_MIN < admission.limit < 1000
    assert admission.refusal(NORMAL, 900) == "event_loop_lag"
    run(admission, LAG_S * 2, 10.0, now)
    assert admission.limit == CALLS_MIN


def test_within_five_seconds_without_lag_the_limit_is_as_before() -> None:
    admission = Admission(1000, ALL)
    now = run(admission, LAG_S * 2, 10.0)
    run(admission, 0.0, 5.0, now)
    assert admission.limit == 1000


def test_short_memory_leaves_a_few_calls_and_keeps_their_order() -> None:
    admission = Admission(1000, ALL)
    admission.memory(short=True)
    assert admission.refusal(CRITICAL, CALLS_MIN) == ""
    assert admission.refusal(CRITICAL, CALLS_MIN + 1) == "memory"
    assert admission.refusal(LOW, CALLS_MIN) == "memory"
    assert admission.refused == {("critical", "memory"): 1, ("low", "memory"): 1}
    admission.memory(short=False)
    assert admission.limit == 1000


def test_a_reload_takes_new_bounds_at_once() -> None:
    admission = Admission(1000, ALL)
    admission.take(10, frozenset({NORMAL}))
    assert (admission.limit, admission.least) == (10, 10)


def keeper(**limits: int) -> Doorkeeper:
    return Doorkeeper(GatewayLimits(**limits), descriptors=1000)


def test_an_address_has_no_more_than_its_connections() -> None:
    door = keeper(connections_per_address=2)
    assert [door.admits("192.0.2.1", 0, trusted=False) for _ in range(3)] == [True, True, False]
    assert door.admits("192.0.2.2", 2, trusted=False)
    assert door.admits("192.0.2.1", 3, trusted=True), "a trusted proxy stands for many"
    assert door.refused == {"connections": 0, "connections_per_address": 1, "memory": 0}


def test_who_leaves_makes_room_and_is_forgotten() -> None:
    door = keeper(connections_per_address=1)
    for _ in range(3):
        assert door.admits("192.0.2.1", 0, trusted=False)
        door.left("192.0.2.1")
    assert door._by_address == {}


@pytest.mark.parametrize(("connections", "descriptors", "most"), [(3, 1000, 3), (1000, 3, 3)])
def test_all_together_have_the_lesser_of_the_cap_and_the_descriptors(
    connections: int, descriptors: int, most: int
) -> None:
    door = Doorkeeper(GatewayLimits(connections=connections), descriptors)
    assert door.admits("192.0.2.1", most - 1, trusted=True)
    assert not door.admits("192.0.2.1", most, trusted=True)
    assert door.refused["connections"] == 1


def test_the_caps_hold_for_all_workers_together() -> None:
    memory = create()
    counts = [SharedCounts(memory, index) for index in range(2)]
    one, two = doors = [keeper(connections=5, connections_per_address=3) for _ in range(2)]
    for door, counted in zip(doors, counts, strict=True):
        door.shared = counted
    here, there = "192.0.2.1", "192.0.2.2"
    assert [door.admits(here, 0, trusted=False) for door in (one, two, one, two, one)] == [True] * 3 + [
        False
    ] * 2
    assert [door.admits(there, 0, trusted=True) for door in (one, two, two, one)] == [True] * 2 + [False] * 2
    assert [door.refused["connections_per_address"] for door in doors] == [1, 1]
    assert [door.refused["connections"] for door in doors] == [1, 1]
    one.left(here)
    assert two.admits(here, 1, trusted=False), "room that one worker has is the other's too"
    for counted in counts:
        counted.close()
    os.close(memory)


def test_short_memory_lets_a_few_in() -> None:
    door = keeper()
    door.narrow = True
    assert door.admits("192.0.2.1", 15, trusted=False)
    assert not door.admits("192.0.2.1", 16, trusted=False)
    assert door.refused["memory"] == 1


def three_classes(upstream: object, *steps: Callable[[Call], object]) -> list[ReadyRoute]:
    return [
        make_route("GET", f"/v1/{name}", upstream, *steps, priority=priority)
        for priority, name in enumerate(("low", "normal", "critical"))
    ] + [make_route("POST", "/v1/normal", upstream, *steps)]


def busy(world: World, count: int) -> list[FakeTransport]:
    """``count`` critical calls that wait for their upstream."""
    callers = [world.client() for _ in range(count)]
    for caller in callers:
        caller.deliver(b"GET /v1/critical HTTP/1.1\r\nHost: a\r\n\r\n")
    return callers


@pytest.mark.parametrize(
    ("in_progress", "refused"),
    [(5, ""), (6, "low"), (8, "low normal"), (10, "low normal critical")],
)
def test_the_more_is_in_progress_the_fewer_classes_are_let_in(in_progress: int, refused: str) -> None:
    for name in ("low", "normal", "critical"):
        with World(three_classes, limits=GatewayLimits(calls=10)) as world:
            world.runtime.priorities = ALL
            world.plane.adopt(world.runtime)
            busy(world, in_progress)
            world.client().deliver(b"GET /v1/%b HTTP/1.1\r\nHost: a\r\n\r\n" % name.encode())
            ends = [(call.status, call.refusal, call.reason, call.outcome) for call in world.calls]
            expected = [(503, "overloaded", "calls_in_progress", "not_sent")] if name in refused else []
            assert ends == expected


def test_a_call_is_refused_before_any_step_and_its_connection_goes_on() -> None:
    asked: list[Call] = []
    with World(
        lambda upstream: three_classes(upstream, asked.append),
        limits=GatewayLimits(calls=10),
    ) as world:
        callers = busy(world, 10)
        before = len(asked)
        client = world.client()
        client.deliver(b"POST /v1/normal HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
        answer = client.take()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in answer
        assert len(asked) == before
        for _ in callers:
            world.pool.connect().deliver(OK)
        client.deliver(b"cdGET /v1/normal HTTP/1.1\r\nHost: a\r\n\r\n")
        world.run()
        assert len(asked) == before + 1, "the rest of the refused body was skipped"


def test_a_target_at_its_limit_sends_the_call_to_another_and_says_so_when_there_is_none() -> None:
    with World(targets=2, concurrency=1) as world:
        world.upstream.bound(frozenset({NORMAL}), world.time())
        for _ in range(3):
            world.client().deliver(b"GET /v1/payments/p1 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert [state.in_flight for state in world.balancer.targets] == [1, 1]
        assert [(call.refusal, call.reason) for call in world.calls] == [
            ("overloaded", "upstream_concurrency")
        ]
        assert world.plane.admission.refused == {("normal", "upstream_concurrency"): 1}


def test_a_gate_follows_the_configuration() -> None:
    gate = Gate(512, 0.0, adaptive=True)
    gate.take(4, shares_of(ALL), adaptive=False, low=True)
    assert (gate.limit, gate.least) == (4, 2)
    assert [gate.admits(priority, 3) for priority in (LOW, NORMAL, CRITICAL)] == [False, True, True]
    assert [gate.admits(priority, 4) for priority in (LOW, NORMAL, CRITICAL)] == [False, False, True]
    gate.take(512, shares_of(frozenset({NORMAL})), adaptive=True, low=False)
    assert (gate.limit, gate.least) == (512, 512)


def test_a_small_limit_leaves_every_class_one_call() -> None:
    gate = Gate(1, 0.0, adaptive=False)
    gate.take(1, shares_of(ALL), adaptive=False, low=True)
    assert [gate.admits(priority, 1) for priority in (LOW, NORMAL, CRITICAL)] == [True, True, True]
    assert not gate.admits(CRITICAL, 2)


def test_critical_calls_may_go_a_quarter_beyond_a_limit_that_moves() -> None:
    gate = Gate(100, 0.0, adaptive=True)
    gate._set(40.0, 0.0)
    assert [gate.admits(NORMAL, 40), gate.admits(NORMAL, 41)] == [True, False]
    assert [gate.admits(CRITICAL, 50), gate.admits(CRITICAL, 51)] == [True, False]
    gate._set(90.0, 0.0)
    assert not gate.admits(CRITICAL, 101), "never beyond the ceiling"
