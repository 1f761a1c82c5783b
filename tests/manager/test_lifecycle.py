"""Versions through their lives, and what holds a change back."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from faregate.manager.cases import contracts
from faregate.manager.cases.committing import SETTLED_MAX
from faregate.manager.cases.errors import Invalid
from faregate.manager.database.gateways import usage_add
from faregate.manager.usage import UsageRow
from tests.manager.conftest import InHouse
from tests.manager.house import START_MS, House

ROUTES = [{"match": "GET /payments"}]
CONTRACT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Payments", "version": "1"},
    "paths": {"/payments": {"get": {"responses": {"200": {"description": "all"}}}}},
}


def api(**versions: dict[str, Any]) -> dict[str, Any]:
    return {"upstream": "web", "authenticate": ["api_key"], "versions": versions, "routes": ROUTES}


async def with_api(house: House, **versions: dict[str, Any]) -> None:
    await house.put("/upstreams/web", {"targets": ["http://127.0.0.1:9"]})
    made = await house.put("/apis/payments", api(**versions))
    assert made.status_code == 201, made.text


async def called(house: House, version: str, hours_ago: int) -> None:
    hour = START_MS // 3_600_000 - hours_ago
    row = UsageRow(hour, "acme", "key_1", "payments", version, 90, 3, START_MS - hours_ago * 3_600_000, "2xx")
    async with house.management.database.writing() as connection:
        await usage_add(connection, [row])


def test_of_two_last_calls_the_later_counts_whoever_tells_it_first(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        hour = START_MS // 3_600_000
        rows = [
            UsageRow(hour, "acme", "key_1", "payments", "v1", 2, 1, ms, "2xx") for ms in (7_000, 9_000, 8_000)
        ]
        async with house.management.database.writing() as connection:
            for row in rows:
                await usage_add(connection, [row])
        told = (await house.client.get("/usage", params={"hours": 2})).json()["data"]
        assert [(one["calls"], one["errors"]) for one in told] == [(6, 3)]
        assert told[0]["last_seen"] == "1970-01-01T00:00:09.000Z"

    in_house(test)


async def state(house: House, version: str, to: str, force: bool = False, **more: str) -> Any:
    return await house.client.put(
        f"/apis/payments/versions/{version}/state",
        params={"force": "true"} if force else {},
        json={"state": to, **more},
        headers={"If-Match": "*"},
    )


@pytest.mark.parametrize("by", ["state", "entry", "part", "apply"])
def test_who_deprecates_without_a_day_writes_the_day_and_keeps_it(in_house: InHouse, by: str) -> None:
    deprecated = {"path": "/v1", "state": "deprecated"}
    today = datetime.fromtimestamp(START_MS / 1000, UTC).date().isoformat()

    async def test(house: House) -> None:
        await with_api(
            house, v1={"path": "/v1"}, old={"path": "/o", "state": "deprecated", "sunset_at": "2001-01-01"}
        )
        for _ in range(2):
            whole = api(v1=deprecated, old={"path": "/o", "state": "deprecated", "sunset_at": "2001-01-01"})
            if by == "state":
                told = await state(house, "v1", "deprecated")
            elif by == "entry":
                told = await house.client.put(
                    "/apis/payments", json={"spec": whole}, headers={"If-Match": "*"}
                )
            elif by == "part":
                told = await house.client.put(
                    "/apis/payments/versions/v1", json={"spec": deprecated}, headers={"If-Match": "*"}
                )
            else:
                told = await house.client.put("/config", json={"sections": {"apis": {"payments": whole}}})
            assert told.status_code == 200, told.text
        shown = (await house.client.get("/apis/payments")).json()["spec"]["versions"]
        assert shown["v1"]["deprecated_at"] == today
        assert "deprecated_at" not in shown["old"]
        assert len((await house.client.get("/revisions")).json()["data"]) == 3
        assert (await state(house, "v1", "active")).status_code == 200
        assert (await state(house, "v1", "deprecated", deprecated_at="2026-10-01")).status_code == 200
        shown = (await house.client.get("/apis/payments")).json()["spec"]["versions"]
        assert shown["v1"]["deprecated_at"] == "2026-10-01"

    in_house(test)


def test_a_version_goes_its_way_with_its_dates(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        await with_api(house, v1={"path": "/v1", "state": "draft"}, v2={"path": "/v2"})
        assert (await state(house, "v1", "retired")).json()["code"] == "conflict"
        assert (await state(house, "v1", "active")).status_code == 200
        dates = {"deprecated_at": "2026-10-01", "sunset_at": "2027-06-30", "successor": "v2"}
        assert (await state(house, "v1", "deprecated", **dates)).status_code == 200
        shown = (await house.client.get("/apis/payments/versions/v1")).json()["spec"]
        assert shown == {"path": "/v1", "state": "deprecated", **dates}
        assert (await state(house, "v1", "retired")).status_code == 200
        assert (await state(house, "v9", "active")).status_code == 404

    in_house(test)


def test_what_is_still_called_is_not_retired_whichever_way_it_is_asked(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        await with_api(house, v1={"path": "/v1", "state": "deprecated"}, v2={"path": "/v2"})
        await called(house, "v1", hours_ago=100)
        only_v2 = api(v2={"path": "/v2"})
        for told in (
            await state(house, "v1", "retired"),
            await house.client.delete("/apis/payments/versions/v1", headers={"If-Match": "*"}),
            await house.put("/apis/payments", only_v2, "*"),
            await house.client.put("/config", json={"sections": {"apis": {}}}),
            await house.client.delete("/apis/payments", headers={"If-Match": "*"}),
        ):
            assert (told.status_code, told.json()["code"]) == (409, "still_used"), told.text
            assert told.json()["callers"][0]["consumer"] == "acme"
        assert (await state(house, "v1", "retired", force=True)).status_code == 200

    in_house(test)


def test_calls_of_long_ago_hold_nothing_back(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        await with_api(house, v1={"path": "/v1", "state": "deprecated"}, v2={"path": "/v2"})
        await called(house, "v1", hours_ago=24 * 8)
        assert (await state(house, "v1", "retired")).status_code == 200

    in_house(test)


def test_an_active_contract_is_not_broken(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        await with_api(house, v1={"path": "/v1", "openapi": CONTRACT}, v2={"path": "/v2", "state": "draft"})
        broken = {**CONTRACT, "paths": {}}
        told = await house.put("/apis/payments", api(v1={"path": "/v1", "openapi": broken}), "*")
        assert (told.status_code, told.json()["code"]) == (409, "breaking_change")
        assert told.json()["changes"][0]["operation"] == "GET /payments"
        more = {**CONTRACT, "paths": {**CONTRACT["paths"], "/refunds": CONTRACT["paths"]["/payments"]}}
        added = await house.put("/apis/payments", api(v1={"path": "/v1", "openapi": more}), "*")
        assert added.status_code == 200, added.text

    in_house(test)


def test_contracts_in_files_are_compared_too(in_house: InHouse, tmp_path: Path) -> None:
    async def test(house: House) -> None:
        for name, document in (("old", CONTRACT), ("new", {**CONTRACT, "paths": {}}), ("same", CONTRACT)):
            (tmp_path / f"{name}.json").write_text(json.dumps(document))
        base = {"files": [[str(tmp_path / "faregate.yaml"), ""]]}
        (house.management.data / "base.json").write_text(json.dumps(base))
        await with_api(house, v1={"path": "/v1", "openapi": "old.json"})
        same = await house.put("/apis/payments", api(v1={"path": "/v1", "openapi": "same.json"}), "*")
        assert same.status_code == 200, same.text
        told = await house.put("/apis/payments", api(v1={"path": "/v1", "openapi": "new.json"}), "*")
        assert (told.status_code, told.json()["code"]) == (409, "breaking_change"), told.text
        for name, why in (("../new.json", "may not name this file"), ("none.json", "cannot be read")):
            told = await house.put("/apis/payments", api(v1={"path": "/v1", "openapi": name}), "*")
            assert told.status_code == 422, told.text
            assert why in told.json()["detail"]

    in_house(test)


def test_contracts_are_compared_beside_the_loop_within_a_time(
    in_house: InHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(house: House) -> None:
        await with_api(house, v1={"path": "/v1", "openapi": CONTRACT})
        paths = {f"/p{at}": CONTRACT["paths"]["/payments"] for at in range(3)}
        more = api(v1={"path": "/v1", "openapi": {**CONTRACT, "paths": {**CONTRACT["paths"], **paths}}})
        for name, value in (("COMPARE_S", 0.001), ("DOCUMENTS_BYTES_MAX", 100)):
            with monkeypatch.context() as patched:
                patched.setattr(contracts, name, value)
                told = await house.put("/apis/payments", more, "*")
            assert (told.status_code, told.json()["code"]) == (409, "breaking_change"), told.text
            assert "cannot be judged" in told.json()["detail"]
        with monkeypatch.context() as patched:
            patched.setattr(contracts, "COMPARE_S", 0.001)
            forced = await house.client.put(
                "/config", params={"force": "true"}, json={"sections": {"apis": {"payments": more}}}
            )
        assert forced.status_code == 200, forced.text

    in_house(test)


def test_one_process_compares_all_contracts_of_a_change() -> None:
    broken = {**CONTRACT, "paths": {}}
    good, bad = contracts.Pair("a/v1", CONTRACT, CONTRACT), contracts.Pair("b/v1", CONTRACT, broken)

    async def test() -> None:
        turn = asyncio.Semaphore(1)
        await contracts.demand_compatible([good], turn)
        with pytest.raises(contracts.Breaking, match="b/v1 is active"):
            await contracts.demand_compatible([good, bad], turn)
        with pytest.raises(Invalid, match="c/v1: "):
            await contracts.demand_compatible([contracts.Pair("c/v1", CONTRACT, {"swagger": "2.0"})], turn)

    asyncio.run(test())


async def _held_up(
    house: House, patched: pytest.MonkeyPatch
) -> tuple[asyncio.Event, asyncio.Event, list[int]]:
    """A comparison begins, and goes on when it may; how often one was made."""
    begun, go, made = asyncio.Event(), asyncio.Event(), []
    compare = contracts.demand_compatible

    async def slow(pairs: Sequence[contracts.Pair], turn: asyncio.Semaphore, folder: str) -> None:
        made.append(len(pairs))
        begun.set()
        await go.wait()
        await compare(pairs, turn, folder)

    patched.setattr(contracts, "demand_compatible", slow)
    return begun, go, made


def test_others_commit_while_contracts_are_compared(
    in_house: InHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(house: House) -> None:
        await with_api(house, v1={"path": "/v1", "openapi": CONTRACT})
        begun, go, made = await _held_up(house, monkeypatch)
        more = {**CONTRACT, "paths": {**CONTRACT["paths"], "/refunds": CONTRACT["paths"]["/payments"]}}
        changing = asyncio.ensure_future(
            house.put("/apis/payments", api(v1={"path": "/v1", "openapi": more}), "*")
        )
        await asyncio.wait_for(begun.wait(), 10)
        assert (await asyncio.wait_for(house.put("/plans/gold", {}), 10)).status_code == 201
        go.set()
        told = await changing
        assert told.status_code == 200, told.text
        assert made == [1]
        assert house.tree.managed["apis", "payments"]["versions"]["v1"]["openapi"] == more  # type: ignore[index]

    in_house(test)


def test_what_was_compared_is_compared_again_when_another_changed_it(
    in_house: InHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both add to what stands there; the second takes away what the first added meanwhile."""

    async def test(house: House) -> None:
        await with_api(house, v1={"path": "/v1", "openapi": CONTRACT})
        begun, go, made = await _held_up(house, monkeypatch)
        first = {**CONTRACT, "paths": {**CONTRACT["paths"], "/refunds": CONTRACT["paths"]["/payments"]}}
        second = {**CONTRACT, "paths": {**CONTRACT["paths"], "/payouts": CONTRACT["paths"]["/payments"]}}
        late = asyncio.ensure_future(
            house.put("/apis/payments", api(v1={"path": "/v1", "openapi": second}), "*")
        )
        await asyncio.wait_for(begun.wait(), 10)
        tree = {"sections": {"apis": {"payments": api(v1={"path": "/v1", "openapi": first})}}}
        forced = await house.client.put("/config", params={"force": "true"}, json=tree)
        assert forced.status_code == 200, forced.text
        go.set()
        told = await late
        assert (told.status_code, told.json()["code"]) == (409, "breaking_change"), told.text
        assert made == [1, 1]
        assert house.tree.managed["apis", "payments"]["versions"]["v1"]["openapi"] == first  # type: ignore[index]

    in_house(test)


def test_who_is_outrun_each_time_is_told_and_nothing_is_changed(
    in_house: InHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(house: House) -> None:
        await with_api(house, v1={"path": "/v1", "openapi": CONTRACT})
        texts = iter(range(100))

        def wordy() -> dict[str, Any]:
            return {**CONTRACT, "info": {**CONTRACT["info"], "description": f"{next(texts)}"}}

        async def outrun(pairs: Sequence[contracts.Pair], turn: asyncio.Semaphore, folder: str) -> None:
            tree = {"sections": {"apis": {"payments": api(v1={"path": "/v1", "openapi": wordy()})}}}
            assert (await house.client.put("/config", params={"force": "true"}, json=tree)).status_code == 200

        monkeypatch.setattr(contracts, "demand_compatible", outrun)
        told = await house.put(
            "/apis/payments", api(v1={"path": "/v1", "openapi": CONTRACT | {"x-a": 1}}), "*"
        )
        assert (told.status_code, told.json()["code"]) == (409, "conflict"), told.text
        assert "try again" in told.json()["detail"]
        assert next(texts) == SETTLED_MAX

    in_house(test)


def test_who_calls_a_version_is_told_with_shares(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        await called(house, "v1", hours_ago=2)
        await called(house, "v1", hours_ago=3)
        told = (await house.client.get("/usage?api=payments&version=v1")).json()["data"]
        assert [(one["consumer"], one["calls"], one["share"]) for one in told] == [("acme", 180, 1.0)]

    in_house(test)


def test_routes_and_targets_are_written_by_their_names(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        await with_api(house, v1={"path": "/v1"})
        path = "/apis/payments/routes/POST.payments.{id}.refunds"
        made = await house.put(path, {"match": "POST /payments/{id}/refunds"})
        assert made.status_code == 201, made.text
        names = [one["name"] for one in (await house.client.get("/apis/payments/routes")).json()["data"]]
        assert names == ["GET.payments", "POST.payments.{id}.refunds"]
        other = await house.put(path, {"match": "POST /elsewhere"}, "*")
        assert other.status_code == 422
        etag = made.json()["etag"]
        changed = await house.put(path, {"match": "POST /payments/{id}/refunds", "body": "1KiB"}, etag)
        assert changed.status_code == 200
        stale = await house.put(path, {"match": "POST /payments/{id}/refunds"}, etag)
        assert stale.status_code == 412
        assert (await house.client.delete(path, headers={"If-Match": "*"})).status_code == 204
        target = await house.put("/upstreams/web/targets/127.0.0.1:8", "http://127.0.0.1:8")
        assert target.status_code == 201, target.text
        listed = (await house.client.get("/upstreams/web/targets")).json()["data"]
        assert [one["name"] for one in listed] == ["127.0.0.1:9", "127.0.0.1:8"]

    in_house(test)
