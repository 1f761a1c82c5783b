"""Passwords of people: Argon2id (RFC 9106), hashed beside the loop, so many at once and no more.

46 MiB, two passes, one lane: a little above the first choice of OWASP's cheat sheet, and two at once stay
below 100 MiB. Who waits is counted: a flood of logins is refused and does not pile up. A hash is verified for
an unknown name too, so that both take the same time.
"""

import asyncio
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import Type

from faregate.manager.cases.errors import Invalid, TooMany

MEMORY_KIB: Final = 47_104
PASSES: Final = 2
LANES: Final = 1
AT_ONCE_MAX: Final = 2
WAITING_MAX: Final = 16
CHARACTERS_MIN: Final = 12
CHARACTERS_MAX: Final = 256


def the_hasher() -> PasswordHasher:
    return PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES, type=Type.ID)


class Passwords:
    """Hashes and verifies. ``hasher``: with other costs, for tests."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or the_hasher()
        self._places = asyncio.Semaphore(AT_ONCE_MAX)
        self._waiting = 0
        self._nobody = ""

    async def hash(self, password: str) -> str:
        """The PHC form. Raises Invalid for what is no password, TooMany."""
        if not CHARACTERS_MIN <= len(password) <= CHARACTERS_MAX:
            raise Invalid(f"A password has from {CHARACTERS_MIN} to {CHARACTERS_MAX} characters.")
        return await self._beside(password, "")

    async def verify(self, hashed: str, password: str) -> bool:
        """Whether ``password`` is the one; ``hashed`` empty: it is not, and takes as long. Raises TooMany."""
        if not self._nobody:
            self._nobody = await self._beside("a password that nobody has", "")
        found = await self._beside(password[: CHARACTERS_MAX + 1], hashed or self._nobody)
        return bool(hashed) and found == hashed

    async def _beside(self, password: str, hashed: str) -> str:
        if self._waiting >= WAITING_MAX:
            raise TooMany("Too many people sign in at this moment; try again.", retry_after_s=1)
        self._waiting += 1
        try:
            async with self._places:
                return await asyncio.to_thread(self._work, password, hashed)
        finally:
            self._waiting -= 1

    def _work(self, password: str, hashed: str) -> str:
        """The hash of ``password``, or ``hashed`` when it is its hash, else nothing."""
        if not hashed:
            return self._hasher.hash(password)
        try:
            self._hasher.verify(hashed, password)
        except (VerificationError, InvalidHashError):
            return ""
        return hashed
