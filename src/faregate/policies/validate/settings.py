"""The declared form of ``validate`` and of the OpenAPI document that calls are held against.

Whether the document can be read, and describes the routes, needs other places: ``compile.openapi`` checks
that.
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, PlainValidator, WithJsonSchema

from faregate.model.values import ALSO_OFF, Declared, Flag, fault, wrong_type

_EXPECTED = "a path of an OpenAPI 3.0 or 3.1 document, relative to this file, or the document itself"


def _read_document(value: object) -> object:
    """A document that is written in place stays as it is."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, str):
        raise wrong_type(value, _EXPECTED)
    if not value or len(value) > 4096 or not value.isprintable():
        raise fault("bad_value", "not a path", _EXPECTED)
    return value


OpenApi: TypeAlias = Annotated[
    str | dict[str, object],
    PlainValidator(_read_document),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "minLength": 1}, {"type": "object"}],
            "description": "An OpenAPI 3.0 or 3.1 document: a file, or the document itself.",
        }
    ),
]


class Validate(Declared):
    """What of a call is held against the OpenAPI document."""

    request: Flag = True
    response: Literal["off", "log", "refuse"] = "off"

    @property
    def is_off(self) -> bool:
        return not self.request and self.response == "off"


def _off(value: object) -> object:
    return {"request": False, "response": "off"} if isinstance(value, str) and value == "off" else value


ValidateSetting: TypeAlias = Annotated[Validate, BeforeValidator(_off), ALSO_OFF]
