"""Break-glass: a person with a fresh second factor owns for an hour at most, without a second person, where
they operate, approve or own, and everybody learns of it.

It opens the configuration and not people: roles still wait for others, so that what is opened closes again.
The alarm goes out with the act; a review stays open until another person has closed it.
"""

import logging
import secrets
from typing import Final

from faregate.manager.cases import permits
from faregate.manager.cases.access import reading, writing
from faregate.manager.cases.domain import EVERYWHERE, Actor, Json
from faregate.manager.cases.errors import Conflict, Forbidden, Invalid, NotFound
from faregate.manager.cases.ports import Audit, Clock
from faregate.manager.cases.second_factor import demand_fresh
from faregate.manager.cases.sign_in import Opened, SignIn, session_of
from faregate.manager.database import people as rows
from faregate.manager.database.engine import Database
from faregate.manager.database.people import Glass

MINUTES_MAX: Final = 60
REVIEW_MS: Final = 86_400_000
"""Within which a review is due; one that is not done is shown until it is."""
PAGE_MAX: Final = 200
_LOG: Final = logging.getLogger("faregate.manager")


class BreakGlass:
    """Use cases. Who may operate, approve or own somewhere may break the glass."""

    def __init__(self, database: Database, audit: Audit, clock: Clock, sign_in: SignIn) -> None:
        self._database = database
        self._audit = audit
        self._clock = clock
        self._sign_in = sign_in

    async def break_glass(
        self, actor: Actor, reason: str, minutes: int = MINUTES_MAX
    ) -> tuple[Glass, Opened]:
        """Raises Forbidden, SecondFactorNeeded, Invalid, Conflict."""
        if not session_of(actor):
            raise Forbidden("A person breaks the glass, signed in; no token does.")
        owned = sorted(permits.breakable(actor.grants))
        if not owned:
            raise Forbidden("This needs the role operator, approver or owner.")
        now = self._clock()
        demand_fresh(actor, now)
        if not 1 <= minutes <= MINUTES_MAX or not reason.strip():
            raise Invalid(f"Say why, and for how long: 1 to {MINUTES_MAX} minutes.")
        one = Glass(
            f"bg_{secrets.token_hex(8)}",
            actor.person,
            reason,
            now,
            now + minutes * 60_000,
            actor.address,
            "",
            0,
            "",
        )
        async with writing(self._database) as connection:
            if await rows.glass_of(connection, actor.person, now) is not None:
                raise Conflict("It is open for you already.")
            await self._record("break_glass.opened", actor, one, minutes=minutes, scopes=list(owned))
            await rows.glass_add(connection, one)
            opened = await self._sign_in.renew(connection, session_of(actor), now, {})
        _LOG.error(
            "break-glass: %s owns %s for %d minutes, from %s: %s",
            actor.person,
            "the gateway" if EVERYWHERE in owned else ", ".join(owned),
            minutes,
            actor.address,
            reason,
        )
        return one, opened

    async def break_glass_end(self, actor: Actor, name: str) -> Glass:
        """Ends it before its time: one's own, or for an owner anybody's. Raises NotFound."""
        async with writing(self._database) as connection:
            one = await rows.glass_get(connection, name)
            if one is None or not (one.person == actor.person or permits.may(actor, "own")):
                raise NotFound("There is no such act.")
            now = self._clock()
            if one.until_ms > now:
                await self._record("break_glass.ended", actor, one)
                await rows.glass_update(connection, name, {"until_ms": now})
            found = await rows.glass_get(connection, name)
        assert found is not None
        return found

    async def break_glass_list(self, actor: Actor, *, unreviewed: bool = False) -> list[Glass]:
        """The newest first, for everybody. Raises Forbidden."""
        permits.demand_anywhere(actor, "see")
        async with reading(self._database) as connection:
            return await rows.glass_page(connection, unreviewed=unreviewed, size=PAGE_MAX)

    async def break_glass_review(self, actor: Actor, name: str, finding: str) -> Glass:
        """Closes the review of what another did. Raises Forbidden, SecondFactorNeeded, Invalid, NotFound,
        Conflict.
        """
        if actor.service or not session_of(actor) or actor.break_glass or not _decides(actor):
            raise Forbidden("A person with the role approver or owner reviews, signed in.")
        now = self._clock()
        demand_fresh(actor, now)
        if not finding.strip():
            raise Invalid("Say what you found.")
        async with writing(self._database) as connection:
            one = await rows.glass_get(connection, name)
            if one is None:
                raise NotFound("There is no such act.")
            if one.person == actor.person:
                raise Forbidden("Another person reviews it.")
            if one.reviewer:
                raise Conflict("It was reviewed.")
            if one.until_ms > now:
                raise Conflict("It is still open; end it first.")
            await self._record("break_glass.reviewed", actor, one, finding=finding)
            values = {"reviewer": actor.person, "reviewed_ms": now, "finding": finding}
            await rows.glass_update(connection, name, values)
            found = await rows.glass_get(connection, name)
        assert found is not None
        return found

    async def _record(self, kind: str, actor: Actor, one: Glass, **detail: Json) -> None:
        told: dict[str, Json] = {
            "credential": actor.credential,
            "from": actor.address,
            "request_id": actor.request_id,
            "person": one.person,
            "reason": one.reason,
            "until_ms": one.until_ms,
            **detail,
        }
        await self._audit.append(kind, actor.person, f"break-glass/{one.id}", told)


def _decides(actor: Actor) -> bool:
    return permits.may(actor, "decide", (EVERYWHERE,))
