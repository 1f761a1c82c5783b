"""Passwords: Argon2id with the parameters that are stated, so many at once and no more."""

import asyncio
import threading

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type

from faregate.manager.cases.errors import Invalid, TooMany
from faregate.manager.people import passwords
from faregate.manager.people.passwords import AT_ONCE_MAX, WAITING_MAX, Passwords

QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class Watched(PasswordHasher):
    """Tells how many work at once; each waits until it is let go."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.go = threading.Event()
        self.most = self.now = 0
        self._lock = threading.Lock()

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        assert self.go.wait(10)
        with self._lock:
            self.now -= 1
        return super().hash(password, salt=salt)


def test_the_parameters_are_those_that_are_stated() -> None:
    found = extract_parameters(passwords.the_hasher().hash("x"))
    assert (found.type, found.memory_cost, found.time_cost, found.parallelism) == (Type.ID, 47_104, 2, 1)


def test_a_password_is_verified_and_another_is_not() -> None:
    async def test() -> None:
        one = Passwords(QUICK)
        hashed = await one.hash("correct horse battery")
        assert await one.verify(hashed, "correct horse battery")
        assert not await one.verify(hashed, "correct horse batterz")
        assert not await one.verify("", "a password that nobody has")
        assert not await one.verify("no hash at all", "x")

    asyncio.run(test())


@pytest.mark.parametrize("password", ["short", "x" * 257])
def test_what_is_no_password_is_refused(password: str) -> None:
    with pytest.raises(Invalid):
        asyncio.run(Passwords(QUICK).hash(password))


def test_so_many_are_hashed_at_once_and_so_many_wait() -> None:
    async def test() -> None:
        hasher = Watched()
        one = Passwords(hasher)
        work = [asyncio.create_task(one.hash("correct horse battery")) for _ in range(WAITING_MAX)]
        await asyncio.sleep(0)
        with pytest.raises(TooMany):
            await one.hash("correct horse battery")
        hasher.go.set()
        await asyncio.gather(*work)
        assert hasher.most <= AT_ONCE_MAX
        await one.hash("correct horse battery")

    asyncio.run(test())
