"""The things that use cases speak of: who acts, what an entry is, what a change of one is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Content: TypeAlias = dict[str, Json]

Section: TypeAlias = Literal["issuers", "upstreams", "plans", "groups", "consumers", "apis", "credentials"]
SECTIONS: Final[tuple[Section, ...]] = (
    "issuers", "upstreams", "plans", "groups", "consumers", "apis", "credentials",
)  # fmt: skip
APPLIED: Final[tuple[Section, ...]] = SECTIONS[:-1]
"""What a file may hold, and so ``apply`` and ``rollback`` change. Credentials are made and revoked one by
one: a rollback must not bring a revoked key back.
"""

Role: TypeAlias = Literal["viewer", "operator", "approver", "owner", "auditor"]
ROLES: Final[tuple[Role, ...]] = ("viewer", "operator", "approver", "owner", "auditor")

EVERYWHERE: Final = "*"


@dataclass(frozen=True, slots=True)
class Grant:
    """``scope``: ``*``, ``team:NAME`` or ``api:NAME``."""

    role: Role
    scope: str = EVERYWHERE


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts. ``person``: the user's name, the same for all of a person's tokens; ``service``: no person.

    ``second_factor_ms``: when a second factor was last shown, 0 for never. ``break_glass``: the act by which
    a person is owner for now. ``propose``, ``activate_ms``, ``window_ms``: what is written shall wait for a
    second person, or for its time.
    """

    person: str
    grants: tuple[Grant, ...]
    credential: str = ""
    service: bool = False
    address: str = ""
    request_id: str = ""
    second_factor_ms: int = 0
    break_glass: str = ""
    propose: bool = False
    activate_ms: int = 0
    window_ms: int = 0

    @property
    def machine(self) -> bool:
        """Whether this is the token in the data folder."""
        return self.credential == MACHINE


MACHINE: Final = "machine"
LOCAL: Final = "local"
"""The person behind the token in the data folder: whoever may read it owns the machine's gateway."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One named entry of a section as it stands. ``owner``: file or database."""

    section: Section
    name: str
    content: Content = field(repr=False)
    owner: Literal["file", "database"] = "database"
    team: str = ""
    revision: int = 0
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """``before`` None: made; ``after`` None: removed."""

    section: Section
    name: str
    before: Content | None = field(repr=False)
    after: Content | None = field(repr=False)
    team: str = ""
    team_before: str = ""

    @property
    def act(self) -> Literal["create", "update", "delete"]:
        return "create" if self.before is None else "delete" if self.after is None else "update"

    def for_compiler(self) -> Mapping[str, object]:
        return compiled_change(self.section, self.name, self.after)


def compiled_change(section: Section, name: str, content: Content | None) -> Mapping[str, object]:
    """An entry's new content as the compiler takes it; what is noted of a credential besides is left out."""
    if section == "credentials" and content is not None:
        content = {key: value for key, value in content.items() if key in CREDENTIAL_PARTS}
    return {"section": section, "name": name, "content": content}


CREDENTIAL_PARTS: Final = frozenset({"consumer", "api_key", "mtls", "jwt"})


@dataclass(frozen=True, slots=True)
class Revision:
    """A numbered state of the configuration, and how it came to be. Times in milliseconds since the epoch."""

    number: int
    at_ms: int
    kind: str
    author: str
    reason: str
    changes: int
    digest: str
    rolled_back_to: int | None = None
    change_request: str | None = None
    audit_seq: int | None = None
