"""Tools that change nothing: check, import, compare, try."""

import json
import re
from typing import Annotated, Any, Final

from fastapi import APIRouter
from pydantic import Field, StringConstraints

from faregate.manager.admin.context import READS, House, Who, problems
from faregate.manager.admin.schemas import NAME_PATTERN, Body, DiagnosticRead, Spec
from faregate.manager.cases.errors import Invalid
from faregate.manager.cases.tools import TEXT_CHARACTERS_MAX

_SEES: Final[dict[str, Any]] = {"x-faregate-need": "see"}
_TOOL: Final = {**READS, **problems(413, 415, 429)}
_CALL_FIELD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")

Text = Annotated[str, StringConstraints(min_length=1, max_length=TEXT_CHARACTERS_MAX)]


class ToolBody(Body):
    """Texts may be as long as files."""

    model_config = Body.model_config | {"str_max_length": TEXT_CHARACTERS_MAX}


class CheckAsk(ToolBody):
    """A configuration: exactly one of `text`, YAML or JSON, and `tree`."""

    text: Text | None = None
    tree: Spec | None = None


class PlacedDiagnostic(DiagnosticRead):
    """`line` and `column` count from 1 in the text; 0: not known."""

    line: int = 0
    column: int = 0


class CheckRead(Body):
    """`more`: diagnostics that are not told. `${...}` is not filled in, and what hangs on it not judged."""

    ok: bool
    diagnostics: list[PlacedDiagnostic]
    more: int


class ImportAsk(ToolBody):
    """An OpenAPI 3.0 or 3.1 document, YAML or JSON."""

    document: Text
    name: Annotated[str, StringConstraints(pattern=rf"^$|{NAME_PATTERN}")] = ""
    upstream: Annotated[str, StringConstraints(pattern=r"^$|^https?://[^\s/?#@]{1,253}$")] = ""
    file: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,128}$")] = Field(
        default="openapi.yaml", description="The document's name in the configuration."
    )


class ImportRead(Body):
    """`notes`: what could not be mapped."""

    configuration: Spec
    yaml: str
    notes: list[str]


class DiffAsk(ToolBody):
    """Two OpenAPI documents."""

    old: Text
    new: Text


class ContractChange(Body):
    """One change; `lost`: a schema of what breaks, where it can be said."""

    breaking: bool
    kind: str
    operation: str
    pointer: str
    value: str
    message: str
    lost: str


class DiffRead(Body):
    breaking: int
    changes: list[ContractChange]
    more: int


class TryAsk(Body):
    """A call to be decided, not sent. `consumer` empty: nobody known."""

    method: Annotated[str, StringConstraints(pattern=r"^[A-Z]{1,16}$")]
    path: Annotated[str, StringConstraints(pattern=r"^/[\x21-\x7e]{0,2047}$")]
    consumer: Annotated[str, StringConstraints(pattern=rf"^$|{NAME_PATTERN}")] = ""
    ip: Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f.:]{0,45}$")] = ""
    headers: dict[str, str] = Field(default_factory=dict, max_length=50)


def _arguments(body: TryAsk, data: str) -> list[str]:
    told = [f"--data={data}", "--json"]
    if body.consumer:
        told.append(f"--consumer={body.consumer}")
    if body.ip:
        told.append(f"--ip={body.ip}")
    for name, value in body.headers.items():
        if not _CALL_FIELD.fullmatch(name) or not value.isprintable() or len(value) > 4096:
            raise Invalid("headers: names are tokens, values at most 4,096 printable characters.")
        told.append(f"--header={name}: {value}")
    return [*told, "--", body.method, body.path]


def make_router() -> APIRouter:
    router = APIRouter(prefix="/tools", tags=["tools"])

    @router.post(
        "/check", operation_id="tool_check", responses=_TOOL, openapi_extra=_SEES,
        summary="Everything that is wrong with a configuration",
    )  # fmt: skip
    async def tool_check(house: House, who: Who, body: CheckAsk) -> CheckRead:
        if (body.text is None) == (body.tree is None):
            raise Invalid("A configuration is one thing: exactly one of text and tree.")
        text = json.dumps(body.tree) if body.text is None else body.text
        return CheckRead.model_validate(_known(await house.tools.check(who, text)))

    @router.post(
        "/openapi/import", operation_id="tool_openapi_import", responses=_TOOL, openapi_extra=_SEES,
        summary="The configuration of an API, made from its OpenAPI document",
    )  # fmt: skip
    async def tool_openapi_import(house: House, who: Who, body: ImportAsk) -> ImportRead:
        made = await house.tools.openapi_import(
            who, body.document, name=body.name, upstream=body.upstream, file=body.file
        )
        return ImportRead.model_validate(made)

    @router.post(
        "/openapi/diff", operation_id="tool_openapi_diff", responses=_TOOL, openapi_extra=_SEES,
        summary="What changed between two OpenAPI documents, and which of it breaks callers",
    )  # fmt: skip
    async def tool_openapi_diff(house: House, who: Who, body: DiffAsk) -> DiffRead:
        return DiffRead.model_validate(await house.tools.openapi_diff(who, body.old, body.new))

    @router.post(
        "/try", operation_id="tool_try", responses=_TOOL, openapi_extra=_SEES,
        summary="What the gateway would decide of a call; nothing is sent",
    )  # fmt: skip
    async def tool_try(house: House, who: Who, body: TryAsk) -> Spec:
        return dict(await house.tools.call_try(who, _arguments(body, str(house.data))))

    return router


def _known(found: Any) -> dict[str, Any]:
    """Without what a diagnostic says of a file."""
    shown = [
        {name: one[name] for name in PlacedDiagnostic.model_fields if name in one}
        for one in found["diagnostics"]
    ]
    return {**found, "diagnostics": shown}
