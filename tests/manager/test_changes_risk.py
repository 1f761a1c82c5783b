"""The class of a change: what takes a protection away is grave, whichever way it is written."""

import pytest

from faregate.manager.cases.domain import Change, Content, Section
from faregate.manager.cases.risk import is_money, risk_of, weakens, worst
from tests.manager.conftest import AtDesk
from tests.manager.desk import Desk

MONEY: Content = {
    "upstream": "bank",
    "authenticate": ["jwt"],
    "versions": {"v1": {"path": "/v1", "state": "active"}},
    "routes": [
        {
            "match": "POST /payments",
            "idempotency": "required",
            "require": ["payments:write"],
            "limits": ["20/second"],
        }
    ],
}
NEWS: Content = {
    "upstream": "web",
    "authenticate": ["jwt"],
    "versions": {"v1": {"path": "/v1"}},
    "routes": [{"match": "GET /news", "limits": ["20/second"]}],
}


def api(base: Content, **route: object) -> Content:
    told = {**base["routes"][0], **route}  # type: ignore[index, dict-item, call-overload]
    return {**base, "routes": [{key: one for key, one in told.items() if one is not None}]}


@pytest.mark.parametrize(
    ("section", "before", "after", "risk"),
    [
        ("issuers", None, {"issuer": "x"}, "grave"),
        ("issuers", {"issuer": "x"}, None, "grave"),
        ("plans", None, {"limits": ["10/second"]}, "guarded"),
        ("plans", {"limits": ["10/second"]}, {"limits": ["5/second"]}, "guarded"),
        ("plans", {"limits": ["10/second"]}, {"limits": ["10/second", "100/minute"]}, "guarded"),
        ("plans", {"limits": ["10/second"]}, {"limits": ["11/second"]}, "grave"),
        ("plans", {"limits": ["10/second"]}, {"limits": ["10/minute"]}, "grave"),
        ("plans", {"limits": ["10/second"]}, {"limits": []}, "grave"),
        ("plans", {"limits": ["10/second"]}, {}, "grave"),
        ("plans", {"limits": ["10/second burst 5"]}, {"limits": ["10/second burst 6"]}, "grave"),
        ("plans", {"limits": ["10/second;50/minute"]}, {"limits": ["10/second"]}, "grave"),
        ("plans", {"limits": "10/second"}, {"limits": ["10/second"]}, "guarded"),
        ("plans", {"quota": "10/month"}, {"quota": "9/month"}, "guarded"),
        ("plans", {"quota": "10/month"}, {"quota": "11/month"}, "grave"),
        ("plans", {"quota": {"limit": "10/month"}}, {"quota": {"limit": "9/month"}}, "grave"),
        ("plans", {"concurrency": 5}, {"concurrency": 4}, "guarded"),
        ("plans", {"concurrency": 5}, {"concurrency": 6}, "grave"),
        ("plans", {"concurrency": 5}, {}, "grave"),
        ("consumers", None, {"plan": "gold"}, "guarded"),
        ("consumers", {"plan": "gold"}, {"plan": "platinum"}, "grave"),
        ("consumers", {"permissions": ["a"]}, {"permissions": ["a", "b"]}, "guarded"),
        ("consumers", {"allow_ips": ["10.0.0.0/8"]}, {"allow_ips": []}, "grave"),
        ("consumers", {"allow_ips": ["10.0.0.0/8"]}, {}, "grave"),
        ("consumers", {"allow_ips": ["a", "b"]}, {"allow_ips": ["a"]}, "guarded"),
        ("consumers", {}, {"allow_ips": ["10.0.0.0/8"]}, "guarded"),
        ("credentials", None, {"consumer": "acme", "api_key": {}}, "guarded"),
        ("credentials", {"consumer": "acme"}, None, "guarded"),
        ("credentials", {"consumer": "acme", "api_key": {}}, {"consumer": "acme", "mtls": {}}, "grave"),
        ("credentials", {"consumer": "acme", "api_key": {}}, {"consumer": "other", "api_key": {}}, "grave"),
        ("consumers", {"credentials": [{"mtls": {}}]}, {"credentials": [{"mtls": {}}, {"mtls": {}}]}, "guarded"),
        ("consumers", {"credentials": [{"mtls": {}}]}, {"credentials": [{"mtls": {}}, {"jwt": {}}]}, "grave"),
        ("consumers", {}, {"credentials": [{"jwt": {}}]}, "guarded"),
        ("consumers", {"apis": ["a"]}, {}, "grave"),
        ("consumers", {"apis": ["a"]}, {"apis": ["a", "b"]}, "grave"),
        ("consumers", {"apis": []}, {"apis": ["a"]}, "grave"),
        ("consumers", {"apis": ["a", "b"]}, {"apis": ["a"]}, "guarded"),
        ("consumers", {}, {"apis": ["a"]}, "guarded"),
        ("groups", {"apis": ["a"]}, {}, "grave"),
        ("groups", {"plan": "a"}, {"plan": "b"}, "grave"),
        ("upstreams", {"targets": ["http://a"]}, {"targets": ["http://b"]}, "guarded"),
        ("upstreams", {"targets": ["http://a"]}, {"targets": ["http://a"], "retry": {"attempts": 5}}, "grave"),
        ("upstreams", {"targets": ["https://a"]}, {"targets": ["https://b"]}, "guarded"),
        ("upstreams", {"targets": ["https://a"]}, {"targets": ["http://a"]}, "grave"),
        ("upstreams", {"targets": ["https://a"]}, {"targets": ["https://a", {"url": "http://b"}]}, "grave"),
        ("upstreams", {"targets": [{"url": "https://a", "weight": 2}]}, {"targets": ["${X}"]}, "grave"),
        ("upstreams", {"targets": ["https://a", "http://b"]}, {"targets": ["http://b"]}, "guarded"),
        ("upstreams", {"targets": ["https://a"]}, {"targets": ["https://a"], "tls": {"verify": False}}, "grave"),
        ("upstreams", {"tls": {"ca": "a"}}, {"tls": {"ca": "b"}}, "grave"),
        ("upstreams", {"tls": {"ca": "a"}}, {}, "grave"),
        ("apis", None, NEWS, "plain"),
        ("apis", NEWS, None, "plain"),
        ("apis", NEWS, api(NEWS, body="1KiB"), "plain"),
        ("apis", NEWS, {**NEWS, "upstream": "bank"}, "guarded"),
        ("apis", NEWS, {**NEWS, "versions": {"v1": {"path": "/v1", "upstream": "bank"}}}, "guarded"),
        ("apis", NEWS, api(NEWS, limits=None), "grave"),
        ("apis", NEWS, {**NEWS, "authenticate": []}, "grave"),
        ("apis", NEWS, {**NEWS, "authenticate": ["jwt", "api_key"]}, "grave"),
        ("apis", None, {**NEWS, "authenticate": []}, "grave"),
        ("apis", None, MONEY, "guarded"),
        ("apis", MONEY, None, "grave"),
        ("apis", MONEY, api(MONEY, body="1KiB"), "guarded"),
        ("apis", MONEY, api(MONEY, idempotency="optional"), "grave"),
        ("apis", MONEY, api(MONEY, idempotency=None), "grave"),
        ("apis", MONEY, api(MONEY, require=[]), "grave"),
        ("apis", MONEY, api(MONEY, require=["payments:write", "more"]), "guarded"),
        ("apis", MONEY, api(MONEY, log={"request_body": "masked"}), "guarded"),
        ("apis", api(MONEY, log={"request_body": "masked"}), MONEY, "grave"),
        ("apis", MONEY, {**MONEY, "forward_credential": True}, "grave"),
        ("apis", api(NEWS, audit="required"), NEWS, "grave"),
        ("apis", NEWS, api(NEWS, audit="required"), "guarded"),
        ("apis", {**NEWS, "openapi": {"limits": 1}}, {**NEWS, "openapi": {"limits": 2}}, "plain"),
    ],
)  # fmt: skip
def test_the_class_of_a_change(
    section: Section, before: Content | None, after: Content | None, risk: str
) -> None:
    assert risk_of([Change(section, "x", before, after)], frozenset({"bank"})) == risk


def test_the_worst_of_all_counts() -> None:
    plain = Change("apis", "news", None, NEWS)
    grave = Change("issuers", "x", None, {})
    assert risk_of([plain, grave, plain]) == "grave"
    assert worst([]) == "plain"


def test_money_is_seen_in_the_routes_of_a_version_too() -> None:
    inside: Content = {"versions": {"v1": {"routes": MONEY["routes"]}}}
    assert is_money(inside)
    assert not is_money(NEWS)
    assert not is_money(None)


def test_a_route_is_compared_with_itself_wherever_it_stands() -> None:
    first: Content = {"match": "GET /a", "limits": ["1/second"]}
    second: Content = {"match": "GET /b", "limits": ["9/second"]}
    assert not weakens({"routes": [first, second]}, {"routes": [second, first]})


def test_a_credential_of_a_kind_that_a_consumer_has_none_of_is_grave(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await desk.user("ann", "operator")
        for name in ("acme", "beta", "none", "listed"):
            listed = [{"mtls": {"sha256": "dd" * 32}}] if name == "listed" else []
            put = await ann.put(f"/consumers/{name}", {"spec": {"credentials": listed}}, match="")
            assert put.status_code == 201, put.text
        cert = {"mtls": {"sha256": "aa" * 32}}
        assert (await ann.put("/consumers/acme/credentials/acme1", cert, match="")).status_code == 200
        assert (await ann.post("/consumers/beta/keys", {})).status_code == 201
        desk.approval = "guarded"
        for name, risk in (("acme", "grave"), ("beta", "guarded"), ("none", "guarded"), ("listed", "grave")):
            told = await ann.post(f"/consumers/{name}/keys", {})
            assert (told.status_code, told.json()["risk"]) == (202, risk), name
        cert = {"mtls": {"sha256": "bb" * 32}}
        told = await ann.put("/consumers/acme/credentials/acme2", cert, match="")
        assert (told.status_code, told.json()["risk"]) == (202, "guarded")

    at_desk(test)
