"""Whatever an act says, its audit leaf fits: what is too long is cut with a mark, and masked before."""

from typing import Any

import pytest

from faregate.manager.cases.domain import Json
from faregate.manager.cases.leaves import MARK, fitted, fitted_detail, told_differences
from faregate.records.audit import leaf
from faregate.records.audit.masked import masked_detail
from tests.manager.conftest import InHouse
from tests.manager.house import House

CARD = "4111111111111111"


def _size(value: Json) -> int:
    return len(leaf.canonical(masked_detail({"value": value})["value"]))


def _nested(levels: int) -> Json:
    made: Json = {"number": CARD}
    for _ in range(levels):
        made = [made]
    return made


@pytest.mark.parametrize(
    "value",
    [
        "x" * 5_000,
        "ü" * 5_000,
        "\x01" * 5_000,
        "x" * 100_000,
        {f"/payments/{at}": {"get": {"summary": "x" * 200}} for at in range(400)},
        ["1"] * 5_000,
        [[]] * 5_000,
        {"": {}} | {str(at): {} for at in range(5_000)},
        {"k" * 5_000: 1},
        [1.5, 10**40] * 1_000,
        {"pin": "1", "pins": [{"pin": "1"}] * 1_000},
        _nested(64),
    ],
)
def test_a_long_value_is_cut_to_about_what_it_may_take(value: Json) -> None:
    shown = fitted(value, 1024)
    assert MARK in leaf.canonical(shown).decode()
    assert _size(shown) < 1_400
    leaf.entry("test", "ann", "thing", {"value": shown}, leaf.time_text(0))


@pytest.mark.parametrize("value", [None, True, 7, "x" * 900, {"a": [1, {"b": "c"}]}, []])
def test_what_fits_stays_as_it_is(value: Json) -> None:
    assert fitted(value, 1024) == value


def test_what_is_cut_is_masked_first() -> None:
    for at in range(140, 180):
        assert "4111111" not in str(fitted("x" * at + f" {CARD} " + "x" * 2_000, 1024))
    assert "x" not in str(fitted({"password": "x" * 2_000}, 1024))


def test_differences_are_shown_as_long_as_they_fit() -> None:
    found: list[dict[str, Json]] = [
        {"path": f"apis.a.p{at}", "before": None, "after": "x" * 300} for at in range(90)
    ]
    told = told_differences(found)
    assert told.shown == found[: len(told.shown)]
    assert 40 < len(told.shown) < 50
    assert told.left_out == 90 - len(told.shown)
    assert told_differences(found[:9]) == (found[:9], 0)
    long = told_differences([{"path": "apis." + "p" * 5_000, "before": None, "after": 1}])
    assert len(long.shown) == 1
    assert _size(long.shown) < 700


def test_an_act_with_much_to_say_is_recorded() -> None:
    detail: dict[str, Json] = {
        "reason": "\x01" * 1_000,
        "before": [{"role": "viewer", "scope": f"team:{at}"} for at in range(1_000)],
        "after": [{"role": "viewer", "scope": f"team:{at}"} for at in range(1_000)],
    }
    leaf.entry("user.granted", "ann", "user/x", masked_detail(fitted_detail(detail)), leaf.time_text(0))


def _routes(count: int) -> list[dict[str, Any]]:
    return [
        {
            "match": f"GET /things/{at}/{{id}}",
            "require": "payments:read",
            "limits": ["20/second"],
            "body": "64KiB",
        }
        for at in range(count)
    ]


def test_large_ordinary_changes_are_recorded(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        await house.put("/upstreams/web", {"targets": ["http://127.0.0.1:9"]})
        await house.put("/plans/gold", {"limits": ["10/second"]})
        merchants = {
            f"merchant-{at}": {"plan": "gold", "permissions": ["payments:read", "payments:write"]}
            for at in range(150)
        }
        told = await house.client.put("/config", json={"sections": {"consumers": merchants}})
        assert told.status_code == 200, told.text
        detail = house.leaves.records[-1][3]
        shown, left_out = detail["differences"], detail["differences_left_out"]
        assert detail["changes"] == 150
        assert isinstance(shown, list)
        assert (left_out, len(shown) > 50) == (150 - len(shown), True)
        common = {"upstream": "web", "authenticate": ["api_key"], "versions": {"v1": {"path": "/v1"}}}
        made = await house.put("/apis/wide", {**common, "routes": _routes(300)})
        assert made.status_code == 201, made.text
        paths = {f"/p/{at}": {"get": {"summary": "x" * 200, "responses": {}}} for at in range(400)}
        openapi = {"openapi": "3.1.0", "paths": paths}
        made = await house.put("/apis/told", {**common, "openapi": openapi, "routes": _routes(1)})
        assert made.status_code == 201, made.text
        assert MARK in str(house.leaves.records[-1][3]["differences"])

    in_house(test)
