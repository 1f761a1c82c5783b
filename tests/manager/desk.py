"""A house with people at its desks: each signs in as people do, and time goes on when it is told to."""

import base64
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx2

from faregate.manager.admin.app import create_admin
from faregate.manager.cases.access import writing
from faregate.manager.cases.domain import Content
from faregate.manager.database.people import user_update
from faregate.manager.management import Management, open_management
from faregate.manager.people import passwords, totp
from faregate.snapshot.managing import Managing
from tests.manager.house import START_MS, Leaves, Tree, Workers, lay_tables

PASSWORD = "correct horse battery staple"


@cache
def _hashed() -> str:
    return passwords.the_hasher().hash(PASSWORD)


class Person:
    """A person with a browser. ``seed``: of the second factor."""

    def __init__(self, desk: "Desk", name: str) -> None:
        self.desk = desk
        self.name = name
        self.seed = b""
        self.client = desk.browser()

    async def sign_in(self, password: str = PASSWORD, code: str | None = None) -> httpx2.Response:
        told = {"user": self.name, "password": password}
        if self.seed:
            told["code"] = self.code() if code is None else code
        answer = await self.client.post("/sessions", json=told)
        self._take(answer)
        return answer

    async def set_up(self) -> None:
        """Signs in and sets up a second factor."""
        assert (await self.sign_in()).status_code == 201
        begun = await self.post("/session/totp", {"password": PASSWORD})
        assert begun.status_code == 200, begun.text
        self.seed = base64.b32decode(begun.json()["seed"] + "=" * (-len(begun.json()["seed"]) % 8))
        confirmed = await self.post("/session/totp/confirm", {"code": self.code()})
        assert confirmed.status_code == 200, confirmed.text

    async def again(self) -> None:
        """Signs in again with a code that was not used yet."""
        self.desk.pass_s(30)
        assert (await self.sign_in()).status_code == 201

    def code(self) -> str:
        return totp.code_of(self.seed, totp.step_at(self.desk.now))

    async def post(self, path: str, body: object = None, **headers: str) -> httpx2.Response:
        answer = (
            await self.client.post(path, json=body, headers=headers)
            if body is not None
            else (await self.client.post(path, headers=headers))
        )
        self._take(answer)
        return answer

    async def get(self, path: str) -> httpx2.Response:
        return await self.client.get(path)

    async def put(
        self, path: str, body: Mapping[str, object], match: str = "*", **headers: str
    ) -> httpx2.Response:
        return await self.client.put(path, json=body, headers={**condition(match), **headers})

    async def decide(self, request: str, verdict: str = "approved", **more: str) -> httpx2.Response:
        shown = (await self.get(f"/changes/{request}")).json()
        told = {"verdict": verdict, "hash": shown.get("hash", "0" * 64), **more}
        return await self.post(f"/changes/{request}/decisions", told)

    def _take(self, answer: httpx2.Response) -> None:
        if answer.status_code >= 300 or not answer.content:
            return
        told = answer.json()
        told = told.get("session", told) if isinstance(told, dict) else {}
        if "csrf" in told:
            self.client.headers["X-Faregate-Csrf"] = told["csrf"]


def condition(match: str) -> dict[str, str]:
    if not match:
        return {"If-None-Match": "*"}
    return {"If-Match": match if match == "*" else f'"{match}"'}


class Desk:
    """``now``: milliseconds since the epoch; ``machine``: a client with the machine's token."""

    def __init__(self, management: Management, tree: Tree, leaves: Leaves) -> None:
        self.management = management
        self.tree = tree
        self.leaves = leaves
        self.now = START_MS
        self.approval = "off"
        management.approving = lambda: self.approval
        self._transport = httpx2.ASGITransport(create_admin(management))
        self._browsers: list[httpx2.AsyncClient] = []
        token = (management.data / "manager.token").read_text().strip()
        self.machine = self.browser(f"Bearer {token}")

    def browser(self, authorization: str = "") -> httpx2.AsyncClient:
        headers = {"Authorization": authorization} if authorization else {}
        made = httpx2.AsyncClient(transport=self._transport, base_url="https://manager", headers=headers)
        self._browsers.append(made)
        return made

    async def close(self) -> None:
        for one in self._browsers:
            await one.aclose()

    def pass_s(self, seconds: float) -> None:
        self.now += int(seconds * 1000)

    async def user(self, name: str, *grants: str, second: bool = True) -> Person:
        """A person who is signed in; grants such as ``operator`` or ``approver@team:cards``."""
        made = await self.machine.post("/users", json={"name": name})
        assert made.status_code == 201, made.text
        seed = totp.make_seed() if second else b""
        await self._enrolled(name, seed)
        if grants:
            answer = await self.grant(name, *grants)
            assert answer.status_code == 200, answer.text
        person = Person(self, name)
        person.seed = seed
        assert (await person.sign_in()).status_code == 201
        return person

    async def _enrolled(self, name: str, seed: bytes) -> None:
        """What enrolment and the setting up of a second factor leave in the database, in half of the time: people/test_sign_in.py
        and people/test_users.py have them as people do.
        """
        management = self.management
        values: dict[str, object] = {"password": _hashed(), "invite": "", "invite_ms": 0}
        if seed:
            values["totp"] = management.envelope.seal(seed, f"second factor of {name}")
        async with writing(management.database) as connection:
            await user_update(connection, name, values)

    async def grant(self, name: str, *grants: str, client: Any = None) -> httpx2.Response:
        told = [{"role": one.partition("@")[0], "scope": one.partition("@")[2] or "*"} for one in grants]
        return await (client or self.machine).put(
            f"/users/{name}/grants", json={"grants": told}, headers={"If-Match": "*"}
        )

    def acts(self) -> list[str]:
        return [record[0] for record in self.leaves.records]

    def holds(self, text: str) -> bool:
        """Whether an audit leaf holds ``text`` anywhere."""
        return bool(re.search(re.escape(text), repr(self.leaves.records)))


@asynccontextmanager
async def open_desk(
    data: Path, store: str = "embedded", file: Mapping[str, Mapping[str, Content]] | None = None
) -> AsyncIterator[Desk]:
    tree, leaves = Tree(file), Leaves()
    made: list[Desk] = []

    def clock() -> int:
        return made[0].now if made else START_MS

    await lay_tables(data, store)
    async with AsyncExitStack() as stack:
        management = await open_management(data, Managing(store), tree, Workers(), leaves, clock)
        stack.push_async_callback(management.close)
        desk = Desk(management, tree, leaves)
        made.append(desk)
        stack.push_async_callback(desk.close)
        yield desk
