"""J12-J15 of http-rules.md: how a token may be spelt, and how it may be sent."""

import json

import pytest

from faregate.kernel import base64url
from faregate.kernel.problems import Refusal
from tests.policies.jwt.material import (
    authenticators,
    call_with,
    claims,
    compact,
    key_for,
    raw_token,
    reason_of,
    route,
    token,
)

GOOD_HEADER = b'{"alg":"ES256","kid":"k1"}'
GOOD_PAYLOAD = compact(claims())


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg":"ES256","alg":"ES256","kid":"k1"}',
        b'{"alg":"none","alg":"ES256","kid":"k1"}',
        b'{"kid":"k2","alg":"ES256","kid":"k1"}',
        b'{"alg":"ES256","kid":"k1","x":{"a":1,"a":2}}',
        b'{"alg":"ES256","k\\u0069d":"k2","kid":"k1"}',
        b'\xef\xbb\xbf{"alg":"ES256","kid":"k1"}',
        '{"alg":"ES256","kid":"k1"}'.encode("utf-16"),
        b'{"alg":"ES256","kid":"k1","x":"\xff"}',
        b'{"alg":"ES256","kid":"k1","x":"\\ud800"}',
        b'{"alg":"ES256","kid":"k1"}{}',
        b'{"alg":"ES256","kid":"k1"}\0',
        b'["ES256"]',
        b'"ES256"',
        b"1",
        b"null",
        b"{}x",
        b'{"alg":"ES256","kid":"k1",}',
        b'{"alg":"ES256","kid":"k1","x":NaN}',
        b'{"alg":"ES256","kid":"k1","x":1e999}',
        b'{"alg":"ES256","kid":"k1","x":"\xed\xa0\x80"}',
        b'{"alg":"ES256","kid":"k1","x":' + b"[" * 2500 + b"]" * 2500 + b"}",
    ],
)
def test_j12_a_header_with_two_readings_is_refused(header: bytes) -> None:
    assert reason_of(raw_token(header, GOOD_PAYLOAD)) == "malformed_token"


@pytest.mark.parametrize(
    "payload",
    [
        GOOD_PAYLOAD[:-1] + b',"sub":"acme-server"}',
        b'{"sub":"globex-server",' + GOOD_PAYLOAD[1:],
        GOOD_PAYLOAD[:-1] + b',"exp":9999999999}',
        GOOD_PAYLOAD[:-1] + b',"s\\u0075b":"acme-server"}',
        GOOD_PAYLOAD[:-1] + b', "sub" : "acme-server"}',
        GOOD_PAYLOAD[:-1] + b',"x":[{"a":1,"a":1}]}',
        b"\xef\xbb\xbf" + GOOD_PAYLOAD,
        GOOD_PAYLOAD.decode().encode("utf-16"),
        GOOD_PAYLOAD + b"x",
        GOOD_PAYLOAD[:-1] + b',"x":"\xff"}',
        GOOD_PAYLOAD[:-1] + b',"x":"\\udc00"}',
        b"[" + GOOD_PAYLOAD + b"]",
        GOOD_PAYLOAD[:-1] + b',"x":' + b"[" * 2500 + b"]" * 2500 + b"}",
        GOOD_PAYLOAD[:-1] + b',"x":NaN}',
        b"",
    ],
)
def test_j12_claims_with_two_readings_are_refused(payload: bytes) -> None:
    assert reason_of(raw_token(GOOD_HEADER, payload)) == "malformed_claims"


def test_j12_spaces_escapes_and_other_scripts_are_only_another_spelling() -> None:
    for payload in (
        json.dumps(claims(), indent=2).encode(),
        json.dumps(claims(name="Łukasz")).encode(),
        json.dumps(claims(name="Łukasz"), ensure_ascii=False).encode(),
        GOOD_PAYLOAD.replace(b"/", b"\\/"),
        GOOD_PAYLOAD[:-1] + b',"x":[1,2.50,{"a":null,"b":true}]}',
    ):
        assert reason_of(raw_token(GOOD_HEADER, payload)) == "accepted"


def test_j12_a_64_kib_header_is_refused_unread() -> None:
    assert (
        reason_of(raw_token(compact({"alg": "ES256", "kid": "k1", "x": "y" * 65536}), GOOD_PAYLOAD))
        == "token_too_long"
    )


def respelt(part: int, change) -> bytes:
    parts = token().split(b".")
    parts[part] = change(parts[part])
    return b".".join(parts)


SPELLINGS = {
    "padded": lambda text: text + b"=" * (-len(text) % 4 or 4),
    "plus": lambda text: b"+" + text[1:],
    "slash": lambda text: b"/" + text[1:],
    "space inside": lambda text: text[:4] + b" " + text[4:],
    "space before": lambda text: b" " + text,
    "space behind": lambda text: text + b" ",
    "tab": lambda text: text[:4] + b"\t" + text[4:],
    "line break": lambda text: text[:8] + b"\n" + text[8:],
    "NUL": lambda text: text + b"\0",
    "high byte": lambda text: text[:-1] + b"\xff",
    "empty": lambda _: b"",
    "one left over": lambda text: text[: len(text) // 4 * 4] + b"A",
}


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_j13_only_one_spelling_of_base64url_is_read(part: int, spelling: str) -> None:
    assert reason_of(respelt(part, SPELLINGS[spelling])) in {"malformed_token", "bad_signature"}


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_j13_also_when_the_odd_spelling_is_what_was_signed(part: int, spelling: str) -> None:
    parts = [base64url.encode(GOOD_HEADER), base64url.encode(GOOD_PAYLOAD)]
    parts[part] = SPELLINGS[spelling](parts[part])
    from tests.policies.jwt.material import sign

    signed = b".".join(parts)
    value = signed + b"." + base64url.encode(sign("ES256", key_for("ES256"), signed))
    assert reason_of(value) in {"malformed_token", "malformed_claims"}


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (b"QQ", b"A"),
        (b"QR", None),
        (b"QUI", b"AB"),
        (b"QUJ", None),
        (b"QUJD", b"ABC"),
        (b"Q", None),
        (b"", None),
        (b"-_-_", b"\xfb\xff\xbf"),
        (b"QUJDR", None),
    ],
)
def test_j13_spare_bits_must_be_zero(text: bytes, good: bytes | None) -> None:
    if good is None:
        with pytest.raises(ValueError):
            base64url.decode(text)
    else:
        assert base64url.decode(text) == good
        assert base64url.encode(good) == text


def jwe(header: dict) -> bytes:
    return b".".join([base64url.encode(compact(header)), b"AAAA", b"AAAA", b"AAAA", b"AAAA"])


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"a",
        b"a.b",
        token().rpartition(b".")[0],
        token() + b".AAAA",
        b"." * 4096,
        b".",
        b"..",
        b"...",
        b"a..b",
        b"." * 8000,
        compact({"payload": "AAAA", "protected": "AAAA", "signature": "AAAA"}),
        compact({"payload": "AAAA", "signatures": []}),
        jwe({"alg": "RSA-OAEP", "enc": "A256GCM"}),
        jwe({"alg": "dir", "enc": "A256GCM", "zip": "DEF"}),
        jwe({"alg": "PBES2-HS512+A256KW", "enc": "A256GCM", "p2c": 2**31, "p2s": "AAAA"}),
        jwe({"alg": "RSA1_5", "enc": "A256GCM"}),
    ],
)
def test_j14_what_is_not_three_parts_is_refused(value: bytes) -> None:
    assert reason_of(value) == "malformed_token"


@pytest.mark.parametrize("header", [{"enc": "A256GCM"}, {"zip": "DEF"}, {"p2c": 2**31}, {"epk": {}}])
def test_j14_members_of_encryption_have_no_place_in_a_signed_token(header: dict) -> None:
    assert reason_of(token(header=header)) == "header_not_allowed"


def test_j14_a_token_may_be_8_kib_and_no_longer() -> None:
    room = 8192 - len(token(claims(pad="")))
    largest = next(
        value for size in range(room * 3 // 4, 0, -1) if len(value := token(claims(pad="x" * size))) <= 8192
    )
    assert len(largest) > 8180
    assert reason_of(largest) == "accepted"
    assert reason_of(largest + b"A" * (8193 - len(largest))) == "token_too_long"


@pytest.mark.parametrize(
    "value",
    [
        b"Bearer " + token() + b", Bearer " + token(),
        b"Bearer " + token() + b"," + token(),
        b"Bearer " + token() + b' realm="x"',
        b"Bearer " + token() + b" ",
        b"Bearer  " + token(),
        b"Bearer\t" + token(),
        b"Bearer " + token() + b";a=b",
        b"Bearer",
        b"Bearer ",
        b"Bearer token=" + token(),
    ],
)
def test_j15_exactly_one_token_after_exactly_one_space(value: bytes) -> None:
    for kinds in (("jwt",), ("jwt", "api_key")):
        verdict = authenticators().step_for(route(*kinds))(call_with(value))
        assert isinstance(verdict, Refusal)
        assert (verdict.code, verdict.reason) in {
            ("credential_invalid", "malformed_token"),
            ("credential_missing", "other_scheme"),
        }


def test_j15_a_token_in_query_or_body_is_not_looked_at() -> None:
    call = call_with(None)
    call.target = b"/payments?access_token=" + token()
    call.request_body = b"access_token=" + token()
    verdict = authenticators().step_for(route("jwt"))(call)
    assert isinstance(verdict, Refusal)
    assert verdict.code == "credential_missing"
    beside = call_with(b"Bearer " + token())
    beside.target = b"/payments?access_token=whatever"
    assert authenticators().step_for(route("jwt"))(beside) is None
