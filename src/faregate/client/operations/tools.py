"""Operations on tools, and their forms.

Made by ``python -m tests.client.writing`` from the OpenAPI document.
"""

from typing import Any, Literal, NotRequired, TypedDict

from faregate.client.asking import Asking


class CheckAsk(TypedDict):
    """A configuration: exactly one of `text`, YAML or JSON, and `tree`."""

    text: NotRequired[str | None]
    tree: NotRequired[dict[str, Any] | None]


class PlacedDiagnostic(TypedDict):
    """`line` and `column` count from 1 in the text; 0: not known."""

    level: Literal["error", "warning"]
    code: str
    path: NotRequired[str]
    message: str
    expected: NotRequired[str]
    nearest: NotRequired[str]
    line: NotRequired[int]
    column: NotRequired[int]


class CheckRead(TypedDict):
    """`more`: diagnostics that are not told. `${...}` is not filled in, and what hangs on it not
    judged.
    """

    ok: bool
    diagnostics: list[PlacedDiagnostic]
    more: int


class ContractChange(TypedDict):
    """One change; `lost`: a schema of what breaks, where it can be said."""

    breaking: bool
    kind: str
    operation: str
    pointer: str
    value: str
    message: str
    lost: str


class DiffAsk(TypedDict):
    """Two OpenAPI documents."""

    old: str
    new: str


class DiffRead(TypedDict):
    """As the admin API has it."""

    breaking: int
    changes: list[ContractChange]
    more: int


class ImportAsk(TypedDict):
    """An OpenAPI 3.0 or 3.1 document, YAML or JSON."""

    document: str
    name: NotRequired[str]
    upstream: NotRequired[str]
    file: NotRequired[str]
    """The document's name in the configuration."""


class ImportRead(TypedDict):
    """`notes`: what could not be mapped."""

    configuration: dict[str, Any]
    yaml: str
    notes: list[str]


class TryAsk(TypedDict):
    """A call to be decided, not sent. `consumer` empty: nobody known."""

    method: str
    path: str
    consumer: NotRequired[str]
    ip: NotRequired[str]
    headers: NotRequired[dict[str, str]]


class ToolsOperations(Asking):
    """Operations on tools."""

    def tool_check(self, body: CheckAsk) -> CheckRead:
        """Everything that is wrong with a configuration: `POST /tools/check`."""
        answer: CheckRead = self._ask("tool_check", body=body)
        return answer

    def tool_openapi_import(self, body: ImportAsk) -> ImportRead:
        """The configuration of an API, made from its OpenAPI document: `POST /tools/openapi/import`."""
        answer: ImportRead = self._ask("tool_openapi_import", body=body)
        return answer

    def tool_openapi_diff(self, body: DiffAsk) -> DiffRead:
        """What changed between two OpenAPI documents, and which of it breaks callers: `POST
        /tools/openapi/diff`.
        """
        answer: DiffRead = self._ask("tool_openapi_diff", body=body)
        return answer

    def tool_try(self, body: TryAsk) -> dict[str, Any]:
        """What the gateway would decide of a call; nothing is sent: `POST /tools/try`."""
        answer: dict[str, Any] = self._ask("tool_try", body=body)
        return answer
