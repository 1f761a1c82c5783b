"""Passive ejection: when a target goes out, for how long, how many at once, and what a reload keeps of it."""

from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faregate.gateway.balance import Balancer, TargetState, make_balancer
from faregate.gateway.balance.base import ejected_max
from faregate.gateway.balance.make import METHODS
from faregate.snapshot.data import ActiveHealth, PassiveHealth, Target, Upstream

PASSIVE = PassiveHealth(failures=3, within=10.0, eject_for=30.0, max_ejected=50)

CHECKED = ActiveHealth(path="/")


def balancer_of(
    names: Iterable[str],
    method: str = "random",
    passive: PassiveHealth | None = PASSIVE,
    previous: Balancer | None = None,
    now: float = 0.0,
    active: ActiveHealth | None = CHECKED,
) -> Balancer:
    targets = tuple(Target(name=name, host="127.0.0.1", port=9000) for name in names)
    upstream = Upstream(
        name="payments", targets=targets, balance=method, passive=passive, active=active, breaker=None
    )
    return make_balancer(upstream, previous, now, Random(1))


def fail(balancer: Balancer, target: TargetState, now: float, times: int = 1) -> None:
    """``times`` calls on ``target`` fail, half by connect, half by a bad answer."""
    for turn in range(times):
        target.in_flight += 1
        if turn % 2:
            balancer.connect_failed(target, now)
        else:
            balancer.finished(target, now, 0.001, failed=True)


def states(balancer: Balancer, now: float) -> list[str]:
    balancer.pick(now, b"", ())
    return [status.state for status in balancer.states(now)]


@pytest.mark.parametrize("method", METHODS)
def test_failures_within_the_window_eject_and_time_brings_back(method: str) -> None:
    balancer = balancer_of("ab", method)
    bad = balancer.targets[0]
    fail(balancer, bad, 1.0, 2)
    assert states(balancer, 1.0) == ["up", "up"]
    fail(balancer, bad, 2.0)
    assert states(balancer, 2.0) == ["ejected", "up"]
    for turn in range(100):
        picked = balancer.pick(31.9, b"%d" % turn, ())
        assert picked is balancer.targets[1]
    assert states(balancer, 32.0) == ["trial", "up"]
    assert bad.ramp == pytest.approx(0.1), "slow start"


def test_failures_further_apart_than_the_window_do_not_eject() -> None:
    balancer = balancer_of("ab")
    for turn in range(20):
        fail(balancer, balancer.targets[0], turn * 5.1)
    assert states(balancer, 100.0) == ["up", "up"]


def test_good_answers_between_do_not_reset_the_count() -> None:
    balancer = balancer_of("ab")
    target = balancer.targets[0]
    for turn in range(3):
        fail(balancer, target, turn)
        target.in_flight += 1
        balancer.finished(target, turn + 0.5, 0.01, failed=False)
    assert states(balancer, 3.0) == ["ejected", "up"]


def test_without_passive_health_nothing_is_ejected() -> None:
    balancer = balancer_of("ab", passive=None)
    fail(balancer, balancer.targets[0], 1.0, 100)
    assert states(balancer, 1.0) == ["up", "up"]


def test_failures_kept_are_bounded() -> None:
    balancer = balancer_of("a")
    fail(balancer, balancer.targets[0], 1.0, 1000)
    assert len(balancer.targets[0].failures) == 3


@pytest.mark.parametrize(
    ("targets", "percent", "most"),
    [(1, 100, 0), (2, 50, 1), (2, 10, 1), (2, 0, 0), (3, 50, 1), (4, 50, 2), (10, 25, 2), (3, 100, 3)],
)
def test_ceiling_is_the_share_rounded_down_but_one_of_several(targets: int, percent: int, most: int) -> None:
    assert ejected_max(targets, percent) == most


def test_the_only_target_is_never_ejected() -> None:
    balancer = balancer_of("a")
    fail(balancer, balancer.targets[0], 1.0, 50)
    assert states(balancer, 1.0) == ["up"]


def test_the_last_ready_target_is_not_ejected_even_under_the_ceiling() -> None:
    balancer = balancer_of("abc", passive=PassiveHealth(failures=1, max_ejected=100))
    balancer.set_active_health(balancer.targets[2], False, 1.0)
    for target in balancer.targets:
        fail(balancer, target, 1.0)
    assert states(balancer, 1.0) == ["ejected", "up", "unhealthy"]


def test_a_target_over_the_ceiling_goes_out_by_its_next_failure_once_there_is_room() -> None:
    balancer = balancer_of("abc")
    first, second, _ = balancer.targets
    fail(balancer, first, 0.0, 3)
    fail(balancer, second, 25.0, 3)
    assert states(balancer, 29.9) == ["ejected", "up", "up"]
    balancer.pick(30.0, b"", ())
    fail(balancer, second, 30.1)
    assert states(balancer, 30.2) == ["trial", "ejected", "up"]


def test_ejections_in_a_row_last_longer_up_to_four_times_and_good_service_forgives() -> None:
    balancer = balancer_of("ab")
    bad = balancer.targets[0]
    now, lengths = 0.0, []
    for _ in range(6):
        fail(balancer, bad, now, 3)
        lengths.append(bad.ejected_until - now)
        now = bad.ejected_until
        balancer.pick(now, b"", ())
        now += 1.0
    assert lengths == pytest.approx([30, 60, 90, 120, 120, 120])
    now += 121.0
    fail(balancer, bad, now, 3)
    assert bad.ejected_until - now == pytest.approx(30)


@pytest.mark.parametrize("method", METHODS)
def test_when_the_last_ready_target_turns_unhealthy_the_ejected_ones_are_used(method: str) -> None:
    balancer = balancer_of("ab", method)
    ejected, other = balancer.targets
    fail(balancer, ejected, 1.0, 3)
    balancer.set_active_health(other, False, 1.0)
    assert balancer.pick(1.0, b"key", ()) is ejected
    assert [status.state for status in balancer.states()] == ["ejected", "unhealthy"]
    balancer.set_active_health(ejected, False, 1.0)
    assert balancer.pick(1.0, b"key", ()) is None


def test_states_tell_the_end_of_an_ejection_without_traffic() -> None:
    balancer = balancer_of("ab")
    fail(balancer, balancer.targets[0], 1.0, 3)
    assert [balancer.states(at)[0].state for at in (30.9, 31.0)] == ["ejected", "trial"]


# reload


def test_a_reload_keeps_targets_by_name_with_everything_known_of_them() -> None:
    old = balancer_of("abc", "adaptive")
    a, b, c = old.targets
    fail(old, b, 1.0, 3)
    old.set_active_health(c, False, 1.0)
    a.pool, a.in_flight, a.latency_s = "sockets", 3, 0.2
    new = balancer_of("cbda", "least_requests", previous=old, now=2.0)
    assert [target.name for target in new.targets] == ["c", "b", "d", "a"]
    assert new.targets[3] is a
    assert (a.pool, a.in_flight, a.latency_s) == ("sockets", 3, 0.2)
    assert states(new, 2.0) == ["unhealthy", "ejected", "up", "up"]


def test_after_a_reload_only_new_targets_start_slowly_unless_all_are_new() -> None:
    old = balancer_of("ab")
    assert [target.ramp for target in old.targets] == [1.0, 1.0]
    mixed = balancer_of("bc", previous=old, now=5.0)
    assert [target.ramp for target in mixed.targets] == pytest.approx([1.0, 0.1])
    assert [target.ramp for target in balancer_of("xy", previous=old, now=5.0).targets] == [1.0, 1.0]


def test_calls_of_the_old_balancer_end_on_either_balancer() -> None:
    old = balancer_of("ab")
    target = old.pick(0.0, b"", ())
    assert target is not None
    new = balancer_of("ab", previous=old, now=1.0)
    old.finished(target, 2.0, 1.0, failed=False)
    assert [each.in_flight for each in new.targets] == [0, 0]


def test_the_old_balancer_learns_within_100_ms_what_the_new_one_was_told() -> None:
    old = balancer_of("ab")
    new = balancer_of("ab", previous=old, now=1.0)
    new.set_active_health(new.targets[0], False, 1.0)
    assert {old.pick(1.11, b"", ()) for _ in range(30)} == {new.targets[1]}


def test_a_reload_to_fewer_targets_respects_the_new_ceiling() -> None:
    old = balancer_of("abcd")
    fail(old, old.targets[0], 1.0, 3)
    fail(old, old.targets[1], 2.0, 3)
    assert states(old, 2.0) == ["ejected", "ejected", "up", "up"]
    new = balancer_of("ab", previous=old, now=3.0)
    assert states(new, 3.0) == ["trial", "ejected"], "the one nearest its end came back"


def test_a_reload_without_checks_frees_what_only_checks_could_free() -> None:
    old = balancer_of("ab")
    old.set_active_health(old.targets[0], False, 1.0)
    fail(old, old.targets[1], 1.0, 3)
    new = balancer_of("ab", previous=old, now=2.0, passive=None, active=None)
    assert "unhealthy" not in states(new, 2.0)


@pytest.mark.parametrize("names", ["aa", "aba"])
def test_two_targets_of_one_name_are_refused(names: str) -> None:
    with pytest.raises(ValueError, match="names must differ"):
        balancer_of(names)


def test_a_weight_below_one_is_refused() -> None:
    upstream = Upstream(name="u", targets=(Target(name="a", host="h", port=1, weight=0),))
    with pytest.raises(ValueError, match="weights be at least 1"):
        make_balancer(upstream, None, 0.0)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(KeyError):
        balancer_of("ab", "fastest")


# properties

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["pick", "good", "bad", "refused", "released", "sick", "well", "reload"]),
        st.integers(0, 5),
        st.floats(0.0, 15.0),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(METHODS)), st.integers(1, 6), st.integers(0, 100), st.integers(1, 3), EVENTS)
def test_whatever_happens_ejections_keep_to_their_ceiling_and_the_books_balance(
    method: str, number: int, percent: int, failures: int, events: list[tuple[str, int, float]]
) -> None:
    passive = PassiveHealth(failures=failures, max_ejected=percent)
    balancer = balancer_of("abcdef"[:number], method, passive)
    now = 0.0
    open_calls: list[TargetState] = []
    for event, index, passed_s in events:
        now += passed_s
        target = (
            open_calls.pop(index % len(open_calls))
            if open_calls and event in {"good", "bad", "refused", "released"}
            else None
        )
        if event == "pick":
            picked = balancer.pick(now, b"%d" % index, ())
            assert (picked is not None) == any(each.healthy for each in balancer.targets)
            if picked is not None:
                assert picked.healthy
                open_calls.append(picked)
        elif event in {"sick", "well"}:
            balancer.set_active_health(balancer.targets[index % len(balancer.targets)], event == "well", now)
        elif event == "reload":
            balancer = balancer_of("abcdef"[: index + 1], method, passive, balancer, now)
        elif target is not None and event == "refused":
            balancer.connect_failed(target, now)
        elif target is not None and event == "released":
            balancer.released(target)
        elif target is not None:
            balancer.finished(target, now, passed_s, failed=event == "bad")
        ejected = [status for status in balancer.states(now) if status.state == "ejected"]
        assert len(ejected) <= ejected_max(len(balancer.targets), percent)
        for each in balancer.targets:
            assert each.in_flight == open_calls.count(each)
            assert 0.0 < each.latency_s < 100.0
            assert each.odds > 0.0
            assert method != "adaptive" or each.odds <= each.share
