"""Who asks the admin API: the machine's own token, a token, or a person's session.

Every failure of what is shown is one answer, and takes one look into the database: what is unknown, ended,
disabled or a key of the data plane cannot be told apart. Roles are read with each request, so what is taken
from somebody is gone with the next one. When a credential was used is noted about once a minute, beside the
request.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from faregate.kernel.secrets import Secret
from faregate.manager.cases import permits
from faregate.manager.cases.access import reading
from faregate.manager.cases.domain import EVERYWHERE, LOCAL, MACHINE, Actor, Grant, Role
from faregate.manager.cases.errors import Forbidden, Unauthenticated, Unidentified
from faregate.manager.cases.ports import Clock
from faregate.manager.database import people as rows
from faregate.manager.database.engine import Database, DatabaseError
from faregate.manager.database.people import Token, User
from faregate.manager.people.tokens import SESSION_PREFIX, Peppered, same

IDLE_MS: Final = 30 * 60_000
"""A session that nobody uses ends."""
NOTED_MS: Final = 60_000
_SHOWN_BYTES_MAX: Final = 200
_NOTES_MAX: Final = 1_000
_SESSION: Final = SESSION_PREFIX.encode()
_NO: Final = (
    "Sign in, or send a token of the manager: Authorization: Bearer fgm_... "
    "(`faregate` finds the machine's own)."
)
_COVERS: Final[dict[Role, frozenset[Role]]] = {
    "owner": frozenset({"viewer", "operator", "approver", "owner", "auditor"}),
    "operator": frozenset({"viewer", "operator"}),
    "approver": frozenset({"viewer", "approver"}),
    "auditor": frozenset({"viewer", "auditor"}),
    "viewer": frozenset({"viewer"}),
}


class Authenticator:
    """Judges what a request shows. ``machine``: the token in the data folder."""

    def __init__(self, machine: Secret, database: Database, peppered: Peppered, clock: Clock) -> None:
        self._machine = machine
        self._database = database
        self._peppered = peppered
        self._clock = clock
        self._notes: dict[str, int] = {}
        self._noting: asyncio.Task[None] | None = None

    async def authenticate(  # noqa: PLR0913 - what a request shows
        self,
        *,
        authorization: str,
        cookie: str,
        unsafe: bool,
        csrf: str,
        address: str,
        request_id: str,
    ) -> Actor:
        """Raises Unauthenticated; Forbidden for a cookie's unsafe request without the CSRF header. A session
        that is shown as a bearer token, by the command line, needs none: no page has a browser send that.
        """
        if authorization:
            scheme, _, token = authorization.partition(" ")
            shown = token.strip().encode("latin-1", "replace")
            if scheme.lower() != "bearer":
                raise Unauthenticated(_NO)
            if same(shown, self._machine.reveal()):
                return Actor(LOCAL, (Grant("owner"),), MACHINE, address=address, request_id=request_id)
            kind = "session" if shown.startswith(_SESSION) else "token"
            return await self._known(kind, shown, address, request_id)
        if not cookie:
            raise Unidentified(_NO)
        shown = cookie.encode("latin-1", "replace")
        actor = await self._known("session", shown, address, request_id)
        if unsafe and not same(csrf.encode("latin-1", "replace"), self._peppered.csrf(shown).encode()):
            raise Forbidden("Send X-Faregate-Csrf with what GET /session tells.")
        return actor

    async def close(self) -> None:
        """Waits for the last note."""
        if self._noting is not None:
            await self._noting

    async def _known(self, kind: str, shown: bytes, address: str, request_id: str) -> Actor:
        now = self._clock()
        digest = self._peppered.digest(kind, shown[:_SHOWN_BYTES_MAX])
        async with reading(self._database) as connection:
            found = await rows.token_by_digest(connection, digest)
            if found is None or not holds(found[0], found[1], kind, now):
                raise Unauthenticated(_NO)
            token, user = found
            session = kind == "session"
            glass = await rows.glass_of(connection, user.name, now) if session else None
        grants = narrowed(user.grants, token.roles) if token.roles else user.grants
        credential = f"{kind}:{token.id}"
        if glass is not None:
            grants = (*grants, *(Grant("owner", scope) for scope in sorted(permits.breakable(grants))))
            credential = f"{credential} break-glass:{glass.id}"
        self._note(token, now)
        return Actor(
            user.name,
            grants,
            credential,
            user.service,
            address,
            request_id,
            token.second_factor_ms if session else 0,
            break_glass="" if glass is None else glass.id,
        )

    def _note(self, token: Token, now: int) -> None:
        if now - max(token.used_ms, self._notes.get(token.id, 0)) < NOTED_MS or len(self._notes) > _NOTES_MAX:
            return
        self._notes[token.id] = now
        if self._noting is None or self._noting.done():
            self._noting = asyncio.create_task(self._lay_notes())

    async def _lay_notes(self) -> None:
        while self._notes:
            notes, self._notes = self._notes, {}
            with suppress(DatabaseError):
                async with self._database.writing() as connection:
                    for name, at in notes.items():
                        await rows.token_update(connection, name, {"used_ms": at})


def holds(token: Token, user: User, kind: str, now_ms: int) -> bool:
    """Whether a token or session opens anything at this moment."""
    ended = token.expires_ms <= now_ms or (kind == "session" and token.used_ms + IDLE_MS <= now_ms)
    return token.kind == kind and not ended and user.state == "active"


def narrowed(held: Sequence[Grant], wanted: Sequence[Grant]) -> tuple[Grant, ...]:
    """Of the roles that a token was given, those that its user holds still."""
    return tuple(
        one
        for one in wanted
        if any(one.role in _COVERS[has.role] and has.scope in {EVERYWHERE, one.scope} for has in held)
    )
