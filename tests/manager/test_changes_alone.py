"""Whatever one person does, in whatever order and with whatever they can get hold of, alone they bring nothing
guarded about: an owner with sessions, tokens, a service's token, users of their own making and the machine's
token. Break-glass does, and stands there unreviewed.
"""

import random
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from tests.manager.conftest import AtDesk
from tests.manager.desk import PASSWORD, Desk, Person

STEPS = 45
MATCH = {"If-Match": "*"}


class Mallory:
    """An owner who wants the limits up, and has nobody to ask."""

    def __init__(self, desk: Desk, chance: random.Random, me: Person) -> None:
        self.desk = desk
        self.chance = chance
        self.people = [me]
        self.me = me
        self.clients: list[httpx2.AsyncClient] = [me.client, desk.machine]
        self.answers: list[int] = []

    async def step(self) -> None:
        acts: list[Callable[[], Awaitable[Any]]] = [
            self.write, self.write, self.write, self.decide, self.decide, self.decide, self.propose,
            self.propose, self.withdraw, self.wait, self.make_user, self.grant, self.grant, self.recover,
            self.switch, self.sign_in, self.step_up, self.token,
        ]  # fmt: skip
        answer = await self.chance.choice(acts)()
        if isinstance(answer, httpx2.Response):
            self.answers.append(answer.status_code)
            assert answer.status_code < 500, answer.text

    def client(self) -> httpx2.AsyncClient:
        return self.chance.choice(self.clients)

    async def write(self) -> Any:
        client, some = self.client(), self.chance
        wishes = [{}, {}, {"X-Faregate-Propose": "true"}, {"X-Faregate-Activate-At": "2026-05-28T21:30:00Z"}]
        headers = {**MATCH, **some.choice(wishes)}
        way = some.randrange(6)
        if way == 0:
            return await client.put("/plans/gold", json={"spec": {"limits": ["99/second"]}}, headers=headers)
        if way == 1:
            return await client.delete("/plans/gold", headers=headers)
        if way == 2:
            tree = {"sections": {"plans": {"gold": {}}}}
            return await client.put("/config", json=tree, headers=headers)
        if way == 3:
            return await client.post("/revisions/1/rollback", json={}, headers=headers)
        if way == 4:
            return await client.post("/consumers/acme/keys", json={}, headers=headers)
        merge = {**headers, "Content-Type": "application/merge-patch+json"}
        return await client.patch(
            "/plans/gold", content=b'{"spec": {"limits": ["98/second"]}}', headers=merge
        )

    async def _request(self) -> dict[str, Any]:
        listed = (await self.desk.machine.get("/changes?size=30")).json()["data"]
        return dict(self.chance.choice(listed)) if listed else {"id": "chg_" + "0" * 23, "hash": "0" * 64}

    async def decide(self) -> Any:
        one = await self._request()
        told = {"verdict": "approved", "hash": one["hash"]}
        return await self.client().post(f"/changes/{one['id']}/decisions", json=told)

    async def propose(self) -> Any:
        return await self.client().post(f"/changes/{(await self._request())['id']}/propose")

    async def withdraw(self) -> Any:
        if self.chance.random() < 0.8:
            return None
        return await self.client().post(f"/changes/{(await self._request())['id']}/withdraw")

    async def wait(self) -> None:
        self.desk.pass_s(self.chance.choice([1, 30, 1200, 40_000]))
        await self.desk.management.changes.run_due()

    async def make_user(self) -> Any:
        name = f"puppet{len(self.people)}"
        if len(self.people) > 3:
            return None
        made = await self.desk.machine.post("/users", json={"name": name})
        told = {"user": name, "code": made.json()["code"], "password": PASSWORD}
        await self.desk.machine.post("/enrolment", json=told)
        person = Person(self.desk, name)
        await person.set_up()
        self.people.append(person)
        self.clients.append(person.client)
        return made

    async def grant(self) -> Any:
        name = self.chance.choice([*(one.name for one in self.people), "bob", "robot"])
        roles = self.chance.sample(["owner", "approver", "operator"], 2)
        return await self.desk.grant(name, *roles, client=self.client())

    async def recover(self) -> Any:
        told = await self.client().post("/users/bob/recover")
        if "code" in told.json() and told.status_code in {200, 202}:
            enrol = {"user": "bob", "code": told.json()["code"], "password": PASSWORD}
            assert (await self.desk.browser().post("/enrolment", json=enrol)).status_code in {401, 429}
        return told

    async def switch(self) -> Any:
        state = self.chance.choice(["active", "disabled"])
        name = self.chance.choice(["bob", "robot", self.people[-1].name])
        return await self.client().patch(f"/users/{name}", json={"state": state}, headers=MATCH)

    async def sign_in(self) -> Any:
        self.desk.pass_s(30)
        return await self.chance.choice(self.people).sign_in()

    async def step_up(self) -> Any:
        self.desk.pass_s(30)
        person = self.chance.choice(self.people)
        return await person.post("/session/second-factor", {"code": person.code()})

    async def token(self) -> Any:
        user = self.chance.choice(["robot", *(one.name for one in self.people)])
        made = await self.client().post(f"/users/{user}/tokens", json={})
        if made.status_code == 201 and len(self.clients) < 12:
            self.clients.append(self.desk.browser(f"Bearer {made.json()['secret']}"))
        return made


async def opened(desk: Desk, chance: random.Random) -> Mallory:
    mallory = await desk.user("mallory", "owner")
    await desk.user("bob", "owner")  # who does nothing
    await desk.machine.post("/users", json={"name": "robot", "service": True})
    await desk.grant("robot", "owner")
    await desk.machine.put("/plans/gold", json={"spec": {}}, headers={"If-None-Match": "*"})
    limits = {"spec": {"limits": ["1/second"]}}
    await desk.machine.put("/plans/gold", json=limits, headers=MATCH)
    await desk.machine.put("/consumers/acme", json={"spec": {}}, headers={"If-None-Match": "*"})
    desk.approval = "guarded"
    return Mallory(desk, chance, mallory)


@pytest.mark.parametrize("seed", range(4))
def test_nobody_alone_brings_about_what_is_guarded(at_desk: AtDesk, seed: int) -> None:
    async def test(desk: Desk) -> None:
        mallory = await opened(desk, random.Random(seed))
        before = dict(desk.tree.managed)
        for _ in range(STEPS):
            await mallory.step()
            assert desk.tree.managed == before
            assert (await desk.machine.get("/revisions?size=1")).json()["data"][0]["number"] == 3
            bob = (await desk.machine.get("/users/bob")).json()
            assert bob["grants"] == [{"role": "owner", "scope": "*"}]
            for one in mallory.people[1:]:
                assert (await desk.machine.get(f"/users/{one.name}")).json()["grants"] == []
        assert 202 in mallory.answers  # it was asked for

    at_desk(test)


def test_with_another_who_approves_it_comes_about(at_desk: AtDesk) -> None:
    """So that the claim above is not held by a house in which nothing ever happens."""

    async def test(desk: Desk) -> None:
        mallory = await opened(desk, random.Random(0))
        eve = Person(desk, "bob")
        assert (await eve.sign_in(code="")).status_code == 401  # has a second factor
        told = await mallory.me.put("/plans/gold", {"spec": {"limits": ["1/second", "9/minute"]}})
        assert told.status_code == 202
        before = dict(desk.tree.managed)
        assert (await mallory.me.decide(told.json()["change_request"])).status_code == 403
        assert desk.tree.managed == before
        desk.approval = "off"
        carl = await desk.user("carl", "approver")
        desk.approval = "guarded"
        assert (await carl.decide(told.json()["change_request"])).json()["state"] == "applied"
        assert desk.tree.managed != before

    at_desk(test)


def test_broken_glass_does_and_stays_to_be_seen(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        mallory = await opened(desk, random.Random(0))
        before = dict(desk.tree.managed)
        told = await mallory.me.post("/break-glass", {"reason": "because"})
        act = told.json()["break_glass"]["id"]
        assert (await mallory.me.put("/plans/gold", {"spec": {}})).status_code == 200
        assert desk.tree.managed != before
        assert (await mallory.me.post(f"/break-glass/{act}/end")).status_code == 200
        assert (await mallory.me.post(f"/break-glass/{act}/review", {"finding": "fine"})).status_code == 403
        listed = (await mallory.me.get("/break-glass?unreviewed=true")).json()["data"]
        assert [one["id"] for one in listed] == [act]
        assert "break_glass.opened" in desk.acts()

    at_desk(test)
