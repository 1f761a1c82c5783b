"""What the admin API answers of people, their sessions and what they decide, as ``forms.py`` has the rest."""

from typing import Literal, NotRequired, TypeAlias, TypedDict

from faregate.client.forms import Difference

Verdict: TypeAlias = Literal["approved", "rejected"]
ChangeState: TypeAlias = Literal[
    "draft", "proposed", "approved", "applied", "rejected", "expired", "withdrawn", "rolled_back"
]


class Grant(TypedDict):
    """A role in a scope: ``*``, ``team:NAME`` or ``api:NAME``."""

    role: Literal["viewer", "operator", "approver", "owner", "auditor"]
    scope: NotRequired[str]


class User(TypedDict):
    """``invited``: a code that sets a password is out. ``provider``: signs in by the provider, whose groups
    give the roles.
    """

    name: str
    display: str
    email: str
    service: bool
    state: Literal["active", "disabled"]
    second_factor: bool
    invited: bool
    provider: bool
    grants: list[Grant]
    created: str
    etag: str


class UserMade(TypedDict):
    """``code`` sets a password once; it is shown here and nowhere else."""

    user: User
    code: NotRequired[str | None]


class Token(TypedDict):
    """``used``: within about a minute."""

    id: str
    user: str
    note: str
    grants: list[Grant]
    created: str
    used: NotRequired[str | None]
    expires: str


class TokenMade(TypedDict):
    """``secret`` is shown here and nowhere else."""

    token: Token
    secret: str


class Who(TypedDict):
    """Who asks, and what they may do. ``second_factor``: when it was last shown; ``csrf``: a session's."""

    person: str
    service: bool
    credential: str
    grants: list[Grant]
    second_factor: NotRequired[str | None]
    break_glass: NotRequired[str | None]
    expires: NotRequired[str | None]
    csrf: NotRequired[str | None]


class SessionMade(TypedDict):
    """``csrf`` goes into ``X-Faregate-Csrf``; the session's own secret is in the cookie alone."""

    id: str
    csrf: str
    expires: str


class Session(TypedDict):
    """A sign-in that holds. ``current``: of who asks."""

    id: str
    current: bool
    opened: str
    used: str
    expires: str
    address: str


class Ended(TypedDict):
    """How many sessions ended."""

    ended: int


class Seed(TypedDict):
    """Shown here and nowhere else. ``address`` as authenticators scan it."""

    seed: str
    address: str


class Change(TypedDict):
    """A change request. ``base``: the newest revision when it was filed; ``hash``: what an approval binds;
    ``failure``: why it could not be brought about, ``failure_code`` for programs.
    """

    id: str
    author: str
    reason: str
    kind: str
    subject: Literal["config", "people"]
    risk: Literal["plain", "guarded", "grave"]
    state: ChangeState
    base: int
    hash: str
    approvals_needed: int
    created: str
    expires: str
    activate_at: NotRequired[str | None]
    revision: NotRequired[int | None]
    failure: NotRequired[str]
    failure_code: NotRequired[str]
    replaced_by: NotRequired[str | None]


class Decision(TypedDict):
    """What a person said of a change request."""

    person: str
    verdict: Verdict
    hash: str
    reason: str
    time: str


class ChangeShown(Change):
    """With what it would do, and what was said of it."""

    differences: list[Difference]
    decisions: list[Decision]


class BreakGlass(TypedDict):
    """An act of break-glass. ``reviewer`` absent: the review is open."""

    id: str
    person: str
    reason: str
    opened: str
    until: str
    address: str
    review_due: str
    reviewer: NotRequired[str | None]
    reviewed: NotRequired[str | None]
    finding: NotRequired[str]


class BreakGlassMade(TypedDict):
    """The act, and the session that it gave."""

    break_glass: BreakGlass
    session: SessionMade
