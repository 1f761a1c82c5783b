"""The declared form of ``upstreams:``: named groups of servers, how load is spread and how illness is
noticed.
"""

import re
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias

from pydantic import BeforeValidator, Field

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
    Percent,
    integer,
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


class Timeouts(Declared):
    connect: Duration = 2.0
    first_byte: Duration = 10.0
    idle: Duration = 30.0
    total: Duration = 60.0


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


class Health(Declared):
    active: Annotated[ActiveHealth | None, OFF_IS_NONE, ALSO_OFF] = None
    passive: Annotated[PassiveHealth | None, OFF_IS_NONE, ALSO_OFF] = PassiveHealth()


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


class UpstreamTls(Declared):
    ca: FilePath | None = None
    certificate: FilePath | None = None
    key: FilePath | None = None
    server_name: str | None = None


class Upstream(Declared):
    """A named group of servers."""

    targets: Annotated[list[TargetForm], Field(min_length=1, max_length=1000)]
    balance: Balance = "adaptive"
    timeouts: Timeouts = Timeouts()
    health: Health = Health()
    retry: Retry = Retry()
    connections: Connections = Connections()
    tls: UpstreamTls | None = None
