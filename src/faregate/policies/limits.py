"""The one step that limits a call: rates, quota and concurrency together, under one lock.

Each policy's own folder knows how its counter works; this module knows which counters apply to a call and
that they are checked all before any is taken, so that a refused call takes nothing. What is the same for
every call of a consumer on routes with the same limits is made once and kept with the consumer; anonymous
addresses are kept in a small table of the step's own. The counts shown to the caller are those the decision
used.
"""

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import Final, TypeGuard

from faregate.kernel.problems import Refusal
from faregate.policies.concurrency.step import Concurrency, Place
from faregate.policies.limit_headers import Shown, ShownSet
from faregate.policies.quota.step import Calendar, Quota
from faregate.policies.rate_limit.step import BUSY, NEWEST, TOTAL, Bucket, Window
from faregate.snapshot import data
from faregate.snapshot.call import Call, ReadyConsumer, Step
from faregate.stores.counters import Counters, Owner
from faregate.stores.counters_layout import CALENDARS, WINDOWS, Kind
from faregate.stores.counters_prepare import Capacity

_KEPT_PER_CONSUMER_MAX: Final = 64
"""Sets of limits kept ready with a consumer; one more empties the table. Equal limits share a set."""

_ADDRESSES_MAX: Final = 2048
"""Addresses kept ready by one step; the longest known goes first. Its counts stay in the shared file."""

_ADDRESS_COUNTERS: Final = 32_768
"""Counters for addresses on public limited routes, at half load: 66 partitions, 37 MiB."""

Rated = Window | Bucket | Quota


def build(route: data.Route, plans: Mapping[str, data.Plan], counters: Counters) -> "Step | None":
    """The route's limit step, or None when no call of the route can ever be limited."""
    by_plan = any(plan.limits or plan.quota or plan.concurrency for plan in plans.values())
    if not route.limits and not (by_plan and route.authenticate):
        return None
    return LimitStep(route.limits, plans, counters)


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

    __slots__ = ("_addresses", "_counters", "_kept_as", "_limits", "_plans", "_shown")

    def __init__(
        self, limits: tuple[data.Rate, ...], plans: Mapping[str, data.Plan], counters: Counters
    ) -> None:
        self._limits = limits
        self._plans = plans
        self._counters = counters
        self._kept_as = repr(limits)
        self._addresses: dict[str, Ready] = {}
        self._shown: dict[str | None, ShownSet] = {}

    def __call__(self, call: Call) -> Refusal | None:
        """Lets the call pass and counts it, or refuses it and counts nothing."""
        identity = call.identity
        if identity is not None:
            ready = identity.consumer.counters.get(self._kept_as)
            if not isinstance(ready, Ready):
                ready = self._ready_consumer(identity.consumer)
        else:
            ready = self._addresses.get(call.client_ip) or self._ready_address(call.client_ip)
        return ready.decide(call) if ready.counted else None

    def _ready_consumer(self, consumer: ReadyConsumer) -> "Ready":
        plan = self._plans.get(consumer.plan) if consumer.plan is not None else None
        ready = self._make(self._counters.owner(consumer.key), plan)
        consumer.keep(self._kept_as, ready, _KEPT_PER_CONSUMER_MAX)
        return ready

    def _ready_address(self, client_ip: str) -> "Ready":
        ready = self._make(self._counters.owner(address_key(client_ip), address=True), None)
        if len(self._addresses) >= _ADDRESSES_MAX:
            del self._addresses[next(iter(self._addresses))]
        self._addresses[client_ip] = ready
        return ready

    def _make(self, owner: Owner, plan: data.Plan | None) -> "Ready":
        name = plan.name if plan is not None else None
        shown = self._shown.get(name)
        if shown is None:
            shown = ShownSet(tuple(Shown(rate, calendar) for rate, calendar in _rates(self._limits, plan)))
            self._shown[name] = shown
        rated = tuple(
            _counter(self._counters, owner, one, shown.limits[:place])
            for place, one in enumerate(shown.limits)
        )
        places = None
        if plan is not None and plan.concurrency:
            places = Concurrency(self._counters, owner, plan.concurrency)
        return Ready(self._counters, owner.partition, rated, shown, places=places, plan=name)


class Ready:
    """The counters of one caller under one set of limits, and how to decide by them."""

    __slots__ = (
        "_cells",
        "_counters",
        "_locks",
        "_partition",
        "_places",
        "_plan",
        "_rated",
        "_shown",
        "_windows",
        "_words",
        "counted",
    )

    def __init__(  # noqa: PLR0913 - made in one place
        self,
        counters: Counters,
        partition: int,
        rated: tuple[Rated, ...],
        shown: ShownSet,
        *,
        places: Concurrency | None,
        plan: str | None,
    ) -> None:
        self._counters = counters
        self._locks = counters.locks
        self._words = counters.words
        self._cells = counters.cells
        self._partition = partition
        self._rated = rated
        self._windows = rated if _all_windows(rated) else ()
        self._shown = shown
        self._places = places
        self._plan = plan
        self.counted: tuple[Rated | Concurrency, ...] = rated if places is None else (*rated, places)

    def decide(self, call: Call) -> Refusal | None:
        """All limits are checked, then all counted. Sets ``call.limit_headers`` and ``call.release``."""
        locks = self._locks
        now = int(call.now * 1e9)
        if not locks.shared:
            return None if self._windows and self._take_windows(call, now) else self._take_each(call, now)
        now = locks.lock(self._partition, now)
        if now < 0:
            return Refusal("store_unavailable", reason="counters_locked", retry_after=1)
        try:
            return None if self._windows and self._take_windows(call, now) else self._take_each(call, now)
        finally:
            locks.unlock(self._partition)

    def _take_each(self, call: Call, now: int) -> Refusal | None:
        """Any mixture of limits: each is asked, then each counts. The lock is held where there is one."""
        wall = call.wall
        longest = index = 0
        blocking = -1
        for counter in self.counted:
            wait = counter.check(now, wall)
            if wait > longest:
                longest, blocking = wait, index
            index += 1  # noqa: SIM113 - enumerate makes a tuple a limit
        if blocking >= 0:
            return self._refuse(call, blocking, -(-longest // 1_000_000_000))
        for counter in self.counted:
            counter.take()
        if self._places is not None:
            call.release = self._places.place()
        self._show(call)
        return None

    def _take_windows(self, call: Call, now: int) -> bool:
        """The common case in one piece: windows, perhaps a place, and room in all of them. False: nothing
        was taken.

        What ``Window.check``, ``take`` and ``Concurrency`` do, without their calls: a third of the cost.
        """
        words, cells = self._words, self._cells
        least = 2.0
        tightest: Window | None = None
        for window in self._windows:
            word = window.word
            if words[word] != window.low:
                return False
            current = now // window.width
            newest = words[word + NEWEST]
            window.current = current if current == newest else window.advance(current, newest)
            left = window.limit - words[word + TOTAL] - 1  # far below zero while the total is being changed
            if left < 0:
                return False
            share = left * window.inverse
            if share < least:
                least, tightest, shown_left = share, window, left
        places = self._places
        if places is not None:
            if words[places.word] != places.low or places.check(now, 0.0):
                return False
            place_cell = places.cell + places.index
            cells[place_cell] += 1
            call.release = Place(cells, place_cell)
        for window in self._windows:
            at = window.word + TOTAL
            total = words[at]
            words[at] = BUSY
            cells[window.cell + (window.current & 127)] += 1
            words[at] = total + 1
        if tightest is not None:
            shown = self._shown
            shown_at = self._windows.index(tightest)
            call.limit_headers = shown.render(shown_at, shown_left, shown.limits[shown_at].seconds)
        return True

    def _show(self, call: Call) -> None:
        """The headers of a call that passed, by the limit of which the smallest share is left."""
        tightest = -1
        least = 2.0
        left = index = 0
        for counter in self._rated:
            remaining = counter.remaining() - 1
            share = remaining * self._shown.limits[index].inverse
            if share < least:
                least, left, tightest = share, remaining, index
            index += 1  # noqa: SIM113 - enumerate makes a tuple a limit
        if tightest >= 0:
            call.limit_headers = self._shown.render(tightest, left, self._reset_s(tightest, call.wall))

    def _reset_s(self, index: int, wall: float) -> int:
        """Whole seconds until all of a limit is free again."""
        counter = self._rated[index]
        if isinstance(counter, Window):
            return self._shown.limits[index].seconds
        if isinstance(counter, Quota):
            return max(1, ceil(counter.calendar.end - wall))
        return max(1, -(-(counter.full_at - counter.now) // 1_000_000_000))

    def _refuse(self, call: Call, blocking: int, retry_after: int) -> Refusal:
        """The refusal by the limit with the longest wait: after it, the others have room too."""
        rated, shown = self._rated, self._shown
        if blocking == len(rated):
            name, code = f"concurrency.{self._plan}", "concurrency_exceeded"
            if rated:
                shares = [
                    one.remaining() * limit.inverse for one, limit in zip(rated, shown.limits, strict=True)
                ]
                tightest = shares.index(min(shares))
                reset = self._reset_s(tightest, call.wall)
                call.limit_headers = shown.render(tightest, rated[tightest].remaining(), reset)
        else:
            limit = shown.limits[blocking]
            name, code = limit.rate.name, "quota_exhausted" if limit.calendar else "rate_limited"
            call.limit_headers = shown.render(blocking, rated[blocking].remaining(), retry_after)
        return Refusal(code, reason="limit_reached", parameter=name, retry_after=retry_after)


def _all_windows(rated: tuple[Rated, ...]) -> TypeGuard[tuple[Window, ...]]:
    return all(isinstance(counter, Window) for counter in rated)


def address_key(client_ip: str) -> bytes:
    """What an anonymous caller is counted by: IPv4 address, or the /64 one IPv6 subscriber has."""
    try:
        address = ip_address(client_ip)
    except ValueError:
        return b"ip:unknown"  # counted together, on the safe side
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return b"ip:" + address.packed[:8].hex().encode() + b"/64"
        address = address.ipv4_mapped
    return f"ip:{address}".encode()


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


def _counter(counters: Counters, owner: Owner, shown: Shown, before: Sequence[Shown]) -> Rated:
    rate = shown.rate
    if shown.calendar is not None:
        return Quota(counters, owner, rate.scope, rate.count, shown.calendar)
    if not rate.burst:
        return Window(counters, owner, rate.scope, rate.count, rate.period_ms)
    # Two buckets of one scope and period are two counters; their written order tells them apart.
    twins = sum(
        one.rate.burst > 0 and (one.rate.scope, one.rate.period_ms) == (rate.scope, rate.period_ms)
        for one in before
    )
    scope = f"{rate.scope} #{twins}" if twins else rate.scope
    return Bucket(counters, owner, scope, rate.count, rate.period_ms, burst=rate.burst)
