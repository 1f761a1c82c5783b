"""Makes the workers of a machine agree on which target is out.

Each worker judges targets by its own calls, tells the others what it decided, and takes over what they
decided: ``look`` runs every 50 ms and costs two microseconds when there is nothing new. A target is taken out
only when the machine's view allows it (``_gate``, under the lock between writers), so that two workers cannot
eject the last two targets at once. Active checks run in the one worker that holds the seat. Where the file
cannot be used each worker judges alone, as a single one would: health is a comfort and fails open.

Trials need no message to begin: all workers know when a target's time is served. Who ends one says so.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from faregate.gateway.balance import Balancer, TargetState
from faregate.gateway.balance.state import Outage
from faregate.gateway.health import HealthChecks
from faregate.records.frames import Reading
from faregate.stores.health import HealthError, HealthTable, Place
from faregate.stores.health_layout import Shared, pack, unpack
from faregate.stores.health_seat import Seat

_log = logging.getLogger("faregate.health")

VISITS_A_LOOK: Final = 200
ROUND_S: Final = 1.0
"""Besides those of which news came, every target is looked at once a second or, where they are many, 200 at
each look: this heals what a killed writer left unsaid and keeps their places.
"""

Count = Callable[[str, tuple[str, ...]], None]


class _Entry:
    """One target of the running revision and what was last read of it."""

    __slots__ = ("place", "target", "turn", "upstream", "word")

    def __init__(self, upstream: str, target: TargetState, place: Place) -> None:
        self.upstream = upstream
        self.target = target
        self.place = place
        self.word = 0
        self.turn = 0


class HealthSharing:
    """One worker's part in the agreement. ``table`` None: this worker is on its own.

    ``count`` adds one to a metric. Times are monotonic seconds. For one event loop.
    """

    def __init__(self, table: HealthTable | None, checks: HealthChecks, count: Count) -> None:
        self._table = table
        self._checks = checks
        self._count = count
        self._seat = Seat(table) if table is not None else None
        self._balancers: dict[str, Balancer] = {}
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._by_slot: dict[int, _Entry] = {}
        self._sequence = 0
        self._now = 0.0
        self._turn = 0
        self._round: Iterator[None] = iter(())
        self._round_at = 0.0
        self._visiting = ""
        self._leaves = False

    # the life of a worker

    def start(self, balancers: Mapping[str, Balancer], now: float) -> None:
        """Takes over what is known of every target, before the first call."""
        self.follow(balancers)
        self._now = now
        if self._table is not None:
            self._sequence = self._table.sequence
            for _ in self._visit_all():
                pass
        self.look(now)

    def follow(self, balancers: Mapping[str, Balancer]) -> None:
        """A new revision: what is known stays, by upstream and target; new targets are met in the next
        looks.
        """
        self._balancers = dict(balancers)
        for balancer in balancers.values():
            balancer.listener = self._heard
            balancer.gate = self._gate if self._table is not None else None
        self._checks.follow(balancers.values())
        self._round, self._round_at = iter(()), 0.0

    def look(self, now: float) -> None:
        """What the others decided since the last look, and whether the checks are ours to run. Never
        raises.
        """
        try:
            self._look(now)
        except Exception:  # noqa: BLE001 - calls go on without it
            _log.exception("health is not shared any more; this worker judges alone")
            self._part()
            self._checks.run(not self._leaves)

    def _look(self, now: float) -> None:
        table, seat = self._table, self._seat
        if table is None or seat is None:
            self._checks.run(not self._leaves)
            return
        self._now = now
        table.beat(_ms(now))
        self._catch_up(table, now)
        for _ in range(VISITS_A_LOOK):
            if next(self._round, self) is self:
                if now - self._round_at >= ROUND_S:
                    self._round_at = now
                    self._round = self._visit_all()
                break
        self._checks.run(not self._leaves and seat.sit(_ms(now)))

    def leave(self) -> None:
        """This worker drains: the checks are another's from now on."""
        self._leaves = True
        if self._seat is not None:
            self._seat.rise()
        self._checks.run(False)  # noqa: FBT003 - a switch

    async def close(self) -> None:
        """Lets go of the file and of every check under way."""
        self.leave()
        await self._checks.close()
        self._part()

    def _part(self) -> None:
        table, self._table, self._seat = self._table, None, None
        for balancer in self._balancers.values():
            balancer.gate = None
        if table is not None:
            table.close()

    def readings(self) -> list[Reading]:
        """What metrics show of it."""
        return [Reading("faregate_health_shared", (), float(self._table is not None))]

    # reading

    def _visit_all(self) -> Iterator[None]:
        """One round over all targets of the running revision, a step each."""
        self._turn += 1
        visited = 0
        names = list(self._balancers)
        first = names.index(self._visiting) if self._visiting in self._balancers else 0
        for name in [*names[first:], *names[:first]]:  # lest frequent reloads leave the last ones out
            self._visiting = name
            balancer = self._balancers[name]
            for target in balancer.targets:
                if self._table is not None:
                    self._visit(self._table, name, target, self._now)
                visited += 1
                yield
        if len(self._entries) <= visited:
            return
        for key, entry in list(self._entries.items()):
            if entry.turn < self._turn and not self._is_current(entry):
                del self._entries[key]
                self._by_slot.pop(entry.place.slot, None)
            yield

    def _is_current(self, entry: _Entry) -> bool:
        balancer = self._balancers.get(entry.upstream)
        return balancer is not None and entry.target in balancer.targets

    def _visit(self, table: HealthTable, upstream: str, target: TargetState, now: float) -> None:
        entry = self._entries.get((upstream, target.name))
        if entry is None or table.read(entry.place) < 0:
            if entry is not None:
                self._by_slot.pop(entry.place.slot, None)
            place = table.claim(_key(upstream, target.name), _ms(now))
            if place is None:
                self._entries.pop((upstream, target.name), None)
                return  # more targets than the file is made for: this one every worker judges alone
            entry = self._entries[upstream, target.name] = _Entry(upstream, target, place)
            self._by_slot[place.slot] = entry
        entry.turn = self._turn
        entry.target = target
        table.seen(entry.place, _ms(now))
        self._read(table, entry, now)
        if entry.word and self._checks.running:
            balancer = self._balancers[upstream]
            if balancer.upstream.active is None and unpack(entry.word).unhealthy:
                self._publish(balancer, target, "check_passed")  # nobody checks it any more

    def _catch_up(self, table: HealthTable, now: float) -> None:
        sequence = table.sequence
        if sequence == self._sequence:
            return
        slots = table.changed_since(self._sequence)
        self._sequence = sequence
        for entry in (
            list(self._entries.values())
            if slots is None
            else [self._by_slot[slot] for slot in slots if slot in self._by_slot]
        ):
            self._read(table, entry, now)

    def _read(self, table: HealthTable, entry: _Entry, now: float) -> None:
        """Takes over a word that is not the one last read."""
        word = table.read(entry.place)
        if word in {entry.word, -1}:
            return
        balancer = self._balancers.get(entry.upstream)
        if balancer is None:
            return
        entry.word = word
        shared = unpack(word)
        outage = None
        if shared.out:
            longest = now + _longest_s(balancer)
            until = min(shared.at_ms / 1e3, longest)
            outage = Outage(shared.out, until, shared.ejections, shared.broken)
        balancer.adopt(entry.target, not shared.unhealthy, outage, shared.at_ms / 1e3, now)

    # writing

    def _gate(self, balancer: Balancer, target: TargetState, outage: Outage, now: float) -> bool:
        """Whether a target may be taken out now that all workers are considered; if so, all are told."""
        table = self._table
        entry = self._entries.get((balancer.upstream.name, target.name))
        if table is None or entry is None or entry.target is not target:
            return True
        locked = table.lock()
        try:
            self._catch_up(table, now)
            self._read(table, entry, now)
            if table.read(entry.place) < 0:
                return True  # its place is another's; the next round finds it a new one
            if target.ejected_until and (target.broken or not outage.broken):
                return False  # another worker did it
            if not outage.broken and not balancer.may_eject(target):
                return False
            out = Shared(outage.out_as, False, outage.broken, outage.ejections, _ms(outage.until))  # noqa: FBT003 - a record
            entry.word = _write(table, entry.place, out._replace(unhealthy=unpack(entry.word).unhealthy))
        finally:
            if locked:
                table.unlock()
        return True

    def _heard(self, balancer: Balancer, target: TargetState, state: str, reason: str) -> None:
        """What this worker's balancer decided; what the gate allowed is published already."""
        name = balancer.upstream.name
        if reason in {"failures", "failure_ratio"}:
            self._count("faregate_target_ejections_total", (name, target.name, reason))
            _log.warning("target %s of %s is %s: %s", target.name, name, state, reason)
        elif reason == "trial_passed":
            _log.warning("target %s of %s is in service again", target.name, name)
            self._publish(balancer, target, reason)
        elif reason in {"check_passed", "check_failed"}:
            self._publish(balancer, target, reason)

    def _publish(self, balancer: Balancer, target: TargetState, reason: str) -> None:
        """Only that half of the word is changed which ``reason`` is about."""
        table = self._table
        entry = self._entries.get((balancer.upstream.name, target.name))
        if table is None or entry is None or entry.target is not target:
            return
        locked = table.lock()
        try:
            word = table.read(entry.place)
            if word < 0:
                return  # its place is another's; the next round finds it a new one
            shared = unpack(word)
            if reason == "trial_passed":
                known = unpack(entry.word)
                if (shared.out, shared.at_ms) != (known.out, known.at_ms):
                    return  # another worker decided otherwise meanwhile, which the next look brings
                shared = Shared("", shared.unhealthy, False, target.ejections, _ms(target.returned_at))  # noqa: FBT003 - a record
            else:
                shared = shared._replace(unhealthy=not target.healthy)
            # Read back at the next look, as by the others: it may hold more than this worker knew.
            _write(table, entry.place, shared)
        finally:
            if locked:
                table.unlock()


def _write(table: HealthTable, place: Place, shared: Shared) -> int:
    """The word that stands there now."""
    word = pack(shared._replace(version=unpack(table.read(place)).version + 1))
    table.write(place, word)
    return word


def join(path: Path, count: Count, now: float) -> HealthSharing:
    """A worker's part in the agreement kept at ``path``; alone, and said so, where that cannot be used."""
    checks = HealthChecks(_say)
    try:
        table = HealthTable(path, _ms(now))
    except (OSError, HealthError) as error:
        _log.warning("health is not shared with the other workers: %s", error)
        return HealthSharing(None, checks, count)
    return HealthSharing(table, checks, count)


def _say(target: str, healthy: bool, reason: str) -> None:  # noqa: FBT001 - HealthListener
    _log.warning("target %s is %s", target, "healthy again" if healthy else f"unhealthy: {reason}")


def _ms(seconds: float) -> int:
    return int(seconds * 1e3)


def _key(upstream: str, target: str) -> bytes:
    return f"{upstream}\n{target}".encode()


def _longest_s(balancer: Balancer) -> float:
    """What an outage can last at most by this worker's configuration: no word from elsewhere binds longer."""
    passive, breaker = balancer.upstream.passive, balancer.upstream.breaker
    return max(passive.eject_for * 4.0 if passive else 0.0, breaker.open_for if breaker else 0.0)
