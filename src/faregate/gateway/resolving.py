"""Settles calls of unknown outcome by asking the upstream what became of them (payments.md section 3.7).

One resolver per worker; the store's lease sees to it that a record is asked about by one at a time. It looks
every second, and only while a route of the running revision has a query. What is asked and what an answer
means is the policy's (``policies.idempotency.query``), how it is asked is ``query``'s. The query carries
``X-Consumer-Id``, ``X-Api-Version`` and the call's ``X-Request-Id``, as the call did, and no credential.

A verdict is final; all else (no target, no answer, an answer without a verdict) asks again later, ever more
seldom, and for ever: an operator sees how often in ``tries``. Nothing is ever sent again here.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

from faregate.gateway.dial import Dialler
from faregate.gateway.http1.response import ResponseHead
from faregate.gateway.http2.upstream_pool import Http2Pool
from faregate.gateway.keeping import Keeping
from faregate.gateway.pool import Pool
from faregate.gateway.query import DEADLINE_S, Answer, QueryError, ask, request_head
from faregate.policies.idempotency.query import finding, path_parameters, question
from faregate.stores.ledger.about import RESOLVER, About, decode_about
from faregate.stores.ledger.protocol import COMPLETED, LEASE_S, UNKNOWN, Claim, Entry, Ledger, LedgerError
from faregate.stores.ledger.sealing import SealError

if TYPE_CHECKING:
    from faregate.gateway.assembly import ReadyUpstream
    from faregate.gateway.balance.state import TargetState
    from faregate.snapshot.call import ReadyRoute
    from faregate.snapshot.idempotency import Resolve

_log = logging.getLogger("faregate.ledger")

LOOK_S: Final = 1.0
LOOK_AGAIN_S: Final = 0.1
"""The same while there may be more to ask about than there is room for."""
ASKING_MAX: Final = 8
"""Queries of one worker at once; no record is taken from the store for which there is no room."""
BACK_OFF_S: Final = (1.0, 5.0, 30.0, 120.0, 600.0, 3600.0, 21_600.0)
"""Until a record's first query, its second, ...; the last one repeats."""
JITTER: Final = 0.1

Count = Callable[[str, tuple[str, ...]], None]
RouteName = tuple[str, str, str]
"""Api, version, route."""

assert DEADLINE_S < LEASE_S  # a record is asked about by one at a time


class _Unasked(Exception):  # noqa: N818 - says why nothing was learned
    """Nothing could be asked, or nothing was answered; the argument is the reason."""


class _Question(NamedTuple):
    """All that one query needs."""

    entry: Entry
    about: About
    keeping: Keeping
    resolve: "Resolve"
    upstream: "ReadyUpstream"
    target: bytes
    body: bytes


class Resolver:
    """One worker's part in settling what is unknown. ``count`` adds one to a metric; ``wall``: seconds since
    the epoch. For one event loop.
    """

    def __init__(
        self,
        count: Count,
        wall: Callable[[], float] = time.time,
        random: Random | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count = count
        self._wall = wall
        self._monotonic = monotonic
        self._random = random or Random()  # noqa: S311 - spreads load, guards nothing
        self._ledger: Ledger | None = None
        self._routes: dict[RouteName, Keeping] = {}
        self._templates: dict[RouteName, str] = {}
        self._upstreams: Mapping[str, ReadyUpstream] = {}
        self._asking: set[asyncio.Task[None]] = set()
        self._looking: asyncio.Task[None] | None = None
        self._said = False

    def follow(self, routes: "Iterable[ReadyRoute]", upstreams: "Mapping[str, ReadyUpstream]") -> None:
        """Goes on with the routes and upstreams of a new revision."""
        self._routes, self._templates, self._ledger = {}, {}, None
        self._upstreams = upstreams
        for route in routes:
            keeping = route.keeping
            if isinstance(keeping, Keeping) and keeping.data.resolve is not None:
                name = (route.data.api, route.version.name, route.data.label)
                self._routes[name] = keeping
                self._templates[name] = route.data.template
                self._ledger = keeping.keeper.ledger

    def start(self) -> None:
        """Begins to look; returns at once."""
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._keep_looking(), name="resolver")

    def leave(self) -> None:
        """This worker drains: nothing more is asked; what is under way ends by itself."""
        if self._looking is not None:
            self._looking.cancel()

    async def close(self) -> None:
        """Gives up what is under way; another worker asks when its lease has ended."""
        self.leave()
        tasks = [*self._asking, *([self._looking] if self._looking is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._looking = None

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._until_look_s())
            try:
                await self.look()
            except Exception:  # noqa: BLE001 - a store's defect must not end all looking
                _log.exception("calls of unknown outcome cannot be looked into")

    def _until_look_s(self) -> float:
        pause_s = LOOK_S if len(self._asking) < ASKING_MAX else LOOK_AGAIN_S
        return pause_s * self._random.uniform(1.0 - JITTER, 1.0 + JITTER)

    async def look(self) -> int:
        """Begins the queries that are due and for which there is room; how many these are."""
        ledger, room = self._ledger, ASKING_MAX - len(self._asking)
        if ledger is None or room <= 0:
            return 0
        try:
            entries = await ledger.due(room)
        except LedgerError as error:
            if not self._said:
                _log.warning("calls of unknown outcome cannot be looked into: %s", error)
            self._said = True
            return 0
        self._said = False
        loop = asyncio.get_running_loop()
        for entry in entries:
            task = loop.create_task(self._resolve(ledger, entry), name="resolve")
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        return len(entries)

    async def settled(self) -> None:
        """Waits for the queries that are under way."""
        await asyncio.gather(*self._asking)

    async def _resolve(self, ledger: Ledger, entry: Entry) -> None:
        """One record: asked about, then decided or put off. Raises nothing."""
        try:
            upstream, verdict = await self._verdict(ledger, entry)
            if verdict in {"unasked", "none"}:
                await ledger.defer(entry.key, entry.attempt, self._pause_s(entry.tries))
        except LedgerError:
            return  # the record's lease ends by itself, and it is asked about again
        except Exception:  # noqa: BLE001 - likewise
            _log.exception("what was found about a call of unknown outcome cannot be kept")
            return
        self._count("faregate_ledger_verdicts_total", (upstream, verdict))

    async def _verdict(self, ledger: Ledger, entry: Entry) -> tuple[str, str]:
        """Which upstream was asked, and the verdict. Raises ``LedgerError``."""
        upstream = ""
        try:
            asked = self._question(entry)
            upstream = asked.upstream.name
            return upstream, await self._ask(ledger, asked)
        except LedgerError:
            raise
        except _Unasked:
            pass
        except Exception:  # noqa: BLE001 - a defect met at one record must not keep the others unknown
            _log.exception("the query about a call of unknown outcome failed")
        return upstream, "unasked"

    def _question(self, entry: Entry) -> _Question:
        """What to ask about ``entry``. Raises ``_Unasked``."""
        try:
            about = decode_about(entry.about)
        except ValueError:
            raise _Unasked("about_unreadable") from None
        if not all(text.isprintable() for text in (about.request_id, about.consumer, about.version)):
            raise _Unasked("about_unreadable")  # a store that was tampered with writes no field of ours
        name = (about.api, about.version, about.route)
        keeping = self._routes.get(name)
        resolve = None if keeping is None else keeping.data.resolve
        if keeping is None or resolve is None:
            raise _Unasked("route_gone")
        upstream = self._upstreams.get(resolve.upstream)
        if upstream is None:
            raise _Unasked("upstream_gone")
        try:
            key = keeping.keeper.sealer.unseal(entry.key, entry.attempt, about.sealed_key)
        except SealError:
            raise _Unasked("key_sealed") from None
        filled = question(keeping.data, key, path_parameters(self._templates[name], about.path))
        if filled is None:
            raise _Unasked("template")
        return _Question(entry, about, keeping, resolve, upstream, *filled)

    async def _ask(self, ledger: Ledger, asked: _Question) -> str:
        """``completed``, ``released`` or ``none``. Raises ``_Unasked``, ``LedgerError``."""
        entry, resolve = asked.entry, asked.resolve
        answer = await self._answer(asked)
        state = finding(resolve, answer.status, answer.body, answer.content_type, self._age_s(entry))
        if state == UNKNOWN:
            return "none"
        sealed = _sealed(asked, answer) if state == COMPLETED and resolve.keeps_answer else b""
        note = f"{resolve.method} answered {answer.status}, query {entry.tries + 1}"
        decided = await ledger.decide(entry.key, entry.attempt, state, sealed, RESOLVER, note)
        if not decided:
            return "late"  # its own answer, or an operator, came first
        verdict = "completed" if state == COMPLETED else "released"
        # a released record is gone from the ledger: this line is what remains of it
        _log.info(
            "the resolver settled %s as %s: %s; call %s of %s on %s %s",
            entry.key.hex(),
            verdict,
            note,
            asked.about.request_id,
            asked.about.consumer,
            asked.about.api,
            asked.about.route,
        )
        return verdict

    async def _answer(self, asked: _Question) -> Answer:
        """What a target in rotation says. Raises ``_Unasked``."""
        balancer = asked.upstream.balancer
        target = balancer.pick(self._monotonic(), asked.about.consumer.encode(), ())
        if target is None:
            raise _Unasked("no_healthy_target")
        failed = False
        try:
            dialler = _dialler_of(target)
            request = request_head(asked.resolve.method, asked.target, target.data, _lines(asked), asked.body)
            return await ask(dialler, request, asked.upstream.data.connect_timeout)
        except QueryError as error:
            failed = not error.sent
            raise _Unasked(error.reason) from None
        finally:
            if failed:
                balancer.connect_failed(target, self._monotonic())
            else:
                balancer.released(target)  # a query's pace says nothing of a payment's

    def _age_s(self, entry: Entry) -> float:
        """How long the outcome has been unknown, by two clocks, for one may have been moved: what the wall
        clock says, and what the pauses between the queries make at least.
        """
        waited = sum(
            BACK_OFF_S[min(number, len(BACK_OFF_S) - 1)] for number in range(min(entry.tries, 999) + 1)
        )
        return min(self._wall() - entry.changed_at, waited * (1.0 - JITTER))

    def _pause_s(self, tries: int) -> float:
        """Until the next query of a record that was asked about ``tries`` times before this one."""
        longest = BACK_OFF_S[min(tries + 1, len(BACK_OFF_S) - 1)]
        return longest * self._random.uniform(1.0 - JITTER, 1.0 + JITTER)


def _dialler_of(target: "TargetState") -> Dialler:
    """How calls of ``target`` connect; queries do likewise. Raises ``_Unasked``."""
    pool = target.pool
    if not isinstance(pool, Pool) or isinstance(pool, Http2Pool):
        raise _Unasked("http2_target")
    return pool.dialler


def _lines(asked: _Question) -> bytes:
    """The fields of a query, besides those of every request."""
    about, resolve = asked.about, asked.resolve
    content = f"Content-Type: {resolve.content_type}\r\n" if resolve.content_type and asked.body else ""
    return (
        f"Accept: application/json, */*;q=0.5\r\nAccept-Encoding: identity\r\n{content}"
        f"X-Request-Id: {about.request_id}\r\nX-Consumer-Id: {about.consumer}\r\n"
        f"X-Api-Version: {about.version}\r\n"
    ).encode()


def _sealed(asked: _Question, answer: Answer) -> bytes:
    """The query's answer as the stored one; empty when it must not be kept."""
    head = ResponseHead(b"", answer.status, keep_alive=False)
    head.lines = list(answer.lines)
    head.content_type = answer.content_type
    entry = asked.entry
    claim = Claim(entry.key, entry.attempt, entry.fingerprint, 0, b"", sends=False, resolves=True)
    return asked.keeping.sealed(claim, head, answer.body)
