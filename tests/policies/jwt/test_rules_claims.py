"""J07-J11, J16 and J17 of http-rules.md: what a token claims, and whom that makes its caller."""

import pytest

from faregate.policies.authenticate.challenge import Reason
from faregate.policies.permit.step import build as build_permit
from faregate.snapshot.data import Consumer, JwtCredential
from tests.policies.jwt.material import (
    ISSUER,
    OTHER_ISSUER,
    WALL,
    authenticators,
    call_with,
    claims,
    compact,
    issuer,
    jwk,
    key_set,
    private_key,
    raw_token,
    reason_of,
    route,
    token,
    verdict_on,
)

LATER = "J17 (cnf, mTLS, DPoP) and the maximum age of J11 belong to later issues: no configuration names them yet."


def test_j17_is_named_as_later_work(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{LATER}")
    from faregate.snapshot.data import Issuer

    assert not {"dpop", "max_age", "certificate_bound"} & set(Issuer.__struct_fields__)


@pytest.mark.parametrize(
    "kind", ["id_token+jwt", "logout+jwt", "dpop+jwt", "secevent+jwt", "JWE", "", 1, None, ["JWT"]]
)
def test_j07_a_token_of_another_type_is_refused(kind: object) -> None:
    top = compact({"alg": "ES256", "kid": "k1", "typ": kind})
    assert reason_of(raw_token(top, compact(claims()))) == "wrong_type"


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/at+jwt"])
def test_j07_access_token_types_are_accepted(kind: str) -> None:
    assert reason_of(token(header={"typ": kind})) == "accepted"


def test_j07_a_nested_token_is_refused() -> None:
    assert reason_of(token(header={"cty": "JWT"})) == "header_not_allowed"


@pytest.mark.parametrize(
    "iss",
    [
        None,
        "",
        "https://id.acme",
        ISSUER + "/",
        ISSUER + ".evil",
        "https://ID.acme.example",
        "http://id.acme.example",
        [ISSUER],
        1,
        {"a": 1},
    ],
)
def test_j08_iss_is_compared_whole(iss: object) -> None:
    assert reason_of(token(claims(iss=iss))) == "wrong_issuer"
    two = (
        issuer(),
        issuer(name="globex-id", issuer=OTHER_ISSUER, jwks=key_set(jwk(private_key("ES256", 2), kid="k1"))),
    )
    assert reason_of(token(claims(iss=iss)), *two) == "unknown_issuer"


def test_j08_a_key_of_one_issuer_does_not_sign_for_another() -> None:
    other = issuer(
        name="globex-id", issuer=OTHER_ISSUER, jwks=key_set(jwk(private_key("ES256", 2), kid="k1"))
    )
    assert reason_of(token(claims(iss=OTHER_ISSUER, sub="globex-server")), issuer(), other) == "bad_signature"
    assert reason_of(token(key=private_key("ES256", 2)), issuer(), other) == "bad_signature"
    assert (
        reason_of(
            token(claims(iss=OTHER_ISSUER, sub="globex-server"), key=private_key("ES256", 2)), issuer(), other
        )
        == "accepted"
    )


def test_two_issuers_of_one_iss_are_told_apart_by_audience() -> None:
    first = issuer(audience=("payments",))
    second = issuer(
        name="globex-id", audience=("reports",), jwks=key_set(jwk(private_key("ES256", 2), kid="k1"))
    )
    assert reason_of(token(), first, second) == "accepted"
    assert (
        reason_of(
            token(claims(aud="reports", sub="globex-server"), key=private_key("ES256", 2)), first, second
        )
        == "accepted"
    )
    assert reason_of(token(claims(aud=["reports"], sub="globex-server")), first, second) == "bad_signature"
    assert reason_of(token(claims(aud="else")), first, second) == "wrong_audience"


@pytest.mark.parametrize(
    "aud",
    [
        None,
        [],
        ["other"],
        "payment",
        "payments2",
        "Payments",
        "payments ",
        1,
        True,
        {"payments": 1},
        [["payments"]],
        ["payments", 1],
        "",
    ],
)
def test_j09_aud_must_name_us_whole(aud: object) -> None:
    assert reason_of(token(claims(aud=aud))) == "wrong_audience"


def test_j09_aud_may_be_a_list_or_one_of_several_of_ours() -> None:
    assert reason_of(token(claims(aud=["other", "payments"]))) == "accepted"
    several = issuer(audience=("reports", "payments"))
    assert reason_of(token(), several) == "accepted"
    assert reason_of(token(claims(aud=["x", "reports"])), several) == "accepted"
    assert reason_of(token(), issuer(audience=())) == "wrong_audience"


@pytest.mark.parametrize(
    "text",
    [
        "missing",
        '"1790000600"',
        "true",
        "null",
        "-1",
        "1e308",
        "1e999",
        "NaN",
        "Infinity",
        "[1790000600]",
        "{}",
        "253402300800",
        "9" * 400,
    ],
)
def test_j10_an_exp_that_is_no_time_is_refused(text: str) -> None:
    exp = "" if text == "missing" else f',"exp":{text}'
    payload = f'{{"iss":"{ISSUER}","aud":"payments","sub":"acme-server"{exp}}}'.encode()
    assert reason_of(raw_token(b'{"alg":"ES256","kid":"k1"}', payload)) == "malformed_claims"


@pytest.mark.parametrize(
    ("seconds_past", "expected"),
    [(0, "accepted"), (9, "accepted"), (9.999, "accepted"), (10, "expired"), (11, "expired")],
)
def test_j10_exp_holds_to_the_second_with_the_leeway(seconds_past: float, expected: str) -> None:
    assert reason_of(token(claims(exp=WALL)), wall=WALL + seconds_past) == expected
    assert reason_of(token(claims(exp=WALL + 0.0)), wall=WALL + seconds_past) == expected


def test_j10_without_leeway_the_second_of_exp_is_over() -> None:
    strict = issuer(leeway=0.0)
    assert reason_of(token(claims(exp=WALL)), strict, wall=WALL - 1) == "accepted"
    assert reason_of(token(claims(exp=WALL)), strict, wall=WALL) == "expired"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"nbf": WALL + 10}, "accepted"),
        ({"nbf": WALL + 11}, "not_yet_valid"),
        ({"iat": WALL + 10}, "accepted"),
        ({"iat": WALL + 11}, "issued_in_future"),
        ({"nbf": WALL + 700}, "malformed_claims"),
        ({"iat": WALL + 700}, "malformed_claims"),
        ({"nbf": "0"}, "malformed_claims"),
        ({"nbf": True}, "malformed_claims"),
        ({"nbf": -1}, "malformed_claims"),
        ({"nbf": [0]}, "malformed_claims"),
        ({"iat": "0"}, "malformed_claims"),
        ({"iat": False}, "malformed_claims"),
        ({"iat": 1e300}, "malformed_claims"),
        ({"iat": {}}, "malformed_claims"),
    ],
)
def test_j11_nbf_and_iat_are_checked(changes: dict, expected: str) -> None:
    assert reason_of(token(claims(**changes))) == expected


def test_j11_a_null_nbf_or_iat_is_malformed() -> None:
    for name in ("nbf", "iat"):
        assert reason_of(token(claims() | {name: None})) == "malformed_claims"


@pytest.mark.parametrize(
    "sub",
    [
        None,
        "",
        "nobody",
        "ACME-SERVER",
        "acme-server ",
        "acme-server\r\nX-Consumer-Id: globex",
        "globex-server",
        1,
        ["acme-server"],
    ],
)
def test_j16_a_subject_that_no_consumer_owns_is_refused(sub: object) -> None:
    assert reason_of(token(claims(sub=sub))) == "unknown_consumer"


def test_j16_a_subject_belongs_to_its_issuer_only() -> None:
    other = issuer(
        name="globex-id", issuer=OTHER_ISSUER, jwks=key_set(jwk(private_key("ES256", 2), kid="k1"))
    )
    foreign = token(claims(iss=OTHER_ISSUER, sub="acme-server"), key=private_key("ES256", 2))
    assert reason_of(foreign, issuer(), other) == "unknown_consumer"


def test_j16_a_configured_subject_cannot_break_a_header_line() -> None:
    odd = (Consumer("odd", credentials=(JwtCredential("acme-id", "a\r\nX-Consumer-Id: b"),)),)
    with pytest.raises(ValueError, match="header field"):
        authenticators(consumers=odd)


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({}, {"payments:read", "payments:write"}),
        ({"scope": "payments:read"}, {"payments:read"}),
        ({"scope": "payments:read openid payments:write"}, {"payments:read", "payments:write"}),
        ({"scp": ["payments:write", "admin"]}, {"payments:write"}),
        ({"scp": "payments:write"}, {"payments:write"}),
        ({"scope": ""}, set()),
        ({"scp": []}, set()),
        ({"scope": "payments"}, set()),
        ({"scope": "payments:*"}, set()),
        ({"scope": "refunds:write"}, set()),
        ({"scope": " payments:read  "}, {"payments:read"}),
    ],
)
def test_j16_scope_narrows_and_never_widens(changes: dict, left: set[str]) -> None:
    call = call_with(b"Bearer " + token(claims(**changes)))
    assert authenticators().step_for(route("jwt"))(call) is None
    assert call.identity is not None
    assert call.identity.permissions == left
    assert call.identity.credential == "jwt:acme-id:acme-server"
    assert (
        call.identity.headers
        == b"X-Consumer-Id: acme\r\nX-Consumer-Plan: standard\r\nX-Credential-Id: jwt:acme-id:acme-server\r\n"
    )


@pytest.mark.parametrize(
    "changes", [{"scope": 1}, {"scope": {"a": 1}}, {"scp": True}, {"scp": ["a", 1]}, {"scope": [None]}]
)
def test_j16_a_scope_that_is_no_words_is_malformed(changes: dict) -> None:
    assert reason_of(token(claims(**changes))) == "malformed_claims"


def test_j16_a_null_scope_is_malformed_not_absent() -> None:
    assert reason_of(token(claims() | {"scope": None})) == "malformed_claims"


def test_j16_a_missing_scope_is_403_with_its_own_challenge() -> None:
    wanted = route("jwt", require=("payments:write",))
    call = call_with(b"Bearer " + token(claims(scope="payments:read")))
    assert authenticators().step_for(wanted)(call) is None
    verdict = build_permit(wanted)(call)
    assert (verdict.code, verdict.reason) == ("permission_denied", "scope_lacks_permission")
    assert verdict.headers == b'WWW-Authenticate: Bearer realm="faregate", error="insufficient_scope"\r\n'


def test_another_claim_can_name_the_consumer() -> None:
    by_client = issuer(consumer_claim="client_id")
    assert reason_of(token(claims(client_id="acme-server", sub="x")), by_client) == "accepted"
    assert reason_of(token(), by_client) == "unknown_consumer"


def test_every_refused_token_looks_the_same_to_its_caller() -> None:
    bad = [
        token(claims(exp=WALL - 100, iat=None)),
        token(claims(aud="x")),
        token(claims(sub="nobody")),
        token(key=private_key("ES256", 9)),
        b"x",
        token(header={"kid": "k9"}),
    ]
    seen = {
        (v.code, v.headers, v.parameter, v.retry_after, v.close, v.problem)
        for v in map(verdict_on, bad)
        if v is not None
    }
    assert len(seen) == 1


def test_reg_error_text_no_secret_no_refusal_holds_the_token() -> None:
    secret = token(claims(sub="nobody"))
    verdict = verdict_on(secret)
    assert verdict is not None
    for part in secret.split(b"."):
        assert part.decode() not in repr(verdict) + str(verdict)
    assert verdict.reason in set(Reason)
