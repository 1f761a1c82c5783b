"""API tokens and sessions: made once, shown once, kept as an HMAC; and this machine's token, a file in the
data folder.

They are random, so a keyed hash is enough: HMAC-SHA-256 with a pepper that lies in the database, sealed.
Whoever may read the data folder could replace the gateway, so the machine's token owns everything on it; it
is made at the manager's first start (mode 0600) and is what the command line uses here.
"""

import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from faregate.kernel.secrets import Secret
from faregate.manager.cases.ports import Envelope
from faregate.manager.database.tables import facts

MACHINE_FILE: Final = "manager.token"
PREFIX: Final = "fgm_"
SESSION_PREFIX: Final = "fgs_"
_FACT: Final = "people pepper"
_RANDOM_BYTES: Final = 32


def make_token(prefix: str = PREFIX) -> Secret:
    """A new token: 256 random bits."""
    return Secret(f"{prefix}{secrets.token_urlsafe(_RANDOM_BYTES)}".encode())


def machine_token(data: Path) -> Secret:
    """The token in ``<data>/manager.token``, made where there is none. Raises OSError, ValueError."""
    path = data / MACHINE_FILE
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(make_token().reveal() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    found = path.read_bytes().strip()
    if not found.startswith(PREFIX.encode()) or len(found) < 40:
        raise ValueError(f"{path} holds no token; remove it, and a new one is made")
    return Secret(found)


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
