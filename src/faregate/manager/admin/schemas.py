"""The bodies of the admin API, one model each; what they mean is told here, for the OpenAPI document.

``spec`` is an entry exactly as a file would have it; whether it is right is the compiler's question, so that
file and API are judged by the same words.
"""

from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
TEAM_PATTERN: Final = r"^[a-z0-9][a-z0-9-]{0,62}$"

TeamName: TypeAlias = Annotated[str, StringConstraints(pattern=rf"^$|{TEAM_PATTERN}")]
Spec: TypeAlias = dict[str, Any]


class Body(BaseModel):
    """Unknown members are refused by name, never dropped."""

    model_config = ConfigDict(extra="forbid", str_max_length=1 << 20)


class Sent(Body):
    """What is sent with numbers and switches: `"60"` is no number, as in the configuration."""

    model_config = ConfigDict(strict=True)


class EntryWrite(Body):
    """What a PUT says of an entry."""

    spec: Spec = Field(description="The entry as a configuration file has it.")
    team: TeamName | None = Field(
        default=None, description="The team it belongs to; left out, it keeps the one it has."
    )


class EntryPatch(Body):
    """A JSON Merge Patch (RFC 7396): members that are null are removed, what is not named stays."""

    spec: Spec = Field(default_factory=dict)
    team: TeamName | None = None


class EntryRead(Body):
    """An entry as it stands. Secrets in `spec` read `***`."""

    name: str
    owner: Literal["file", "database"]
    team: str
    revision: int = Field(description="The revision that last changed it; 0 for what the file owns.")
    etag: str
    spec: Spec


class EntryPage(Body):
    """`offset` absent: there are no more."""

    data: list[EntryRead]
    offset: str | None = None
    next: str | None = None


class PartWrite(Body):
    """What a PUT says of a version, a route or a target. A target may be a URL alone."""

    spec: Spec | str


class PartRead(Body):
    """A part as it stands."""

    name: str
    owner: Literal["file", "database"]
    etag: str
    spec: Spec | str


class PartPage(Body):
    data: list[PartRead]


class RevisionRead(Body):
    """A numbered state of the configuration, and how it came to be."""

    number: int
    time: str = Field(description="RFC 3339, UTC, milliseconds.")
    kind: str
    author: str
    reason: str
    changes: int
    digest: str = Field(description="SHA-256 over the canonical JSON of all differences.")
    rolled_back_to: int | None = None
    change_request: str | None = None
    audit_seq: int | None = None


class DifferenceRead(Body):
    """One field that differs; null: absent."""

    path: str
    before: Any = None
    after: Any = None


class RevisionShown(RevisionRead):
    differences: list[DifferenceRead]


class RevisionPage(Body):
    data: list[RevisionRead]
    offset: str | None = None
    next: str | None = None


class DiagnosticRead(Body):
    """What is wrong with a configuration, or unwise."""

    level: Literal["error", "warning"]
    code: str
    path: str = ""
    message: str
    expected: str = ""
    nearest: str = ""


class PlanRead(Body):
    """What would change."""

    creates: int
    updates: int
    deletes: int
    differences: list[DifferenceRead]
    diagnostics: list[DiagnosticRead]


class Applied(Body):
    """What came of a write of several entries. `revision` null: nothing changed."""

    revision: int | None
    published: bool = Field(description="Whether every worker of this machine runs it by now.")


class ConfigWrite(Sent):
    """Sections and their entries, as files have them. A section that is named becomes what is said here;
    others stay.
    """

    sections: dict[Literal["issuers", "upstreams", "plans", "groups", "consumers", "apis"], dict[str, Spec]]
    team: TeamName = ""
    reason: str = Field(default="", max_length=1000)


class ConfigRead(Body):
    sections: dict[str, dict[str, Spec]]
    revision: int


class Reason(Body):
    reason: str = Field(default="", max_length=1000)


class ProblemRead(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
