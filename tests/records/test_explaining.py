"""Why a call ended so, in plain words: every refusal and every reason that the gateway writes down has some."""

import ast
from pathlib import Path

import pytest

import faregate
from faregate.kernel.problems import PROBLEMS
from faregate.policies.authenticate.challenge import Reason
from faregate.records.explaining import explain
from faregate.records.reasons import words_of
from faregate.snapshot.data import (
    FORMAT,
    Consumer,
    Gateway,
    Listener,
    Plan,
    Rate,
    Route,
    Snapshot,
    Version,
)

SOURCE = Path(faregate.__file__).parent


def literal_reasons() -> set[str]:
    """What stands after ``reason=`` in the gateway and the policies."""
    found = set()
    for folder in ("gateway", "policies"):
        for path in (SOURCE / folder).rglob("*.py"):
            text = path.read_text()
            for node in ast.walk(ast.parse(text)) if "Refusal(" in text else ():
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Refusal":
                    found |= {
                        word.value.value
                        for word in node.keywords
                        if word.arg == "reason" and isinstance(word.value, ast.Constant)
                    }
    return found


@pytest.mark.parametrize("reason", sorted(literal_reasons() | {one.value for one in Reason}))
def test_every_reason_that_is_written_down_has_words(reason: str) -> None:
    assert words_of(reason), f"add {reason!r} to faregate/records/reasons.py"


def test_the_reasons_are_found_at_all() -> None:
    assert {"no_route", "in_flight", "address_not_allowed"} <= literal_reasons()


def snapshot(revision: int = 7) -> Snapshot:
    limits = (Rate("route.20/second", "route", 20, 1000),)
    route = Route(
        "payments",
        0,
        "POST",
        "/v2/payments",
        "POST /payments",
        "u",
        ("api_key",),
        ("payments:write",),
        limits,
    )
    plan = Plan("gold", (Rate("plan.gold.100/second", "plan", 100, 1000),), None, 5)
    acme = Consumer("acme", "gold", ("payments:read",), allow_ips=("203.0.113.0/24",), apis=("payments",))
    gateway = Gateway((Listener("127.0.0.1", 0),), None, 1, "/data")
    return Snapshot(FORMAT, revision, gateway, (), (), (plan,), (acme,), (Version("v2", "/v2"),), (route,))


def line(**members: object) -> dict[str, object]:
    return {
        "time": "2026-11-23T02:49:02.500Z", "request_id": "r1", "client_ip": "198.51.100.7", "consumer": "acme",
        "credential": "key_1", "api": "payments", "version": "v2", "route": "POST /payments", "method": "POST",
        "path": "/v2/payments", "status": 403, "outcome": "refused", "revision": 7, **members,
    }  # fmt: skip


@pytest.mark.parametrize("code", sorted(PROBLEMS))
def test_every_refusal_is_explained_with_what_to_do(code: str) -> None:
    problem = PROBLEMS[code]
    told = explain(line(refusal=code, status=problem.status, outcome=str(problem.outcome)), snapshot())
    assert told.headline.startswith(f"{problem.status} {code}: ")
    assert told.because
    assert told.advice[-1].endswith(f"#{code}")


def test_a_missing_permission_is_named() -> None:
    told = explain(line(refusal="permission_denied", reason="consumer_lacks_permission"), snapshot())
    assert "acme lacks payments:write; it has payments:read." in told.because
    assert told.because[0] == (
        "Reason: the consumer lacks a permission that the route requires (consumer_lacks_permission)."
    )


def test_a_limit_is_named_and_so_are_the_others_that_apply() -> None:
    told = explain(
        line(refusal="rate_limited", status=429, reason="limit_reached:plan.gold.100/second"), snapshot()
    )
    assert "plan.gold.100/second" in told.because[0]
    assert told.because[1] == (
        "What limits such calls: route.20/second, plan.gold.100/second, concurrency.gold (5)."
    )


def test_an_address_is_held_against_those_allowed() -> None:
    told = explain(line(refusal="address_denied", reason="address_not_allowed"), snapshot())
    assert "acme may call from 203.0.113.0/24." in told.because
    assert ("address", "198.51.100.7") in told.facts


def test_what_another_revision_decided_is_not_shown_as_certain() -> None:
    told = explain(line(refusal="permission_denied", revision=3), snapshot(7))
    assert any("Revision 3 decided; what follows is of revision 7" in one for one in told.because)
    same = explain(line(refusal="permission_denied"), snapshot(7))
    assert not any("decided" in one for one in same.because)


@pytest.mark.parametrize(
    ("members", "headline", "said"),
    [
        (
            {"status": 201, "outcome": "answered", "target": "a:1"},
            "201: answered by a:1.",
            "The service answered.",
        ),
        (
            {"status": 201, "outcome": "answered", "idempotency": "replayed"},
            "201: answered from the record of its idempotency key.",
            "got the stored answer",
        ),
        (
            {"status": None, "outcome": "client_gone"},
            "The caller left before an answer was begun.",
            "caller left",
        ),
        (
            {
                "status": 504,
                "outcome": "unknown",
                "refusal": "upstream_timeout",
                "reason": "first_byte_timeout",
            },
            "504 upstream_timeout: Upstream timeout.",
            "whether the service acted is not known",
        ),
        (
            {"status": 502, "outcome": "not_sent", "refusal": "a_new_code"},
            "502 a_new_code: a_new_code.",
            "not sent",
        ),
        (
            {"status": 200, "outcome": "answered", "idempotency": "not_kept"},
            "200: answered.",
            "could not be stored",
        ),
    ],
)
def test_every_kind_of_end_is_said(members: dict[str, object], headline: str, said: str) -> None:
    told = explain(line(**members), snapshot())
    assert told.headline == headline
    assert any(said in one for one in told.because)


def test_an_unknown_outcome_must_be_asked_about_before_a_repeat() -> None:
    told = explain(line(status=504, outcome="unknown", refusal="upstream_timeout"))
    assert "must ask what became of it" in told.advice[0]


def test_it_is_one_object_for_programs() -> None:
    told = explain(line(refusal="no_route", status=404, version_asked="v1")).as_json()
    assert set(told) == {"headline", "because", "facts", "advice"}
    assert told["facts"]["route"] == "payments v2 (asked for v1) POST /payments"  # type: ignore[index]


def test_a_reason_without_words_is_shown_as_it_is() -> None:
    assert explain(line(refusal="no_route", reason="brand_new")).because[0] == "Reason: brand_new."
    assert words_of("body_cut:/x").endswith(": /x")


def test_a_websocket_that_was_ended_by_a_refusal_says_which() -> None:
    told = explain(line(status=101, outcome="answered", reason="consumer_suspended"))
    assert told.because[0] == "Reason: the consumer is suspended (consumer_suspended)."
    told = explain(line(status=101, outcome="answered", reason="rate_limited"))
    assert told.because[0] == "Reason: Too many calls; see Retry-After (rate_limited)."
