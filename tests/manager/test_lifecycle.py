"""Versions through their lives, and what holds a change back."""

import asyncio
from typing import Any

import pytest

from faregate.manager.cases import contracts
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


async def state(house: House, version: str, to: str, force: bool = False, **more: str) -> Any:
    return await house.client.put(
        f"/apis/payments/versions/{version}/state",
        params={"force": "true"} if force else {},
        json={"state": to, **more},
        headers={"If-Match": "*"},
    )


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
        await contracts.demand_compatible([good])
        with pytest.raises(contracts.Breaking, match="b/v1 is active"):
            await contracts.demand_compatible([good, bad])
        with pytest.raises(Invalid, match="c/v1: "):
            await contracts.demand_compatible([contracts.Pair("c/v1", CONTRACT, {"swagger": "2.0"})])

    asyncio.run(test())


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
