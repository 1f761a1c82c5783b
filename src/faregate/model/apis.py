"""The declared form of ``apis:``: what is published, in which versions, on which routes, by which rules."""

import re
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from faregate.model.paths import METHODS, SAFE_METHODS, Match, parse_match, parse_version_path
from faregate.model.values import (
    AlsoText,
    BodySize,
    Declared,
    Flag,
    HeaderName,
    Name,
    Reference,
    duration,
    fault,
    integer,
    parse_word,
    reads,
    text_schema,
)
from faregate.policies.api_key.settings import Date
from faregate.policies.authenticate.settings import Authenticate
from faregate.policies.idempotency.settings import IdempotencySetting
from faregate.policies.permit.settings import Require
from faregate.policies.rate_limit.settings import Limits

BY_PATH: Final = "<versions by path>"
BY_HEADER: Final = "<versions by header>"
"""Labels of alternatives; pydantic puts them into error locations, where no key can be mistaken for them."""

MatchText: TypeAlias = Annotated[
    Match,
    reads(parse_match, "text: a method and a path, such as POST /payments/{id}/refunds"),
    text_schema(rf"({'|'.join(METHODS)}) /\S*", "Method and path template.", "GET /payments/{id}"),
]

VersionPath: TypeAlias = Annotated[
    str,
    reads(parse_version_path, "text: a path such as /v1"),
    text_schema(r"/|(/[^/{}\s]+)+", "Path that all routes of the version begin with.", "/v1"),
]

State: TypeAlias = Literal["draft", "active", "deprecated", "retired"]


Priority: TypeAlias = Literal["low", "normal", "critical"]
PRIORITIES: Final[tuple[Priority, ...]] = ("low", "normal", "critical")
"""In the order in which they are refused under overload."""


def _protocol_alone(value: object) -> object:
    return {"protocol": value} if isinstance(value, str) else value


Origin: TypeAlias = Annotated[
    str,
    reads(
        parse_word(re.compile(r"\*|https?://[a-z0-9.:\[\]-]{1,255}"), "not an origin"),
        "text: an origin such as https://app.example, in lower case and without a path, or *",
    ),
    text_schema(
        r"\*|https?://[a-z0-9.:\[\]-]{1,255}", "An origin, as browsers send it, or *.", "https://app.example"
    ),
]


class Upgrade(Declared):
    """WebSockets on a `GET` route."""

    protocol: Literal["websocket"] = "websocket"
    origins: list[Origin] = Field(default_factory=list)
    idle: Annotated[float, *duration("1s", "1d")] = 300.0
    lifetime: Annotated[float, *duration("1s", "30d")] = 3_600.0
    connections: Annotated[
        int,
        *integer(1, 65_535, "Open at once, of one consumer in all workers; on public routes of one address."),
    ] = 100


UpgradeForm: TypeAlias = Annotated[
    Upgrade, BeforeValidator(_protocol_alone), AlsoText({"const": "websocket"})
]


class RouteLog(Declared):
    """Which bodies the access log shows; always masked."""

    request_body: Literal["masked", "off"] = "off"
    response_body: Literal["masked", "off"] = "off"


class Route(Declared):
    """One method on one path template."""

    match: MatchText
    require: Require = Field(default_factory=list)
    idempotency: IdempotencySetting = "off"
    limits: Limits = Field(default_factory=list)
    body: BodySize | None = None
    log: RouteLog = RouteLog()
    priority: Priority = "normal"
    forward_credential: Flag | None = None
    upgrade: UpgradeForm | None = None

    @model_validator(mode="after")
    def _upgrade_by_get(self) -> "Route":
        if self.upgrade is not None and self.match.method != "GET":
            raise fault(
                "bad_value", "upgrade on a route that is not GET", "a GET route: a WebSocket begins so"
            )
        return self

    @model_validator(mode="after")
    def _idempotency_by_writing(self) -> "Route":
        if self.idempotency != "off" and self.match.method in SAFE_METHODS:
            message = f"idempotency on {self.match.method}, which changes nothing"
            raise fault("bad_value", message, "POST, PUT, PATCH or DELETE, or `idempotency: off`")
        return self


class HeaderVersion(Declared):
    """One version of an API: where it is in its life, and what it does in its own way."""

    state: State = "active"
    deprecated_at: Date | None = None
    sunset_at: Date | None = None
    successor: Reference | None = None
    preview: list[Reference] = Field(default_factory=list)
    routes: list[Route] | None = None
    upstream: Reference | None = None

    @model_validator(mode="after")
    def _sunset_last(self) -> "HeaderVersion":
        # RFC 9745 section 4: the sunset date is not earlier than the deprecation date
        if self.deprecated_at and self.sunset_at and self.sunset_at < self.deprecated_at:
            raise fault("bad_value", "sunset_at lies before deprecated_at", "a day on or after deprecated_at")
        return self


class Version(HeaderVersion):
    """One version of an API, published under its own path."""

    path: VersionPath


class HeaderVersions(Declared):
    """Versions chosen by a header; further keys are the versions, dates by custom."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, HeaderVersion] = Field(init=False)

    by: Literal["header"]
    name: HeaderName
    default: str = "pinned"


def _versions_form(value: object) -> str:
    return BY_HEADER if isinstance(value, dict) and isinstance(value.get("by"), str) else BY_PATH


Versions: TypeAlias = Annotated[
    Annotated[dict[Name, Version], Tag(BY_PATH)] | Annotated[HeaderVersions, Tag(BY_HEADER)],
    Discriminator(_versions_form),
]


class Api(Declared):
    """What is published to callers."""

    upstream: Reference | None = None
    authenticate: Authenticate
    versions: Versions
    routes: list[Route] = Field(default_factory=list)
    limits: Limits = Field(default_factory=list)
    forward_credential: Flag = False
