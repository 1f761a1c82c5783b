"""The one step that limits a call: rates, quota and concurrency together, under one lock.

Each policy's own folder knows how its counter works, ``limit_sets`` how a call is decided by several; this
module knows which limits apply to a call. What is the same for every call of a consumer on routes with the
same limits is made once and kept with the consumer; anonymous addresses are kept in a small table of the
step's own.
"""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from sys import intern
from typing import Final

import msgspec

from faregate.kernel.problems import Refusal
from faregate.policies.limit_headers import Shown, ShownSet
from faregate.policies.limit_sets import LimitSet, Ready
from faregate.policies.quota.step import Calendar
from faregate.snapshot import data
from faregate.snapshot.call import Call, ReadyConsumer, Step
from faregate.stores.counters import Counters
from faregate.stores.counters_layout import CALENDARS, WINDOWS, Kind
from faregate.stores.counters_prepare import Capacity

_KEPT_PER_CONSUMER_MAX: Final = 64
"""Sets of limits kept ready with a consumer; one more empties the table. Equal limits share a set."""

_ADDRESSES_MAX: Final = 2048
"""Addresses kept ready by one step; the longest known goes first. Its counts stay in the shared file."""

_ADDRESS_COUNTERS: Final = 32_768
"""Counters for addresses on public limited routes, at two thirds: 49 partitions, 28 MiB."""


def generation(plans: Sequence[data.Plan]) -> str:
    """A word for what ``plans`` say: what consumers keep ready by it is of no use by another."""
    return blake2b(msgspec.msgpack.encode(plans), digest_size=8).hexdigest()


def build(
    route: data.Route, plans: Mapping[str, data.Plan], counters: Counters, generation: str = ""
) -> "Step | None":
    """The route's limit step, or None when no call of the route can ever be limited. ``generation``: of
    ``plans``.
    """
    by_plan = any(plan.limits or plan.quota or plan.concurrency for plan in plans.values())
    if not route.limits and not (by_plan and route.authenticate):
        return None
    return LimitStep(route.limits, plans, counters, generation)


def capacity(snapshot: data.Snapshot | data.Counted) -> Capacity:
    """How many counters this configuration may have alive: what ``stores.counters_prepare.prepare`` asks for.

    For each consumer its plan's counters and one for each distinct limit of a route or an API.
    """
    per_plan = {
        plan.name: len(plan.limits) + (plan.quota is not None) + (plan.concurrency > 0)
        for plan in snapshot.plans
    }
    guarded = (route for route in snapshot.routes if route.authenticate)
    on_routes = len({(rate.scope, _kind(rate)) for route in guarded for rate in route.limits})
    consumers = sum(per_plan.get(consumer.plan or "", 0) + on_routes for consumer in snapshot.consumers)
    public = any(route.limits and not route.authenticate for route in snapshot.routes)
    return Capacity(consumers, _ADDRESS_COUNTERS if public else 0)


class LimitStep:
    """Limits the calls of one route. Not for use by several threads."""

    __slots__ = ("_addresses", "_counters", "_kept_as", "_limits", "_locks", "_plans", "_sets")

    def __init__(
        self,
        limits: tuple[data.Rate, ...],
        plans: Mapping[str, data.Plan],
        counters: Counters,
        generation: str = "",
    ) -> None:
        self._limits = limits
        self._plans = plans
        self._counters = counters
        self._locks = counters.locks
        self._kept_as = intern(f"{generation} {limits!r}")
        self._addresses: dict[str, Ready] = {}
        self._sets: dict[str | None, LimitSet] = {}

    def forget_plans(self, generation: str) -> None:
        """What it was given as ``plans`` says something else now."""
        self._kept_as = intern(f"{generation} {self._limits!r}")
        self._sets = {}

    def __call__(self, call: Call) -> Refusal | None:
        """Lets the call pass and counts it, or refuses it and counts nothing."""
        identity = call.identity
        ready: Ready | None
        if identity is not None:
            consumer = identity.consumer
            kept_as = self._kept_as
            kept = consumer.kept if consumer.kept_as is kept_as else consumer.others.get(kept_as)
            ready = kept  # type: ignore[assignment]  # nothing else is kept under such a key
            if ready is None:
                ready = self._ready_consumer(consumer)
        else:
            ready = self._addresses.get(call.client_ip) or self._ready_address(call.client_ip)
        packed = ready.packed
        if packed and not self._locks.shared and ready.limits.take(packed, call, int(call.now * 1e9)):
            return None
        return ready.decide(call) if ready.limits.limited else None

    def standing(self, call: Call) -> list[tuple[str, int, int]]:
        """How the limits of ``call`` stand: see ``Ready.standing``. For ``faregate try``."""
        identity = call.identity
        ready = (
            self._ready_address(call.client_ip)
            if identity is None
            else self._ready_consumer(identity.consumer)
        )
        return ready.standing(int(call.now * 1e9), call.wall)

    def _ready_consumer(self, consumer: ReadyConsumer) -> Ready:
        plan = self._plans.get(consumer.plan) if consumer.plan is not None else None
        ready = Ready(self._set(plan), consumer)
        consumer.keep(self._kept_as, ready, _KEPT_PER_CONSUMER_MAX)
        return ready

    def _ready_address(self, client_ip: str) -> Ready:
        ready = Ready(self._set(None), client_ip)
        if len(self._addresses) >= _ADDRESSES_MAX:
            del self._addresses[next(iter(self._addresses))]
        self._addresses[client_ip] = ready
        return ready

    def _set(self, plan: data.Plan | None) -> LimitSet:
        name = plan.name if plan is not None else None
        found = self._sets.get(name)
        if found is None:
            shown = ShownSet(tuple(Shown(rate, calendar) for rate, calendar in _rates(self._limits, plan)))
            found = self._sets[name] = LimitSet(self._counters, shown, plan)
        return found


def _rates(
    limits: Sequence[data.Rate], plan: data.Plan | None
) -> Iterator[tuple[data.Rate, Calendar | None]]:
    """The rates that apply, with the calendar of a quota. Of those that share a counter, the smallest."""
    declared = [(rate, False) for rate in (*(plan.limits if plan is not None else ()), *limits)]
    if plan is not None and plan.quota is not None:
        declared.append((plan.quota, True))
    smallest: dict[tuple[object, ...], tuple[data.Rate, bool]] = {}
    for rate, quota in declared:
        key = (
            rate.scope,
            _kind(rate, quota=quota),
            *((rate.period_ms, rate.count, rate.burst) if rate.burst else ()),
        )
        if key not in smallest or rate.count < smallest[key][0].count:
            smallest[key] = rate, quota
    for rate, quota in smallest.values():
        yield rate, Calendar(rate.period_ms) if quota or not rate.period_ms else None


def _kind(rate: data.Rate, *, quota: bool = False) -> Kind:
    if quota or not rate.period_ms:
        return CALENDARS[rate.period_ms]
    return Kind.BUCKET if rate.burst else WINDOWS[rate.period_ms]
