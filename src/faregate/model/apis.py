"""The declared form of ``apis:``: what is published, in which versions, on which routes, by which rules."""

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from faregate.model.audit import AuditWord
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
from faregate.policies.api_key.settings import Date, Moment
from faregate.policies.authenticate.settings import Authenticate
from faregate.policies.idempotency.settings import IdempotencySetting
from faregate.policies.permit.settings import Require
from faregate.policies.rate_limit.settings import Limits
from faregate.policies.transform.settings import Changes
from faregate.policies.validate.settings import OpenApi, ValidateSetting
from faregate.policies.versions.settings import Brownouts, SplitShares

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

_NOTICE: Final = r"https?://[!#-;=?-\[\]_a-z~%]{1,500}"
NoticeUrl: TypeAlias = Annotated[
    str,
    reads(parse_word(re.compile(_NOTICE), "not a URL"), "text: an https:// URL"),
    text_schema(_NOTICE, "A page for people.", "https://acme.example/v1-ends"),
]

State: TypeAlias = Literal["draft", "active", "deprecated", "retired"]
PINNED: Final = "pinned"
_DATED: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?![0-9])")


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
    validation: ValidateSetting | None = Field(default=None, alias="validate")
    audit: AuditWord | None = None

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


class AnyVersion(Declared):
    """One version of an API: where it is in its life, and what it does in its own way."""

    state: State = "active"
    deprecated_at: Date | None = None
    sunset_at: Date | None = None
    retired_at: Moment | None = None
    retire: Literal["at_sunset"] | None = None
    successor: Reference | None = None
    notice: NoticeUrl | None = None
    brownouts: Brownouts = Field(default_factory=list)
    split: SplitShares = Field(default_factory=dict)
    changes: Changes = Field(default_factory=list)
    preview: list[Reference] = Field(default_factory=list)
    routes: list[Route] | None = None
    upstream: Reference | None = None
    openapi: OpenApi | None = None
    validation: ValidateSetting | None = Field(default=None, alias="validate")

    @model_validator(mode="after")
    def _sunset_last(self) -> "AnyVersion":
        # RFC 9745 section 4: the sunset date is not earlier than the deprecation date
        if self.deprecated_at and self.sunset_at and self.sunset_at < self.deprecated_at:
            raise fault("bad_value", "sunset_at lies before deprecated_at", "a day on or after deprecated_at")
        if self.retired_at and self.sunset_at and self.retired_at < self.sunset_at:
            raise fault("bad_value", "retired_at lies before sunset_at", "a time on or after sunset_at")
        if self.retire and (not self.sunset_at or self.retired_at):
            raise fault("bad_value", "`retire: at_sunset` without its day", "sunset_at, and no retired_at")
        if self.brownouts and self.state != "deprecated":
            raise fault("bad_value", "brown-outs of a version that is not deprecated", "state: deprecated")
        if sum(self.split.values()) > 100:
            raise fault("bad_value", "the shares of the split exceed 100%", "shares of 100% together at most")
        return self

    @property
    def retires_at(self) -> int:
        """From when the version answers 410; 0: not by itself."""
        return self.retired_at or (self.sunset_at if self.retire else 0) or 0


class HeaderVersion(AnyVersion):
    """One version of an API whose callers choose by a header."""


class Version(AnyVersion):
    """One version of an API, published under its own path."""

    path: VersionPath


class HeaderVersions(Declared):
    """Versions chosen by a header; further keys are the versions, dates by custom."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, HeaderVersion] = Field(init=False)

    by: Literal["header"]
    name: HeaderName
    path: VersionPath = "/"
    default: str = "pinned"
    default_version: Reference | None = None

    @property
    def named(self) -> dict[str, HeaderVersion]:
        """The versions, oldest first: by date where all names begin with one, else as written."""
        versions = self.__pydantic_extra__
        if all(_DATED.match(name) for name in versions):
            return dict(sorted(versions.items()))
        return versions

    @property
    def unpinned(self) -> str:
        """The version of a call that names none and whose consumer has no pin: the one that is declared, else
        the oldest that is still served, so that a new version never changes what such a caller gets.
        """
        declared = self.default_version if self.default == PINNED else self.default
        served = [name for name, one in self.named.items() if one.state in {"active", "deprecated"}]
        return declared or next(iter(served or self.named), "")


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
    openapi: OpenApi | None = None
    validation: ValidateSetting | None = Field(default=None, alias="validate")

    @property
    def by_name(self) -> Mapping[str, AnyVersion]:
        """The versions, however they are chosen."""
        return self.versions.named if isinstance(self.versions, HeaderVersions) else self.versions
