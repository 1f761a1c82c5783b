"""Groups: what they grant is their consumers', and what grants name must exist."""

from pathlib import Path

import pytest

from faregate.snapshot.data import Consumer
from tests.model.configs import UPSTREAM, brief, check, compiled

APIS = """\
apis:
  payments:
    upstream: pay
    authenticate: [api_key]
    versions: {v1: {path: /v1}, v2: {path: /v2}}
    routes: [{match: GET /payments}]
  payouts:
    upstream: pay
    authenticate: [api_key]
    versions: {v1: {path: /payouts/v1}}
    routes: [{match: GET /payouts}]
"""
PLANS = "plans: {standard: {limits: [100/second]}, gold: {limits: [500/second]}}\n"
GROUPS = """\
groups:
  reads: {permissions: [payments:read]}
  gold: {permissions: [payments:read, payments:write], plan: gold, apis: [payments]}
  paid: {plan: standard, apis: [payouts/v1]}
  none: {apis: []}
"""


def acme(folder: Path, settings: str) -> Consumer:
    text = f"{UPSTREAM}{PLANS}{GROUPS}consumers: {{acme: {settings}}}\n{APIS}"
    (found,) = compiled(folder, text).consumers
    return found


@pytest.mark.parametrize(
    ("settings", "plan", "permissions", "apis"),
    [
        ("{}", None, (), None),
        ("{permissions: [a, b, a]}", None, ("a", "b"), None),
        ("{groups: [reads]}", None, ("payments:read",), None),
        ("{groups: [gold]}", "gold", ("payments:read", "payments:write"), ("payments",)),
        ("{groups: [reads, gold]}", "gold", ("payments:read", "payments:write"), ("payments",)),
        (
            "{plan: standard, permissions: [own], groups: [gold]}",
            "standard",
            ("own", "payments:read", "payments:write"),
            ("payments",),
        ),
        (
            "{groups: [paid, gold]}",
            "standard",
            ("payments:read", "payments:write"),
            ("payouts/v1", "payments"),
        ),
        ("{apis: [payments/v2], groups: [paid]}", "standard", (), ("payments/v2", "payouts/v1")),
        ("{apis: [payments, payments]}", None, (), ("payments",)),
        ("{apis: []}", None, (), ()),
        ("{groups: [none]}", None, (), ()),
        ("{groups: [none, gold]}", "gold", ("payments:read", "payments:write"), ("payments",)),
        ("{permissions: [a@payments, b@payments/v2]}", None, ("a@payments", "b@payments/v2"), None),
    ],
)
def test_a_consumer_has_its_own_and_what_its_groups_grant(
    tmp_path: Path,
    settings: str,
    plan: str | None,
    permissions: tuple[str, ...],
    apis: tuple[str, ...] | None,
) -> None:
    found = acme(tmp_path, settings)
    assert (found.plan, found.permissions, found.apis) == (plan, permissions, apis)


@pytest.mark.parametrize(
    ("section", "path", "message", "nearest"),
    [
        (
            "consumers: {acme: {groups: [golf]}}",
            "consumers.acme.groups[0]",
            "no group is named `golf`",
            "gold",
        ),
        (
            "consumers: {acme: {apis: [payment]}}",
            "consumers.acme.apis[0]",
            "no API is named `payment`",
            "payments",
        ),
        (
            "consumers: {acme: {apis: [payments/v3]}}",
            "consumers.acme.apis[0]",
            "no version of `payments` is named `v3`",
            "",
        ),
        (
            "consumers: {acme: {permissions: [a@payout]}}",
            "consumers.acme.permissions[0]",
            "no API is named `payout`",
            "payouts",
        ),
        (
            "consumers: {acme: {permissions: [a@payouts/v2]}}",
            "consumers.acme.permissions[0]",
            "no version of `payouts` is named `v2`",
            "",
        ),
    ],
)
def test_names_that_are_not_defined_are_errors(
    tmp_path: Path, section: str, path: str, message: str, nearest: str
) -> None:
    (found,) = [
        one for one in check(tmp_path, f"{UPSTREAM}{PLANS}{GROUPS}{section}\n{APIS}") if one.level == "error"
    ]
    assert (found.code, found.path, found.message) == ("unresolved_reference", path, message)
    assert found.nearest == nearest


def test_a_group_is_checked_as_a_consumer_is(tmp_path: Path) -> None:
    groups = "groups: {gold: {plan: golden, permissions: [a@nowhere, '*'], apis: [nowhere/v1], more: 1}}\n"
    found = check(tmp_path, UPSTREAM + PLANS + groups + APIS)
    assert {(one.code, one.path) for one in found} >= {
        ("unresolved_reference", "groups.gold.plan"),
        ("unresolved_reference", "groups.gold.permissions[0]"),
        ("bad_value", "groups.gold.permissions[1]"),
        ("unresolved_reference", "groups.gold.apis[0]"),
        ("unknown_key", "groups.gold.more"),
    }


@pytest.mark.parametrize(
    "grant", ["a@", "@payments", "a@payments/", "a@payments/v1/x", "a@/v1", "a b@payments", "a@pay ments"]
)
def test_what_is_no_grant_is_refused(tmp_path: Path, grant: str) -> None:
    text = f"{UPSTREAM}{PLANS}consumers: {{acme: {{permissions: ['{grant}']}}}}\n{APIS}"
    errors = [one.code for one in check(tmp_path, text) if one.level == "error"]
    assert errors == ["bad_value"]


def test_a_route_requires_plain_permissions_alone(tmp_path: Path) -> None:
    apis = APIS.replace("match: GET /payouts", "match: GET /payouts, require: a@payouts")
    assert "bad_value" in [one.code for one in check(tmp_path, UPSTREAM + PLANS + apis)]


def test_what_a_group_grants_is_held(tmp_path: Path) -> None:
    apis = APIS.replace("match: GET /payments", "match: GET /payments, require: payments:write")
    named = UPSTREAM + PLANS + GROUPS + "consumers: {acme: {plan: standard, groups: [gold]}}\n" + apis
    assert brief(check(tmp_path, named)) == []
    unnamed = named.replace("groups: [gold]", "groups: []")
    assert [one.code for one in check(tmp_path, unnamed)] == ["ungranted_permission"]
    placed = named.replace("groups: [gold]", "permissions: [payments:write@payments/v1]")
    assert brief(check(tmp_path, placed)) == []


def test_a_plan_of_a_group_is_a_plan(tmp_path: Path) -> None:
    text = f"{UPSTREAM}{PLANS}{GROUPS}consumers: {{acme: {{groups: [gold]}}}}\n{APIS}"
    assert [one.code for one in check(tmp_path, text)] == []
    assert "no_limits" in [one.code for one in check(tmp_path, text.replace("groups: [gold]", "groups: []"))]


def test_too_many_groups_are_refused(tmp_path: Path) -> None:
    named = ", ".join(["gold"] * 33)
    text = f"{UPSTREAM}{PLANS}{GROUPS}consumers: {{acme: {{groups: [{named}]}}}}\n{APIS}"
    assert len(check(tmp_path, text)) == 1
