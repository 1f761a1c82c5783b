"""What makes up the configuration: entries and their parts, credentials, revisions, the canary.

What may be said with a write, its conditions among it, is ``Write`` in ``declaring.py``.
"""
# mypy: disable-error-code="empty-body"
# the head of a method is its declaration, see declaring.py

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias, Unpack

from faregate.client.declaring import Group, Known, Make, Of, Query, Reason, Write, listing, operation
from faregate.client.forms import (
    Applied,
    Canary,
    Configuration,
    Entry,
    KeyMade,
    Part,
    Plan,
    Revision,
    RevisionShown,
    State,
)

Spec: TypeAlias = Mapping[str, Any]
Wanted: TypeAlias = Mapping[str, Mapping[str, Spec]]
"""Sections of the configuration and their entries, as files have them."""


class Entries(Group):
    """The entries of a section."""

    @operation("{one}_get", "GET", "{at}/{name}")
    def get(self, name: str) -> Entry:
        """One {what}."""

    @operation("{one}_put", "PUT", "{at}/{name}")
    def put(self, name: str, spec: Spec, *, team: str | None = None, **said: Unpack[Write]) -> Entry:
        """Make or replace one {what}.

        ``team``: the one it belongs to; left out, it keeps the one it has.
        """

    @operation("{one}_patch", "PATCH", "{at}/{name}")
    def patch(
        self, name: str, spec: Spec | None = None, *, team: str | None = None, **said: Unpack[Write]
    ) -> Entry:
        """Change fields of one {what}.

        ``spec``: a JSON Merge Patch (RFC 7396); members that are None are removed, what is not named stays.
        """

    @operation("{one}_delete", "DELETE", "{at}/{name}")
    def delete(self, name: str, *, force: bool = False, **said: Unpack[Write]) -> None:
        """Remove one {what}."""

    @listing("{one}_list", "{at}")
    def list(self, *, team: str | None = None, size: int | None = None) -> Iterator[Entry]:
        """List {whats}."""


class Parts(Group):
    """What has a name inside an entry."""

    @operation("{one}_get", "GET", "{at}/{part}")
    def get(self, part: str) -> Part:
        """One {what}."""

    @operation("{one}_put", "PUT", "{at}/{part}")
    def put(self, part: str, spec: Spec | str, **said: Unpack[Write]) -> Part:
        """Make or replace one {what}."""

    @operation("{one}_delete", "DELETE", "{at}/{part}")
    def delete(self, part: str, **said: Unpack[Write]) -> None:
        """Remove one {what}."""

    @listing("{one}_list", "{at}")
    def list(self) -> Iterator[Part]:
        """List {whats}."""


class Versions(Parts):
    """The versions of an API."""

    routes = Of(Parts, "version_route", "/apis/{name}/versions/{version}/routes", what="route of a version")

    @operation("version_state", "PUT", "{at}/{version}/state")
    def state(  # noqa: PLR0913 - as the operation
        self,
        version: str,
        state: State,
        *,
        deprecated_at: str | None = None,
        sunset_at: str | None = None,
        successor: str | None = None,
        force: Query[bool] = False,
        **said: Unpack[Write],
    ) -> Applied:
        """Move a version on; not while it is still called, unless forced.

        Days such as ``2027-01-31``, from their beginning in UTC. ``if_match``: of the API.
        """


class Credentials(Group):
    """How consumers prove who they are."""

    @operation("credential_get", "GET", "/credentials/{credential}")
    def get(self, credential: str) -> Entry:
        """One credential."""

    @operation("credential_put", "PUT", "/consumers/{name}/credentials/{credential}")
    def put(
        self,
        name: str,
        credential: str,
        *,
        mtls: Spec | None = None,
        jwt: Spec | None = None,
        **said: Unpack[Reason],
    ) -> Entry:
        """Add or replace a certificate or a token's subject.

        ``name``: the consumer's. Exactly one of ``mtls`` and ``jwt``.
        """

    @operation("credential_revoke", "DELETE", "/credentials/{credential}")
    def revoke(self, credential: str, **said: Unpack[Reason]) -> None:
        """Revoke a credential for good."""

    @listing("credential_list", "/credentials")
    def list(self, *, consumer: str | None = None, size: int | None = None) -> Iterator[Entry]:
        """List credentials."""


class Keys(Group):
    """API keys; they are credentials once they are made."""

    @operation("key_create", "POST", "/consumers/{name}/keys", once=("secret",))
    def create(
        self,
        name: str,
        *,
        mode: Literal["live", "test"] = "live",
        life_s: int | None = None,
        note: str = "",
        **said: Unpack[Make],
    ) -> KeyMade:
        """Make an API key.

        ``name``: the consumer's. ``life_s``: seconds until it ends; None: it does not.
        """

    @operation("key_roll", "POST", "/credentials/{credential}/roll", once=("secret",))
    def roll(
        self, credential: str, *, overlap_s: int = 0, life_s: int | None = None, **said: Unpack[Make]
    ) -> KeyMade:
        """Replace an API key by a new one.

        ``overlap_s``: seconds both work; ``life_s``: seconds until the new one ends; None: as many as the
        old one was given; 0: it does not end.
        """


class Revisions(Group):
    """Numbered states of the configuration."""

    @operation("revision_get", "GET", "/revisions/{number}")
    def get(self, number: int) -> RevisionShown:
        """One revision and what it changed."""

    @operation("rollback_plan", "POST", "/revisions/{number}/plan", reads=True)
    def plan(self, number: int) -> Plan:
        """What a rollback to it would change."""

    @operation("revision_rollback", "POST", "/revisions/{number}/rollback")
    def rollback(
        self, number: int, *, reason: str = "", base: Query[int | None] = None, force: Query[bool] = False
    ) -> Applied:
        """Make the configuration what it was.

        ``base``: refused when a revision after this one changed something.
        """

    @listing("revision_list", "/revisions")
    def list(self, *, size: int | None = None) -> Iterator[Revision]:
        """The newest revisions first."""


class Whole(Group):
    """The configuration as a whole."""

    @operation("config_get", "GET", "/config")
    def get(self) -> Configuration:
        """Everything that may be seen, as a file would have it."""

    @operation("config_plan", "POST", "/config/plan", reads=True)
    def plan(self, sections: Wanted, *, team: str = "", reason: str = "") -> Plan:
        """What applying it would change."""

    @operation("config_apply", "PUT", "/config")
    def apply(
        self,
        sections: Wanted,
        *,
        team: str = "",
        reason: str = "",
        base: Query[int | None] = None,
        force: Query[bool] = False,
        **said: Unpack[Known],
    ) -> Applied:
        """Make the named sections what is said here.

        Others stay. ``base``, or ``if_match`` with the ETag of ``get``: refused when a revision after this
        one changed something.
        """


class Canaries(Group):
    """A change that some calls meet first."""

    @operation("canary_get", "GET", "/canary")
    def get(self) -> Canary:
        """The canary that runs, or what came of the last one."""

    @operation("canary_start", "PUT", "/canary")
    def start(  # noqa: PLR0913 - as the operation
        self,
        sections: Wanted,
        *,
        team: str = "",
        reason: str = "",
        percent: int = 0,
        consumers: Sequence[str] = (),
        for_s: float = 600.0,
        promote: bool = False,
        base: Query[int | None] = None,
        force: Query[bool] = False,
    ) -> Canary:
        """Have some calls meet what applying it would make.

        ``percent`` of all calls, those of ``consumers``, or both, for ``for_s`` seconds at most; ``promote``:
        make it the revision at the end, when nothing speaks against it.
        """

    @operation("canary_abandon", "DELETE", "/canary")
    def abandon(self) -> Canary:
        """Have all calls meet the running revision again."""

    @operation("canary_promote", "POST", "/canary/promote")
    def promote(self, *, reason: str = "") -> Applied:
        """Make it the revision that all calls meet."""
