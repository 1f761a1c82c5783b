"""Forms that several kinds of operations have.

Made by ``python -m tests.client.writing`` from the OpenAPI document.
"""

from typing import Any, Literal, NotRequired, TypedDict


class Applied(TypedDict):
    """What came of a write of several entries. `revision` null: nothing changed."""

    revision: int | None
    published: bool
    """Whether every worker of this machine runs it by now."""


class DiagnosticRead(TypedDict):
    """What is wrong with a configuration, or unwise."""

    level: Literal["error", "warning"]
    code: str
    path: NotRequired[str]
    message: str
    expected: NotRequired[str]
    nearest: NotRequired[str]


class DifferenceRead(TypedDict):
    """One field that differs; null: absent."""

    path: str
    before: NotRequired[Any]
    after: NotRequired[Any]


class EntryRead(TypedDict):
    """An entry as it stands. Secrets in `spec` read `***`."""

    name: str
    owner: Literal["file", "database"]
    team: str
    revision: int
    """The revision that last changed it; 0 for what the file owns."""
    etag: str
    spec: dict[str, Any]


class EntryPage(TypedDict):
    """`offset` absent: there are no more."""

    data: list[EntryRead]
    offset: NotRequired[str | None]
    next: NotRequired[str | None]


class EntryPatch(TypedDict):
    """A JSON Merge Patch (RFC 7396): members that are null are removed, what is not named stays."""

    spec: NotRequired[dict[str, Any]]
    team: NotRequired[str | None]


class EntryWrite(TypedDict):
    """What a PUT says of an entry."""

    spec: dict[str, Any]
    """The entry as a configuration file has it."""
    team: NotRequired[str | None]
    """The team it belongs to; left out, it keeps the one it has."""


class GrantBody(TypedDict):
    """A role in a scope: `*`, `team:NAME` or `api:NAME`."""

    role: Literal["viewer", "operator", "approver", "owner", "auditor"]
    scope: NotRequired[str]


class PartRead(TypedDict):
    """A part as it stands."""

    name: str
    owner: Literal["file", "database"]
    etag: str
    spec: dict[str, Any] | str


class PartPage(TypedDict):
    """As the admin API has it."""

    data: list[PartRead]


class PartWrite(TypedDict):
    """What a PUT says of a version, a route or a target. A target may be a URL alone."""

    spec: dict[str, Any] | str


class PlanRead(TypedDict):
    """What would change."""

    creates: int
    updates: int
    deletes: int
    differences: list[DifferenceRead]
    diagnostics: list[DiagnosticRead]


class Reason(TypedDict):
    """As the admin API has it."""

    reason: NotRequired[str]


class SessionMade(TypedDict):
    """`csrf` goes into `X-Faregate-Csrf`; the session's own secret is in the cookie alone."""

    id: str
    csrf: str
    expires: str
