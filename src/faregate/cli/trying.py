"""A call decided without being sent: what ``faregate try`` asks.

The gateway's own router and steps, made from the last good snapshot, judge the call; counters are a copy of
those at work, so that limits are shown as they stand and nothing is counted. Who calls is either taken as
given, with a credential that the route accepts, or proven by the header that is passed along. The ledger is
never asked: of idempotency only the rule is told.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from faregate.cli.trial_counters import copied_counters
from faregate.gateway.assembly import Runtime, assemble
from faregate.gateway.choosing import ReadyChoice, ReadySplit
from faregate.gateway.http1.paths import check_percent, normalise
from faregate.kernel.clock import SystemClock
from faregate.kernel.problems import Refusal
from faregate.policies.authenticate.index import PartMaker
from faregate.policies.limits import LimitStep
from faregate.policies.versions.step import split_key, split_to
from faregate.snapshot.call import Call, Identity, ReadyConsumer, ReadyRoute, Step
from faregate.snapshot.data import (
    ApiKeyCredential,
    Consumer,
    JwtCredential,
    MtlsCredential,
    Route,
    Snapshot,
    UpstreamTls,
)
from faregate.stores.keysets import KeySets

if TYPE_CHECKING:
    from faregate.stores.counters import Counters

_KINDS: Final = {ApiKeyCredential: "api_key", JwtCredential: "jwt", MtlsCredential: "mtls"}
_NAMES: Final = {
    "faregate.policies.authenticate.step": "authenticate",
    "faregate.policies.mtls.step": "authenticate",
    "faregate.policies.address.step": "address",
    "faregate.policies.permit.step": "permit",
    "faregate.policies.limits": "limits",
    "faregate.policies.versions.step": "version",
    "faregate.gateway.choosing": "version",
    "faregate.gateway.upgrading": "websocket",
}
PASSES: Final = "passes"
REFUSED: Final = "refused"
NOT_REACHED: Final = "not reached"
NOT_ASKED: Final = "not asked here"


@dataclass(frozen=True, slots=True)
class Request:
    """What is tried. ``consumer`` empty: whom the headers prove. ``headers``: names in lower case."""

    method: str
    path: str
    consumer: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    address: str = "127.0.0.1"

    def header(self, name: str) -> str | None:
        return next((value for one, value in self.headers if one == name), None)


@dataclass(slots=True)
class Verdict:
    """What one step said. ``said``: passes, refused, not reached or not asked here."""

    step: str
    said: str
    detail: str = ""


@dataclass(slots=True)
class Trial:
    """What came of it. ``refusal`` empty: the call would be sent to one of ``targets``."""

    revision: int
    path: str = ""
    api: str = ""
    version: str = ""
    route: str = ""
    consumer: str = ""
    credential: str = ""
    status: int = 0
    refusal: str = ""
    reason: str = ""
    parameter: str = ""
    upstream: str = ""
    targets: list[str] = field(default_factory=list)
    idempotency: str = ""
    limits: list[dict[str, object]] = field(default_factory=list)
    steps: list[Verdict] = field(default_factory=list)

    def refuse(self, refusal: Refusal) -> None:
        self.status, self.refusal = refusal.problem.status, refusal.code
        self.reason, self.parameter = refusal.reason, refusal.parameter


class UnknownConsumer(Exception):  # noqa: N818 - named for what is the case
    """The snapshot has no such consumer."""


def decide(snapshot: Snapshot, request: Request, memory: int = -1) -> Trial:
    """What the gateway that runs ``snapshot`` would do with ``request``. ``memory``: the descriptor of its
    counters, -1 when it does not run. Raises UnknownConsumer, ValueError, OSError.
    """
    return asyncio.run(_decide(snapshot, request, memory))


async def _decide(snapshot: Snapshot, request: Request, memory: int) -> Trial:
    consumer = next((one for one in snapshot.consumers if one.name == request.consumer), None)
    if request.consumer and consumer is None:
        raise UnknownConsumer(request.consumer)
    keysets = KeySets(_no_fetch, SystemClock(), Path(snapshot.gateway.data) / "jwks")
    with copied_counters(snapshot, memory) as counters:
        runtime = assemble(_bare(snapshot), counters, keysets, asyncio.get_running_loop())
        try:
            return await _Trying(snapshot, request, runtime, counters, consumer).run()
        finally:
            for upstream in runtime.upstreams.values():
                upstream.end()
            await keysets.retain(())


def _no_fetch(_ca: str | None) -> Callable[[str], Awaitable[bytes]]:
    async def fetch(_url: str) -> bytes:
        raise OSError("key sets are not fetched to try a call")

    return fetch


def _bare(snapshot: Snapshot) -> Snapshot:
    """Without what is told and not run: ledger, audit tree, checks of bodies, TLS of upstreams."""
    routes = tuple(
        msgspec.structs.replace(
            one, idempotency=None, validation=None, audit="off", request_changes=(), response_changes=()
        )
        for one in snapshot.routes
    )
    upstreams = tuple(
        msgspec.structs.replace(one, tls=UpstreamTls(), protocol="http1") for one in snapshot.upstreams
    )
    return msgspec.structs.replace(snapshot, routes=routes, upstreams=upstreams)


class _Trying:
    """One trial on its way."""

    def __init__(
        self,
        snapshot: Snapshot,
        request: Request,
        runtime: Runtime,
        counters: "Counters",
        consumer: Consumer | None,
    ) -> None:
        self.snapshot = snapshot
        self.request = request
        self.runtime = runtime
        self.counters = counters
        self.consumer = consumer
        self.ready: ReadyConsumer | None = None
        if consumer is not None:
            self.ready = PartMaker(snapshot.plans).ready(consumer)
        self.trial = Trial(snapshot.revision, consumer=request.consumer)
        self.call = Call(time.monotonic(), time.time())

    async def run(self) -> Trial:
        request, call, trial = self.request, self.call, self.trial
        target = request.path.partition("?")[0].encode("ascii", "replace")
        try:
            check_percent(target)
            path = normalise(target)
        except Refusal as refusal:
            return self._ends("path", refusal)
        call.method, call.path, call.client_ip = request.method.encode(), path.decode(), request.address
        authorization, key = request.header("authorization"), request.header("x-api-key")
        call.authorization = None if authorization is None else authorization.encode("latin-1", "replace")
        if key is not None:
            call.api_key = key.encode("latin-1", "replace")
        trial.path = call.path
        endpoint = self.runtime.router.find(path)
        if endpoint is None:
            return self._ends("route", Refusal("no_route", reason="no_route"))
        route = endpoint.methods.get(call.method)
        passed: Sequence[Step] = ()
        if route is None:
            choice = endpoint.choices.get(call.method)
            if not isinstance(choice, ReadyChoice):
                return self._ends("route", Refusal("method_not_allowed", reason="method_not_allowed"))
            found = await self._choose(choice, path)
            if found is None:
                return trial
            route, passed = found
        elif isinstance(route.deciding, ReadySplit):
            split = route.deciding
            if not await self._steps(route, split.passed):
                return trial
            index = split_to(route.data.api, route.version, split_key(call))
            other = None if index is None else split.others.get(index)
            trial.steps.append(Verdict("split", PASSES, "runs another version" if other else "stays"))
            route, passed = other or split.own, split.passed
        self._tell(route)
        if await self._steps(route, [one for one in route.steps if one not in passed]):
            self._passed(route)
        return trial

    async def _choose(self, choice: ReadyChoice, path: bytes) -> tuple[ReadyRoute, Sequence[Step]] | None:
        """The route of a call whose version is chosen by a header, or by its consumer's pin; and the steps
        that are passed by then.
        """
        passed: Sequence[Step] = ()
        chooser = choice.table.chooser
        value = self.request.header(chooser.header.lower())
        consumer = None
        if value is None and choice.undecided is not None:
            if not await self._steps(choice.undecided, choice.undecided.steps):
                return None
            passed = choice.passed
            consumer = None if self.call.identity is None else self.call.identity.consumer
        chosen = chooser.choose(value, consumer)
        if not chosen.name:
            self._tell(choice.unknown)
            await self._steps(choice.unknown, choice.unknown.steps)
            return None
        self.trial.steps.append(Verdict("version", PASSES, f"{chosen.name} by {chosen.by}"))
        router = choice.table.routers.get(chosen.name)
        endpoint = None if router is None else router.find(path)
        route = None if endpoint is None else endpoint.methods.get(self.call.method)
        if route is None:
            self._ends("route", Refusal("no_route", reason="no_route_in_version"))
            return None
        return route, passed

    async def _steps(self, route: ReadyRoute, steps: Sequence[Step]) -> bool:
        """Whether all pass; what each says is noted."""
        build = self.runtime.steps
        assert build is not None
        authenticate = build.authenticate(route.data)
        for at, step in enumerate(steps):
            name = _name(step)
            if step is authenticate and self.consumer is not None:
                refusal = self._identify(route.data, self.consumer)
            else:
                said = step(self.call)
                refusal = await said if isinstance(said, Awaitable) else said
            if isinstance(step, LimitStep):
                self.trial.limits = [
                    {"name": one, "limit": limit, "left": left}
                    for one, limit, left in step.standing(self.call)
                ]
            if refusal is not None:
                self.trial.steps.append(Verdict(name, REFUSED, _told(refusal)))
                self.trial.refuse(refusal)
                self.trial.steps += [Verdict(_name(one), NOT_REACHED) for one in steps[at + 1 :]]
                return False
            self.trial.steps.append(Verdict(name, PASSES, self._about(name, route.data)))
        return True

    def _identify(self, route: Route, consumer: Consumer) -> Refusal | None:
        """Takes the consumer as proven, by a credential of its own that the route accepts and that holds."""
        fitting = [one for one in consumer.credentials if _KINDS[type(one)] in route.authenticate]
        if not fitting:
            return Refusal("credential_missing", reason="none_sent")
        wall = self.call.wall
        holding = [one for one in fitting if not one.expires or one.expires > wall]
        if not holding:
            return Refusal("credential_invalid", reason="expired")
        valid = [one for one in holding if one.not_before <= wall]
        if not valid:
            return Refusal("credential_invalid", reason="not_yet_valid")
        one = valid[0]
        name = one.id or (f"jwt:{one.issuer}:{one.subject}" if isinstance(one, JwtCredential) else "")
        assert self.ready is not None
        if self.ready.suspended:
            return Refusal("consumer_suspended", reason="consumer_suspended")
        self.call.identity = Identity(self.ready, name)
        return None

    def _about(self, step: str, route: Route) -> str:
        identity = self.call.identity
        if step == "authenticate" and identity is not None:
            self.trial.consumer, self.trial.credential = identity.consumer.name, identity.credential
            assumed = ", taken as proven" if self.consumer is not None else ""
            return f"{identity.consumer.name} by {identity.credential}{assumed}"
        if step == "permit":
            return f"requires {', '.join(route.require) or 'nothing'}"
        if step == "limits":
            return ", ".join(
                f"{one['name']}: {one['left']} of {one['limit']} left" for one in self.trial.limits
            )
        return self.call.client_ip if step == "address" else ""

    def _tell(self, route: ReadyRoute) -> None:
        self.trial.api, self.trial.version = route.data.api, route.version.name
        self.trial.route = route.data.label

    def _ends(self, step: str, refusal: Refusal) -> Trial:
        self.trial.steps.append(Verdict(step, REFUSED, _told(refusal)))
        self.trial.refuse(refusal)
        return self.trial

    def _passed(self, route: ReadyRoute) -> None:
        """What would come behind the steps."""
        trial, own = self.trial, self._declared(route)
        if own.validation is not None:
            trial.steps.append(Verdict("validate", NOT_ASKED, "the body is held against the API's document"))
        if own.audit == "required":
            trial.steps.append(Verdict("audit", NOT_ASKED, "a leaf is durable before the call is sent"))
        rule = own.idempotency
        if rule is not None:
            trial.idempotency = "required" if rule.required else "optional"
            keyed = rule.pointers or rule.form or (rule.header.decode(),)
            has = (
                not rule.pointers and not rule.form and self.request.header(rule.header.decode()) is not None
            )
            if rule.required and not has and not rule.pointers and not rule.form:
                refusal = Refusal("idempotency_key_missing", reason="key_missing", parameter=keyed[0])
                self._ends("idempotency", refusal)
                return
            trial.steps.append(
                Verdict(
                    "idempotency",
                    NOT_ASKED,
                    f"{trial.idempotency}, by {', '.join(keyed)}; the ledger decides",
                )
            )
        if own.request_changes or own.response_changes:
            trial.steps.append(
                Verdict("transform", NOT_ASKED, "carried into the form that the service speaks")
            )
        trial.upstream = own.upstream
        group = next(one for one in self.snapshot.upstreams if one.name == own.upstream)
        trial.targets = [one.name for one in group.targets]
        told = f"{own.upstream} ({group.balance}): {', '.join(trial.targets)}"
        trial.steps.append(Verdict("send", NOT_ASKED, told))

    def _declared(self, route: ReadyRoute) -> Route:
        """The route with what ``_bare`` left out."""
        for one in self.snapshot.routes:
            if (one.api, one.version, one.label) == (route.data.api, route.data.version, route.data.label):
                return one
        return route.data


def _told(refusal: Refusal) -> str:
    place = f", {refusal.parameter}" if refusal.parameter and refusal.parameter not in refusal.reason else ""
    return f"{refusal.problem.status} {refusal.code} ({refusal.reason}{place})"


def _name(step: Step) -> str:
    module = str(getattr(step, "__module__", "") or type(step).__module__)
    return _NAMES.get(module, module.rpartition(".")[2])
