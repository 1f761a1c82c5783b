"""Whether a request, or an answer, is as its OpenAPI operation describes it (SPEC section 3:
``validation_failed``).

Pure: it is given bytes and says what does not fit. What could be read in two ways is refused: a parameter
that comes twice, a member that stands twice, a coding that hides the body. A value's own text is never
repeated, neither to the caller nor in the log. What the document does not name passes, as OpenAPI has it.
"""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import unquote_to_bytes

from msgspec.structs import replace

from faregate.kernel.exact_json import DeepError, NumberError, decode, number
from faregate.kernel.problems import Refusal
from faregate.kernel.strict_json import DoubledError
from faregate.policies.idempotency.step import media_type
from faregate.snapshot.validation import Body, FormField, Parameter, Validation

if TYPE_CHECKING:
    from faregate.kernel.json_schema import Fault, Schema

VALUES_MAX: Final = 1024
"""Values of one parameter or form."""
UNDESCRIBED: Final = "answer_status"
"""The reason of an answer whose status the document does not name, as it need not."""

_number: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,62})(?:\.[0-9]{1,62})?(?:[eE][+-]?[0-9]{1,3})?").fullmatch
_bad_percent: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})").search
_capital: Final = re.compile(r"[A-Z]").sub
_WORDS: Final[dict[str, object]] = {"true": True, "false": False}

_DETAILS: Final = {
    "body_doubled": "A name stands twice in the body.",
    "body_encoded": "A body with a content coding cannot be checked; send it without.",
    "body_missing": "This call needs a body.",
    "body_too_deep": "The body is nested too deep.",
    "body_unexpected": "This call takes no body.",
    "body_unreadable": "The body is not what its content type says.",
    "content_type": "The body is of a content type that this call does not take.",
    "body_number_too_long": "The body holds a number of too many digits.",
    "parameter_doubled": "This parameter came more than once.",
    "parameter_missing": "This parameter is missing.",
    "parameter_unreadable": "This parameter cannot be read.",
    "status": "The status is not one that the API describes.",
}

SchemaOf: TypeAlias = "Callable[[str], Schema]"
_BODILESS: Final = frozenset({204, 205, 304})
_index: Final = re.compile(r"/[0-9]+(?=/|$)").sub


class Misfit(Exception):  # noqa: N818 - it is no error of ours
    """What does not fit. ``reason``: for the log, with the place in the body; ``parameter``: its place or
    name; ``detail``: public.
    """

    def __init__(self, reason: str, parameter: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = f"{reason}:{_index('/*', parameter)}" if parameter[:1] == "/" else reason
        self.parameter = parameter
        self.detail = detail or _DETAILS[reason]

    def refusal(self) -> Refusal:
        return Refusal("validation_failed", reason=self.reason, parameter=self.parameter, detail=self.detail)


class Checks:
    """One route's. ``response``: off, log or refuse; ``reads_head``, ``reads_body``: what of a request is
    looked at.
    """

    __slots__ = (
        "_answers",
        "_bodies",
        "_headers",
        "_paths",
        "_queries",
        "data",
        "reads_body",
        "reads_head",
        "response",
    )

    def __init__(self, data: Validation, schema_of: SchemaOf) -> None:
        """``schema_of``: compiles a text, or knows it. Raises ``ValueError``."""
        self.data = data
        asked = data.parameters if data.request else ()
        ready = [_Ready(one, schema_of(one.schema)) for one in asked]
        self._paths = [one for one in ready if one.data.place == "path"]
        self._queries = {one.data.name: one for one in ready if one.data.place == "query"}
        self._headers = {one.data.name: one for one in ready if one.data.place == "header"}
        self._bodies = _Bodies((data.bodies or ()) if data.request else (), "body", schema_of)
        self._answers = {one.status: _Bodies(one.bodies, "answer", schema_of) for one in data.answers}
        self.response = data.response
        self.reads_head = bool(asked)
        self.reads_body = data.request

    def moved(self, deeper: int) -> "Checks":
        """The same for paths whose parameters stand ``deeper`` segments further on; back where negative."""
        if not deeper or not self._paths:
            return self
        ready = [*self._paths, *self._queries.values(), *self._headers.values()]
        known = {one.data.schema: one.schema for one in ready}
        for bodies in (self._bodies, *self._answers.values()):
            for data, schema in bodies.by_media.values():
                if schema is not None:
                    known[data.schema] = schema
        parameters = tuple(
            replace(one, segment=one.segment + deeper) if one.place == "path" else one
            for one in self.data.parameters
        )
        return Checks(replace(self.data, parameters=parameters), known.__getitem__)

    def head(self, path: str, target: bytes, raw: bytes) -> None:
        """Raises ``Misfit``. ``path``: normalised; ``raw``: the field section."""
        if self._paths:
            segments = path.split("/")
            for one in self._paths:
                one.check([_decoded(segments[one.data.segment].encode(), one.data.name)])
        if self._queries:
            question = target.find(b"?")
            found = _pairs(b"" if question < 0 else target[question + 1 :], self._queries)
            for name, one in self._queries.items():
                one.check(found.get(name, []))
        if self._headers:
            for name, one in self._headers.items():
                one.check([value.decode("utf-8", "replace") for value in _values(raw, name.encode())])

    def body(self, content: bytes, content_type: bytes, raw: bytes) -> None:
        """Raises ``Misfit``. ``raw``: the field section."""
        data = self.data
        if not content:
            if data.body_required:
                raise Misfit("body_missing", "body")
            return
        if data.bodies is None:
            raise Misfit("body_unexpected", "body")
        if b"content-encoding" in raw.lower():
            for coding in _values(raw, b"content-encoding"):
                if coding.lower() != b"identity":
                    raise Misfit("body_encoded", "Content-Encoding")
        self._bodies.check(content, content_type)

    def answer(
        self, status: int, content: bytes | None, content_type: bytes, *, head_alone: bool = False
    ) -> None:
        """Raises ``Misfit``. ``content``: without coding; None: it was too long, or could not be read.
        ``head_alone``: there is none, as with HEAD.
        """
        answers = self._answers
        bodies = answers.get(str(status)) or answers.get(f"{status // 100}XX") or answers.get("default")
        if bodies is None:
            raise Misfit(UNDESCRIBED, "", _DETAILS["status"])
        if head_alone or not bodies.by_media or status in _BODILESS:
            return
        if content is None:
            raise Misfit("answer_not_read", "", _DETAILS["body_unreadable"])
        bodies.check(content, content_type)


class _Ready:
    """A parameter with its schema."""

    __slots__ = ("data", "schema")

    def __init__(self, data: Parameter, schema: "Schema") -> None:
        self.data = data
        self.schema = schema

    def check(self, texts: list[str]) -> None:
        """``texts``: the values that came, none where it is missing. Raises ``Misfit``."""
        data = self.data
        if not texts:
            if data.required:
                raise Misfit("parameter_missing", data.name)
            return
        separator = data.separator
        if separator != "&":
            if len(texts) > 1:
                if data.place != "header" or not separator:
                    raise Misfit("parameter_doubled", data.name)
                texts = [separator.join(texts)]
            if separator:
                texts = [text.strip(" \t") for text in texts[0].split(separator)] if texts[0] else []
        if len(texts) > VALUES_MAX:
            raise Misfit("parameter_unreadable", data.name)
        values = [_value(text, data.kinds, data.name) for text in texts]
        fault = self.schema.fault(values if separator else values[0])
        if fault is not None:
            raise Misfit("parameter_" + _snake(fault.keyword), data.name, fault.detail)


class _Bodies:
    """The content types of a body, each with what it is held against. ``whose``: body or answer."""

    __slots__ = ("_whose", "by_media")

    def __init__(self, bodies: tuple[Body, ...], whose: str, schema_of: SchemaOf) -> None:
        self.by_media = {one.media: (one, schema_of(one.schema) if one.schema else None) for one in bodies}
        self._whose = whose

    def check(self, content: bytes, content_type: bytes) -> None:
        """Raises ``Misfit``."""
        by_media = self.by_media
        media = media_type(content_type).decode("ascii", "replace")
        found = by_media.get(media) or by_media.get(media.partition("/")[0] + "/*") or by_media.get("*/*")
        if found is None:
            raise Misfit(f"{self._whose}_content_type", "Content-Type", _DETAILS["content_type"])
        data, schema = found
        if not data.form or ("*" in data.media and not _is_json(media)):
            return  # it may be anything
        try:
            value = decode(content, data.depth) if data.form == "json" else _form(content, data.fields)
        except DoubledError:
            raise self._misfit("doubled") from None
        except DeepError:
            raise self._misfit("too_deep") from None
        except NumberError:
            raise self._misfit("number_too_long") from None
        except ValueError:
            raise self._misfit("unreadable") from None
        fault: Fault | None = None if schema is None else schema.fault(value)
        if fault is not None:
            raise Misfit(f"{self._whose}_{_snake(fault.keyword)}", fault.pointer or "body", fault.detail)

    def _misfit(self, how: str) -> Misfit:
        return Misfit(f"{self._whose}_{how}", "body", _DETAILS[f"body_{how}"])


def _is_json(media: str) -> bool:
    return media == "application/json" or media.endswith("+json")


def _values(raw: bytes, wanted: bytes) -> list[bytes]:
    """The values of the field ``wanted``, in lower case."""
    found = []
    for line in raw.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon and name.lower() == wanted:
            found.append(value.strip(b" \t"))
    return found


def _pairs(query: bytes, wanted: Mapping[str, _Ready]) -> dict[str, list[str]]:
    """The values of the parameters that are wanted. Raises ``Misfit``."""
    found: dict[str, list[str]] = {}
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        try:
            field = unquote_to_bytes(name.replace(b"+", b" ")).decode()
        except UnicodeDecodeError:
            continue  # not a name that any document can have
        if field in wanted:
            values = found.setdefault(field, [])
            if len(values) > VALUES_MAX:
                raise Misfit("parameter_doubled", field)
            values.append(_decoded(value.replace(b"+", b" "), field))
    return found


def _decoded(part: bytes, name: str) -> str:
    try:
        if _bad_percent(part) is None:
            return unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        pass
    raise Misfit("parameter_unreadable", name)


def _value(text: str, kinds: tuple[str, ...], name: str) -> object:
    """``text`` as the first of ``kinds`` that it can be; as text where it can be none."""
    for kind in kinds:
        if kind == "number" and _number(text) is not None:
            try:
                return int(text) if text.lstrip("-").isdigit() else number(text)
            except NumberError:
                raise Misfit("parameter_unreadable", name) from None
        if kind == "boolean" and text in _WORDS:
            return _WORDS[text]
        if kind == "null" and not text:
            return None
        if kind == "json":
            try:
                return decode(text.encode("utf-8", "surrogateescape"))
            except ValueError:
                raise Misfit("parameter_unreadable", name) from None
        if kind == "text":
            break
    return text


def _form(content: bytes, fields: tuple[FormField, ...]) -> dict[str, object]:
    """A form's fields by their kinds. Raises ``DoubledError``, or ``ValueError`` for what is no form."""
    known = {field.name: field for field in fields}
    made: dict[str, object] = {}
    if _bad_percent(content) is not None:
        raise ValueError("not a form")
    parts = content.split(b"&")
    if len(parts) > VALUES_MAX:
        raise DeepError
    for part in parts:
        if not part:
            continue
        left, _, right = part.replace(b"+", b" ").partition(b"=")
        name, text = unquote_to_bytes(left).decode(), unquote_to_bytes(right).decode()
        field = known.get(name)
        value: object = text if field is None else _value(text, field.kinds, "body")
        if field is not None and field.listed:
            items = made.setdefault(name, [])
            assert isinstance(items, list)
            items.append(value)
        elif name in made:
            raise DoubledError("a field stands twice")
        else:
            made[name] = value
    return made


def _snake(keyword: str) -> str:
    """``additional_properties`` for ``additionalProperties``."""
    return _capital(lambda match: "_" + match[0].lower(), keyword)
