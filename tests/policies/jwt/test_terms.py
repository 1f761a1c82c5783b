"""A token's credential may have a name, a beginning and an end of its own; a scope narrows grants for places too."""

from pathlib import Path

import pytest

from faregate.policies.authenticate.index import CredentialIndex, PartMaker
from faregate.policies.authenticate.step import Authenticators
from faregate.policies.jwt.step import narrowed
from faregate.snapshot.data import FORMAT, Consumer, Gateway, JwtCredential, Snapshot
from faregate.stores.keysets import KeySets
from tests.policies.jwt.material import (
    WALL,
    FrozenClock,
    authenticators,
    call_with,
    claims,
    issuer,
    no_network,
    ready,
    route,
    token,
)


def consumers(**terms: object) -> tuple[Consumer, ...]:
    return (Consumer("acme", credentials=(JwtCredential("acme-id", "acme-server", **terms),)),)


def by_consumers(**terms: object) -> Authenticators:
    return authenticators(consumers=consumers(**terms))


def by_index(**terms: object) -> Authenticators:
    """As workers build them: from the parts of sections."""
    index = CredentialIndex()
    index.add(PartMaker(()).make(consumers(**terms)))
    snapshot = Snapshot(FORMAT, 1, Gateway((), None, 1, ""), (issuer(),), (), (), (), (), ())
    keysets = KeySets(no_network, FrozenClock(), Path("/nonexistent"))
    return Authenticators(snapshot, ready(()), keysets, index)


@pytest.mark.parametrize("make", [by_consumers, by_index])
@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ({}, "accepted"),
        ({"expires": WALL + 1}, "accepted"),
        ({"expires": WALL}, "expired"),
        ({"not_before": WALL}, "accepted"),
        ({"not_before": WALL + 1}, "not_yet_valid"),
    ],
)
def test_a_token_counts_while_its_credential_does(make, terms: dict[str, int], expected: str) -> None:
    call = call_with(b"Bearer " + token())
    verdict = make(**terms).step_for(route("jwt"))(call)
    assert (verdict.reason if verdict else "accepted") == expected
    if verdict is None:
        assert call.identity.credential == "jwt:acme-id:acme-server"


@pytest.mark.parametrize("make", [by_consumers, by_index])
def test_a_credential_may_have_a_name_of_its_own(make) -> None:
    call = call_with(b"Bearer " + token())
    assert make(id="cred_7").step_for(route("jwt"))(call) is None
    assert call.identity.credential == "cred_7"
    assert b"X-Credential-Id: cred_7\r\n" in call.identity.headers


def test_a_remembered_token_ends_with_its_credential() -> None:
    made = by_consumers(expires=WALL + 5)
    step = made.step_for(route("jwt"))
    value = b"Bearer " + token()
    for wall in (WALL, WALL + 4.9):
        call = call_with(value, wall=wall)
        assert step(call) is None
        assert made.ends(call) == WALL + 5
    assert step(call_with(value, wall=WALL + 5)).reason == "expired"


def test_one_that_begins_later_is_not_remembered_as_bad() -> None:
    step = by_consumers(not_before=WALL + 2).step_for(route("jwt"))
    value = b"Bearer " + token()
    assert step(call_with(value)).reason == "not_yet_valid"
    assert step(call_with(value, wall=WALL + 2)) is None


def test_a_scope_names_the_grants_for_places_of_its_permission() -> None:
    held = frozenset({"a", "b", "a@payments", "a@payments/v2", "b@payouts"})
    assert narrowed(held, frozenset({"a"})) == {"a", "a@payments", "a@payments/v2"}
    assert narrowed(held, frozenset({"b@payouts"})) == {"b@payouts"}
    assert narrowed(held, frozenset()) == frozenset()


def test_a_narrowed_identity_holds_them() -> None:
    held = (Consumer("acme", None, ("a@payments", "b"), (JwtCredential("acme-id", "acme-server"),)),)
    call = call_with(b"Bearer " + token(claims(scope="a")))
    assert authenticators(consumers=held).step_for(route("jwt"))(call) is None
    assert call.identity.permissions == {"a@payments"}
