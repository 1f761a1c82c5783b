"""From a snapshot to what runs: the router, each route's ready steps, the upstreams with their balancers
and pools.

The one place where the order of the steps is written (DESIGN section 2), and where state that outlives a
revision is carried over by stable key: balancing, health and connections by upstream and target name;
counters and key sets live in stores of their own.
"""

import asyncio
import ipaddress
import time
from collections.abc import Generator
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import msgspec

from faregate.gateway.admission import LOW, shares_of
from faregate.gateway.auditing import recorded_first
from faregate.gateway.balance import Balancer, make_balancer
from faregate.gateway.canary_worker import apart
from faregate.gateway.choosing import Fronts, named_headers
from faregate.gateway.gradient import Gate
from faregate.gateway.http1.sections import FieldsMemory
from faregate.gateway.http2.upstream_pool import Http2Pool
from faregate.gateway.keeping import Recordkeeping, keeping_of
from faregate.gateway.pool import Pool
from faregate.gateway.reusing import (
    Frame,
    credentials,
    follow,
    frame_of,
    index_of,
    reusable,
    reuses_all,
    with_former,
)
from faregate.gateway.route_steps import StepBuilder
from faregate.gateway.router import Router
from faregate.gateway.schemas import Schemas
from faregate.gateway.upgrading import Tunnels
from faregate.gateway.upstream_tls import TlsClient
from faregate.policies.authenticate.index import CredentialIndex, Part
from faregate.policies.transform.step import Carried
from faregate.policies.versions.step import lifecycle_headers
from faregate.snapshot.call import ReadyRoute
from faregate.snapshot.data import GatewayLimits, Route, Snapshot, Upstream, Version
from faregate.snapshot.encoded import Sections, encode, open_sections, read_routes

if TYPE_CHECKING:
    from collections.abc import Callable

    from faregate.gateway.outbound import Network
    from faregate.kernel.json_schema import Schema
    from faregate.stores.counters import Counters
    from faregate.stores.keysets import KeySets

_ROUTES_AT_ONCE: Final = 16


class ReadyUpstream:
    """An upstream as a worker runs it: its balancer, whose targets hold their pools. Times are seconds."""

    __slots__ = (
        "balancer",
        "data",
        "first_byte_timeout",
        "hash_on",
        "idle_timeout",
        "name",
        "stream_idle_timeout",
        "stream_total_timeout",
        "tls",
        "total_timeout",
    )
    tls: TlsClient

    def __init__(
        self,
        data: Upstream,
        balancer: Balancer,
        loop: asyncio.AbstractEventLoop,
        limits: GatewayLimits,
        before: "ReadyUpstream | None" = None,
    ) -> None:
        self.data = data
        self.balancer = balancer
        self.name = data.name
        self.hash_on = data.hash_on
        self.first_byte_timeout = data.first_byte_timeout
        self.idle_timeout = data.idle_timeout
        self.total_timeout = data.total_timeout
        self.stream_idle_timeout = data.stream_idle_timeout
        self.stream_total_timeout = data.stream_total_timeout
        multiplexed = data.protocol == "h2"
        alpn = ("h2",) if multiplexed else ("http/1.1",)
        keeps = before is not None and before.tls.settings == data.tls and before.tls.alpn == alpn
        self.tls = before.tls if before is not None and keeps else TlsClient(data.tls, alpn)
        for target in balancer.targets:
            pool = target.pool
            if (
                isinstance(pool, Pool)
                and pool.serves(target.data, self.tls)
                and isinstance(pool, Http2Pool) == multiplexed
            ):
                pool.reconfigure(data)
            else:
                if isinstance(pool, Pool):
                    pool.close()  # its connections speak otherwise
                target.pool = (Http2Pool if multiplexed else Pool)(
                    target.data,
                    data,
                    loop,
                    time.monotonic,
                    header_bytes_max=limits.header_bytes,
                    headers_max=limits.headers,
                    tls=self.tls,
                )

    @property
    def pools(self) -> list[Pool]:
        return [target.pool for target in self.balancer.targets if isinstance(target.pool, Pool)]

    def bound(self, priorities: frozenset[int], now: float) -> None:
        """Gives each target the gate that ``concurrency`` asks for; what a gate has learned stays."""
        declared = self.data.concurrency
        for target in self.balancer.targets:
            if not declared:
                target.gate = None
                continue
            ceiling = self.data.max_connections if declared < 0 else declared
            if target.gate is None:
                target.gate = Gate(ceiling, now, adaptive=declared < 0)
            target.gate.take(ceiling, shares_of(priorities), adaptive=declared < 0, low=LOW in priorities)

    def end(self) -> None:
        """Leaves no connection and no task behind: the worker ends."""
        for pool in self.pools:
            pool.end()
        self.tls.close()

    def reap(self, now: float) -> None:
        for pool in self.pools:
            pool.reap(now)
        for target in self.balancer.targets:
            if target.ejected_until and isinstance(target.pool, Pool):
                target.pool.let_go()
            if target.gate is not None:
                target.gate.look(now, target.in_flight)


class Runtime:
    """One revision as a worker runs it. Immutable but for what the balancers learn.

    ``parts`` and ``records``: what came of sections by their digests, ``frame``, ``index``, ``steps``,
    ``routes`` and ``made`` (on the way, for them): what else the next revision may take over. ``swap``: what
    this one shares with the former one becomes its own; to be called when it is put to work, in the same turn
    of the loop. ``ends``: how many credentials end in an hour since the epoch.
    ``keeping``: the routes that keep records in the ledger. ``large``: what would take long to free at once
    (``retiring``).
    """

    def __init__(
        self,
        snapshot: Snapshot,
        router: "Router[ReadyRoute]",
        upstreams: dict[str, ReadyUpstream],
        tunnels: Tunnels,
        same: "Runtime | None" = None,
    ) -> None:
        self.revision = snapshot.revision
        self.limits = snapshot.gateway.limits
        self.priorities: frozenset[int] = (
            frozenset(route.priority for route in snapshot.routes) if same is None else same.priorities
        )
        self.trusted: tuple[Network, ...] = tuple(
            ipaddress.ip_network(text) for text in snapshot.gateway.trusted_proxies
        )
        self.router = router
        self.upstreams = upstreams
        self.tunnels = tunnels
        self.versions = snapshot.versions
        self.plans = snapshot.plans
        self.index = CredentialIndex()
        self.frame: Frame | None = None
        self.steps: StepBuilder | None = None
        self.routes: list[ReadyRoute] = []
        self.made: list[ReadyRoute] = []
        self.swap: Callable[[], None] = lambda: None
        self.parts: dict[bytes, Part] = {}
        self.records: dict[bytes, tuple[Route, ...]] = {}
        self.ends: dict[int, int] = {}
        self.schemas: dict[str, Schema] = {}
        self.keeping: list[ReadyRoute] = []
        self.large: list[dict[Any, Any] | list[Any]] = []
        self.fields: FieldsMemory = (
            FieldsMemory(self.limits.header_bytes, self.limits.headers) if same is None else same.fields
        )


def assemble(  # noqa: PLR0913, PLR0917 - as ``assembling``
    snapshot: Snapshot,
    counters: "Counters",
    keysets: "KeySets",
    loop: asyncio.AbstractEventLoop,
    previous: Runtime | None = None,
    keeper: Recordkeeping | None = None,
) -> Runtime:
    """``assembling`` of a snapshot that is at hand, in one go."""
    made = finish(assembling(open_sections(encode(snapshot)), counters, keysets, loop, previous, keeper))
    made.swap()
    return made


def finish(steps: Generator[None, None, Runtime]) -> Runtime:
    """What ``assembling`` comes to, when nobody waits."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            made = done.value
            assert isinstance(made, Runtime)
            return made


def assembling(  # noqa: C901, PLR0912, PLR0913, PLR0915, PLR0917 - what a runtime is made from, in its one order
    sections: Sections,
    counters: "Counters",
    keysets: "KeySets",
    loop: asyncio.AbstractEventLoop,
    previous: Runtime | None = None,
    keeper: Recordkeeping | None = None,
    beside: Runtime | None = None,
) -> Generator[None, None, Runtime]:
    """Builds everything a worker needs to run a snapshot, beside what is running now, and yields wherever
    calls may come between: each piece takes a fraction of a millisecond.

    What came of a section of consumers or routes that ``previous`` had as well is taken from it. Upstreams
    come last: their targets are shared with what is running. Pools of targets that are gone are closed by
    ``retire`` once the new one serves. ``keeper``: the ledger, for routes that need it. ``beside``, in the
    place of ``previous``: what goes on running too, and of which nothing is changed; an upstream that is
    otherwise there has balancing, connections and health of its own here. Raises ``ValueError`` when the
    snapshot cannot be put to work.
    """
    head = sections.head
    parts, index = yield from credentials(sections, previous, beside)
    known = previous or beside
    kept = known.records if known is not None else {}
    records = {}
    for section in sections.routes:
        records[section.digest] = kept.get(section.digest) or read_routes(section)
        yield
    snapshot = msgspec.structs.replace(
        head,
        consumers=tuple(consumer for consumer, _ in index.others),
        routes=tuple(chain.from_iterable(records[section.digest] for section in sections.routes)),
    )
    frame = frame_of(snapshot, index, keeper)
    same = previous if previous is not None and previous.frame == frame else None
    if same is None and previous is not None and index.keys is previous.index.keys:
        index = yield from index_of(parts)  # the former one serves until this one does
    build_steps = StepBuilder(snapshot, index, counters, keysets, None if same is None else same.steps)
    yield
    if same is not None and reuses_all(same, sections, snapshot):
        upstreams = yield from _upstreams(snapshot, same, loop, same)
        return _successor(same, snapshot, index, parts, build_steps, upstreams)
    tunnels = known.tunnels if known is not None else Tunnels(loop)
    version_headers = [
        (
            named_headers(version) + lifecycle_headers(version),
            b"X-Api-Version: %b\r\n" % version.name.encode(),
        )
        for version in snapshot.versions
    ]
    router: Router[ReadyRoute] = Router(())
    routes = []
    schemas = Schemas(None if known is None else known.schemas)
    reused = {} if same is None else reusable(same, sections, snapshot.versions)
    for number, (route, former) in enumerate(with_former(sections, records, reused)):
        version = snapshot.versions[route.version]
        ready = former or _ready(route, version, build_steps, tunnels, keeper)
        if route.validation is not None:
            ready.checks = yield from schemas.checks(route.validation)
            ready.holds = True
        ready.answer_headers, ready.upstream_headers = version_headers[route.version]
        routes.append(ready)
        if version.choice is None and not version.splits:
            router.add(route.method, route.template, ready)
        if not number % _ROUTES_AT_ONCE:
            yield
    fronts = Fronts(snapshot.versions, build_steps.authenticate, partial(keeping_of, keeper))
    yield from fronts.publish(router, routes)
    if beside is not None:
        make = partial(ReadyUpstream, loop=loop, limits=snapshot.gateway.limits)
        upstreams = apart(beside.upstreams, snapshot, make)
    else:
        upstreams = yield from _upstreams(snapshot, previous, loop, same)
    for number, ready in enumerate(chain(routes, fronts.made)):
        if ready.upstream is None:  # those that are taken over follow when they are put to work
            ready.upstream = upstreams[ready.data.upstream]
        if not number % (_ROUTES_AT_ONCE * _ROUTES_AT_ONCE):
            yield
    tunnels.most = snapshot.gateway.limits.connections // 2
    runtime = Runtime(snapshot, router, upstreams, tunnels, same)
    runtime.parts, runtime.records, runtime.routes = parts, records, routes
    runtime.made = fronts.made
    follow(runtime, snapshot, index, frame, build_steps, same)
    runtime.schemas = schemas.known
    runtime.keeping = [route for route in routes if route.keeping is not None]
    runtime.large = [index.keys, *index.subjects.values(), parts, records, routes]
    runtime.large += [router.nodes, *fronts.nodes]
    if beside is not None:  # the gateway's settings, which both share
        runtime.trusted, runtime.fields = beside.trusted, beside.fields
    return runtime


def _upstreams(
    snapshot: Snapshot, previous: Runtime | None, loop: asyncio.AbstractEventLoop, same: Runtime | None
) -> Generator[None, None, dict[str, ReadyUpstream]]:
    """The upstreams; those of ``same`` as they stand where nothing of them has changed."""
    now = time.monotonic()
    priorities = frozenset(route.priority for route in snapshot.routes)
    upstreams = {}
    for data in snapshot.upstreams:
        before = previous.upstreams.get(data.name) if previous is not None else None
        if before is not None and same is not None and before.data == data:
            upstreams[data.name] = before
            continue
        balancer = make_balancer(data, before.balancer if before is not None else None, now)
        upstreams[data.name] = ReadyUpstream(data, balancer, loop, snapshot.gateway.limits, before)
        upstreams[data.name].bound(priorities, now)
        yield
    return upstreams


def _successor(  # noqa: PLR0913, PLR0917 - what ``assembling`` has made by then
    same: Runtime,
    snapshot: Snapshot,
    index: CredentialIndex,
    parts: dict[bytes, Part],
    steps: StepBuilder,
    upstreams: dict[str, ReadyUpstream],
) -> Runtime:
    """A runtime that differs from ``same`` in its consumers, plans and upstreams alone."""
    runtime = Runtime(snapshot, same.router, upstreams, same.tunnels, same)
    runtime.parts, runtime.records, runtime.routes = parts, same.records, same.routes
    runtime.made = same.made
    runtime.schemas, runtime.keeping = same.schemas, same.keeping
    follow(runtime, snapshot, index, same.frame, steps, same)
    credentials = {id(same.index.keys), id(same.parts), *map(id, same.index.subjects.values())}
    routing = [one for one in same.large if id(one) not in credentials]
    runtime.large = [index.keys, *index.subjects.values(), parts, *routing]
    return runtime


def _ready(
    route: Route,
    version: Version,
    build_steps: StepBuilder,
    tunnels: Tunnels,
    keeper: Recordkeeping | None,
) -> ReadyRoute:
    """One route with its steps and what else its calls need, but for its upstream."""
    ready = ReadyRoute(route, version, None)
    ready.steps = build_steps(route, version)
    if route.upgrade is not None:
        build_steps.take_upgrades(ready, route.upgrade, tunnels)
    if route.audit == "required":
        ready.steps = (*ready.steps, recorded_first)
    ready.keeping = keeping_of(keeper, route, version)
    if route.request_changes or route.response_changes:
        ready.changes = Carried(route)
    ready.holds = ready.keeping is not None or ready.changes is not None
    ready.log_fields = '"api":{},"version":{},"route":{}'.format(
        *(msgspec.json.encode(text).decode() for text in (route.api, version.name, route.label))
    )
    return ready


def retire(previous: Runtime, current: Runtime) -> None:
    """Closes the pools of targets that ``current`` no longer has; lent connections close when they come
    back. What both have is ``current``'s to free.
    """
    shared = {id(one) for one in current.large}
    previous.large = [one for one in previous.large if id(one) not in shared]
    kept = {id(pool) for upstream in current.upstreams.values() for pool in upstream.pools}
    for upstream in previous.upstreams.values():
        for pool in upstream.pools:
            if id(pool) not in kept:
                pool.close()
