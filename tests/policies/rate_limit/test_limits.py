"""The combined step: what applies to a call, all or nothing, and what the caller is told."""

from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faregate.kernel.problems import Refusal
from faregate.policies import limits
from faregate.policies.limit_sets import address_key
from faregate.policies.limits import LimitStep, build, capacity
from faregate.snapshot import data
from faregate.snapshot.call import Call, Identity, ReadyConsumer
from faregate.stores.counters_prepare import Capacity
from tests.stores import table

WALL = datetime(2026, 2, 27, 12, tzinfo=UTC).timestamp()
NOW = 1_000.0
fresh = iter(range(1 << 60))

PLAN = data.Plan(
    "standard",
    limits=(
        data.Rate("plan.standard.5/second", "plan", 5, 1_000),
        data.Rate("plan.standard.20/minute", "plan", 20, 60_000),
    ),
    quota=data.Rate("quota.standard", "quota", 30, 0),
    concurrency=4,
)
BURST = data.Plan("burst", limits=(data.Rate("plan.burst.100/second burst 200", "plan", 100, 1_000, 200),))
FREE = data.Plan("free")
PLANS = {plan.name: plan for plan in (PLAN, BURST, FREE)}
ROUTE_RATE = data.Rate("route.3/second", "route payments POST /payments", 3, 1_000)


def route(*rates, authenticate=("jwt",)):
    return data.Route(
        "payments",
        0,
        "POST",
        "/v1/payments",
        "POST /payments",
        "payments",
        authenticate=authenticate,
        limits=rates,
    )


def consumer(plan="standard", name="acme"):
    return Identity(ReadyConsumer(name, plan=plan), "key_1")


def call(who=None, now=NOW, wall=WALL, client_ip="203.0.113.7"):
    made = Call(now, wall)
    made.identity = who
    made.client_ip = client_ip
    return made


def ask(step, *args, **kwargs):
    one = call(*args, **kwargs)
    return step(one), one


def passes(step, *args, free=True, **kwargs):
    verdict, one = ask(step, *args, **kwargs)
    if free and one.release is not None:
        one.release()
    return verdict is None


@pytest.mark.parametrize(
    ("rates", "plans", "authenticate", "limited"),
    [
        ((), {}, ("jwt",), False),
        ((), {"free": FREE}, ("jwt",), False),
        ((), PLANS, (), False),
        ((), PLANS, ("jwt",), True),
        ((), {"few": data.Plan("few", concurrency=1)}, ("jwt",), True),
        ((), {"month": data.Plan("month", quota=PLAN.quota)}, ("jwt",), True),
        ((ROUTE_RATE,), {}, (), True),
        ((ROUTE_RATE,), {}, ("jwt",), True),
    ],
)
def test_a_route_that_can_never_be_limited_has_no_step(counters, rates, plans, authenticate, limited):
    assert (build(route(*rates, authenticate=authenticate), plans, counters) is not None) is limited


def test_each_consumer_has_its_own_counts(counters):
    step = build(route(), PLANS, counters)
    one, two = consumer(), consumer(name="globex")
    assert [passes(step, one) for _ in range(6)] == [True] * 5 + [False]
    assert passes(step, two)


def test_a_plan_counts_over_all_routes_and_a_route_limit_on_its_own(counters):
    who = consumer()
    first, second = build(route(ROUTE_RATE), PLANS, counters), build(route(), PLANS, counters)
    assert [passes(first, who) for _ in range(4)] == [True] * 3 + [False]
    assert [passes(second, who) for _ in range(3)] == [True] * 2 + [False]


def test_counts_survive_a_reload(counters):
    assert [passes(build(route(), PLANS, counters), consumer()) for _ in range(6)] == [True] * 5 + [False]


def test_a_consumer_without_plan_meets_only_the_limits_of_the_route(counters):
    step = build(route(ROUTE_RATE), PLANS, counters)
    assert [passes(step, consumer(None)) for _ in range(4)] == [True] * 3 + [False]
    step = build(route(), PLANS, counters)
    verdict, one = ask(step, consumer(None))
    assert (verdict, one.limit_headers, one.release) == (None, b"", None)


def test_a_refused_call_takes_nothing_from_any_limit(counters):
    step = build(route(ROUTE_RATE), PLANS, counters)
    who = consumer()
    for _ in range(3):
        assert passes(step, who)
    for _ in range(100):
        assert not passes(step, who)
    later = NOW
    admitted = 3
    while later < NOW + 58:
        later += 1.02
        admitted += sum(passes(step, who, now=later) for _ in range(3))
    assert admitted == 20, "the minute's limit was charged for admitted calls only"


def test_a_failing_limit_leaves_no_place_taken(counters):
    step = build(route(ROUTE_RATE), PLANS, counters)
    who = consumer()
    held = [ask(step, who)[1] for _ in range(3)]
    assert ask(step, who)[0].code == "rate_limited"
    verdict, fourth = ask(build(route(), PLANS, counters), who)
    assert verdict is None
    verdict, fifth = ask(build(route(), PLANS, counters), who)
    assert (verdict.code, verdict.parameter, verdict.retry_after) == (
        "concurrency_exceeded",
        "concurrency.standard",
        1,
    )
    assert fifth.release is None
    assert fifth.limit_headers.startswith(b"RateLimit-Policy: ")
    for one in (*held, fourth):
        one.release()
        one.release()
    assert passes(build(route(), PLANS, counters), who)


def test_the_headers_show_the_tightest_limit_and_all_policies(counters):
    verdict, one = ask(build(route(ROUTE_RATE), PLANS, counters), consumer())
    assert verdict is None
    assert one.limit_headers == (
        b'RateLimit-Policy: "plan.standard.5/second";q=5;w=1, "plan.standard.20/minute";q=20;w=60, '
        b'"route.3/second";q=3;w=1, "quota.standard";q=30;w=2419200\r\n'
        b'RateLimit: "route.3/second";r=2;t=1\r\n'
        b"X-RateLimit-Limit: 3\r\nX-RateLimit-Remaining: 2\r\nX-RateLimit-Reset: 1\r\n"
    )


def test_the_headers_of_a_bucket_show_its_depth_and_when_it_is_full(counters):
    step = build(route(), PLANS, counters)
    who = consumer("burst")
    for _ in range(149):
        assert passes(step, who)
    assert ask(step, who)[1].limit_headers == (
        b'RateLimit-Policy: "plan.burst.100/second burst 200";q=200;w=2\r\n'
        b'RateLimit: "plan.burst.100/second burst 200";r=50;t=2\r\n'
        b"X-RateLimit-Limit: 200\r\nX-RateLimit-Remaining: 50\r\nX-RateLimit-Reset: 2\r\n"
    )


def test_a_percent_sign_in_a_name_is_shown_as_written(counters):
    rate = data.Rate("route.100%d.3/second", "route x", 3, 1_000)
    assert (
        b'RateLimit: "route.100%d.3/second";r=2;t=1'
        in ask(build(route(rate), {}, counters), consumer(None))[1].limit_headers
    )


def test_the_policy_of_a_quota_follows_the_length_of_the_month(counters):
    step = build(
        route(), {"month": data.Plan("month", quota=data.Rate("quota.month", "quota", 30, 0))}, counters
    )
    shown = [
        ask(step, consumer("month"), wall=datetime(2026, month, 1, tzinfo=UTC).timestamp())[1]
        for month in (2, 3, 4)
    ]
    assert [
        b"w=%d" % (days * 86_400) in one.limit_headers for one, days in zip(shown, (28, 31, 30), strict=True)
    ] == [True] * 3


def test_refusals_name_the_limit_and_say_when_to_come_back(counters):
    step = build(route(), PLANS, counters)
    who = consumer()
    while passes(step, who):
        pass
    verdict, one = ask(step, who)
    assert (verdict.code, verdict.parameter, verdict.retry_after) == (
        "rate_limited",
        "plan.standard.5/second",
        2,
    )
    assert b'RateLimit: "plan.standard.5/second";r=0;t=2\r\n' in one.limit_headers
    assert passes(step, who, now=NOW + verdict.retry_after)


def test_the_longest_wait_is_told_when_several_limits_are_used_up(counters):
    step = build(route(), PLANS, counters)
    who = consumer()
    now = NOW
    for _ in range(30):
        now += 0.21
        passes(step, who, now=now)
    verdict, _ = ask(step, who, now=now)
    assert verdict.parameter == "plan.standard.20/minute"
    assert not passes(step, who, now=now + verdict.retry_after - 2)
    assert passes(step, who, now=now + verdict.retry_after)


def test_a_used_up_quota_says_when_the_month_ends(counters):
    step = build(route(), PLANS, counters)
    who = consumer()
    now = NOW
    for _ in range(30):
        now += 10
        assert passes(step, who, now=now)
    verdict, one = ask(step, who, now=now + 100)
    end = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    assert (verdict.code, verdict.parameter, verdict.retry_after) == (
        "quota_exhausted",
        "quota.standard",
        end - WALL,
    )
    assert b"X-RateLimit-Remaining: 0\r\n" in one.limit_headers
    assert passes(step, who, now=now + 100 + verdict.retry_after, wall=WALL + verdict.retry_after)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(gaps=st.lists(st.floats(0, 4), min_size=1, max_size=60))
def test_waiting_as_long_as_told_always_succeeds(counters, gaps):
    step = build(route(ROUTE_RATE), PLANS, counters)
    who = consumer(name=f"c{next(fresh)}")
    now, wall = NOW, WALL
    for gap in gaps:
        now, wall = now + gap, wall + gap
        for _ in range(3):
            verdict, one = ask(step, who, now=now, wall=wall)
            if verdict is not None:
                assert verdict.retry_after >= 1
                now, wall = now + verdict.retry_after, wall + verdict.retry_after
                verdict, one = ask(step, who, now=now, wall=wall)
            assert verdict is None
            one.release()


def test_of_limits_that_share_a_counter_the_smallest_applies(counters):
    rates = (data.Rate("a.9/second", "route x", 9, 1_000), data.Rate("a.2/second", "route x", 2, 1_000))
    assert [passes(build(route(*rates), {}, counters), consumer(None)) for _ in range(4)] == [
        True,
        True,
        False,
        False,
    ]


def test_a_daily_quota_and_a_daily_limit_of_one_scope_are_two_counters(counters):
    day = 86_400_000
    plan = data.Plan(
        "day",
        limits=(data.Rate("plan.4/day", "plan", 4, day),),
        quota=data.Rate("quota.2/day", "plan", 2, day),
    )
    step = build(route(), {"day": plan}, counters)
    assert [passes(step, consumer("day")) for _ in range(3)] == [True, True, False]
    assert [passes(step, consumer("day"), wall=WALL + 86_400) for _ in range(3)] == [True, True, False]


def test_two_buckets_of_one_scope_both_hold(counters):
    rates = (data.Rate("a", "route x", 1, 1_000, 4), data.Rate("b", "route x", 1_000, 1_000, 2))
    step = build(route(*rates), {}, counters)
    assert [passes(step, consumer(None)) for _ in range(3)] == [True, True, False]
    assert [passes(step, consumer(None), now=NOW + 0.1) for _ in range(3)] == [True, True, False]
    assert not passes(step, consumer(None), now=NOW + 0.2)


# anonymous callers


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("203.0.113.7", "203.0.113.8", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:203.0.113.7", "203.0.113.7", True),
        ("::ffff:203.0.113.7", "::ffff:203.0.113.8", False),
        ("unix:", "", True),
    ],
)
def test_anonymous_callers_are_counted_by_what_one_subscriber_has(one, other, same):
    assert (address_key(one) == address_key(other)) is same


def test_an_anonymous_caller_meets_the_limits_of_the_route_and_no_plan(counters):
    step = build(route(ROUTE_RATE, authenticate=()), PLANS, counters)
    assert [passes(step, None, client_ip=f"2001:db8::{part}") for part in range(4)] == [True] * 3 + [False]
    assert passes(step, None, client_ip="198.51.100.1")


def test_an_address_cannot_use_up_what_a_consumer_of_that_name_has(counters):
    step = build(route(ROUTE_RATE), {}, counters)
    assert [passes(step, None, client_ip="198.51.100.1") for _ in range(4)][-1] is False
    assert passes(step, consumer(None, name="ip:198.51.100.1"))


def test_the_table_of_addresses_is_bounded_and_forgetting_one_forgets_no_count(counters, monkeypatch):
    monkeypatch.setattr(limits, "_ADDRESSES_MAX", 8)
    step = build(route(ROUTE_RATE, authenticate=()), {}, counters)
    assert [passes(step, None, client_ip="198.51.100.1") for _ in range(3)] == [True] * 3
    for part in range(50):
        assert passes(step, None, client_ip=f"203.0.113.{part}")
    assert len(step._addresses) == 8
    assert not passes(step, None, client_ip="198.51.100.1")


def test_what_a_consumer_keeps_is_bounded(counters, monkeypatch):
    monkeypatch.setattr(limits, "_KEPT_PER_CONSUMER_MAX", 3)
    who = consumer(None)
    for part in range(20):
        assert passes(build(route(data.Rate(f"r{part}", f"route {part}", 5, 1_000)), {}, counters), who)
        assert 1 + len(who.consumer.others) <= 3


def test_routes_with_equal_limits_share_what_is_kept(counters):
    who = consumer()
    for _ in range(3):
        passes(build(route(), PLANS, counters), who)
    assert who.consumer.kept is not None
    assert not who.consumer.others


# the lock


def test_a_lock_that_is_not_given_ends_the_call_and_nothing_is_admitted(memory):
    one, two = table.join(memory, 0, 2), table.join(memory, 1, 2)
    step = build(route(), PLANS, two)
    who = consumer()
    partition = two.owner(b"acme").partition
    one.locks.lock(partition, 1)
    verdict, seen = ask(step, who)
    assert isinstance(verdict, Refusal)
    assert (verdict.code, verdict.reason, verdict.retry_after) == ("store_unavailable", "counters_locked", 1)
    assert seen.release is None
    one.locks.unlock(partition)
    assert passes(step, who)
    one.close()
    two.close()


def test_the_lock_is_given_back_when_a_check_fails(memory, monkeypatch):
    one, two = table.join(memory, 0, 2), table.join(memory, 1, 2)
    step = LimitStep((ROUTE_RATE,), {}, one)
    who = consumer(None)
    assert passes(step, who)
    limit_set = who.consumer.kept.limits
    limit_set.words = table.DyingMemory(limit_set.words, table.Lifetime(0))
    with pytest.raises(table.Killed):
        step(call(who))
    assert two.locks.lock(one.owner(b"acme").partition, 5) == 5
    one.close()
    two.close()


def test_capacity_counts_each_consumers_counters_and_room_for_addresses():
    consumers = tuple(
        data.Consumer(f"c{number}", plan=plan) for number, plan in enumerate(("standard", "burst", None))
    )
    routes = (route(ROUTE_RATE), route(ROUTE_RATE), route())

    def of(*more):
        gateway = data.Gateway((), None, 0, "")
        return capacity(data.Snapshot(1, 1, gateway, (), (), (PLAN, BURST), consumers, (), (*routes, *more)))

    assert of() == Capacity((4 + 1) + (1 + 1) + 1, 0)
    assert of(route(ROUTE_RATE, authenticate=())).address_counters > 0
