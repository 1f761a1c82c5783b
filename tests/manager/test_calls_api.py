"""Calls, the ledger and the tools by the admin API: what is asked is answered, to whom it may be."""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from faregate.manager.cases import tools
from faregate.manager.ledger import asking
from faregate.manager.ledger.asking import last_good
from faregate.stores.ledger.about import About, encode_about
from faregate.stores.ledger.protocol import UNKNOWN, Claim, Scope
from faregate.stores.ledger.secrets import load_or_make
from tests.manager.house import House, open_house
from tests.manager.world import World, build
from tests.support.model_ledger import ModelBook, ModelLedger


def in_world(data: Path, test: Callable[[World], Awaitable[None]]) -> None:
    async def run() -> None:
        async with open_house(data) as house:
            await test(await build(house))

    asyncio.run(run())


def in_house(data: Path, test: Callable[[House], Awaitable[None]]) -> None:
    async def run() -> None:
        async with open_house(data) as house:
            await test(house)

    asyncio.run(run())


def test_calls_are_listed_shown_and_explained_to_whom_they_belong(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        owner = (await world.ask("owner", "GET", "/calls")).json()
        assert [one["request_id"] for one in owner["data"]] == ["red-call", "blue-call"]
        assert owner["early"] is False
        for who in ("red-owner", "red-viewer"):
            assert [one["api"] for one in (await world.ask(who, "GET", "/calls")).json()["data"]] == [
                "red-apis"
            ]
            assert (await world.ask(who, "GET", "/calls/blue-call")).status_code == 404
        shown = (await world.ask("red-viewer", "GET", "/calls/red-call")).json()
        assert (shown["call"]["route"], shown["others"]) == ("GET /things", 0)
        told = (await world.ask("red-viewer", "GET", "/calls/red-call/explanation")).json()
        assert "200" in told["headline"]
        assert told["facts"]["route"].startswith("red-apis")
        for query, count in (("api=red-apis", 1), ("status=2xx", 2), ("status=503", 0), ("consumer=nobody", 0),
                             ("since=2026-03-02T03:15:30%2B01:00", 2), ("until=2026-03-02T02:15:30Z", 0)):  # fmt: skip
            assert len((await world.ask("owner", "GET", f"/calls?{query}")).json()["data"]) == count, query
        for query in ("status=6xx", "since=yesterday", "offset=1.1", "size=0"):
            assert (await world.ask("owner", "GET", f"/calls?{query}")).status_code == 422, query

    in_world(tmp_path, test)


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> ModelLedger:
    one = ModelLedger(ModelBook(time.time))

    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def opened(_: object):
        yield one

    monkeypatch.setattr("faregate.manager.cases.ledger.opened", opened)
    return one


def add(data: Path, ledger: ModelLedger, api: str, key: bytes) -> str:
    """A record of unknown outcome; its id."""
    found = load_or_make(data).locate(Scope("acme", api, "POST /payments", key))
    attempt = os.urandom(16)
    about = About(
        "acme", api, "v1", "POST /payments", "req-7", "POST", "/v1/payments/4242424242424242", 1.0, b""
    )
    claim = Claim(found, attempt, b"f" * 32, 3600, encode_about(about), sends=True, resolves=True)
    ledger.book.claim(claim, ledger._owner)
    ledger.book.settle(found, attempt, UNKNOWN, b"")
    return found.hex()


def test_a_record_is_settled_once_audited_first_and_only_by_who_may(
    tmp_path: Path, ledger: ModelLedger
) -> None:
    async def test(world: World) -> None:
        red, blue = (add(tmp_path, ledger, f"{team}-apis", team.encode()) for team in ("red", "blue"))
        listed = (await world.ask("red-operator", "GET", "/ledger/records")).json()["data"]
        assert [one["id"] for one in listed] == [red]
        assert "4242424242424242" not in str(listed)
        assert len((await world.ask("viewer", "GET", "/ledger/records?size=1")).json()["data"]) == 1
        body = {"verdict": "completed", "reason": "the bank says so"}
        settle = f"/ledger/records/{red}/settle"
        assert (await world.ask("viewer", "POST", settle, body)).status_code == 403
        assert (await world.ask("red-viewer", "POST", settle, body)).status_code == 403
        assert (
            await world.ask("red-operator", "POST", f"/ledger/records/{blue}/settle", body)
        ).status_code == 404
        assert (await world.ask("red-operator", "GET", f"/ledger/records/{blue}")).status_code == 404
        world.house.leaves.fails = True
        assert (await world.ask("red-operator", "POST", settle, body)).status_code == 503
        world.house.leaves.fails = False
        assert (await world.ask("owner", "GET", f"/ledger/records/{red}")).json()["state"] == "unknown"
        told = await world.ask("red-operator", "POST", settle, body)
        assert (told.status_code, told.json()["state"], told.json()["by"]) == (
            200,
            "completed",
            "red-operator",
        )
        kind, actor, object_, detail = world.house.leaves.records[-1]
        assert (kind, actor, object_) == ("ledger.verdict", "red-operator", f"ledger/{red}")
        assert (detail["verdict"], detail["reason"]) == ("completed", "the bank says so")
        again = await world.ask("red-operator", "POST", settle, body)
        assert (again.status_code, again.json()["code"]) == (409, "conflict")
        steps = [json.loads(line)["step"] for line in (tmp_path / "verdicts.jsonl").read_text().splitlines()]
        assert steps == ["asked", "settled"]
        shown = (await world.ask("owner", "GET", f"/ledger/records/{red}?answer=true")).json()
        assert shown["answer"]["kept"] is False

    in_world(tmp_path, test)


def test_the_ledger_is_the_one_that_the_last_good_revision_names(tmp_path: Path) -> None:
    with pytest.raises(asking.LedgerError, match="no revision ran"):
        last_good(tmp_path)

    async def test(world: World) -> None:
        assert last_good(tmp_path).settings.store == "embedded"
        assert (await world.ask("owner", "GET", "/ledger/records?state=all")).json() == {"data": []}

    in_world(tmp_path, test)


# -- tools


def test_a_configuration_is_checked_as_a_file_would_be_and_reads_nothing_here(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("hush-hush")
    text = f"""\
gateway: {{listen: [{{address: "127.0.0.1:0"}}]}}
issuers:
  id: {{issuer: "https://id", audience: a, algorithms: [HS256], secret: "${{file:{secret}}}"}}
  keys: {{issuer: "https://id", audience: a, algorithms: [RS256], jwks: {secret}}}
apis:
  pay: {{upstreem: web}}
"""

    async def test(house: House) -> None:
        told = (await house.client.post("/tools/check", json={"text": text})).json()
        codes = {(one["code"], one["path"]) for one in told["diagnostics"]}
        assert told["ok"] is False
        assert ("unknown_key", "apis.pay.upstreem") in codes
        assert any(path.startswith("issuers.keys") for _, path in codes)
        assert not any(path.startswith("issuers.id") for _, path in codes)
        assert {one["line"] for one in told["diagnostics"] if one["path"] == "apis.pay.upstreem"} == {6}
        assert "hush" not in str(told)
        more = await house.client.post("/tools/check", json={"text": f"include: [{secret}]\n{text}"})
        assert {one["code"] for one in more.json()["diagnostics"]} >= {"include_missing", "unknown_key"}
        assert "hush" not in more.text
        tree = {"upstreams": {"web": {"targets": ["http://127.0.0.1:1"]}}}
        assert (await house.client.post("/tools/check", json={"tree": tree})).json()["ok"] is True
        for body in ({}, {"text": "a", "tree": {}}):
            assert (await house.client.post("/tools/check", json=body)).status_code == 422

    in_house(tmp_path, test)


DOCUMENT = """\
openapi: 3.0.3
info: {title: Shop, version: "1"}
paths:
  /things: {get: {responses: {"200": {description: ok}}}}
"""


def test_documents_are_imported_and_compared(tmp_path: Path) -> None:
    async def test(house: House) -> None:
        made = await house.client.post("/tools/openapi/import", json={"document": DOCUMENT, "name": "shop"})
        assert made.json()["configuration"]["apis"]["shop"]["routes"] == [{"match": "GET /things"}]
        assert "GET /things" in made.json()["yaml"]
        body = {"old": DOCUMENT, "new": DOCUMENT.replace("/things", "/others")}
        told = (await house.client.post("/tools/openapi/diff", json=body)).json()
        assert (told["breaking"], len(told["changes"])) == (1, 2)
        broken = await house.client.post("/tools/openapi/import", json={"document": "swagger: '2.0'"})
        assert (broken.status_code, broken.json()["code"]) == (422, "validation_failed")
        assert "Swagger 2.0" in broken.json()["detail"]

    in_house(tmp_path, test)


def test_a_call_is_tried_on_the_last_good_revision(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        body = {"method": "GET", "path": "/nowhere", "headers": {"X-Thing": "--json"}}
        told = await world.ask("viewer", "POST", "/tools/try", body)
        assert (told.status_code, told.json()["refusal"]) == (200, "no_route"), told.text
        unknown = await world.ask("viewer", "POST", "/tools/try", {**body, "consumer": "no-one"})
        assert (unknown.status_code, unknown.json()["code"]) == (422, "validation_failed")
        assert (await world.ask("red-owner", "POST", "/tools/try", body)).status_code == 403

    in_world(tmp_path, test)


@pytest.mark.parametrize("bound", ["RUN_S", "ANSWER_BYTES_MAX"])
def test_a_tool_that_takes_too_long_or_says_too_much_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(tools, bound, 0.0 if bound == "RUN_S" else 1)

    async def test(house: House) -> None:
        told = await house.client.post("/tools/check", json={"text": "apis: {}"})
        assert (told.status_code, told.json()["code"]) == (422, "validation_failed")

    in_house(tmp_path, test)


def test_only_so_many_tools_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "WAITING_MAX", 1)

    async def test(house: House) -> None:
        asked = [house.client.post("/tools/check", json={"text": "apis: {}"}) for _ in range(3)]
        statuses = sorted(one.status_code for one in await asyncio.gather(*asked))
        assert statuses == [200, 429, 429]

    in_house(tmp_path, test)
