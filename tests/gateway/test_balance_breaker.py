"""Circuit breakers: when a target opens, how it comes back, what the last one is spared, and who is told."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faregate.gateway.balance import Balancer, TargetState, make_balancer
from faregate.gateway.balance.breaker import LAST_OPEN_S, TRIALS_MAX
from faregate.gateway.balance.make import METHODS
from faregate.gateway.balance.state import Outage
from faregate.snapshot.data import ActiveHealth, Breaker, PassiveHealth, Target, Upstream

BREAKER = Breaker(ratio=50, calls=20, within=10.0, open_for=5.0)


def balancer_of(
    names: str,
    method: str = "random",
    *,
    breaker: Breaker | None = BREAKER,
    passive: PassiveHealth | None = None,
    active: ActiveHealth | None = None,
    previous: Balancer | None = None,
    now: float = 0.0,
) -> Balancer:
    targets = tuple(Target(name=name, host="127.0.0.1", port=9000) for name in names)
    upstream = Upstream("u", targets, balance=method, passive=passive, breaker=breaker, active=active)
    return make_balancer(upstream, previous, now, Random(1))


def calls(
    balancer: Balancer, target: TargetState, now: float, good: int = 0, bad: int = 0, shed: int = 0
) -> None:
    """``good`` calls end on ``target`` now, then ``shed`` ones by 503, then ``bad`` ones without an answer."""
    for _ in range(good):
        target.in_flight += 1
        balancer.finished(target, now, 0.001, failed=False)
    for _ in range(shed):
        target.in_flight += 1
        balancer.finished(target, now, 0.001, failed=True)
    for turn in range(bad):
        target.in_flight += 1
        if turn % 2:
            balancer.unanswered(target, now, 0.001)
        else:
            balancer.connect_failed(target, now)


def words(balancer: Balancer, now: float) -> list[str]:
    balancer._refresh(now)
    return [status.state for status in balancer.states(now)]


@pytest.mark.parametrize("method", METHODS)
def test_half_of_twenty_calls_failing_opens_and_the_others_get_the_calls(method: str) -> None:
    balancer = balancer_of("ab", method)
    bad, good = balancer.targets
    calls(balancer, bad, 1.0, good=10, bad=9)
    assert words(balancer, 1.0) == ["up", "up"]
    calls(balancer, bad, 1.0, bad=1)
    assert words(balancer, 1.0) == ["open", "up"]
    assert {balancer.pick(1.5, b"%d" % turn, ()) for turn in range(40)} == {good}


@pytest.mark.parametrize(
    ("good", "bad", "state"),
    [(0, 19, "up"), (0, 20, "open"), (11, 10, "up"), (10, 10, "open"), (900, 899, "up")],
)
def test_ratio_and_least_number_of_calls(good: int, bad: int, state: str) -> None:
    balancer = balancer_of("ab")
    calls(balancer, balancer.targets[0], 1.0, good, bad)
    assert words(balancer, 1.0)[0] == state


def test_the_window_slides() -> None:
    """Failures that lie further back than the window no longer count, nor do the good calls of back then."""
    balancer = balancer_of("ab")
    target = balancer.targets[0]
    now = 0.0
    for _ in range(12):  # a failure and a good call each second: never above half with what follows
        words(balancer, now)
        calls(balancer, target, now, good=100)
        now += 1.0
    words(balancer, now)
    calls(balancer, target, now, bad=30)
    assert words(balancer, now)[0] == "up", "30 of 1,030"
    for _ in range(12):
        now += 1.0
        words(balancer, now)
    calls(balancer, target, now, bad=19)
    assert words(balancer, now)[0] == "up", "19 calls in this window, the former ones are gone"
    calls(balancer, target, now, bad=1)
    assert words(balancer, now)[0] == "open"


@pytest.mark.parametrize("method", METHODS)
def test_after_its_time_a_few_calls_at_once_are_let_through(method: str) -> None:
    balancer = balancer_of("a", method)
    target = balancer.targets[0]
    calls(balancer, target, 0.0, bad=20)
    assert balancer.pick(LAST_OPEN_S - 0.1, b"k", ()) is None
    picked = [balancer.pick(LAST_OPEN_S, b"k", ()) for _ in range(TRIALS_MAX + 5)]
    assert picked == [target] * TRIALS_MAX + [None] * 5
    balancer.released(target)
    assert balancer.pick(LAST_OPEN_S + 0.01, b"k", ()) is target
    assert balancer.pick(LAST_OPEN_S + 0.01, b"k", ()) is None


def test_good_trials_bring_it_back_and_a_bad_one_opens_again() -> None:
    balancer = balancer_of("a")
    target = balancer.targets[0]
    calls(balancer, target, 0.0, bad=20)
    now = LAST_OPEN_S
    balancer.pick(now, b"", ())
    balancer.finished(target, now + 0.1, 0.1, failed=True)
    assert words(balancer, now + 0.2) == ["open"]
    now += 0.1 + LAST_OPEN_S
    for turn in range(TRIALS_MAX):
        assert words(balancer, now) == ["trial"]
        assert balancer.pick(now, b"", ()) is target
        balancer.finished(target, now + 0.01, 0.01, failed=False)
        now += 0.02
        assert words(balancer, now) == (["up"] if turn == TRIALS_MAX - 1 else ["trial"])
    assert target.ramp == pytest.approx(0.1), "slow start"
    calls(balancer, target, now, bad=19)
    assert words(balancer, now) == ["up"], "what was before says nothing any more"


def test_calls_from_before_the_trial_say_nothing_and_hold_no_place_in_it() -> None:
    balancer = balancer_of("a")
    target = balancer.targets[0]
    target.in_flight = 10  # sent before, still without an answer
    calls(balancer, target, 0.0, bad=20)
    now = LAST_OPEN_S
    assert [balancer.pick(now, b"", ()) for _ in range(TRIALS_MAX + 1)] == [target] * TRIALS_MAX + [None]
    for _ in range(10):
        balancer.finished(target, now + 1.0, 8.0, failed=True)
    assert words(balancer, now + 1.0) == ["trial"]
    assert balancer.pick(now + 1.0, b"", ()) is None, "the trial's own calls are still out"


def test_the_last_target_stays_while_part_of_its_calls_succeed() -> None:
    """No outage of our own making: at 80 % failures the only target goes on, at 90 % it opens."""
    balancer = balancer_of("a")
    calls(balancer, balancer.targets[0], 1.0, good=20, bad=80)
    assert words(balancer, 1.0) == ["up"]
    calls(balancer, balancer.targets[0], 1.0, bad=101)
    assert words(balancer, 1.0) == ["open"]
    assert balancer.pick(1.0, b"", ()) is None


def test_an_upstream_that_sheds_most_of_its_load_goes_on_serving_the_rest() -> None:
    """Ten times too much: 19 of 20 calls get 503 at once, and shutting the door would turn away the twentieth too."""
    balancer = balancer_of("ab", passive=PassiveHealth(failures=5))
    a, b = balancer.targets
    for turn in range(50):
        calls(balancer, a, 1.0 + turn * 0.01, good=1, shed=19)
        calls(balancer, b, 1.0 + turn * 0.01, good=1, shed=19)
    assert sorted(words(balancer, 1.6)) in (["ejected", "up"], ["open", "up"])
    assert balancer.pick(1.6, b"", ()) is not None
    alone = balancer_of("a")
    calls(alone, alone.targets[0], 1.0, shed=1000)
    assert words(alone, 1.0) == ["up"]


def test_beyond_max_ejected_only_what_is_broken_opens() -> None:
    balancer = balancer_of("abcd", passive=PassiveHealth(failures=1000, max_ejected=50))
    a, b, c, d = balancer.targets
    for target in (a, b, c):
        calls(balancer, target, 1.0, good=10, bad=15)
    assert words(balancer, 1.0) == ["open", "open", "up", "up"]
    calls(balancer, c, 1.0, bad=100)
    assert words(balancer, 1.0) == ["open", "open", "open", "up"]
    assert balancer.pick(1.0, b"", ()) is d


def test_targets_out_for_doubt_are_used_when_nothing_else_is_left_and_opened_when_they_fail_too() -> None:
    balancer = balancer_of("ab", passive=PassiveHealth(failures=5, eject_for=30.0))
    doubtful, broken = balancer.targets
    calls(balancer, doubtful, 1.0, bad=5)
    calls(balancer, broken, 1.0, bad=20)
    assert words(balancer, 1.0) == ["ejected", "open"]
    assert balancer.pick(1.0, b"", ()) is doubtful
    balancer.released(doubtful)
    calls(balancer, doubtful, 1.1, bad=15)
    assert words(balancer, 1.1) == ["open", "open"]
    assert balancer.pick(1.1, b"", ()) is None, "fail fast"
    assert {balancer.pick(1.1 + LAST_OPEN_S, b"", ()) for _ in range(20)} == {doubtful, broken, None}


def test_after_an_ejection_too_a_few_calls_decide() -> None:
    balancer = balancer_of("ab", breaker=None, passive=PassiveHealth(failures=3, eject_for=30.0))
    target = balancer.targets[0]
    calls(balancer, target, 0.0, bad=3)
    assert words(balancer, 30.0) == ["trial", "up"]
    calls(balancer, target, 31.0, bad=1)
    assert words(balancer, 31.0) == ["ejected", "up"]
    assert target.ejected_until == pytest.approx(91.0), "the second in a row: twice as long"


def test_off_opens_nothing() -> None:
    balancer = balancer_of("ab", breaker=None)
    calls(balancer, balancer.targets[0], 1.0, bad=1000)
    assert words(balancer, 1.0) == ["up", "up"]
    assert not balancer.targets[0].marks


def test_memory_of_a_window_is_bounded() -> None:
    balancer = balancer_of("a")
    for turn in range(1000):
        words(balancer, turn * 0.11)
        calls(balancer, balancer.targets[0], turn * 0.11, good=1)
    assert len(balancer.targets[0].marks) <= 12


# who is told


def test_every_change_is_told_once_in_order_with_its_reason() -> None:
    heard: list[tuple[str, str, str]] = []
    balancer = balancer_of("ab", passive=PassiveHealth(failures=3), active=ActiveHealth(path="/"))
    balancer.listener = lambda _, target, state, reason: heard.append((target.name, state, reason))
    a, b = balancer.targets
    calls(balancer, a, 0.0, bad=3)
    words(balancer, 30.0)
    calls(balancer, a, 30.1, good=TRIALS_MAX)
    balancer.set_active_health(b, False, 31.0)
    balancer.set_active_health(b, True, 32.0)
    calls(balancer, b, 33.0, good=18, bad=2)
    assert heard == [
        ("a", "ejected", "failures"),
        ("a", "trial", "time_served"),
        ("a", "up", "trial_passed"),
        ("b", "unhealthy", "check_failed"),
        ("b", "up", "check_passed"),
    ]


def test_a_reload_keeps_the_listener_the_budget_and_what_is_open() -> None:
    old = balancer_of("ab")
    old.listener = lambda *_: None
    calls(old, old.targets[0], 1.0, bad=20)
    new = balancer_of("abc", previous=old, now=2.0)
    assert words(new, 2.0) == ["open", "up", "up"]
    assert new.listener is old.listener
    assert new.budget is old.budget
    assert new.opened == 1


@pytest.mark.parametrize("state", ["ejected", "open"])
def test_what_another_worker_decided_is_adopted_and_not_told_again(state: str) -> None:
    heard: list[object] = []
    balancer = balancer_of("ab")
    balancer.listener = lambda *each: heard.append(each)
    target = balancer.targets[0]
    balancer.adopt(target, True, Outage(state, 12.0, 1, False), 10.0, 10.0)  # type: ignore[arg-type]
    assert words(balancer, 10.0) == [state, "up"]
    balancer.adopt(target, True, None, 11.0, 11.0)
    assert words(balancer, 11.0) == ["up", "up"]
    assert heard == []


# properties

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["pick", "good", "bad", "refused", "released", "sick", "well", "reload"]),
        st.integers(0, 5),
        st.floats(0.0, 3.0),
    ),
    max_size=120,
)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(sorted(METHODS)), st.integers(1, 4), EVENTS)
def test_whatever_happens_books_balance_and_only_the_sick_or_broken_refuse(
    method: str, number: int, events: list[tuple[str, int, float]]
) -> None:
    breaker, passive = Breaker(calls=3, open_for=2.0), PassiveHealth(failures=3, eject_for=4.0)
    checked = ActiveHealth(path="/")
    balancer = balancer_of("abcd"[:number], method, breaker=breaker, passive=passive, active=checked)
    now = 0.0
    out: list[TargetState] = []
    for event, index, passed_s in events:
        now += passed_s
        target = (
            out.pop(index % len(out)) if out and event in {"good", "bad", "refused", "released"} else None
        )
        if event == "pick":
            picked = balancer.pick(now, b"%d" % index, ())
            if picked is not None:
                assert picked.healthy
                out.append(picked)
            else:
                assert all(not each.healthy or each.broken for each in balancer.targets)
        elif event in {"sick", "well"}:
            balancer.set_active_health(balancer.targets[index % len(balancer.targets)], event == "well", now)
        elif event == "reload":
            balancer = balancer_of(
                "abcd"[: index + 1], method, breaker=breaker, passive=passive, active=checked,
                previous=balancer, now=now,
            )  # fmt: skip
        elif target is not None and event == "refused":
            balancer.connect_failed(target, now)
        elif target is not None and event == "released":
            balancer.released(target)
        elif target is not None:
            if event == "bad":
                balancer.unanswered(target, now, min(passed_s, now))
            else:
                balancer.finished(target, now, min(passed_s, now), failed=False)
        for each in balancer.targets:
            assert each.in_flight == out.count(each)
            assert 0 <= each.trial <= TRIALS_MAX
            assert not (each.trial and each.ejected_until)
            assert not each.broken or each.trial or each.ejected_until
    # Whatever it was, when nothing fails any more everything is back in time.
    for each in balancer.targets:
        balancer.set_active_health(each, True, now)
    for each in out:
        balancer.released(each)
    now += 20.0
    for turn in range(400):
        picked = balancer.pick(now, b"%d" % turn, ())
        assert picked is not None
        balancer.finished(picked, now + 0.001, 0.001, failed=False)
        now += 0.2
    assert {status.state for status in balancer.states(now)} == {"up"}
