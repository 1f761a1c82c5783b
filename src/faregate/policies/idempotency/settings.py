"""The declared form of a route's idempotency: where the key stands, what is kept, what settles a call whose
outcome is not known (SPEC section 6).

Whether templates and upstreams fit their route needs other places: ``compile.idempotency`` checks that.
"""

import re
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    PlainValidator,
    Tag,
    model_validator,
)
from pydantic_core import CoreSchema

from faregate.kernel import json_pointer
from faregate.model.values import (
    HEADER_NAME,
    ONE_OR_MORE,
    AlsoText,
    Declared,
    Flag,
    HeaderName,
    Reference,
    duration,
    fault,
    integer_reader,
    one_or_more_schema,
    parse_word,
    reads,
    text_schema,
    wrong_type,
)

ONE_IDEMPOTENCY_FORM: Final = "<idempotency word>"
LONG_IDEMPOTENCY_FORM: Final = "<idempotency settings>"
"""Labels of alternatives; pydantic puts them into error locations, where no key can be mistaken for them."""

VALUES_MAX: Final = 8
DAY_S: Final = 86_400.0
NOT_FOUND: Final = 404

_POINTER: Final = r"(?:/(?:[^~/]|~[01])*)+"
_POINTER_SCHEMA: Final[dict[str, object]] = {"type": "string", "pattern": f"^{_POINTER}$"}


def _pointer(text: str) -> str:
    if not text or len(json_pointer.parse(text)) > 32:
        raise ValueError("not a JSON pointer")
    return text


_POINTER_EXPECTED: Final = "text: a JSON pointer such as /out_trade_no"
Pointer: TypeAlias = Annotated[
    str, reads(_pointer, _POINTER_EXPECTED), text_schema(_POINTER, "A JSON pointer.", "/out_trade_no")
]
Pointers: TypeAlias = Annotated[
    list[Pointer],
    ONE_OR_MORE,
    Field(min_length=1, max_length=VALUES_MAX),
    one_or_more_schema(_POINTER_SCHEMA, "JSON pointers."),
]

_FIELD: Final = re.compile(r"[!-~]{1,64}")
FieldName: TypeAlias = Annotated[str, reads(parse_word(_FIELD, "not a field's name"), "text: a field's name")]
FieldNames: TypeAlias = Annotated[
    list[FieldName],
    ONE_OR_MORE,
    Field(min_length=1, max_length=VALUES_MAX),
    one_or_more_schema({"type": "string", "pattern": f"^{_FIELD.pattern}$"}, "Fields of a form."),
]


def _one(value: object) -> object:
    return value if isinstance(value, list) else [value]


_read_status: Final = integer_reader(200, 599, "a status from 200 to 599, or a list of them")
_STATUS: Final[dict[str, object]] = {"type": "integer", "minimum": 200, "maximum": 599}
Statuses: TypeAlias = Annotated[
    list[Annotated[int, PlainValidator(_read_status)]],
    BeforeValidator(_one),
    Field(max_length=64),
    one_or_more_schema(_STATUS, "HTTP statuses."),
]


def _read_value(value: object) -> str | int | bool:
    if not isinstance(value, (str, int)):
        raise wrong_type(value, "text, a whole number, true or false")
    return value


_VALUE: Final[dict[str, object]] = {"type": ["string", "integer", "boolean"]}
AnswerValues: TypeAlias = Annotated[
    list[Annotated[str | int | bool, PlainValidator(_read_value)]],
    BeforeValidator(_one),
    Field(min_length=1, max_length=64),
    one_or_more_schema(_VALUE, "Values, one of which must stand there."),
]


class AnswerRule(Declared):
    """What an answer must be to mean something; all that is written must hold."""

    status: Statuses = Field(default_factory=list)
    json_pointer: Pointer | None = Field(default=None, alias="json")
    values: AnswerValues | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "AnswerRule":
        if self.json_pointer is None and (self.values is not None or not self.status):
            raise fault("bad_value", "nothing to tell answers by", "status, or json with values, or both")
        return self


class _AlsoOne:
    """In the published schema: one may stand for a list of one."""

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, object]:
        listed = handler(core)
        return {"anyOf": [listed["items"], listed]}


AnswerRules: TypeAlias = Annotated[list[AnswerRule], BeforeValidator(_one), Field(max_length=16), _AlsoOne()]


TAKEN: Final = frozenset(
    (
        "authorization", "cache-control", "connection", "cookie", "date", "dpop", "expect", "forwarded",
        "grpc-timeout", "host", "http2-settings", "keep-alive", "proxy-authorization", "proxy-connection",
        "te", "traceparent", "tracestate", "trailer", "transfer-encoding", "upgrade", "via", "x-real-ip",
        "x-anonymous-consumer", "x-api-key", "x-api-version", "x-request-deadline", "x-request-id",
    )
)  # fmt: skip
TAKEN_STARTS: Final = (
    "client-cert", "content-", "ssl-client-", "x-client-cert", "x-client-dn", "x-client-verify",
    "x-consumer-", "x-credential-", "x-forwarded-", "x-ssl-", "x-tls-client-",
)  # fmt: skip
"""Request fields that the gateway reads, writes or takes away itself: a key there would not be found."""


def _not_the_gateways(name: str) -> str:
    lower = name.lower()
    if lower in TAKEN or lower.startswith(TAKEN_STARTS):
        raise fault("bad_value", "a header that the gateway reads itself", "a header for the key alone")
    if "_" in name:
        raise fault("bad_value", "calls with `_` in a header's name are refused", "a name without `_`")
    return name


class IdempotencyKey(Declared):
    """Where the key stands; exactly one."""

    header: Annotated[HeaderName, AfterValidator(_not_the_gateways)] | None = None
    json_pointer: Pointers | None = Field(default=None, alias="json")
    form: FieldNames | None = None

    @model_validator(mode="after")
    def _one_place(self) -> "IdempotencyKey":
        if sum(place is not None for place in (self.header, self.json_pointer, self.form)) != 1:
            raise fault("bad_value", "a key has one place", "one of header, json and form")
        for values in (self.json_pointer, self.form):
            if values is not None and len(set(values)) != len(values):
                raise fault("bad_value", "the same value twice", "values that differ")
        return self


class Fingerprint(Declared):
    """What tells one request from another, where clients change the rest on every try."""

    json_pointer: Pointers = Field(alias="json")


class Query(NamedTuple):
    """What is asked: ``target`` is a path with its query, a template."""

    method: str
    target: str


_QUERY: Final = r"(GET|POST) (/[!-\"$-~]{0,2047})"


def _query(text: str) -> Query:
    match = re.fullmatch(_QUERY, text)
    if match is None:
        raise ValueError("not GET or POST, one space and a path")
    return Query(match[1], match[2])


def _query_alone(value: object) -> object:
    return {"query": value} if isinstance(value, str) else value


class Resolve(Declared):
    """The query that may settle a call whose outcome is not known."""

    query: Annotated[
        Query,
        reads(_query, "text: a method and a path such as GET /payments?key={key}"),
        text_schema(
            _QUERY, "Method, path and query; `{key}` is the caller's key.", "GET /payments?key={key}"
        ),
    ]
    body: Annotated[
        str | None,
        reads(parse_word(re.compile(r"[^\x00]{1,4096}"), "longer than 4096 characters"), "text"),
        text_schema(r"(?s:.{1,4096})", "The body of a POST query, JSON or a form; `{key}` as above."),
    ] = None
    upstream: Reference | None = None
    done: AnswerRules | None = None
    released: AnswerRules = Field(default_factory=list)
    settling: Annotated[float | None, *duration("1s", "30d")] = None
    answer: Literal["none", "query"] = "none"

    @model_validator(mode="after")
    def _body_of_post(self) -> "Resolve":
        if (self.query.method == "POST") != (self.body is not None):
            raise fault("bad_value", "a POST query has a body, a GET query none", "POST with body, or GET")
        return self

    @model_validator(mode="after")
    def _frees_no_key_too_early(self) -> "Resolve":
        if self.released and self.done is None:
            raise fault(
                "bad_value",
                "`released` without `done`: what is not released would be done",
                "done: rules that only an answer about a payment that was made fits",
            )
        if self.settling is None and any(NOT_FOUND in rule.status for rule in self.released):
            raise fault(
                "bad_value",
                "404 releases at once, while the payment may still be on its way inside the service",
                "settling: after how long a 404 means that it never ran",
            )
        return self


ResolveForm: TypeAlias = Annotated[
    Resolve, BeforeValidator(_query_alone), AlsoText({"type": "string", "pattern": _QUERY})
]
NEVER_KEPT: Final = frozenset(
    (
        "connection", "content-length", "date", "idempotent-replayed", "keep-alive", "proxy-authenticate",
        "proxy-connection", "retry-after", "server", "set-cookie", "te", "traceparent", "tracestate",
        "trailer", "transfer-encoding", "upgrade", "via", "www-authenticate", "x-request-id",
    )
)  # fmt: skip
"""As ``records.stored_answer`` has it, which nothing here imports; a test holds them together."""


def _may_be_kept(name: str) -> str:
    if name.lower() in NEVER_KEPT:
        raise fault(
            "bad_value",
            "a field of one call or one connection is never kept",
            "fields that are the same for every repeat",
        )
    return name


HeaderNames: TypeAlias = Annotated[
    list[Annotated[HeaderName, AfterValidator(_may_be_kept)]],
    ONE_OR_MORE,
    Field(max_length=32),
    one_or_more_schema({"type": "string", "pattern": f"^{HEADER_NAME.pattern}$"}, "Header names."),
]


class Idempotency(Declared):
    """Idempotency with its settings written out (SPEC section 6)."""

    required: Flag = True
    key: IdempotencyKey | None = None
    keep: Annotated[float, *duration("1m", "90d")] = DAY_S
    store_answers: Literal["all", "success"] = "all"
    wait: Annotated[float | None, *duration("100ms", "60s")] = None
    no_verdict: Statuses = Field(default_factory=lambda: [408, 425, 502, 503, 504])
    not_run: Statuses = Field(default_factory=lambda: [401, 429])
    in_progress: AnswerRule | None = None
    fingerprint: Fingerprint | None = None
    keep_headers: HeaderNames = Field(default_factory=list)
    resolve: ResolveForm | None = None

    @model_validator(mode="after")
    def _fingerprint_of_json(self) -> "Idempotency":
        if self.fingerprint is not None and self.key is not None and self.key.form is not None:
            raise fault(
                "bad_value",
                "a form has no JSON pointers: the fingerprint would be that of the whole body",
                "no fingerprint, or a key in a header or in json",
            )
        if set(self.not_run) & set(self.no_verdict):
            raise fault(
                "bad_value",
                "a status in both no_verdict and not_run",
                "a status in one of them; no_verdict is [408, 425, 502, 503, 504] unless written",
            )
        return self

    @property
    def key_names(self) -> list[str]:
        """How templates call the key: ``key``, or ``key_1``, ``key_2`` where several values make it."""
        values = [] if self.key is None else self.key.json_pointer or self.key.form or []
        return ["key"] if len(values) < 2 else [f"key_{number + 1}" for number in range(len(values))]


def _idempotency_form(value: object) -> str:
    return LONG_IDEMPOTENCY_FORM if isinstance(value, dict) else ONE_IDEMPOTENCY_FORM


IdempotencySetting: TypeAlias = Annotated[
    Annotated[Literal["required", "optional", "off"], Tag(ONE_IDEMPOTENCY_FORM)]
    | Annotated[Idempotency, Tag(LONG_IDEMPOTENCY_FORM)],
    Discriminator(_idempotency_form),
]


def settings_of(setting: "str | Idempotency") -> Idempotency | None:
    """The settings that a word stands for; None for ``off``."""
    if isinstance(setting, Idempotency):
        return setting
    return None if setting == "off" else Idempotency(required=setting == "required")
