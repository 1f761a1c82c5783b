"""One request on its way through, and what a step may say about it.

The contract between the gateway, which owns sockets and time, and the policies, which decide. A step is
called with the call and answers at once: None lets it pass, a ``Refusal`` ends it. Only a step that must wait
(a key set to fetch) returns an awaitable of the same; the gateway then parks the call. Steps do no IO of
their own and read no clock: ``call.now`` and ``call.wall`` are this event's readings.
"""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from faregate.kernel.problems import Refusal
from faregate.snapshot.data import Route, Version

NO_PINS: Final[Mapping[str, str]] = MappingProxyType({})
NOTHING_KEPT: Final[Mapping[object, object]] = MappingProxyType({})
"""What all consumers share that no second limit step has met."""


class ReadyConsumer:
    """A consumer as workers hold it. There may be 100,000, most of them idle: what a call needs is made at
    first use.

    ``networks``: None when any address will do. ``apis``: what it may call, as the snapshot names it; None
    for all. ``pins``: versions by API, where calls name none. ``kept``: what the first limit step that met
    the consumer keeps with it, under ``kept_as``; ``others``: the same of further ones, by their keys.
    Dropped with the snapshot.
    """

    __slots__ = (
        "apis", "kept", "kept_as", "name", "networks", "others", "permissions", "pins", "plan", "suspended",
    )  # fmt: skip

    def __init__(  # noqa: PLR0913 - what is known of a consumer
        self,
        name: str,
        *,
        plan: str | None = None,
        permissions: frozenset[str] = frozenset(),
        networks: "tuple[object, ...] | None" = None,
        suspended: bool = False,
        apis: frozenset[str] | None = None,
        pins: Mapping[str, str] = NO_PINS,
    ) -> None:
        self.name = name
        self.plan = plan
        self.permissions = permissions
        self.networks = networks
        self.suspended = suspended
        self.apis = apis
        self.pins = pins
        self.kept: object = None
        self.kept_as: object = None
        self.others = NOTHING_KEPT

    @property
    def key(self) -> bytes:
        """The name as bytes: what the consumer is counted and spread by."""
        return self.name.encode()

    @property
    def headers(self) -> bytes:
        """The ``X-Consumer-*`` lines to the upstream."""
        lines = b"X-Consumer-Id: %b\r\n" % self.name.encode()
        if self.plan is not None:
            lines += b"X-Consumer-Plan: %b\r\n" % self.plan.encode()
        return lines

    def keep(self, key: object, what: object, most: int) -> None:
        """Keeps ``what`` under ``key``; one more than ``most`` drops the others first, as does a key of
        another generation (its first word).
        """
        if self.kept_as is None or self.kept_as == key:
            self.kept_as, self.kept = key, what
            return
        if str(self.kept_as).partition(" ")[0] != str(key).partition(" ")[0]:
            self.kept_as, self.kept, self.others = key, what, NOTHING_KEPT
            return
        others = self.others
        if not isinstance(others, dict) or len(others) + 1 >= most:
            self.others = others = {}
        others[key] = what


class Identity:
    """A proven caller: the consumer, the credential that proved it, and what that credential leaves of its
    grants.

    ``permissions``: the consumer's, narrowed by the token's scope. ``headers``: the consumer's lines plus
    ``X-Credential-Id``, ready for the upstream.
    """

    __slots__ = ("consumer", "credential", "headers", "log_fields", "permissions")

    def __init__(
        self, consumer: ReadyConsumer, credential: str, permissions: frozenset[str] | None = None
    ) -> None:
        self.consumer = consumer
        self.credential = credential
        self.permissions = consumer.permissions if permissions is None else permissions
        self.headers = consumer.headers + b"X-Credential-Id: %b\r\n" % credential.encode()
        self.log_fields = ""  # its part of the log line, rendered by the recorder on first use


class PeerCertificate:
    """A caller's certificate, proven by its handshake. ``sha256``: of its DER form; ``thumbprint``: the same
    as RFC 8705 writes it (base64url). ``subject``: as ``stores.certificates`` reads a name; ``authorities``:
    SHA-256 of each certificate that signs it, up to the trusted one, ``anchor``. ``issuer`` (DER) and
    ``serial``: what a revocation list names. ``ends``: seconds since the epoch.
    """

    __slots__ = ("anchor", "authorities", "ends", "issuer", "serial", "sha256", "subject", "thumbprint")

    def __init__(  # noqa: PLR0913 - what is known of a certificate
        self,
        *,
        sha256: bytes,
        thumbprint: bytes,
        subject: tuple[tuple[tuple[str, str], ...], ...],
        chain: tuple[bytes, ...],
        issuer: bytes,
        serial: int,
        ends: float,
    ) -> None:
        self.sha256 = sha256
        self.thumbprint = thumbprint
        self.subject = subject
        self.authorities = frozenset(chain)
        self.anchor = chain[-1] if chain else sha256
        self.issuer = issuer
        self.serial = serial
        self.ends = ends


class ReadyRoute:
    """A route as workers run it. ``steps`` in the one written order; the rest is what the exchange needs per
    call.

    ``answer_headers``: lines added to every answer (Deprecation, Sunset, Link). ``upstream_headers``: lines
    added to every request (X-Api-Version). ``log_fields``: the constant part of the log line, JSON without
    braces: ``"api":"payments","version":"v2","route":"POST /payments"``.
    """

    __slots__ = (
        "answer_headers",
        "body_bytes",
        "changes",
        "checks",
        "data",
        "deciding",
        "holds",
        "keeping",
        "log_fields",
        "logs_answer",
        "metric_labels",
        "priority",
        "recorded",
        "steps",
        "upgrade",
        "upstream",
        "upstream_headers",
        "version",
    )

    def __init__(self, data: Route, version: Version, upstream: object) -> None:
        self.data = data
        self.version = version
        self.upstream = upstream
        self.steps: tuple[Step, ...] = ()
        self.answer_headers = b""
        self.upstream_headers = b""
        self.log_fields = ""
        self.metric_labels: tuple[str, str, str] = (data.api, version.name, data.label)
        self.body_bytes = data.body_bytes
        self.priority = data.priority
        self.logs_answer = bool(data.log_response_body)
        self.upgrade: object = None  # the gateway's: what a call needs that asks for a WebSocket
        self.keeping: object = None  # the gateway's: what keeps a call from running twice
        self.changes: object = None  # the policy's: what carries calls into another version's form and back
        self.deciding: object = None  # the gateway's: what settles the version of a call, and so its route
        self.checks: object = None  # the policy's: what calls and answers are held against
        self.holds = False  # whether a call may wait for its body: it has ``keeping`` or ``checks``
        self.recorded: object = None  # for the recorder to keep its slot in, dropped with the snapshot


class Call:
    """Everything learned about one request. Attributes not listed in ``__init__`` stand at their class
    default until set.

    Bytes are as received. ``now``/``duration``s are monotonic seconds, ``wall`` seconds since the epoch.
    """

    # who and what, set by the gateway before the steps run
    client_ip: str = ""  # behind trusted proxies only; the peer's otherwise
    method: bytes = b""
    path: str = ""  # the one normalised path (http-rules.md section 2.1)
    request_id: bytes = b""
    trace_id: bytes = b""
    authorization: bytes | None = None
    api_key: bytes | None = None  # X-API-Key
    route: ReadyRoute | None = None
    revision: int = 0
    tls: str = ""
    certificate: PeerCertificate | None = None

    upgrade: object = None  # the handshake of a WebSocket, where the route takes one

    # learned by steps
    identity: Identity | None = None
    limit_headers: bytes = b""  # RateLimit lines for the answer, passed or refused
    release: Callable[[], None] | None = None  # frees a concurrency place; called exactly once, at the end
    credential_used: bytes = b""  # lower-case name of the header that carried the accepted credential

    # learned on the way, for the record
    status: int = 0
    outcome: str = ""
    refusal: str = ""  # code
    reason: str = ""
    parameter: str = ""  # what the refusal concerns: the limit, header or field by its configured name
    upstream: str = ""
    target_name: str = ""
    attempts: int = 0
    idempotency: str = ""  # how it left its key's record, or what the record said to it; "" without a key
    waited: float = 0.0  # seconds by which ``now`` and ``wall`` lie after the call's start
    duration: float = 0.0
    upstream_duration: float = 0.0  # first byte sent to last byte received
    request_bytes: int = 0  # body bytes
    response_bytes: int = 0
    request_body: bytes | None = None  # captured for the log, cut at the capture cap
    response_body: bytes | None = None
    request_content_type: bytes = b""
    response_content_type: bytes = b""

    def __init__(self, now: float, wall: float) -> None:
        self.now = now
        self.wall = wall

    def again(self, now: float, wall: float) -> "Call":
        """The same caller with the same request, as the steps would meet it now; nothing is learned yet."""
        call = Call(now, wall)
        call.client_ip = self.client_ip
        call.method = self.method
        call.path = self.path
        call.request_id = self.request_id
        call.trace_id = self.trace_id
        call.authorization = self.authorization
        call.api_key = self.api_key
        call.tls = self.tls
        call.certificate = self.certificate
        call.upgrade = self.upgrade
        return call


Verdict: TypeAlias = Refusal | Awaitable[Refusal | None] | None
Step: TypeAlias = Callable[[Call], Verdict]
