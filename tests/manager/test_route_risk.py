"""What an API asks of its calls is compared as calls meet it, however its routes are written."""

import time

import pytest

from faregate.manager.cases.domain import Change, Content
from faregate.manager.cases.risk import risk_of


def api(*routes: Content, **more: object) -> Content:
    base: Content = {"upstream": "u", "authenticate": ["api_key"], "versions": {"v1": {"path": "/v1"}}}
    return {**base, "routes": list(routes), **more}  # type: ignore[dict-item]


def route(match: str, *require: str, **more: object) -> Content:
    asked: Content = {"require": list(require)} if require else {}
    return {"match": match, **asked, **more}  # type: ignore[dict-item]


def versions(**more: Content) -> dict[str, Content]:
    return {name: {"path": f"/{name}", **one} for name, one in more.items()}


def risk(before: Content, after: Content) -> str:
    return risk_of([Change("apis", "x", before, after)])


ONE = route("GET /accounts/{id}", "accounts:read")
BARE = route("GET /accounts/{id}")
ADMIN = route("GET /accounts/admin", "admin")
HEADER: Content = {"by": "header", "name": "V", "a": {}}


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        # a parameter has no name
        (api(ONE), api(route("GET /accounts/{account}", "accounts:read")), "plain"),
        (api(ONE), api(route("GET /accounts/{account}")), "grave"),
        (api(ONE), api(route("GET /Accounts/{id}/")), "grave"),
        # it does not matter where it stands
        (api(ONE), api(versions=versions(v1={"routes": [ONE]})), "plain"),
        (api(ONE), api(versions=versions(v1={"routes": [BARE]})), "grave"),
        (api(ONE), api(ONE, versions=versions(v1={"routes": [BARE]})), "grave"),
        (api(versions=versions(v1={"routes": [ONE]})), api(ONE), "plain"),
        (api(versions=versions(v1={"routes": [ONE]})), api(BARE), "grave"),
        (api(ONE, versions=HEADER), api(BARE, versions=HEADER), "grave"),
        # each version is compared with itself, one that is new or moved with all
        (api(versions=versions(v1={"routes": [ONE]}, v2={"routes": [BARE]})),
         api(versions=versions(v1={"routes": [ONE]}, v2={"routes": [BARE], "upstream": "other"})), "plain"),
        (api(versions=versions(v1={"routes": [ONE]}, v2={"routes": [BARE]})),
         api(versions=versions(v1={"routes": [BARE]}, v2={"routes": [BARE]})), "grave"),
        (api(ONE), api(ONE, versions=versions(v1={}, v2={})), "plain"),
        (api(ONE), api(ONE, versions=versions(v1={}, v2={"routes": [BARE]})), "grave"),
        (api(versions=versions(v1={"routes": [ONE]}, v2={"routes": [BARE]})),
         api(versions={"v2": {"path": "/v1", "routes": [BARE]}}), "grave"),
        # what the version or the API gives
        (api(ONE, validate={"request": True}), api(ONE, validate={"request": True},
         versions=versions(v1={"validate": "off"})), "grave"),
        (api(route("GET /a", forward_credential=False), forward_credential=True),
         api(route("GET /a"), forward_credential=True), "grave"),
        # a route that is new
        (api(ONE), api(ONE, route("GET /limits", "accounts:read")), "plain"),
        (api(ONE), api(ONE, route("GET /limits", "other")), "plain"),
        (api(ONE), api(ONE, route("GET /limits")), "grave"),
        (api(ONE), api(ONE, route("POST /limits")), "grave"),
        (api(ONE), api(ONE, route("HEAD /accounts/{id}")), "grave"),
        (api(ONE), api(ONE, route("GET /accounts/me", "other")), "grave"),
        (api(ONE), api(ONE, route("GET /accounts/me", "accounts:read", "other")), "plain"),
        (api(ONE), api(ONE, route("GET /accounts/{rest...}", "other")), "grave"),
        (api(ONE), api(ONE, route("GET /accounts/{id}/owners", "other")), "plain"),
        (api(ONE), api(ONE, route("GET /b", "x", authenticate=[])), "grave"),
        (api(route("POST /a", limits=["1/second"])), api(route("POST /a", limits=["1/second"]), route("POST /b")),
         "grave"),
        (api(route("POST /a", limits=["1/second"])), api(route("POST /a", limits=["1/second"]), route("GET /b")),
         "plain"),
        # in place of one that is gone, and what its calls meet then
        (api(ONE), api(route("GET /acct/{id}", "accounts:read")), "plain"),
        (api(ONE), api(route("GET /acct/{id}", "other")), "grave"),
        (api(ONE, ADMIN), api(ONE), "grave"),
        (api(ONE, route("GET /x/admin", "admin")), api(ONE), "plain"),
        # money
        (api(route("POST /pay/{id}", idempotency="required")), api(route("POST /pay/{x}")), "grave"),
        (api(route("POST /pay/{id}", idempotency="required")),
         api(route("POST /pay/{x}", idempotency="required")), "guarded"),
        (api(route("POST /pay", idempotency="required")),
         api(route("POST /pay", idempotency="required"), route("POST /more")), "grave"),
        (api(route("POST /pay", idempotency="required")),
         api(route("POST /pay", idempotency="required"), route("GET /pay")), "guarded"),
    ],
)  # fmt: skip
def test_the_class_of_what_calls_meet(before: Content, after: Content, found: str) -> None:
    assert risk(before, after) == found


def test_a_large_api_is_judged_soon_and_what_is_too_large_counts_as_weaker() -> None:
    many = [route(f"GET /a{at}/{{id}}", f"r{at % 5}") for at in range(2000)]
    began = time.process_time()
    assert risk(api(*many), api(*many[:-1], route("GET /a1999/{x}", "r4"))) == "plain"
    assert risk(api(*many), api(*[route(f"GET /b{at}", "r1") for at in range(2000)])) == "grave"
    assert time.process_time() - began < 2.0
