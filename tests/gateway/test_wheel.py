"""A deadline fires at most two ticks late, never early; one that moves is followed; what is closed is forgotten."""

import asyncio
import gc
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faregate.gateway.wheel import LOOK_AGAIN_S, NEVER, TICK_S, Wheel
from tests.gateway.fakes import Time


class Alarm:
    """A watched object. ``rearm_s``: set again so long after each firing."""

    def __init__(self, rearm_s: float | None = None) -> None:
        self.deadline = NEVER
        self.wheel_at = NEVER
        self.fired: list[tuple[float, float]] = []
        self.rearm_s = rearm_s

    def on_deadline(self, now: float) -> None:
        self.fired.append((self.deadline, now))
        self.deadline = NEVER if self.rearm_s is None else now + self.rearm_s


class Bench:
    """A wheel over time that the test passes; ``arm`` is how connections use it."""

    def __init__(self) -> None:
        self.time = Time()
        self.loop = asyncio.new_event_loop()
        self.ticks: list[float] = []
        self.wheel = Wheel(self.loop, self.time, self.ticks.append)

    def arm(self, alarm: Alarm, deadline: float) -> None:
        alarm.deadline = deadline
        if deadline < alarm.wheel_at:
            self.wheel.watch(alarm, self.time.now)

    def turn(self, steps: int = 1, step: float = TICK_S) -> None:
        for _ in range(steps):
            self.time.now += step
            self.wheel.turn(self.time.now)

    def watched(self) -> int:
        return sum(map(len, self.wheel._slots.values()))


@pytest.fixture
def bench():
    made = Bench()
    yield made
    made.loop.close()


MOVES = st.lists(
    st.tuples(st.integers(0, 2), st.one_of(st.none(), st.floats(0.0, 9.0)), st.integers(0, 70)),
    min_size=1,
    max_size=15,
)


@settings(deadline=None)
@given(MOVES, st.none() | st.floats(0.01, 5.0))
def test_a_deadline_fires_once_within_two_ticks_and_only_the_last_one_set(
    moves: list[tuple[int, float | None, int]], rearm_s: float | None
) -> None:
    bench = Bench()
    alarms = [Alarm(rearm_s), Alarm(), Alarm()]
    standing = [NEVER, NEVER, NEVER]  # what must fire next, by our own books
    seen = [0, 0, 0]
    for which, after, steps in [*moves, (0, None, 250)]:
        if after is None:
            alarms[which].deadline = standing[which] = NEVER
        else:
            standing[which] = bench.time.now + after
            bench.arm(alarms[which], standing[which])
        for _ in range(steps):
            bench.turn()
            for index, alarm in enumerate(alarms):
                if len(alarm.fired) > seen[index]:
                    assert len(alarm.fired) == seen[index] + 1
                    set_for, fired_at = alarm.fired[-1]
                    assert set_for == standing[index]
                    assert 0 <= fired_at - set_for <= 2 * TICK_S + 1e-9
                    seen[index] += 1
                    standing[index] = alarm.deadline
                assert standing[index] > bench.time.now - 2 * TICK_S - 1e-9, "a deadline was missed"
    bench.loop.close()


def test_a_deadline_set_after_the_wheel_looked_and_found_none_still_fires(bench: Bench) -> None:
    """Once lost: while a call connects its connection has no deadline; the first-byte deadline must be seen afterwards."""
    alarm = Alarm()
    bench.arm(alarm, bench.time.now + 10.0)
    alarm.deadline = NEVER
    bench.turn(100)
    bench.arm(alarm, bench.time.now + 1.0)
    bench.turn(22)
    assert len(alarm.fired) == 1


def test_moving_a_deadline_later_costs_no_entry(bench: Bench) -> None:
    alarm = Alarm()
    bench.arm(alarm, bench.time.now + 1.0)
    for _ in range(1000):
        bench.arm(alarm, bench.time.now + 60.0)
    assert bench.watched() == 1
    bench.turn(400)
    assert bench.watched() == 1
    assert alarm.fired == []


def test_what_is_closed_is_forgotten_within_the_look_again_time(bench: Bench) -> None:
    alarms = [Alarm() for _ in range(50)]
    for alarm in alarms:
        bench.arm(alarm, bench.time.now + 60.0)
        alarm.deadline = NEVER
    references = [weakref.ref(alarm) for alarm in alarms]
    del alarms, alarm
    bench.turn(int(LOOK_AGAIN_S / TICK_S) + 2)
    assert bench.watched() == 0
    gc.collect()
    assert [reference() for reference in references] == [None] * 50


def test_a_late_turn_handles_everything_due_in_order(bench: Bench) -> None:
    alarms = [Alarm() for _ in range(5)]
    order: list[int] = []
    for index, alarm in enumerate(alarms):
        alarm.on_deadline = lambda now, index=index, alarm=alarm: (
            order.append(index),
            setattr(alarm, "deadline", NEVER),
        )  # type: ignore[method-assign]
        bench.arm(alarm, bench.time.now + 0.3 * (5 - index))
    bench.turn(1, step=3600.0)
    assert order == [4, 3, 2, 1, 0]


def test_a_deadline_in_the_past_fires_with_the_next_turns(bench: Bench) -> None:
    alarm = Alarm()
    bench.arm(alarm, bench.time.now - 5.0)
    bench.turn(2)
    assert len(alarm.fired) == 1


def test_ticks_come_from_the_loop_until_it_is_stopped(bench: Bench) -> None:
    """The loop's own timer drives it: each tick tells the time first, then turns."""
    loop_calls: list[tuple[float, object]] = []

    class Loop:
        def call_later(self, delay: float, callback: object) -> None:
            loop_calls.append((delay, callback))

    wheel = Wheel(Loop(), bench.time, bench.ticks.append)  # type: ignore[arg-type]
    wheel.start()
    alarm = Alarm()
    alarm.deadline = bench.time.now + 0.01
    wheel.watch(alarm, bench.time.now)
    for _ in range(3):
        delay, callback = loop_calls.pop()
        assert delay == TICK_S
        bench.time.now += TICK_S
        callback()  # type: ignore[operator]
    assert len(alarm.fired) == 1
    assert len(bench.ticks) == 3
    wheel.stop()
    loop_calls.pop()[1]()  # type: ignore[operator]
    assert loop_calls == []
    assert len(bench.ticks) == 3
