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
from email.utils import formatdate
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import msgspec

from faregate.gateway.admission import LOW, shares_of
from faregate.gateway.balance import Balancer, make_balancer
from faregate.gateway.gradient import Gate
from faregate.gateway.http1.sections import FieldsMemory
from faregate.gateway.http2.upstream_pool import Http2Pool
from faregate.gateway.keeping import Keeping, Recordkeeping
from faregate.gateway.pool import Pool
from faregate.gateway.router import Router
from faregate.gateway.upgrading import Tunnels, Upgrading, handshake_step, place_step, room_step
from faregate.gateway.upstream_tls import TlsClient
from faregate.kernel.problems import Refusal
from faregate.policies import limits
from faregate.policies.address import step as address
from faregate.policies.authenticate.expiry import credential_ends
from faregate.policies.authenticate.index import CredentialIndex, Part, PartMaker
from faregate.policies.authenticate.step import Authenticators
from faregate.policies.permit import step as permit
from faregate.snapshot.call import Call, ReadyRoute, Step
from faregate.snapshot.data import GatewayLimits, Plan, Route, Snapshot, Upgrade, Upstream, Version
from faregate.snapshot.encoded import Sections, encode, open_sections, read_consumers, read_routes

if TYPE_CHECKING:
    from collections.abc import Callable

    from faregate.gateway.outbound import Network
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

    ``plans``, ``parts`` and ``records``: what came of sections by their digests, for the next revision.
    ``keeping``: the routes that keep records in the ledger. ``large``: what would take long to free at once
    (``retiring``).
    """

    def __init__(
        self,
        snapshot: Snapshot,
        router: "Router[ReadyRoute]",
        upstreams: dict[str, ReadyUpstream],
        tunnels: Tunnels,
    ) -> None:
        self.revision = snapshot.revision
        self.limits = snapshot.gateway.limits
        self.priorities = frozenset(route.priority for route in snapshot.routes)
        self.trusted: tuple[Network, ...] = tuple(
            ipaddress.ip_network(text) for text in snapshot.gateway.trusted_proxies
        )
        self.router = router
        self.upstreams = upstreams
        self.tunnels = tunnels
        self.plans: tuple[Plan, ...] = ()
        self.parts: dict[bytes, Part] = {}
        self.records: dict[bytes, tuple[Route, ...]] = {}
        self.keeping: list[ReadyRoute] = []
        self.large: list[dict[Any, Any] | list[Any]] = []
        self.fields = FieldsMemory(self.limits.header_bytes, self.limits.headers)


def assemble(  # noqa: PLR0913, PLR0917 - as ``assembling``
    snapshot: Snapshot,
    counters: "Counters",
    keysets: "KeySets",
    loop: asyncio.AbstractEventLoop,
    previous: Runtime | None = None,
    keeper: Recordkeeping | None = None,
) -> Runtime:
    """``assembling`` of a snapshot that is at hand, in one go."""
    return finish(assembling(open_sections(encode(snapshot)), counters, keysets, loop, previous, keeper))


def finish(steps: Generator[None, None, Runtime]) -> Runtime:
    """What ``assembling`` comes to, when nobody waits."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            made = done.value
            assert isinstance(made, Runtime)
            return made


def assembling(  # noqa: PLR0913, PLR0917 - what a runtime is made from
    sections: Sections,
    counters: "Counters",
    keysets: "KeySets",
    loop: asyncio.AbstractEventLoop,
    previous: Runtime | None = None,
    keeper: Recordkeeping | None = None,
) -> Generator[None, None, Runtime]:
    """Builds everything a worker needs to run a snapshot, beside what is running now, and yields wherever
    calls may come between: each piece takes a fraction of a millisecond.

    What came of a section of consumers or routes that ``previous`` had as well is taken from it. Upstreams
    come last: their targets are shared with what is running. Pools of targets that are gone are closed by
    ``retire`` once the new one serves. ``keeper``: the ledger, for routes that need it. Raises
    ``ValueError`` when the snapshot cannot be put to work.
    """
    head = sections.head
    same_plans = previous is not None and previous.plans == head.plans  # consumers keep what plans say
    known = previous.parts if previous is not None and same_plans else {}
    maker = PartMaker(head.plans)
    index = CredentialIndex()
    parts: dict[bytes, Part] = {}
    for section in sections.consumers:
        part = known.get(section.digest)
        if part is None:
            part = maker.make(read_consumers(section))
        index.add(part)
        parts[section.digest] = part
        yield
    kept = previous.records if previous is not None else {}
    records = {}
    for section in sections.routes:
        records[section.digest] = kept.get(section.digest) or read_routes(section)
        yield
    snapshot = msgspec.structs.replace(
        head,
        consumers=tuple(consumer for consumer, _ in index.others),
        routes=tuple(chain.from_iterable(records[section.digest] for section in sections.routes)),
    )
    build_steps = _StepBuilder(snapshot, index, counters, keysets)
    yield
    tunnels = previous.tunnels if previous is not None else Tunnels(loop)
    version_headers = [
        (_lifecycle_headers(version), b"X-Api-Version: %b\r\n" % version.name.encode())
        for version in snapshot.versions
    ]
    router: Router[ReadyRoute] = Router(())
    routes = []
    for number, route in enumerate(snapshot.routes):
        version = snapshot.versions[route.version]
        ready = _ready(route, version, build_steps, tunnels, keeper)
        ready.answer_headers, ready.upstream_headers = version_headers[route.version]
        routes.append(ready)
        router.add(route.method, route.template, ready)
        if not number % _ROUTES_AT_ONCE:
            yield
    now = time.monotonic()
    priorities = frozenset(route.priority for route in snapshot.routes)
    upstreams = {}
    for data in snapshot.upstreams:
        before = previous.upstreams.get(data.name) if previous is not None else None
        balancer = make_balancer(data, before.balancer if before is not None else None, now)
        upstreams[data.name] = ReadyUpstream(data, balancer, loop, snapshot.gateway.limits, before)
        upstreams[data.name].bound(priorities, now)
        yield
    for number, ready in enumerate(routes):
        ready.upstream = upstreams[ready.data.upstream]
        if not number % (_ROUTES_AT_ONCE * _ROUTES_AT_ONCE):
            yield
    tunnels.most = snapshot.gateway.limits.connections // 2
    runtime = Runtime(snapshot, router, upstreams, tunnels)
    runtime.plans, runtime.parts, runtime.records = head.plans, parts, records
    runtime.keeping = [route for route in routes if route.keeping is not None]
    runtime.large = [index.keys, *index.subjects.values(), parts, records, routes, router.nodes]
    return runtime


def _ready(
    route: Route,
    version: Version,
    build_steps: "_StepBuilder",
    tunnels: Tunnels,
    keeper: Recordkeeping | None,
) -> ReadyRoute:
    """One route with its steps and what else its calls need, but for its upstream."""
    ready = ReadyRoute(route, version, None)
    ready.steps = build_steps(route, version)
    if route.upgrade is not None:
        build_steps.take_upgrades(ready, route.upgrade, tunnels)
    if route.idempotency is not None:
        if keeper is None:
            raise ValueError("the ledger is not open")
        ready.keeping = Keeping(route.idempotency, route, version, keeper)
    ready.log_fields = '"api":{},"version":{},"route":{}'.format(
        *(msgspec.json.encode(text).decode() for text in (route.api, version.name, route.label))
    )
    return ready


def retire(previous: Runtime, current: Runtime) -> None:
    """Closes the pools of targets that ``current`` no longer has; lent connections close when they come
    back.
    """
    kept = {id(pool) for upstream in current.upstreams.values() for pool in upstream.pools}
    for upstream in previous.upstreams.values():
        for pool in upstream.pools:
            if id(pool) not in kept:
                pool.close()


class _StepBuilder:
    """Makes a route's steps, in the one written order, from parts prepared once per snapshot."""

    def __init__(
        self,
        snapshot: Snapshot,
        index: CredentialIndex,
        counters: "Counters",
        keysets: "KeySets",
    ) -> None:
        self._authenticators = Authenticators(snapshot, index.other_consumers(), keysets, index)
        self._address = address.build(index.fenced)
        self._plans = {plan.name: plan for plan in snapshot.plans}
        self._counters = counters
        self._shared: dict[object, Step | None] = {}
        self._tuples: dict[tuple[Step, ...], tuple[Step, ...]] = {}

    def __call__(self, route: Route, version: Version) -> tuple[Step, ...]:
        """Retired versions first: nobody's identity changes that answer. Identity before the draft check
        and the address list, which judge the consumer; permission before counting, so that a call that may
        not pass takes nothing.
        """
        if version.state == "retired":
            return (_retired,)
        draft = _draft_only_for(frozenset(version.preview)) if version.state == "draft" else None
        identified = bool(route.authenticate)
        steps: tuple[Step | None, ...] = (
            self._once(("authenticate", route.authenticate), lambda: self._authenticators.step_for(route)),
            draft,
            self._address if identified else None,
            self._once(("permit", route.require), lambda: permit.build(route)),
            self._once(
                ("limits", route.limits, identified),
                lambda: limits.build(route, self._plans, self._counters),
            ),
        )
        made = tuple(step for step in steps if step is not None)
        return self._tuples.setdefault(made, made)  # 10,000 routes have a handful

    def take_upgrades(self, ready: ReadyRoute, settings: Upgrade, tunnels: Tunnels) -> None:
        """Adds to the steps of ``ready`` what a WebSocket needs: its checks after permission, the place
        behind everything that may still refuse the call.
        """
        limit = self._shared.get(("limits", ready.data.limits, bool(ready.data.authenticate)))
        counting = tuple(step for step in ready.steps if step is limit)
        standing = (*(step for step in ready.steps if step is not limit), handshake_step(settings))
        ready.steps = (*standing, room_step(settings, tunnels), *counting, place_step(settings, tunnels))
        ready.upgrade = Upgrading(
            settings,
            standing,
            lambda call: credential_ends(call, self._authenticators.jwt, self._authenticators.api_keys),
        )

    def _once(self, key: object, make: "Callable[[], Step | None]") -> Step | None:
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]


def _retired(call: Call) -> Refusal:  # noqa: ARG001 - every call of such a version; its headers hold the successor's link
    return Refusal("version_retired", reason="version_retired")


def _draft_only_for(preview: frozenset[str]) -> Step:
    def step(call: Call) -> Refusal | None:
        identity = call.identity
        if identity is not None and identity.consumer.name in preview:
            return None
        return Refusal("no_route", reason="draft_version")  # to all others a draft does not exist

    return step


def _lifecycle_headers(version: Version) -> bytes:
    """Deprecation (RFC 9745), Sunset (RFC 8594) and the successor's link, for deprecated and retired
    versions.
    """
    if version.state not in {"deprecated", "retired"}:
        return b""
    lines = b""
    if version.deprecated_at:
        lines += b"Deprecation: @%d\r\n" % version.deprecated_at
    if version.sunset_at:
        lines += b"Sunset: %b\r\n" % formatdate(version.sunset_at, usegmt=True).encode()
    if version.successor:
        lines += b'Link: <%b>; rel="successor-version"\r\n' % version.successor.encode()
    return lines
