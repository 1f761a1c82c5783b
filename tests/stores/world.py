"""A worker's key sets over time that a test moves, and an identity provider by script."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from faregate.stores.keysets import (
    FetchError,
    KeySets,
)
from tests.policies.jwt.material import (
    FrozenClock,
    authenticators,
    call_with,
    claims,
    issuer,
    jwk,
    key_for,
    key_set,
    private_key,
    route,
    token,
)

if TYPE_CHECKING:
    from faregate.kernel.problems import Refusal
    from faregate.policies.authenticate.step import Authenticators

URL = "https://id.acme.example/jwks"
FIRST = key_set(jwk(key_for("ES256"), kid="k1"))
ROTATED = key_set(jwk(private_key("ES256", 2), kid="k2"))
BOTH = key_set(jwk(key_for("ES256"), kid="k1"), jwk(private_key("ES256", 2), kid="k2"))
OLD_TOKEN = token()
NEW_TOKEN = token(key=private_key("ES256", 2), header={"kid": "k2"})


class Provider:
    """An identity provider by script: ``text`` is what it answers, None that it is down. Counts fetches by
    URL.
    """

    def __init__(self, text: bytes | None = FIRST) -> None:
        self.text = text
        self.fetched: list[str] = []
        self.gate: asyncio.Event | None = None

    def __call__(self, authority: str | None):
        async def fetch(url: str) -> bytes:
            self.fetched.append(url)
            if self.gate is not None:
                await self.gate.wait()
            if self.text is None:
                raise FetchError("unreachable")
            return self.text

        return fetch


class World:
    """A worker's key sets and its steps, over time that the test moves."""

    def __init__(self, folder: Path, provider: Provider | None = None, **changes: object) -> None:
        self.provider, self.clock, self.folder = provider or Provider(), FrozenClock(), folder
        self.issuer = issuer(jwks_url=URL, **changes)
        self.restart()

    def restart(self) -> None:
        """A new process: nothing in memory, the folder as it is."""
        self.keysets = KeySets(self.provider, self.clock, self.folder)
        self.load()

    def load(self) -> None:
        """A reload: new steps from the snapshot, the same key sets."""
        self.all: Authenticators = authenticators(self.issuer, keysets=self.keysets)
        self.step = self.all.step_for(route("jwt"))
        self.source = self.keysets.remote()[0]

    def start(self, value: bytes = OLD_TOKEN) -> "tuple[object, Refusal | Awaitable[Refusal | None] | None]":
        call = call_with(b"Bearer " + value, wall=self.clock.wall())
        call.now = self.clock.monotonic()
        return call, self.step(call)

    async def __call__(self, value: bytes = OLD_TOKEN) -> str:
        call, verdict = self.start(value)
        if inspect.isawaitable(verdict):
            verdict = await verdict
        assert (call.identity is not None) == (verdict is None)
        if verdict is None:
            return "accepted"
        return verdict.reason if verdict.code == "credential_invalid" else verdict.code

    async def pass_time(self, seconds: float) -> None:
        """Moves the clock, lets the timer tick and every fetch end."""
        self.clock.now += seconds
        self.keysets.tick(self.clock.now)
        await self.settle()

    async def settle(self) -> None:
        while self.source._task is not None:
            await asyncio.wait((self.source._task,))


def living(test: Callable[[World], Awaitable[None]]) -> Callable[[Path], None]:
    """Runs a test of a ``World`` on a loop of its own and closes what it opened."""

    def run(tmp_path: Path) -> None:
        async def inside() -> None:
            world = World(tmp_path / "jwks")
            try:
                await test(world)
            finally:
                await world.keysets.close()

        asyncio.run(inside())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


# claims of life times are written as dates far enough away for a day to pass
LONG = {"exp": 1_790_000_000 + 10 * 86400}
LONG_TOKEN = token(claims(**LONG))
