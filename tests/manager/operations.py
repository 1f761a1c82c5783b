"""The operations of the admin API as its OpenAPI document has them, each as a request that can be sent.

A new operation is walked as soon as it is there: what its path and body need is made of the document; only
the names of things stand here.
"""

from dataclasses import dataclass
from functools import cache
from re import search
from typing import Any, Final

from faregate.manager.admin.app import create_admin
from tests.manager.world import TEAMS, World

METHODS: Final = {"get", "put", "post", "patch", "delete"}
MISSING: Final = "missing"


@cache
def document() -> dict[str, Any]:
    return create_admin(None).openapi()


@dataclass(frozen=True)
class Operation:
    """``need``: what its caller must hold; ``told``: its part of the document."""

    method: str
    path: str
    told: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.told["operationId"])

    @property
    def need(self) -> str:
        return str(self.told.get("x-faregate-need", ""))

    @property
    def writes(self) -> bool:
        return self.method != "GET"

    @property
    def body_schema(self) -> dict[str, Any] | None:
        found = self.told.get("requestBody")
        return None if found is None else found["content"]["application/json"]["schema"]

    @property
    def is_scoped(self) -> bool:
        """Whether its path names a thing that is one team's."""
        first = self.path.split("/")[1]
        return "{" in self.path and first in {
            "issuers", "upstreams", "plans", "groups", "consumers", "apis", "credentials", "calls",
        }  # fmt: skip


def operations() -> list[Operation]:
    return [
        Operation(method.upper(), path, told)
        for path, item in document()["paths"].items()
        for method, told in item.items()
        if method in METHODS
    ]


def address(operation: Operation, world: World, whose: str) -> str:
    """The path for a thing of team ``whose``, or for one that is missing."""
    own = whose in TEAMS
    first = operation.path.split("/")[1]
    values = {
        "name": f"{whose}-{first}" if own else "missing-thing",
        "credential": world.keys[whose] if own else "key_00000000000f",
        "version": "v1" if own else "v9",
        "part": {
            "versions": "v1", "routes": "GET.things", "targets": "127.0.0.1:9001",
        }.get(operation.path.split("/")[-2], "x") if own else "missing-part",
        "request_id": f"{whose}-call",
        "user": "viewer" if own else "no-such-user",
        "token": world.users["revoked"] if own else "tok_000000000000",
        "session": "ses_000000000000",
        "number": str(world.revision) if own else "9999999",
        "section": "plans",
        "record": "00" * 16,
        "seq": "0",
        "change": "chg_0000000000000000",
        "act": "bg_0000000000000000",
    }  # fmt: skip
    if "/versions/{version}/routes/{part}" in operation.path and own:
        values |= {"version": "v2", "part": "GET.own"}
    path = operation.path
    for name, value in values.items():
        path = path.replace(f"{{{name}}}", value)
    assert "{" not in path, f"say in tests/manager/operations.py what {path} names"
    wanted = [
        one for one in operation.told.get("parameters", ()) if one["in"] == "query" and one.get("required")
    ]
    return path + ("?" + "&".join(f"{one['name']}=1" for one in wanted) if wanted else "")


_BODIES: Final[dict[str, Any]] = {
    "credential_put": {"jwt": {"issuer": "x", "subject": "y"}},
    "tool_check": {"text": "apis: {}"},
    "version_state": {"state": "deprecated"},
    "key_roll": {"overlap_s": 60},
    "user_create": {"name": "someone-new", "service": True},
    "config_apply": {"sections": {"plans": {"everybodys": {}}}},
    "config_plan": {"sections": {"plans": {"everybodys": {}}}},
}
"""Where the least that a schema takes is not enough."""


def body_of(operation: Operation) -> Any:
    """The least body that the document takes."""
    schema = operation.body_schema
    if schema is None:
        return None
    return _BODIES.get(operation.id) or _least(schema, document_schemas())


_schemas: dict[str, Any] = {}


def document_schemas() -> dict[str, Any]:
    if not _schemas:
        _schemas.update(document()["components"]["schemas"])
    return _schemas


def _least(schema: dict[str, Any], named: dict[str, Any]) -> Any:
    if "$ref" in schema:
        return _least(named[schema["$ref"].rpartition("/")[2]], named)
    if "const" in schema or "enum" in schema:
        return schema.get("const", (schema.get("enum") or [None])[0])
    for member in ("anyOf", "oneOf"):
        if member in schema:
            return _least(schema[member][0], named)
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        properties = schema.get("properties", {})
        return {name: _least(properties[name], named) for name in schema.get("required", ())}
    if kind == "string":
        return _text(schema)
    return {"array": [], "integer": schema.get("minimum", 1), "number": 1, "boolean": False}.get(str(kind))


def _text(schema: dict[str, Any]) -> str:
    pattern = str(schema.get("pattern", ""))
    for text in ("GET", "/x", "a" * 64, "123456", "somebody", "2026-01-01"):
        if (not pattern or search(pattern, text)) and len(text) >= schema.get("minLength", 0):
            return text if pattern else "x" * max(12, schema.get("minLength", 1))
    raise AssertionError(f"no text for {pattern}")
