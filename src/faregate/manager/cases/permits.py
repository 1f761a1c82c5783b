"""Who may do what to what: the one place that decides it.

A grant is a role in a scope: everywhere, a team's entries, or one API. What a person may not even see answers
as if it were not there, and so does everything of another team (http-rules.md section 12). Writing needs
operator, deciding on others' changes approver, people and keys of the house owner. An owner may do what an
operator may; nobody may decide on a change of their own, which ``changes`` holds.
"""

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

from faregate.manager.cases.domain import EVERYWHERE, Actor, Entry, Grant, Role, Section
from faregate.manager.cases.errors import Forbidden, NotFound

Need: TypeAlias = Literal["see", "write", "decide", "own", "audit"]

_ROLES: Final[dict[Need, frozenset[Role]]] = {
    "see": frozenset({"viewer", "operator", "approver", "owner", "auditor"}),
    "write": frozenset({"operator", "owner"}),
    "decide": frozenset({"approver", "owner"}),
    "own": frozenset({"owner"}),
    "audit": frozenset({"auditor", "owner"}),
}


def scopes(actor: Actor, need: Need) -> frozenset[str]:
    """Where ``actor`` holds a role that ``need`` takes."""
    return frozenset(grant.scope for grant in actor.grants if grant.role in _ROLES[need])


def breakable(grants: Iterable[Grant]) -> frozenset[str]:
    """The scopes that somebody with ``grants`` owns while their break-glass is open: those in which they take
    part in changes.
    """
    return frozenset(grant.scope for grant in grants if grant.role in {"operator", "approver", "owner"})


def scopes_of(section: Section | str, name: str, team: str) -> frozenset[str]:
    """The scopes that an entry lies in."""
    found = {EVERYWHERE}
    if team:
        found.add(f"team:{team}")
    if section == "apis":
        found.add(f"api:{name}")
    return frozenset(found)


def may(actor: Actor, need: Need, lies_in: Iterable[str] = (EVERYWHERE,)) -> bool:
    return not scopes(actor, need).isdisjoint(lies_in)


def demand(actor: Actor, need: Need, lies_in: Iterable[str] = (EVERYWHERE,), *, noun: str = "thing") -> None:
    """Raises NotFound for what ``actor`` may not see, Forbidden for what it may see and not do."""
    places = frozenset(lies_in)
    if may(actor, need, places):
        return
    if may(actor, "see", places):
        raise Forbidden(f"This needs the role {_least(need)} for it.")
    raise NotFound(f"There is no such {noun}.")


def demand_entry(actor: Actor, need: Need, entry: Entry) -> None:
    """As ``demand``, for an entry."""
    demand(actor, need, scopes_of(entry.section, entry.name, entry.team), noun=NOUNS[entry.section])


def demand_team_said(actor: Actor, team: str | None) -> None:
    """For what would be of no team, written by who may write in teams only: what is missing is the team, not
    the entry. The same words whether or not somebody else has one of that name. Raises Forbidden.
    """
    mine = scopes(actor, "write")
    teams = sorted(scope for scope in mine if scope.startswith("team:"))
    if not team and teams and EVERYWHERE not in mine:
        raise Forbidden(
            f"`team` is missing: you may write in {', '.join(teams)}, not what belongs to no team. "
            "Name it in the body, or by --team at a command."
        )


def demand_team(actor: Actor, team: str) -> None:
    """For an entry that is made in ``team``: a grant for one API says nothing of teams. Raises Forbidden, in
    the same words whether or not there is such a team.
    """
    if team and not may(actor, "write", (EVERYWHERE, f"team:{team}")):
        raise Forbidden("This needs the role operator in the team that it shall belong to.")


def demand_move(actor: Actor, before: str, after: str) -> None:
    """For an entry that another team gets, or none. Raises Forbidden."""
    for team in (before, after):
        if not may(actor, "write", (EVERYWHERE, f"team:{team}") if team else (EVERYWHERE,)):
            raise Forbidden(
                "This needs the role operator in the team that it leaves and in the one that it goes to; "
                "everywhere, where one of them is none."
            )


def demand_anywhere(actor: Actor, need: Need) -> None:
    """For lists and the like, which show each what is theirs. Raises Forbidden."""
    if not scopes(actor, need):
        raise Forbidden(f"This needs the role {_least(need)}.")


NOUNS: Final[dict[str, str]] = {
    "issuers": "issuer",
    "upstreams": "upstream",
    "plans": "plan",
    "groups": "group",
    "consumers": "consumer",
    "apis": "API",
    "credentials": "credential",
}


def _least(need: Need) -> str:
    return {"see": "viewer", "write": "operator", "decide": "approver", "own": "owner", "audit": "auditor"}[
        need
    ]
