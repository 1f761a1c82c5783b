"""Whether who filed a change may still make it, at the moment in which it comes about.

Days may lie between the two: roles are taken back, people disabled, entries given to other teams. So every
demand that a write of their own would meet now is made again, of the author and with what they hold now.
"""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.manager.cases import permits
from faregate.manager.cases.committing import Committing, summary
from faregate.manager.cases.domain import EVERYWHERE, LOCAL, Actor, Change, Grant, Json
from faregate.manager.cases.errors import AuthorRefused, Forbidden, NotFound
from faregate.manager.database import people as people_rows
from faregate.manager.database.changes import Request
from faregate.manager.database.entries import Entries


async def author_now(
    connection: AsyncConnection, request: Request, address: str = "", request_id: str = ""
) -> Actor:
    """Who filed ``request``, with the roles of this moment. Raises AuthorRefused for who is disabled."""
    credential = f"change/{request.id}"
    if not request.approvals and request.author == LOCAL:
        grants: tuple[Grant, ...] = (Grant("owner"),)
        return Actor(LOCAL, grants, credential, address=address, request_id=request_id)
    user = await people_rows.user_get(connection, request.author)
    if user is None or user.state != "active":
        raise _refused(request.author, "the user is disabled")
    return Actor(user.name, user.grants, credential, user.service, address, request_id)


def demand_places(author: Actor, request: Request, need: permits.Need) -> None:
    """Raises AuthorRefused."""
    if not all(permits.may(author, need, place) for place in request.places):
        raise _refused(author.person, "it lies where they may not write any more")


async def demand_author(
    committing: Committing,
    connection: AsyncConnection,
    author: Actor,
    request: Request,
    changes: Sequence[Change],
) -> None:
    """Raises AuthorRefused where ``author`` could not write ``changes`` now; Conflict for a path that another
    team has by now.
    """
    demand_places(author, request, "write")
    if request.kind == "rollback" and not permits.may(author, "write", (EVERYWHERE,)):
        raise _refused(author.person, "a rollback needs the role operator everywhere")
    for change in changes:
        try:
            if change.section == "credentials":
                await _demand_credential(committing.entries, connection, author, change)
            else:
                _demand_entry(author, change)
        except (Forbidden, NotFound) as error:
            raise _refused(author.person, f"{change.section}.{change.name}: {error.detail}") from error
    wrong = await committing.teams.judge(connection, author, changes)
    if wrong:
        raise _refused(author.person, summary(wrong))


def _demand_entry(author: Actor, change: Change) -> None:
    noun = permits.NOUNS[change.section]
    present = change.team if change.before is None else change.team_before
    permits.demand(author, "write", permits.scopes_of(change.section, change.name, present), noun=noun)
    if change.before is None:
        permits.demand_team(author, change.team)
    elif change.after is not None and change.team != change.team_before:
        permits.demand_move(author, change.team_before, change.team)


async def _demand_credential(
    entries: Entries, connection: AsyncConnection, author: Actor, change: Change
) -> None:
    """A credential is its consumer's team's, whichever that is by now."""
    for content in (change.before, change.after):
        consumer: Json = None if content is None else content.get("consumer")
        if not isinstance(consumer, str):
            continue
        entry = await entries.get(connection, "consumers", consumer)
        scopes = permits.scopes_of("consumers", consumer, "" if entry is None else entry.team)
        permits.demand(author, "write", scopes, noun="consumer")


def _refused(author: str, why: str) -> AuthorRefused:
    return AuthorRefused(f"Its author {author} may not do this any more: {why}")
