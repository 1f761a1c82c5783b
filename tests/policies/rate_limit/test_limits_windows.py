"""The short path for windows: the same decisions as the common one, and safe against a death at any write."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faregate.policies.limits import LimitStep
from faregate.snapshot import data
from tests.policies.rate_limit.test_limits import NOW, ask, call, consumer, fresh, passes
from tests.stores import table

TWO_WINDOWS = data.Plan(
    "two",
    limits=(
        data.Rate("plan.two.4/second", "plan", 4, 1_000),
        data.Rate("plan.two.40/minute", "plan", 40, 60_000),
    ),
    concurrency=1_000,
)


def dies_at(counters, step, who, writes, now, *, known):
    """One call by a worker that is killed at its n-th write, on the path for windows; whether it was let through."""
    ready = step._ready_consumer(who.consumer)
    limits = ready.limits
    if known:  # it met the caller before, and takes the short path
        for counter in ready.counted:
            counter.check(int(now * 1e9), 0.0)
        ready.packed = limits.pack(ready.counted)
        ready._counted = None
    lifetime = table.Lifetime(writes)
    words, cells = counters.words, counters.cells
    counters.words = limits.words = table.DyingMemory(words, lifetime)
    counters.cells = limits.cells = table.DyingMemory(cells, lifetime)
    for window in limits._windows:
        window.words, window.cells = limits.words, limits.cells
    try:
        return step(call(who, now)) is None
    except table.Killed:
        return False
    finally:
        counters.words, counters.cells = words, cells


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    schedule=st.lists(st.tuples(st.integers(1, 5), st.floats(0.0, 0.4)), min_size=1, max_size=12),
    deaths=st.lists(st.integers(0, 14), min_size=1, max_size=12),
    known=st.booleans(),
)
def test_windows_taken_in_one_piece_never_admit_too_much_whenever_the_worker_is_killed(
    counters, schedule, deaths, known
):
    name = f"c{next(fresh)}"
    plans = {"two": TWO_WINDOWS}
    now, admitted = NOW, []
    for place, (calls, gap) in enumerate(schedule):
        now += gap
        step = LimitStep((), plans, counters)
        lived = dies_at(counters, step, consumer("two", name), deaths[place % len(deaths)], now, known=known)
        admitted += [now] if lived else []
        survivor, who = LimitStep((), plans, counters), consumer("two", name)
        admitted += [now for _ in range(calls) if passes(survivor, who, now=now)]
    assert table.most_in_window([int(moment * 1e9) for moment in admitted], 10**9) <= 4


def test_the_path_for_windows_decides_and_shows_what_the_common_one_does(counters):
    """The same schedule with windows alone, and with a quota beside them that is never reached."""
    with_quota = data.Plan(
        "two",
        limits=TWO_WINDOWS.limits,
        quota=data.Rate("quota.two", "quota", 1_000_000, 0),
        concurrency=1_000,
    )
    shown = []
    for name, plan in (("alone", TWO_WINDOWS), ("beside", with_quota)):
        step, who, seen = LimitStep((), {"two": plan}, counters), consumer("two", name), []
        assert passes(step, who, now=NOW - 2)
        assert bool(who.consumer.kept.packed) is (plan is TWO_WINDOWS)
        for moment in range(60):
            verdict, one = ask(step, who, now=NOW + moment * 0.09)
            if one.release is not None:
                one.release()
            seen.append((verdict is None, one.limit_headers.split(b"\r\n")[1:]))
        shown.append(seen)
    assert shown[0] == shown[1]
    assert {passed for passed, _ in shown[0]} == {True, False}
