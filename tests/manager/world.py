"""Two teams in one house, blue and red, with one of everything each; and everybody who may ask, or may not."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2
from sqlalchemy import update

from faregate.manager.database.tables import tokens
from faregate.snapshot import encoded
from faregate.snapshot.data import FORMAT, Gateway, Listener, Snapshot
from faregate.stores.ledger.secrets import load_or_make
from tests.manager.house import House
from tests.records.audit.trees import made as made_tree

TEAMS: Final = ("blue", "red")
SECRET: Final = "hush-hush"
"""Begins every planted secret."""

GRANTS: Final[dict[str, list[tuple[str, str]]]] = {
    "viewer": [("viewer", "*")],
    "operator": [("operator", "*")],
    "approver": [("approver", "*")],
    "auditor": [("auditor", "*")],
    "owner": [("owner", "*")],
    "red-owner": [("owner", "team:red")],
    "red-operator": [("operator", "team:red")],
    "red-viewer": [("viewer", "api:red-apis")],
    "none": [],
}
"""Whose token is good, and the roles behind it."""
STRANGERS: Final = ("nobody", "guess", "revoked", "expired", "disabled", "data-plane key", "no bearer")
"""Who is nobody to the manager."""


def spec_of(section: str, team: str) -> dict[str, Any]:
    """An entry of ``team``, with a secret wherever it has one."""
    return {
        "issuers": {
            "issuer": f"https://{team}.example", "audience": "a", "algorithms": ["HS256"],
            "secret": f"{SECRET}-{team}-issuer-0123456789abcdef0123",
        },
        "upstreams": {"targets": ["http://127.0.0.1:9001", {"url": "http://127.0.0.1:9002"}]},
        "plans": {"limits": ["100/second"]},
        "groups": {"permissions": ["x:read"]},
        "consumers": {"plan": f"{team}-plans"},
        "apis": {
            "upstream": f"{team}-upstreams", "authenticate": ["api_key"],
            "versions": {"v1": {"path": f"/{team}/v1"}, "v2": {"path": f"/{team}/v2", "routes": [{"match": "GET /own"}]}},
            "routes": [{"match": "GET /things"}],
        },
    }[section]  # fmt: skip


@dataclass
class World:
    """``shown``: secrets that were told once, and may never be again. ``keys``: credentials by team."""

    house: House
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    shown: set[str] = field(default_factory=set)
    keys: dict[str, str] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=dict)
    revision: int = 0

    async def ask(
        self, who: str, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> httpx2.Response:
        told = {**self.headers[who], **(headers or {})}
        content = None if body is None else json.dumps(body)
        if content is not None:
            told["Content-Type"] = "application/json"
        return await self.house.anybody.request(method, path, content=content, headers=told)

    async def head(self) -> tuple[int, int]:
        """What any write would move: the newest revision, and how many acts were audited that are no look."""
        revisions = (await self.house.client.get("/revisions?size=1")).json()["data"]
        acts = [one for one in self.house.leaves.records if one[0] not in {"audit.read", "revision.void"}]
        return (revisions[0]["number"] if revisions else 0), len(acts)


async def build(house: House) -> World:
    world = World(house, {name: {} for name in STRANGERS})
    for team in TEAMS:
        for section in ("issuers", "upstreams", "plans", "groups", "consumers", "apis"):
            path = f"/{section}/{team}-{section}"
            made = await house.put(path, spec_of(section, team), team=team)
            assert made.status_code == 201, made.text
        key = await house.client.post(f"/consumers/{team}-consumers/keys", json={})
        assert key.status_code == 201, key.text
        world.keys[team] = key.json()["credential"]["name"]
        world.shown.add(key.json()["secret"])
        world.headers["data-plane key"] = _bearer(key.json()["secret"])
    lay_ledger(house.management.data)
    made_tree(house.management.data / "audit", 5, signed=[4])
    lines = [
        json.dumps({
            "time": "2026-03-02T02:15:30.000Z", "request_id": f"{team}-call", "consumer": f"{team}-consumers",
            "api": f"{team}-apis", "version": "v1", "route": "GET /things", "status": 200, "outcome": "answered",
        }, separators=(",", ":"))
        for team in TEAMS
    ]  # fmt: skip
    (house.management.data / "access.jsonl").write_text("".join(f"{line}\n" for line in lines))
    for name, grants in GRANTS.items():
        world.headers[name] = await _user(world, name, grants)
    for name in ("revoked", "expired", "disabled"):
        world.headers[name] = await _user(world, name, [("owner", "*")])
    await _end(world)
    world.headers["guess"] = _bearer("fgm_" + "A" * 43)
    world.headers["no bearer"] = {
        "Authorization": world.headers["owner"]["Authorization"].replace("Bearer", "Basic")
    }
    world.revision = (await world.head())[0]
    return world


def lay_ledger(data: Path) -> None:
    """A last good revision in the data folder, and the ledger that it names, empty."""
    gateway = Gateway((Listener("127.0.0.1", 0),), None, 1, str(data))
    snapshot = Snapshot(FORMAT, 1, gateway, (), (), (), (), (), (), needs_ledger=True)
    (data / "snapshot").write_bytes(encoded.encode(snapshot))
    load_or_make(data)


async def _user(world: World, name: str, grants: list[tuple[str, str]]) -> dict[str, str]:
    client = world.house.client
    made = await client.post("/users", json={"name": name, "service": True})
    assert made.status_code == 201, made.text
    if grants:
        body = {"grants": [{"role": role, "scope": scope} for role, scope in grants]}
        given = await client.put(f"/users/{name}/grants", json=body, headers={"If-Match": "*"})
        assert given.status_code == 200, given.text
    token = await client.post(f"/users/{name}/tokens", json={})
    assert token.status_code == 201, token.text
    world.users[name] = token.json()["token"]["id"]
    world.shown.add(token.json()["secret"])
    return _bearer(token.json()["secret"])


async def _end(world: World) -> None:
    client = world.house.client
    assert (await client.delete(f"/tokens/{world.users['revoked']}")).status_code == 204
    body = {"state": "disabled"}
    assert (await client.patch("/users/disabled", json=body, headers={"If-Match": "*"})).status_code == 200
    async with world.house.management.database.writing() as connection:
        await connection.execute(
            update(tokens).where(tokens.c.id == world.users["expired"]).values(expires_ms=1)
        )


def _bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}
