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
