"""Which credential decides, and what a caller without a good one is told."""

import re
from pathlib import Path

import pytest

from faregate.kernel.problems import Refusal
from faregate.policies.authenticate.challenge import Reason
from faregate.policies.authenticate.step import has_scheme_bearer
from faregate.snapshot.data import Consumer, JwtCredential
from faregate.stores.jwk import KeySetError
from tests.policies.jwt.material import (
    API_KEY,
    ISSUER,
    authenticators,
    call_with,
    claims,
    issuer,
    jwk,
    key_set,
    private_key,
    route,
    token,
)

MISSING = b'WWW-Authenticate: Bearer realm="faregate"\r\n'
INVALID = b'WWW-Authenticate: Bearer realm="faregate", error="invalid_token"\r\n'
TOKEN = b"Bearer " + token()
KEY_BEARER = b"Bearer " + API_KEY
BASIC = b"Basic dXNlcjpwYXNz"
BOTH, ONLY_JWT, ONLY_KEY = ("jwt", "api_key"), ("jwt",), ("api_key",)


@pytest.mark.parametrize(
    ("kinds", "authorization", "api_key", "expected"),
    [
        (ONLY_JWT, TOKEN, None, b"authorization"),
        (ONLY_JWT, TOKEN, API_KEY, b"authorization"),
        (ONLY_JWT, None, None, "none_sent"),
        (ONLY_JWT, None, API_KEY, "none_sent"),
        (ONLY_JWT, BASIC, None, "other_scheme"),
        (ONLY_JWT, b"", None, "other_scheme"),
        (ONLY_JWT, KEY_BEARER, None, "malformed_token"),
        (ONLY_KEY, None, API_KEY, b"x-api-key"),
        (ONLY_KEY, KEY_BEARER, None, b"authorization"),
        (ONLY_KEY, b"bEARER " + API_KEY, None, b"authorization"),
        (ONLY_KEY, TOKEN, API_KEY, b"x-api-key"),
        (ONLY_KEY, BASIC, API_KEY, b"x-api-key"),
        (ONLY_KEY, KEY_BEARER, API_KEY, "several_credentials"),
        (ONLY_KEY, TOKEN, None, "not_accepted_here"),
        (ONLY_KEY, BASIC, None, "other_scheme"),
        (ONLY_KEY, None, None, "none_sent"),
        (BOTH, TOKEN, None, b"authorization"),
        (BOTH, KEY_BEARER, None, b"authorization"),
        (BOTH, b"bearer " + API_KEY, None, b"authorization"),
        (BOTH, None, API_KEY, b"x-api-key"),
        (BOTH, BASIC, API_KEY, b"x-api-key"),
        (BOTH, TOKEN, API_KEY, "several_credentials"),
        (BOTH, KEY_BEARER, API_KEY, "several_credentials"),
        (BOTH, b"Bearer ", API_KEY, "several_credentials"),
        (BOTH, BASIC, None, "other_scheme"),
        (BOTH, None, None, "none_sent"),
        (BOTH, b"Basic  " + API_KEY, None, "other_scheme"),
        (BOTH, b"Bearer  " + API_KEY, None, "malformed_token"),
        (BOTH, None, b"", "malformed_key"),
    ],
)
def test_the_credential_present_decides(
    kinds: tuple[str, ...], authorization: bytes | None, api_key: bytes | None, expected: bytes | str
) -> None:
    step = authenticators().step_for(route(*kinds))
    for _ in range(2):  # the second time from memory
        call = call_with(authorization, api_key=api_key)
        verdict = step(call)
        if isinstance(expected, bytes):
            assert verdict is None
            assert call.identity.consumer.name == "acme"
            assert call.credential_used == expected
        else:
            assert isinstance(verdict, Refusal)
            assert verdict.reason == expected
            absent = expected in {"none_sent", "other_scheme"}
            assert verdict.code == ("credential_missing" if absent else "credential_invalid")
            assert verdict.headers == (MISSING if absent else INVALID)
            assert call.identity is None
            assert call.credential_used == b""


def test_a_token_once_verified_does_not_excuse_a_second_credential() -> None:
    step = authenticators().step_for(route(*BOTH))
    assert step(call_with(TOKEN)) is None
    assert step(call_with(TOKEN, api_key=API_KEY)).reason == "several_credentials"


@pytest.mark.parametrize(
    ("authorization", "api_key"),
    [(b"Bearer " + token(claims(sub="asleep")), None), (None, b"fg_asleep"), (b"Bearer fg_asleep", None)],
)
def test_a_suspended_consumer_is_refused_each_time_and_known_to_the_log(
    authorization: bytes | None, api_key: bytes | None
) -> None:
    step = authenticators().step_for(route(*BOTH))
    for _ in range(3):
        call = call_with(authorization, api_key=api_key)
        verdict = step(call)
        assert isinstance(verdict, Refusal)
        assert verdict.code == "consumer_suspended"
        assert call.identity.consumer.name == "asleep"


def test_a_public_route_has_no_step() -> None:
    assert authenticators().step_for(route()) is None


def test_an_unknown_kind_does_not_build() -> None:
    with pytest.raises(ValueError, match="password"):
        authenticators().step_for(route("jwt", "password"))


def test_reg_protected_route_needs_token_without_any_issuer_or_credential() -> None:
    step = authenticators(issuer(), consumers=()).step_for(route(*BOTH))
    assert step(call_with()).code == "credential_missing"
    assert step(call_with(TOKEN)).code == "credential_invalid"
    assert step(call_with(api_key=API_KEY)).code == "credential_invalid"


def test_reg_missing_option_refuses_an_unusable_key_set_does_not_build() -> None:
    with pytest.raises(KeySetError):
        authenticators(issuer(jwks=b'{"keys":[]}'))
    with pytest.raises(KeySetError):
        authenticators(issuer(algorithms=("HS256",), secret=b""))


def test_routes_of_the_same_kinds_share_one_step() -> None:
    all_of_them = authenticators()
    assert all_of_them.step_for(route("jwt", "api_key")) is all_of_them.step_for(route("api_key", "jwt"))
    assert all_of_them.step_for(route("jwt")) is not all_of_them.step_for(route("api_key"))


def test_one_subject_of_two_consumers_does_not_build() -> None:
    twins = tuple(
        Consumer(name, credentials=(JwtCredential("acme-id", "acme-server"),)) for name in ("a", "b")
    )
    with pytest.raises(ValueError, match="two consumers"):
        authenticators(consumers=twins)


def test_two_issuers_work_side_by_side() -> None:
    second = issuer(
        name="globex-id",
        issuer="https://id.globex.example",
        jwks=key_set(jwk(private_key("ES256", 2), kid="k1")),
    )
    step = authenticators(issuer(), second).step_for(route("jwt"))
    theirs = token(claims(iss="https://id.globex.example", sub="globex-server"), key=private_key("ES256", 2))
    for value, name in ((token(), "acme"), (theirs, "globex")):
        call = call_with(b"Bearer " + value)
        assert step(call) is None
        assert call.identity.consumer.name == name
    assert second.issuer != ISSUER


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"Bearer x", True),
        (b"BEARER x", True),
        (b"Bearer", True),
        (b"Bearerx", False),
        (b"Bear", False),
        (b"", False),
        (b"Bearer\tx", False),
    ],
)
def test_the_scheme_is_a_whole_word_in_any_case(value: bytes, expected: bool) -> None:
    assert has_scheme_bearer(value) is expected


def test_the_docs_list_every_reason() -> None:
    docs = Path(__file__).parents[3] / "docs" / "policies"
    listed = set(
        re.findall(
            r"^\| `([a-z_]+)` \|",
            "".join((docs / f"{kind}.md").read_text() for kind in ("jwt", "api_key", "mtls")),
            re.MULTILINE,
        )
    )
    assert listed >= {reason.value for reason in Reason}
