"""Permissions: all that are required, exactly as named."""

import pytest

from faregate.policies.permit.step import build
from faregate.snapshot.call import Identity, ReadyConsumer
from tests.policies.jwt.material import call_with, route


def verdict(require: tuple[str, ...], grants: set[str], left: set[str] | None = None):
    call = call_with()
    call.identity = Identity(
        ReadyConsumer("acme", permissions=frozenset(grants)), "c", None if left is None else frozenset(left)
    )
    return build(route("jwt", require=require))(call)


@pytest.mark.parametrize(("require", "grants"), [(("a",), {"a"}), (("a", "b"), {"a", "b", "c"})])
def test_all_required_permissions_pass(require: tuple[str, ...], grants: set[str]) -> None:
    assert verdict(require, grants) is None


@pytest.mark.parametrize(
    ("require", "grants"),
    [
        (("a",), set()),
        (("a", "b"), {"a"}),
        (("payments:write",), {"payments:*", "payments", "PAYMENTS:WRITE", "*"}),
    ],
)
def test_one_that_is_missing_refuses(require: tuple[str, ...], grants: set[str]) -> None:
    refusal = verdict(require, grants)
    assert (refusal.code, refusal.reason, refusal.headers) == (
        "permission_denied",
        "consumer_lacks_permission",
        b"",
    )


def test_a_token_narrowed_too_far_refuses_with_its_own_reason() -> None:
    assert verdict(("a",), {"a"}, {"b"}).reason == "scope_lacks_permission"
    assert (
        verdict(("a",), {"a"}, set()).headers
        == b'WWW-Authenticate: Bearer realm="faregate", error="insufficient_scope"\r\n'
    )


def test_no_identity_refuses() -> None:
    assert build(route("jwt", require=("a",)))(call_with()).reason == "no_identity"


def test_nothing_required_is_no_step() -> None:
    assert build(route("jwt")) is None
    assert build(route()) is None


def test_a_public_route_that_requires_does_not_build() -> None:
    with pytest.raises(ValueError, match="public"):
        build(route(require=("a",)))


def placed(
    grants: set[str],
    *,
    apis: set[str] | None = None,
    require: tuple[str, ...] = ("payments:write",),
    left: set[str] | None = None,
) -> str:
    """What a route of payments/v2 says, in a snapshot where places count."""
    consumer = ReadyConsumer(
        "acme", permissions=frozenset(grants), apis=None if apis is None else frozenset(apis)
    )
    call = call_with()
    call.identity = Identity(consumer, "c", None if left is None else frozenset(left))
    refusal = build(route("jwt", require=require), "v2", bounded=True)(call)
    assert refusal is None or refusal.code == "permission_denied"
    return "passed" if refusal is None else refusal.reason


@pytest.mark.parametrize(
    ("grants", "expected"),
    [
        ({"payments:write"}, "passed"),
        ({"payments:write@payments"}, "passed"),
        ({"payments:write@payments/v2"}, "passed"),
        ({"payments:write@payments/v1"}, "consumer_lacks_permission"),
        ({"payments:write@payouts"}, "consumer_lacks_permission"),
        ({"payments:write@payments/v20"}, "consumer_lacks_permission"),
        ({"payments:read@payments/v2"}, "consumer_lacks_permission"),
        (set(), "consumer_lacks_permission"),
    ],
)
def test_a_grant_for_a_place_holds_there_alone(grants: set[str], expected: str) -> None:
    assert placed(grants) == expected


def test_each_of_several_permissions_may_be_granted_in_its_own_way() -> None:
    both = ("payments:write", "refunds:write")
    assert placed({"payments:write", "refunds:write@payments/v2"}, require=both) == "passed"
    assert placed({"payments:write", "refunds:write@payments/v1"}, require=both) != "passed"


@pytest.mark.parametrize(
    ("apis", "expected"),
    [
        (None, "passed"),
        ({"payments"}, "passed"),
        ({"payments/v2"}, "passed"),
        ({"payments/v1"}, "api_not_granted"),
        ({"payouts"}, "api_not_granted"),
        (set(), "api_not_granted"),
    ],
)
@pytest.mark.parametrize("require", [("payments:write",), ()])
def test_a_consumer_calls_its_apis_alone_even_where_nothing_is_required(
    apis: set[str] | None, expected: str, require: tuple[str, ...]
) -> None:
    assert placed({"payments:write"}, apis=apis, require=require) == expected


def test_a_narrowed_token_is_told_so_in_its_place_too() -> None:
    assert placed({"payments:write@payments/v2"}, left=set()) == "scope_lacks_permission"
    assert placed({"payments:write@payments/v1"}, left=set()) == "consumer_lacks_permission"


def test_in_a_place_nobody_passes_without_an_identity() -> None:
    assert build(route("jwt"), "v2", bounded=True)(call_with()).reason == "no_identity"


def test_a_public_route_has_no_step_where_places_count() -> None:
    assert build(route(), "v2", bounded=True) is None
