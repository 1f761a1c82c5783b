"""API tokens and sessions: made once, shown once, kept as an HMAC.

They are random, so a keyed hash is enough: HMAC-SHA-256 with a pepper that lies in the database, sealed.
This machine's own token is a file (``machine.py``).
"""

import hmac
import secrets
from typing import Final

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.kernel.secrets import Secret
from faregate.manager.cases.ports import Envelope
from faregate.manager.database.tables import facts

SESSION_PREFIX: Final = "fgs_"
_FACT: Final = "people pepper"
_RANDOM_BYTES: Final = 32


def same(one: bytes, other: bytes) -> bool:
    """In constant time."""
    return hmac.compare_digest(one, other)


class Peppered:
    """Digests of what is shown once. ``digest`` needs ``open_pepper`` first."""

    def __init__(self) -> None:
        self._pepper: Secret | None = None

    @property
    def ready(self) -> bool:
        return self._pepper is not None

    async def open_pepper(self, connection: AsyncConnection, envelope: Envelope) -> None:
        """Opens the pepper of the database, or makes it; ``connection`` must write. Raises ValueError."""
        found = await connection.execute(select(facts.c.value).where(facts.c.name == _FACT))
        sealed = found.scalar()
        if sealed is None:
            sealed = envelope.seal(secrets.token_bytes(_RANDOM_BYTES), _FACT)
            await connection.execute(insert(facts).values(name=_FACT, value=sealed))
        self._pepper = Secret(envelope.open(sealed, _FACT))

    def digest(self, kind: str, shown: bytes) -> str:
        """The keyed hash under which ``shown`` is kept."""
        assert self._pepper is not None
        return hmac.digest(self._pepper.reveal(), kind.encode() + b"\n" + shown, "sha256").hex()

    def csrf(self, session: bytes) -> str:
        """What a page must send beside the session's cookie."""
        return self.digest("csrf", session)[:32]
