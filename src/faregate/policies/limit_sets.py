"""How a call is decided by several limits: all are checked before any is taken, so that a refused call takes
nothing.

There may be 100,000 callers, each met so seldom that nothing of it lies in a cache, and every object of its
own then costs a call a tenth of a microsecond. So what callers with the same limits have in common stands in
one ``LimitSet``; a ``Ready`` keeps of a caller only where its counters lie, in one string of bytes. Counters
as objects (``Window``, ``Concurrency``) are made where that is not enough: at first, when a limit is reached,
when a slot was lost; and for good where a set holds more than windows. The counts shown to the caller are
those the decision used.
"""

from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address
from math import ceil
from struct import Struct

from faregate.kernel.problems import Refusal
from faregate.policies.concurrency.step import Concurrency, Place
from faregate.policies.limit_headers import Shown, ShownSet
from faregate.policies.quota.step import Quota
from faregate.policies.rate_limit.step import BUSY, NEWEST, TOTAL, Bucket, Window
from faregate.snapshot import data
from faregate.snapshot.call import Call, ReadyConsumer
from faregate.stores.counters import Counters, Owner
from faregate.stores.counters_layout import BODY_CELL

Rated = Window | Bucket | Quota
Counted = tuple[Rated | Concurrency, ...]


class LimitSet:
    """The limits that apply to the callers of one plan on routes whose own limits are equal."""

    __slots__ = (
        "_cells_used", "_layout", "_rates", "_size", "_unpack", "_windows", "cells", "compact", "concurrency",
        "counters", "limited", "locks", "plan", "shown", "words", "worker",
    )  # fmt: skip

    def __init__(self, counters: Counters, shown: ShownSet, plan: data.Plan | None) -> None:
        self.counters = counters
        self.locks = counters.locks
        self.words = counters.words
        self.cells = counters.cells
        self.shown = shown
        self.plan = plan.name if plan is not None else None
        self.concurrency = plan.concurrency if plan is not None else 0
        self.worker = counters.worker_index
        self._cells_used = counters.cells_used
        # Lent to each caller for the length of a call: they know a window's numbers and how it forgets.
        lent = self.make(counters.owner(b""))
        self._windows = tuple(counter for counter in lent if isinstance(counter, Window))
        self.limited = bool(lent)
        self.compact = self.limited and len(self._windows) == len(shown.limits)
        self._rates = len(self._windows)
        self._size = len(lent)
        for shown_at, window in enumerate(self._windows):
            window.shown_at = shown_at
        self._layout = Struct(f"@{len(lent)}I{len(lent)}Q")
        self._unpack = self._layout.unpack

    def make(self, owner: Owner) -> Counted:
        """The counters of one caller: rates and quotas in the order in which they are shown, then places."""
        limits = self.shown.limits
        rated = tuple(_counter(self.counters, owner, one, limits[:place]) for place, one in enumerate(limits))
        if not self.concurrency:
            return rated
        return (*rated, Concurrency(self.counters, owner, self.concurrency))

    def pack(self, counted: Counted) -> bytes:
        """Where these counters lie, for ``take``; empty when one of them has no slot of its own."""
        words = self.words
        if any(words[counter.word] != counter.low for counter in counted):
            return b""
        return self._layout.pack(
            *[counter.word for counter in counted], *[counter.low for counter in counted]
        )

    def take(self, packed: bytes, call: Call, now: int) -> bool:  # noqa: C901 - one piece is its point
        """The common case in one piece: windows, perhaps a place, and room in all of them. False: nothing
        was taken.

        What ``Window.check``, ``take`` and ``Concurrency`` do, without their calls: a third of the cost. Any
        lock is held.
        """
        words, cells = self.words, self.cells
        flat = self._unpack(packed)
        size = self._size
        least = 2.0
        tightest: Window | None = None
        for window, word, low in zip(self._windows, flat, flat[size:]):  # noqa: B905 - the place comes last
            if words[word] != low:
                return False
            current = now // window.width
            newest = words[word + NEWEST]
            if current != newest:
                window.word = word
                window.cell = word * 2 + BODY_CELL
                window.advance(current, newest)
            left = window.limit - words[word + TOTAL] - 1  # far below zero while the total is being changed
            if left < 0:
                return False
            share = left * window.inverse
            if share < least:
                least, tightest, shown_left = share, window, left
        limit = self.concurrency
        if limit:
            word = flat[size - 1]
            if words[word] != flat[-1]:
                return False
            cell = word * 2 + BODY_CELL
            used = self._cells_used[0]
            if (cells[cell] if used == 1 else sum(cells[cell : cell + used])) >= limit:
                return False
            cell += self.worker
            cells[cell] += 1
            call.release = Place(cells, cell)
        for word in flat[: self._rates]:
            total = words[word + TOTAL]
            words[word + TOTAL] = BUSY
            # Whatever time was decided by, the slot's newest cell is the one to count in by now.
            cells[word * 2 + BODY_CELL + (words[word + NEWEST] & 127)] += 1
            words[word + TOTAL] = total + 1
        if tightest is not None:
            call.limit_headers = self.shown.render(tightest.shown_at, shown_left, tightest.seconds)
        return True


class Ready:
    """A caller under one set of limits. ``caller``: a consumer, or an address as text. ``packed``: for
    ``limits.take``, which needs nothing else where no lock is.
    """

    __slots__ = ("_caller", "_counted", "_partition", "limits", "packed")

    def __init__(self, limits: LimitSet, caller: ReadyConsumer | str) -> None:
        self.limits = limits
        self._caller = caller
        self._partition = self._owner().partition
        self.packed = b""
        self._counted: Counted | None = None

    @property
    def counted(self) -> Counted:
        """The caller's counters as objects; kept until ``take`` can do without them."""
        counted = self._counted
        if counted is None:
            counted = self._counted = self.limits.make(self._owner())
        return counted

    def _owner(self) -> Owner:
        if isinstance(self._caller, str):
            return self.limits.counters.owner(address_key(self._caller), address=True)
        return self.limits.counters.owner(self._caller.key)

    def decide(self, call: Call) -> Refusal | None:
        """All limits are checked, then all counted, where ``take`` did not do it. Sets
        ``call.limit_headers`` and ``call.release``.
        """
        limits = self.limits
        locks = limits.locks
        now = int(call.now * 1e9)
        if not locks.shared:
            return self._take_each(call, now)  # ``take`` was tried in vain
        now = locks.lock(self._partition, now)
        if now < 0:
            return Refusal("store_unavailable", reason="counters_locked", retry_after=1)
        try:
            packed = self.packed
            return None if packed and limits.take(packed, call, now) else self._take_each(call, now)
        finally:
            locks.unlock(self._partition)

    def standing(self, now: int, wall: float) -> list[tuple[str, int, int]]:
        """Of each limit its name, its number and what is left of it; counts nothing. ``now``: as of
        ``Counter.check``. For memory that is nobody else's: no lock is taken.
        """
        shown = self.limits.shown.limits
        found: list[tuple[str, int, int]] = []
        for counter in self.limits.make(self._owner()):
            counter.check(now, wall)
            at = len(found)
            name = shown[at].rate.name if at < len(shown) else f"concurrency.{self.limits.plan}"
            found.append((name, counter.limit, counter.remaining()))
        return found

    def _take_each(self, call: Call, now: int) -> Refusal | None:
        """Any mixture of limits: each is asked, then each counts. The lock is held where there is one."""
        wall = call.wall
        longest = index = 0
        blocking = -1
        counted = self._counted or self.counted
        for counter in counted:
            wait = counter.check(now, wall)
            if wait > longest:
                longest, blocking = wait, index
            index += 1  # noqa: SIM113 - enumerate makes a tuple a limit
        if blocking >= 0:
            return self._refuse(call, counted, blocking, -(-longest // 1_000_000_000))
        for counter in counted:
            counter.take()
        limits = self.limits
        if limits.concurrency and isinstance(counter, Concurrency):  # which comes last
            call.release = counter.place()
        self._show(call, counted)
        if limits.compact:
            self.packed = limits.pack(counted)
            if self.packed:
                self._counted = None
        return None

    def _show(self, call: Call, counted: Counted) -> None:
        """The headers of a call that passed, by the limit of which the smallest share is left."""
        shown = self.limits.shown
        limits = shown.limits
        tightest = -1
        least = 2.0
        left = index = 0
        for limit in limits:
            remaining = counted[index].remaining() - 1
            share = remaining * limit.inverse
            if share < least:
                least, left, tightest = share, remaining, index
            index += 1  # noqa: SIM113 - enumerate makes a tuple a limit
        if tightest >= 0:
            call.limit_headers = shown.render(
                tightest, left, _reset_s(counted[tightest], limits[tightest], call.wall)
            )

    def _refuse(self, call: Call, counted: Counted, blocking: int, retry_after: int) -> Refusal:
        """The refusal by the limit with the longest wait: after it, the others have room too."""
        shown = self.limits.shown
        limits = shown.limits
        if blocking == len(limits):
            name, code = f"concurrency.{self.limits.plan}", "concurrency_exceeded"
            if limits:
                shares = [counted[at].remaining() * limit.inverse for at, limit in enumerate(limits)]
                tightest = shares.index(min(shares))
                reset = _reset_s(counted[tightest], limits[tightest], call.wall)
                call.limit_headers = shown.render(tightest, counted[tightest].remaining(), reset)
        else:
            limit = limits[blocking]
            name, code = limit.rate.name, "quota_exhausted" if limit.calendar else "rate_limited"
            call.limit_headers = shown.render(blocking, counted[blocking].remaining(), retry_after)
        reason = f"limit_reached:{name}"  # the log has no other member that names the limit
        return Refusal(code, reason=reason, parameter=name, retry_after=retry_after)


def _reset_s(counter: Rated | Concurrency, limit: Shown, wall: float) -> int:
    """Whole seconds until all of a limit is free again."""
    if isinstance(counter, Quota):
        return max(1, ceil(counter.calendar.end - wall))
    if isinstance(counter, Bucket):
        return max(1, -(-(counter.full_at - counter.now) // 1_000_000_000))
    return limit.seconds


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
