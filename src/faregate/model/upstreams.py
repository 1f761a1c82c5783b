"""The declared form of ``upstreams:``: named groups of servers, how load is spread and how illness is
noticed.
"""

import re
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

from faregate.kernel.units import parse_percent
from faregate.model.addresses import Address, split_host_port
from faregate.model.values import (
    ALSO_OFF,
    HEADER_NAME,
    OFF_IS_NONE,
    REFERENCE_PATTERN,
    AlsoText,
    Declared,
    Duration,
    FilePath,
    Flag,
    Percent,
    duration,
    integer,
    integer_reader,
    parse_word,
    reads,
    text_schema,
)

BALANCERS: Final = ("adaptive", "least_requests", "round_robin", "random")
WEIGHT_MAX: Final = 1000

_URL_PATTERN: Final = r"(https?)://([^/?#@\s]+)/?"
_URL_SCHEMA: Final = f"^{_URL_PATTERN}$|{REFERENCE_PATTERN}"
_URL: Final = re.compile(_URL_PATTERN)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class TargetUrl(NamedTuple):
    scheme: str
    address: Address


def _target_url(text: str) -> TargetUrl:
    match = _URL.fullmatch(text)
    if match is None:
        raise ValueError("not the address of a server; it has no path, query or user")
    address = split_host_port(match[2], _DEFAULT_PORTS[match[1]])
    if address.port == 0:
        raise ValueError("port 0 cannot be called")
    return TargetUrl(match[1], address)


def _balance(text: str) -> str:
    kind, _, key = text.partition(":")
    if (kind == "hash" and HEADER_NAME.fullmatch(key)) or text in BALANCERS:
        return text.lower()
    raise ValueError("not a way to balance")


_BALANCE_EXPECTED: Final = f"{', '.join(BALANCERS)}, or hash:<header>, hash:consumer, hash:ip"

Balance: TypeAlias = Annotated[
    str,
    reads(_balance, _BALANCE_EXPECTED),
    text_schema(
        rf"{'|'.join(BALANCERS)}|hash:[A-Za-z0-9!#$%&'*+.^_`|~-]{{1,64}}",
        "How calls are spread.",
        *BALANCERS,
        "hash:ip",
    ),
]


def _url_alone(value: object) -> object:
    return {"url": value} if isinstance(value, str) else value


class Target(Declared):
    """One server."""

    url: Annotated[
        TargetUrl,
        reads(_target_url, "text: http://host:port"),
        text_schema(_URL_PATTERN, "The server's address.", "http://127.0.0.1:9001"),
    ]
    weight: Annotated[int, *integer(1, WEIGHT_MAX, "Share of the calls, relative to the other targets.")] = 1


TargetForm: TypeAlias = Annotated[
    Target, BeforeValidator(_url_alone), AlsoText({"type": "string", "pattern": _URL_SCHEMA})
]


StreamDuration: TypeAlias = Annotated[float, *duration("1s", "7d")]


class Timeouts(Declared):
    connect: Duration = 2.0
    first_byte: Duration = 10.0
    idle: Duration = 30.0
    total: Duration = 60.0
    stream_idle: StreamDuration = 300.0
    stream_total: StreamDuration = 3_600.0


class ActiveHealth(Declared):
    """Probes: `GET path`, healthy when the answer is 2xx."""

    path: Annotated[
        str,
        reads(parse_word(re.compile(r"/[!-\"$-~]{0,1023}"), "not a path"), "text: a path that begins with /"),
        text_schema(r"/[!-\"$-~]{0,1023}", "Path of the probe.", "/healthz"),
    ]
    every: Duration = 5.0
    timeout: Duration = 1.0
    healthy_after: Annotated[int, *integer(1, 100, "Good probes in a row that bring a target back.")] = 2
    unhealthy_after: Annotated[int, *integer(1, 100, "Failed probes in a row that take a target out.")] = 3


class PassiveHealth(Declared):
    """Failures of real calls that take a target out for a while."""

    failures: Annotated[int, *integer(1, 1000, "Failures that take a target out.")] = 5
    within: Duration = 10.0
    eject_for: Duration = 30.0
    max_ejected: Percent = 50


def _ratio(text: str) -> int:
    ratio = parse_percent(text)
    if ratio < 1:
        raise ValueError("the least is 1%")
    return ratio


class Breaker(Declared):
    """A target opens when this part of its calls fails; the last one only when nearly all do."""

    ratio: Annotated[
        int,
        reads(_ratio, "a share from 1% to 100%"),
        text_schema(r"(100|[1-9][0-9]?)%", "Share of failed calls that opens.", "50%", kind="percent"),
    ] = 50
    calls: Annotated[int, *integer(1, 1_000_000, "With fewer calls in the window nothing is judged.")] = 20
    within: Duration = 10.0
    open_for: Duration = 5.0


class Health(Declared):
    active: Annotated[ActiveHealth | None, OFF_IS_NONE, ALSO_OFF] = None
    passive: Annotated[PassiveHealth | None, OFF_IS_NONE, ALSO_OFF] = PassiveHealth()
    breaker: Annotated[Breaker | None, OFF_IS_NONE, ALSO_OFF] = Breaker()


RetryReason: TypeAlias = Literal["connect_failure"]
CONNECT_FAILURE: Final[RetryReason] = "connect_failure"


class Retry(Declared):
    """Further targets tried when nothing was sent."""

    attempts: Annotated[int, *integer(0, 5, "Further targets that a call may try.")] = 1
    on: list[RetryReason] = Field(default_factory=lambda: [CONNECT_FAILURE])


class Connections(Declared):
    """Per target and worker."""

    idle: Annotated[int, *integer(0, 65_535, "Idle connections kept.")] = 64
    max: Annotated[int, *integer(1, 65_535, "Connections open at once.")] = 512


_read_concurrency: Final = integer_reader(1, 65_535, "adaptive, off, or a whole number from 1 to 65535")


def _concurrency(value: object) -> int:
    if isinstance(value, str) and value in {"adaptive", "off"}:
        return 0 if value == "off" else -1
    return _read_concurrency(value)


Concurrency: TypeAlias = Annotated[
    int,
    PlainValidator(_concurrency),
    WithJsonSchema({
        "anyOf": [{"enum": ["adaptive", "off"]}, {"type": "integer", "minimum": 1, "maximum": 65_535},
                  {"type": "string", "pattern": REFERENCE_PATTERN}],
        "description": "Calls in progress at one target from one worker; adaptive: what its latency bears.",
    }),
]  # fmt: skip


def _server_name(text: str) -> str:
    address = split_host_port(text, 443)
    if address.port != 443 or ":" in text:
        raise ValueError("a name only, without port")
    return address.host


class UpstreamTls(Declared):
    """How https:// targets are spoken to; they are verified unless `verify: false` is written."""

    ca: FilePath | None = None
    certificate: FilePath | None = None
    key: FilePath | None = None
    server_name: (
        Annotated[
            str,
            reads(_server_name, "text: a host name"),
            text_schema(r"[A-Za-z0-9.-]{1,253}", "A host name.", "payments.internal"),
        ]
        | None
    ) = None
    verify: Flag = True


class Upstream(Declared):
    """A named group of servers."""

    targets: Annotated[list[TargetForm], Field(min_length=1, max_length=1000)]
    balance: Balance = "adaptive"
    timeouts: Timeouts = Timeouts()
    health: Health = Health()
    retry: Retry = Retry()
    connections: Connections = Connections()
    concurrency: Concurrency = Field(default=-1, json_schema_extra={"default": "adaptive"})
    tls: UpstreamTls | None = None
    protocol: Literal["http1", "h2"] = "http1"
    forward_idempotency_key: Flag = True
