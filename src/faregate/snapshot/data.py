"""The compiled configuration as plain data: names resolved, defaults filled in, every error already reported.

``compile`` makes it, a file carries it (MessagePack, mode 0600: it may hold an issuer's shared secret), each
worker reads it and assembles its ready steps from it. Nothing here knows where the text stood or how it was
spelt. Times are seconds as float, sizes bytes, unless a name says otherwise. Every name is text as written by
the operator.
"""

from typing import Final

import msgspec

FORMAT: Final = 1
"""Raised when a field changes meaning; a worker refuses another number."""


class Frozen(msgspec.Struct, frozen=True, omit_defaults=True):
    """Base of all snapshot records."""


class Listener(Frozen, frozen=True):
    """One listening address; port 0 takes a free one."""

    host: str
    port: int


class GatewayLimits(Frozen, frozen=True):
    """Bounds on what one caller may send (SPEC section 2 ``gateway.limits``)."""

    header_bytes: int = 64 << 10
    headers: int = 128
    body_bytes: int = 1 << 20
    header_timeout: float = 10.0
    body_timeout: float = 60.0
    idle_timeout: float = 60.0


class Gateway(Frozen, frozen=True):
    """What the processes themselves need. ``workers`` 0 means one per usable core; ``manager`` None means
    none.
    """

    listen: tuple[Listener, ...]
    manager: Listener | None
    workers: int
    data: str
    trusted_proxies: tuple[str, ...] = ()
    limits: GatewayLimits = GatewayLimits()


class Issuer(Frozen, frozen=True):
    """An identity provider. Exactly one of ``jwks`` (key set text), ``jwks_url``, ``secret`` is set."""

    name: str
    issuer: str
    audience: tuple[str, ...]
    algorithms: tuple[str, ...]
    consumer_claim: str = "sub"
    leeway: float = 10.0
    jwks: bytes | None = None
    jwks_url: str | None = None
    jwks_ca: str | None = None
    secret: bytes | None = None

    def __repr__(self) -> str:
        return f"Issuer(name={self.name!r}, issuer={self.issuer!r}, secret={'***' if self.secret else None})"


class Rate(Frozen, frozen=True):
    """One window. ``period_ms`` 0: a calendar month in UTC; ``burst`` 0: sliding window, else a bucket of
    that depth.

    ``name`` is what a refusal's ``parameter`` and the ``RateLimit`` header say (visible ASCII, no quote),
    unique within a call: ``plan.standard.100/second``, ``api.payments.20/second``, ``route.20/second``,
    ``quota.standard``. ``scope`` is the stable part of the counter's key, with the consumer, the period and
    the kind (window or bucket): ``plan``, ``api payments``, ``route payments POST /payments``. The count is
    no part of it, so that an edited limit keeps its history.
    """

    name: str
    scope: str
    count: int
    period_ms: int
    burst: int = 0


class Plan(Frozen, frozen=True):
    """Limits that consumers share by reference; each consumer has its own counts. ``concurrency`` 0: none."""

    name: str
    limits: tuple[Rate, ...] = ()
    quota: Rate | None = None
    concurrency: int = 0


class JwtCredential(Frozen, frozen=True, tag="jwt"):
    """Tokens of ``issuer`` whose consumer claim equals ``subject``. Its credential id is
    ``jwt:<issuer>:<subject>``.
    """

    issuer: str
    subject: str


class ApiKeyCredential(Frozen, frozen=True, tag="api_key"):
    """``sha256``: 32 bytes, the digest of the whole key. ``expires``: seconds since the epoch, 0 = never."""

    id: str
    sha256: bytes
    expires: int = 0


class Consumer(Frozen, frozen=True):
    """Who calls. ``plan`` names a plan or is None."""

    name: str
    plan: str | None = None
    permissions: tuple[str, ...] = ()
    credentials: tuple[JwtCredential | ApiKeyCredential, ...] = ()
    allow_ips: tuple[str, ...] = ()
    suspended: bool = False


class Target(Frozen, frozen=True):
    """One server of an upstream. ``name`` is ``host:port`` as logged."""

    name: str
    host: str
    port: int
    weight: int = 1


class ActiveHealth(Frozen, frozen=True):
    path: str
    every: float = 5.0
    timeout: float = 1.0
    healthy_after: int = 2
    unhealthy_after: int = 3


class PassiveHealth(Frozen, frozen=True):
    """``failures`` in ``within`` seconds eject a target for ``eject_for``; never more than ``max_ejected`` %
    at once.
    """

    failures: int = 5
    within: float = 10.0
    eject_for: float = 30.0
    max_ejected: int = 50


class Upstream(Frozen, frozen=True):
    """``balance``: adaptive, least_requests, round_robin, random or hash; ``hash_on``: consumer, ip or a
    header's name.

    ``attempts``: how many further targets a call may try after a failed connect. ``idle`` and
    ``max_connections`` count per target and worker.
    """

    name: str
    targets: tuple[Target, ...]
    balance: str = "adaptive"
    hash_on: str = ""
    connect_timeout: float = 2.0
    first_byte_timeout: float = 10.0
    idle_timeout: float = 30.0
    total_timeout: float = 60.0
    active: ActiveHealth | None = None
    passive: PassiveHealth | None = PassiveHealth()
    attempts: int = 1
    idle: int = 64
    max_connections: int = 512


class Version(Frozen, frozen=True):
    """``state``: draft, active, deprecated or retired. Times: seconds since the epoch, 0 = not given.

    ``successor``: the path of the version that follows, or empty.
    """

    name: str
    path: str
    state: str = "active"
    deprecated_at: int = 0
    sunset_at: int = 0
    successor: str = ""
    preview: tuple[str, ...] = ()


class Route(Frozen, frozen=True):
    """One method on one path template of one version.

    ``template`` is the whole path including the version's, ``label`` the route as written
    (``POST /payments``). ``limits`` hold the route's and the API's rates, already named. ``authenticate``:
    policy names in written order, empty = public. ``log_request_body``/``log_response_body``: "" or "masked".
    """

    api: str
    version: int
    method: str
    template: str
    label: str
    upstream: str
    authenticate: tuple[str, ...] = ()
    require: tuple[str, ...] = ()
    limits: tuple[Rate, ...] = ()
    body_bytes: int = 1 << 20
    forward_credential: bool = False
    log_request_body: str = ""
    log_response_body: str = ""


class Snapshot(Frozen, frozen=True):
    """A whole configuration. ``revision`` grows with every one that was put to work on this machine.

    ``Route.version`` indexes ``versions``.
    """

    format: int
    revision: int
    gateway: Gateway
    issuers: tuple[Issuer, ...]
    upstreams: tuple[Upstream, ...]
    plans: tuple[Plan, ...]
    consumers: tuple[Consumer, ...]
    versions: tuple[Version, ...]
    routes: tuple[Route, ...]


class PlanOf(Frozen, frozen=True, gc=False):
    """Of a consumer, its plan."""

    plan: str | None = None


class LimitsOf(Frozen, frozen=True):
    """Of a route, what limits its calls."""

    authenticate: tuple[str, ...] = ()
    limits: tuple[Rate, ...] = ()


class Outline(Frozen, frozen=True):
    """What the supervisor keeps of a snapshot: a hundredth of its memory. ``routes`` is their number."""

    format: int
    revision: int
    gateway: Gateway
    routes: int


class Counted(Frozen, frozen=True):
    """What the number of counters follows from."""

    plans: tuple[Plan, ...]
    consumers: tuple[PlanOf, ...]
    routes: tuple[LimitsOf, ...]


class _Unread(Frozen, frozen=True):
    """A record of which nothing is wanted but that it is there."""


class _Head(Frozen, frozen=True):
    format: int
    revision: int
    gateway: Gateway
    routes: tuple[_Unread, ...]


def encode(snapshot: Snapshot) -> bytes:
    """The snapshot as MessagePack."""
    return msgspec.msgpack.encode(snapshot)


def decode(data: bytes) -> Snapshot:
    """Reads what ``encode`` wrote. Raises ``msgspec.DecodeError`` on other bytes, ``ValueError`` on another
    format.
    """
    snapshot = msgspec.msgpack.decode(data, type=Snapshot)
    _check_format(snapshot.format)
    return snapshot


def decode_outline(data: bytes) -> Outline:
    """The outline of what ``encode`` wrote. Raises as ``decode`` does."""
    head = msgspec.msgpack.decode(data, type=_Head)
    _check_format(head.format)
    return Outline(head.format, head.revision, head.gateway, len(head.routes))


def decode_counted(data: bytes) -> Counted:
    """What the number of counters follows from. Raises ``msgspec.DecodeError``."""
    return msgspec.msgpack.decode(data, type=Counted)


def renumber(data: bytes, revision: int) -> bytes:
    """The encoded snapshot under another revision; nothing else of it is read. Raises
    ``msgspec.DecodeError``.
    """
    members = msgspec.msgpack.decode(data, type=dict[str, msgspec.Raw])
    members["revision"] = msgspec.Raw(msgspec.msgpack.encode(revision))
    return msgspec.msgpack.encode(members)


def _check_format(number: int) -> None:
    if number != FORMAT:
        raise ValueError(f"snapshot format {number}, this program reads {FORMAT}")
