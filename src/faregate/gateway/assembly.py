"""From a snapshot to what runs: the router, each route's ready steps, the upstreams with their balancers
and pools.

The one place where the order of the steps is written (DESIGN section 2), and where state that outlives a
revision is carried over by stable key: balancing, health and connections by upstream and target name;
counters and key sets live in stores of their own.
"""

import asyncio
import ipaddress
import time
from email.utils import formatdate
from typing import TYPE_CHECKING

import msgspec

from faregate.gateway.balance import Balancer, make_balancer
from faregate.gateway.http1.sections import FieldsMemory
from faregate.gateway.pool import Pool
from faregate.gateway.router import Router
from faregate.kernel.problems import Refusal
from faregate.policies import limits
from faregate.policies.address import step as address
from faregate.policies.authenticate.step import Authenticators
from faregate.policies.permit import step as permit
from faregate.snapshot.call import Call, ReadyConsumer, ReadyRoute, Step
from faregate.snapshot.data import GatewayLimits, Route, Snapshot, Upstream, Version

if TYPE_CHECKING:
    from collections.abc import Callable

    from faregate.gateway.outbound import Network
    from faregate.stores.counters import Counters
    from faregate.stores.keysets import KeySets


class ReadyUpstream:
    """An upstream as a worker runs it: its balancer, whose targets hold their pools. Times are seconds."""

    __slots__ = ("balancer", "data", "first_byte_timeout", "hash_on", "idle_timeout", "name", "total_timeout")

    def __init__(
        self, data: Upstream, balancer: Balancer, loop: asyncio.AbstractEventLoop, limits: GatewayLimits
    ) -> None:
        self.data = data
        self.balancer = balancer
        self.name = data.name
        self.hash_on = data.hash_on
        self.first_byte_timeout = data.first_byte_timeout
        self.idle_timeout = data.idle_timeout
        self.total_timeout = data.total_timeout
        for target in balancer.targets:
            pool = target.pool
            if isinstance(pool, Pool):
                pool.reconfigure(data)
            else:
                target.pool = Pool(
                    target.data,
                    data,
                    loop,
                    time.monotonic,
                    header_bytes_max=limits.header_bytes,
                    headers_max=limits.headers,
                )

    @property
    def pools(self) -> list[Pool]:
        return [target.pool for target in self.balancer.targets if isinstance(target.pool, Pool)]

    def reap(self, now: float) -> None:
        for pool in self.pools:
            pool.reap(now)


class Runtime:
    """One revision as a worker runs it. Immutable but for what the balancers learn."""

    def __init__(
        self, snapshot: Snapshot, router: "Router[ReadyRoute]", upstreams: dict[str, ReadyUpstream]
    ) -> None:
        self.revision = snapshot.revision
        self.limits = snapshot.gateway.limits
        self.trusted: tuple[Network, ...] = tuple(
            ipaddress.ip_network(text) for text in snapshot.gateway.trusted_proxies
        )
        self.router = router
        self.upstreams = upstreams
        self.fields = FieldsMemory(self.limits.header_bytes, self.limits.headers)


def assemble(
    snapshot: Snapshot,
    counters: "Counters",
    keysets: "KeySets",
    loop: asyncio.AbstractEventLoop,
    previous: Runtime | None = None,
) -> Runtime:
    """Builds everything a worker needs to run ``snapshot``, beside what is running now.

    Pools of targets that are gone are closed by ``retire`` once the new one serves.
    """
    now = time.monotonic()
    upstreams = {}
    for data in snapshot.upstreams:
        before = previous.upstreams.get(data.name) if previous is not None else None
        balancer = make_balancer(data, before.balancer if before is not None else None, now)
        upstreams[data.name] = ReadyUpstream(data, balancer, loop, snapshot.gateway.limits)
    consumers = _ready_consumers(snapshot)
    build_steps = _StepBuilder(snapshot, consumers, counters, keysets)
    routes = []
    version_headers = [
        (_lifecycle_headers(version), b"X-Api-Version: %b\r\n" % version.name.encode())
        for version in snapshot.versions
    ]
    for route in snapshot.routes:
        version = snapshot.versions[route.version]
        ready = ReadyRoute(route, version, upstreams[route.upstream])
        ready.steps = build_steps(route, version)
        ready.answer_headers, ready.upstream_headers = version_headers[route.version]
        ready.log_fields = '"api":{},"version":{},"route":{}'.format(
            *(msgspec.json.encode(text).decode() for text in (route.api, version.name, route.label))
        )
        routes.append((route.method, route.template, ready))
    return Runtime(snapshot, Router(routes), upstreams)


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
        consumers: dict[str, ReadyConsumer],
        counters: "Counters",
        keysets: "KeySets",
    ) -> None:
        self._authenticators = Authenticators(snapshot, consumers, keysets)
        self._address = address.build(consumers.values())
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

    def _once(self, key: object, make: "Callable[[], Step | None]") -> Step | None:
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]


def _ready_consumers(snapshot: Snapshot) -> dict[str, ReadyConsumer]:
    """All consumers by name; equal plans and grants are one object, for 100,000 consumers have a handful.

    Names are copied: what stays would else lie between the pieces of the snapshot and keep their memory.
    """
    plans = {plan.name: plan.name for plan in snapshot.plans}
    grants: dict[tuple[str, ...], frozenset[str]] = {}
    ready = {}
    for consumer in snapshot.consumers:
        permissions = grants.get(consumer.permissions)
        if permissions is None:
            permissions = grants[consumer.permissions] = frozenset(consumer.permissions)
        name = consumer.name.encode().decode()
        ready[name] = ReadyConsumer(
            name,
            plan=consumer.plan and plans.get(consumer.plan, consumer.plan),
            permissions=permissions,
            networks=tuple(map(ipaddress.ip_network, consumer.allow_ips)) if consumer.allow_ips else None,
            suspended=consumer.suspended,
        )
    return ready


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
