"""Tokens, secrets and doors that fell open."""

import asyncio
import re
from pathlib import Path

import pytest

import faregate
from tests.conftest import Bench
from tests.model.configs import API, UPSTREAM, brief, check
from tests.policies.jwt.material import (
    SECRET,
    WALL,
    b64,
    claims,
    compact,
    issuer,
    key_for,
    raw_token,
    reason_of,
    token,
)
from tests.support.client import attempt, request
from tests.support.configuration import foreign_key, key_line
from tests.support.configuration import token as gateway_token

SOURCES = Path(faregate.__file__).parent
ISSUER = "issuers:\n  one:\n    issuer: https://id.example\n    jwks: keys.json\n    audience: payments\n    algorithms: [RS256]\n"


@pytest.mark.parametrize(
    "value",
    [
        ".".join([b64(b'{"alg":"dir","enc":"A256GCM"}'), "", b64(b"0" * 12), b64(b"sealed"), b64(b"0" * 16)]),
        ".".join([b64(b'{"alg":"RSA-OAEP","enc":"A256GCM","cty":"JWT"}'), b64(b"k" * 256), b64(b"0" * 12), b64(b"x"), b64(b"0" * 16)]),
        ".".join([b64(b'{"alg":"dir","enc":"A256GCM","zip":"DEF"}'), "", b64(b"0" * 12), b64(b"x" * 2000), b64(b"0" * 16)]),
    ],
)  # fmt: skip
def test_reg_decrypt_is_not_auth(value: str) -> None:
    """APISIX CVE-2026-49230: what could be decrypted counted as proven. Nothing encrypted is a credential here."""
    assert reason_of(value.encode()) == "malformed_token"


def test_reg_bad_signature_first() -> None:
    """golang-jwt CVE-2024-51744: "expired" hid that the signature was wrong, and callers treated it as nearly good."""
    expired = token(claims(exp=WALL - 3600))
    assert reason_of(expired) == "expired"
    forged = expired[:-8] + (b"AAAAAAAA" if expired[-8:] != b"AAAAAAAA" else b"BBBBBBBB")
    assert reason_of(forged) == "bad_signature"


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "ES384", "none", "es256", "EdDSA"])
def test_reg_alg_bound_to_key_the_token_never_chooses(algorithm: str) -> None:
    """APISIX CVE-2026-39999: the key came from the configuration, the algorithm from the token."""
    header = compact({"alg": algorithm, "kid": "k1", "typ": "JWT"})
    signed = (
        raw_token(header, compact(claims()), "HS256", SECRET)
        if algorithm == "HS256"
        else raw_token(header, compact(claims()))
    )
    assert reason_of(signed) != "accepted"


def test_reg_no_handwritten_der() -> None:
    """HAProxy, April 2026: a heap overflow in its own conversion of ECDSA signatures. Ours is the library's."""
    text = (SOURCES / "stores" / "jwk.py").read_text()
    assert "import encode_dss_signature" in text
    for source in SOURCES.rglob("*.py"):
        found = source.read_text()
        assert not re.search(r'b"\\x30|b"\\x02|0x30\]\)', found), f"{source} builds DER by hand"
    for size in (0, 1, 63, 65, 96, 128, 4096):
        cut = token().rpartition(b".")[0] + b"." + b64(b"\x80" * size).encode()
        assert reason_of(cut) in {"bad_signature", "malformed_token"}
    assert reason_of(token(key=key_for("ES256"))) == "accepted"


@pytest.mark.parametrize(
    "line",
    [f"Authorization: Bearer {gateway_token('acme', key=foreign_key())}", f"Authorization: Bearer {gateway_token('acme', exp=1)}",
     "X-API-Key: fg_live_hunter2hunter2hunter2", "Authorization: Basic aHVudGVyMjpodW50ZXIy", key_line("acme"), key_line("paused")],
    ids=["forged", "expired", "unknown key", "basic", "good key", "suspended"],
)  # fmt: skip
def test_reg_debug_log_no_credential(bench: Bench, line: str) -> None:
    """Traefik CVE-2022-23469: the Authorization field stood in the debug log."""
    secret = line.rpartition(" ")[2]
    asyncio.run(attempt(bench.address, request("GET", "/v2/payments/p1", line), finish=True))
    bench.gateway.log.wait(bool, "a line")
    log = (bench.gateway.folder / "data" / "access.jsonl").read_text()
    for part in {secret, secret[-20:]}:
        assert part not in log
        assert part not in bench.gateway.stderr + bench.gateway.stdout


@pytest.mark.parametrize("line", ["", "X-API-Key: admin", "X-API-Key: edd1c9f034335f136f87ad84b625c8f1", "Authorization: Bearer admin",
                                  "X-API-Key: fg_test_", "X-API-Key:", "Authorization: Bearer"])  # fmt: skip
def test_reg_no_default_token(bench: Bench, line: str) -> None:
    """APISIX CVE-2020-13945: an administrator's token that was shipped, the same for everybody."""
    result = asyncio.run(
        attempt(bench.address, request("GET", "/v2/payments/p1", *filter(None, [line])), finish=True)
    )
    assert result.status in {400, 401}
    assert bench.upstream.requests == []


def test_reg_no_default_token_none_is_in_the_sources() -> None:
    literal = re.compile(r"""["']fg_(?:live|test)_[0-9A-Za-z]{8,}["']|["'][0-9a-f]{64}["']""")
    places = [
        str(source)
        for source in SOURCES.rglob("*.py")
        if "demo" not in source.parts
        and source.name != "lint_callers.py"  # which knows the samples of our documentation, to warn of them
        and literal.search(source.read_text())
    ]
    assert places == []


def test_reg_protected_route_needs_token_whatever_the_method_case_and_version(bench: Bench) -> None:
    """Kong CVE-2021-27306: a route with a token policy answered without one."""
    for target in ("/v2/payments/p1", "/v1/payments/p1", "/v2/payments/p1/", "/v2/payments/p1?x"):
        for method in ("GET", "HEAD", "POST", "OPTIONS", "DELETE"):
            result = asyncio.run(attempt(bench.address, request(method, target), finish=True))
            assert result.status in {401, 404, 405}, (method, target)
    assert bench.upstream.requests == []


@pytest.mark.parametrize(
    ("gone", "text"),
    [
        ("    authenticate: [api_key]\n", UPSTREAM + API),
        ("    audience: payments\n", ISSUER),
        ("    jwks: keys.json\n", ISSUER),
        ("    algorithms: [RS256]\n", ISSUER),
    ],
    ids=["authenticate", "audience", "jwks", "algorithms"],
)
def test_reg_missing_option_refuses(tmp_path: Path, gone: str, text: str) -> None:
    """Traefik CVE-2022-46153, Caddy CVE-2026-27586: an option left out meant that nothing was asked for."""
    assert gone in text
    assert "missing_key" in {code for code, *_ in brief(check(tmp_path, text.replace(gone, "")))}


def test_reg_alg_bound_to_key_a_secret_never_verifies_for_a_key_set() -> None:
    """HS256 keyed with the published key, in each form somebody might try."""
    jwk = issuer().jwks
    assert jwk is not None
    for secret in (jwk, jwk.strip(), SECRET):
        forged = raw_token(compact({"alg": "HS256", "kid": "k1"}), compact(claims()), "HS256", secret)
        assert reason_of(forged) != "accepted"
        assert reason_of(forged, issuer(algorithms=("ES256", "HS256"))) != "accepted"
