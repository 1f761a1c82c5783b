"""base64url and JSON objects have one reading or none; whatever arrives, only ValueError comes out."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.kernel import base64url
from faregate.kernel.problems import Refusal
from faregate.kernel.strict_json import decode_object
from tests.policies.jwt.material import (
    authenticators,
    call_with,
    issuer,
    jwk,
    key_set,
    private_key,
    route,
    token,
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.binary(min_size=1, max_size=200))
def test_base64url_is_what_it_should_be_and_comes_back(data: bytes) -> None:
    text = base64url.encode(data)
    assert text == base64.urlsafe_b64encode(data).rstrip(b"=")
    assert base64url.decode(text) == data


@given(st.binary(max_size=40) | st.text("ABab01-_+/= \n").map(str.encode))
def test_base64url_has_one_spelling(text: bytes) -> None:
    try:
        data = base64url.decode(text)
    except ValueError:
        return
    assert base64url.encode(data) == text


@given(st.dictionaries(st.text(), JSON, max_size=6), st.booleans(), st.booleans())
def test_every_object_is_read_as_the_library_reads_it(value: dict, spaced: bool, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, separators=None if spaced else (",", ":"))
    assert decode_object(text.encode()) == value


@given(st.text(max_size=3), JSON, JSON, st.booleans())
def test_an_object_with_a_member_twice_is_refused_at_any_depth(
    name: str, first: object, second: object, deep: bool
) -> None:
    member = json.dumps(name, ensure_ascii=False)
    text = f"{{{member}:{json.dumps(first)},{member}:{json.dumps(second)}}}"
    text = f'{{"a":[1,{text}]}}' if deep else text
    with pytest.raises(ValueError):
        decode_object(text.encode())


@given(st.binary(max_size=100) | st.text('{}[]":,\\u0a1e.+-tfn ', max_size=40).map(str.encode))
def test_json_readers_raise_nothing_but_value_errors(text: bytes) -> None:
    try:
        assert isinstance(decode_object(text), dict)
    except ValueError:
        return
    pairs: list[list] = []
    json.loads(text, object_pairs_hook=lambda found: pairs.append(found) or dict(found))
    assert all(len({name for name, _ in found}) == len(found) for found in pairs)


GATEWAY = authenticators(
    issuer(),
    issuer(
        name="globex-id",
        issuer="https://id.globex.example",
        jwks=key_set(jwk(private_key("ES256", 2), kid="k1")),
    ),
)
STEPS = [GATEWAY.step_for(route(*kinds)) for kinds in (("jwt",), ("api_key",), ("jwt", "api_key"))]
GOOD = b"Bearer " + token()


@given(st.binary(max_size=300), st.booleans(), st.none() | st.binary(max_size=50))
def test_no_credential_of_any_bytes_raises_or_passes(
    value: bytes, bearer: bool, api_key: bytes | None
) -> None:
    for step in STEPS:
        verdict = step(call_with(b"Bearer " + value if bearer else value, api_key=api_key))
        assert isinstance(verdict, Refusal)
        assert verdict.code in {"credential_missing", "credential_invalid"}


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_no_single_byte_of_a_good_token_may_differ(position: int, change: int) -> None:
    spoilt = bytearray(GOOD)
    spoilt[position] ^= change
    verdict = STEPS[0](call_with(bytes(spoilt)))
    scheme_in_other_case = bytes(spoilt[:6]).lower() == b"bearer" and bytes(spoilt[6:]) == GOOD[6:]
    assert (verdict is None) == scheme_in_other_case
