"""The compiled configuration as plain data: names resolved, defaults filled in, every error already reported.

``compile`` makes it, a file carries it (MessagePack, mode 0600: it may hold an issuer's shared secret), each
worker reads it and assembles its ready steps from it. Nothing here knows where the text stood or how it was
spelt. Times are seconds as float, sizes bytes, unless a name says otherwise. Every name is text as written by
the operator.
"""

from typing import Final

from faregate.snapshot.audit import AuditTree as AuditTree  # noqa: PLC0414 - part of the gateway
from faregate.snapshot.frozen import Frozen
from faregate.snapshot.idempotency import Idempotency as Idempotency  # noqa: PLC0414 - part of a route
from faregate.snapshot.idempotency import Ledger as Ledger  # noqa: PLC0414 - part of the gateway
from faregate.snapshot.managing import Managing as Managing  # noqa: PLC0414 - likewise
from faregate.snapshot.peppers import Pepper as Pepper  # noqa: PLC0414 - part of a snapshot
from faregate.snapshot.validation import Validation as Validation  # noqa: PLC0414 - part of a route
from faregate.snapshot.versions import Operation as Operation  # noqa: PLC0414 - part of a route
from faregate.snapshot.versions import Version as Version  # noqa: PLC0414 - part of a snapshot

FORMAT: Final = 3
"""Raised when a field changes meaning; a worker refuses another number."""


class ServerCertificate(Frozen, frozen=True):
    """Absolute paths of PEM files; workers read them, and again when they change."""

    chain: str
    key: str


class ListenerTls(Frozen, frozen=True):
    """How a listener speaks TLS. The first certificate answers when no name, or an unknown one, is asked.

    ``client_mode``: none, optional or required; ``client_ca``, ``client_crl``: absolute paths, or empty.
    """

    certificates: tuple[ServerCertificate, ...]
    client_mode: str = "none"
    client_ca: str = ""
    client_crl: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that it rests on."""
        own = [name for one in self.certificates for name in (one.chain, one.key)]
        return (*own, *(name for name in (self.client_ca, self.client_crl) if name))


class Listener(Frozen, frozen=True):
    """One listening address; port 0 takes a free one. ``tls`` None: in clear."""

    host: str
    port: int
    tls: ListenerTls | None = None


class GatewayLimits(Frozen, frozen=True):
    """Bounds on what one caller may send, and all together (SPEC section 2 ``gateway.limits``).

    ``connections``, ``connections_per_address`` and ``calls`` count per worker. ``memory``: of all workers,
    bytes; 0 means what the machine has.
    """

    header_bytes: int = 64 << 10
    headers: int = 128
    body_bytes: int = 1 << 20
    header_timeout: float = 10.0
    body_timeout: float = 60.0
    idle_timeout: float = 60.0
    connections: int = 8192
    connections_per_address: int = 2048
    calls: int = 1024
    memory: int = 0


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
    ledger: Ledger = Ledger()
    audit: AuditTree = AuditTree()
    managing: Managing = Managing()


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
    """Tokens of ``issuer`` whose consumer claim equals ``subject``. ``id`` empty: ``jwt:<issuer>:<subject>``.

    ``expires``, ``not_before``: of the credential itself, beside its tokens' own; as those of a key.
    """

    issuer: str
    subject: str
    id: str = ""
    expires: int = 0
    not_before: int = 0


class ApiKeyCredential(Frozen, frozen=True, tag="api_key"):
    """``sha256``: 32 bytes, the digest of the whole key; or ``hmac``, 32 bytes, under one of the snapshot's
    peppers. ``expires``, ``not_before``: seconds since the epoch, 0 = never, always.
    """

    id: str
    sha256: bytes = b""
    expires: int = 0
    hmac: bytes = b""
    not_before: int = 0


class MtlsCredential(Frozen, frozen=True, tag="mtls"):
    """A client certificate: by ``sha256``, 32 bytes over its DER form, or by ``subject`` and who signed it.

    ``subject``: as ``stores.certificates`` reads a name; ``authorities``: SHA-256 of the certificates one of
    which must be in its chain. ``id``: for logs.
    """

    id: str
    sha256: bytes = b""
    subject: tuple[tuple[tuple[str, str], ...], ...] = ()
    authorities: tuple[bytes, ...] = ()
    expires: int = 0
    not_before: int = 0


class Consumer(Frozen, frozen=True):
    """Who calls, with what its groups grant. ``plan`` names a plan or is None.

    ``permissions``: ``payments:write``, or ``payments:write@payments/v2`` where it holds only there.
    ``apis``: what it may call, ``payments`` or ``payouts/v2``; None for all.
    ``pins``: API and the version that it calls where its calls name none.
    """

    name: str
    plan: str | None = None
    permissions: tuple[str, ...] = ()
    credentials: tuple[JwtCredential | ApiKeyCredential | MtlsCredential, ...] = ()
    allow_ips: tuple[str, ...] = ()
    suspended: bool = False
    pins: tuple[tuple[str, str], ...] = ()
    apis: tuple[str, ...] | None = None


class Target(Frozen, frozen=True):
    """One server of an upstream. ``name`` is ``host:port`` as logged. ``tls``: spoken to by TLS."""

    name: str
    host: str
    port: int
    weight: int = 1
    tls: bool = False


class UpstreamTls(Frozen, frozen=True):
    """How TLS targets are spoken to. Paths of PEM files; ``ca`` empty: the system's authorities.

    ``server_name``: asked for and checked in place of the target's host. ``verify`` False: any certificate
    will do.
    """

    ca: str = ""
    certificate: str = ""
    key: str = ""
    server_name: str = ""
    verify: bool = True


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


class Breaker(Frozen, frozen=True):
    """A target opens when ``ratio`` % of at least ``calls`` calls in ``within`` seconds failed, for
    ``open_for`` seconds.
    """

    ratio: int = 50
    calls: int = 20
    within: float = 10.0
    open_for: float = 5.0


class Upstream(Frozen, frozen=True):
    """``balance``: adaptive, least_requests, round_robin, random or hash; ``hash_on``: consumer, ip or a
    header's name.

    ``concurrency``: calls in flight to one target from one worker; 0 for none but ``max_connections``, -1
    for as many as its latency bears. ``attempts``: how many further targets a call may try after a failed
    connect. ``idle`` and ``max_connections`` count per target and worker. ``protocol``: http1 or h2.
    """

    name: str
    targets: tuple[Target, ...]
    balance: str = "adaptive"
    hash_on: str = ""
    connect_timeout: float = 2.0
    first_byte_timeout: float = 10.0
    idle_timeout: float = 30.0
    total_timeout: float = 60.0
    stream_idle_timeout: float = 300.0
    stream_total_timeout: float = 3600.0
    active: ActiveHealth | None = None
    passive: PassiveHealth | None = PassiveHealth()
    breaker: Breaker | None = Breaker()
    attempts: int = 1
    idle: int = 64
    max_connections: int = 512
    tls: UpstreamTls = UpstreamTls()
    concurrency: int = -1
    protocol: str = "http1"
    forward_idempotency_key: bool = True


class Upgrade(Frozen, frozen=True):
    """How a route takes WebSockets. ``origins``: whose pages may open one, ``*`` for all; a call without
    ``Origin`` comes from no page. ``connections``: open at once, of one consumer in one worker.
    """

    origins: tuple[str, ...] = ()
    idle: float = 300.0
    lifetime: float = 3600.0
    connections: int = 100


class Route(Frozen, frozen=True):
    """One method on one path template of one version.

    ``template`` is the whole path including the version's, ``label`` the route as written
    (``POST /payments``). ``limits`` hold the route's and the API's rates, already named. ``authenticate``:
    policy names in written order, empty = public. ``priority``: 0 low, 1 normal, 2 critical.
    ``log_request_body``/``log_response_body``: "" or "masked". ``audit``: on, off or required.
    ``request_changes``: what brings its requests into the form that the upstream speaks;
    ``response_changes``: answers into the caller's.
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
    priority: int = 1
    forward_credential: bool = False
    log_request_body: str = ""
    log_response_body: str = ""
    audit: str = "off"
    upgrade: Upgrade | None = None
    idempotency: Idempotency | None = None
    validation: Validation | None = None
    request_changes: tuple[Operation, ...] = ()
    response_changes: tuple[Operation, ...] = ()

    @property
    def reads_bodies(self) -> bool:
        """Whether its calls' bodies are held to be checked or changed."""
        return self.validation is not None or bool(self.request_changes or self.response_changes)


class Snapshot(Frozen, frozen=True):
    """A whole configuration. ``revision`` grows with every one that was put to work on this machine.

    ``Route.version`` indexes ``versions``. ``needs_ledger``: a route has ``idempotency``; ``needs_audit``: or
    is recorded in the audit tree. ``checks_bodies``: a route ``reads_bodies``. ``peppers``: what digests of
    keys were made with, newest first.
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
    needs_ledger: bool = False
    needs_audit: bool = False
    checks_bodies: bool = False

    @property
    def holds_bodies(self) -> bool:
        """Whether a call may be held until its whole body has come."""
        return self.needs_ledger or self.checks_bodies

    peppers: tuple[Pepper, ...] = ()


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
    needs_ledger: bool = False
    needs_audit: bool = False
    checks_bodies: bool = False

    @property
    def holds_bodies(self) -> bool:
        """Whether a call may be held until its whole body has come."""
        return self.needs_ledger or self.checks_bodies


class Counted(Frozen, frozen=True):
    """What the number of counters follows from."""

    plans: tuple[Plan, ...]
    consumers: tuple[PlanOf, ...]
    routes: tuple[LimitsOf, ...]
