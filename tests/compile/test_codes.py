"""Every code of the diagnostics table: a configuration that earns it, and where it is shown."""

from hashlib import sha256
from pathlib import Path
from typing import Final

import pytest

from faregate.model.diagnostics import CODES, Level
from tests.model.configs import API, DIGEST, PLAN, UPSTREAM, brief, check

ISSUER: Final = "issuers:\n  id:\n    issuer: https://id.example\n    audience: pay\n"
EC_KEY: Final = (
    '{"kty": "EC", "crv": "P-256", "kid": "1", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",'
    ' "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"%s}'
)


def key_set(key: str) -> str:
    return f'{{"keys": [{key}]}}'


PRIVATE: Final = EC_KEY.replace("%s", ', "d": "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"')
PUBLIC_API: Final = API.replace("[api_key]", "[]")

CASES: Final[list[tuple[str, str | dict[str, str], int, int]]] = [
    ("too_large", "a: " + "[" * 40 + "]" * 40, 1, 36),
    ("bad_yaml", "plans: {a: [}\n", 1, 13),
    ("bad_yaml", {"c.json": '{"plans": 1\n,}'}, 2, 2),
    ("duplicate_key", "plans:\n  a: {limits: [1/second]}\n  a: {limits: [2/second]}\n", 3, 3),
    ("include_missing", "include:\n  - none.yaml\n", 2, 5),
    ("include_cycle", "include: ['faregate.y*']\n", 1, 11),
    ("duplicate_name", {"faregate.yaml": "include: [b.yaml]\n" + PLAN, "b.yaml": "\n" + PLAN}, 2, 9),
    ("duplicate_name", "gateway:\n  listen: [{address: '127.0.0.1:80'}]\n  manager: {address: '127.0.0.1:80'}\n", 3, 22),
    ("duplicate_name", "upstreams: {u: {targets: ['http://a:1', {url: 'http://a:1/'}]}}\n", 1, 41),
    ("duplicate_name", "issuers:\n" + "".join(f"  {name}: {{issuer: x, audience: [a, {name}], algorithms: [RS256], jwks: 'https://x'}}\n" for name in "bc"), 3, 15),
    ("secret_missing", "plans: {a: {limits: '${NONE}'}}\n", 1, 21),
    ("unknown_key", "plans: {a: {limts: [1/second], limits: [1/second]}}\n", 1, 13),
    ("unknown_key", "api: {}\n", 1, 1),
    ("unknown_key", UPSTREAM + API + "      - {match: GET /a, log: {body: masked}}\n", 9, 31),
    ("missing_key", UPSTREAM + API.replace("    authenticate: [api_key]\n", ""), 3, 3),
    ("missing_key", UPSTREAM + API.replace("    upstream: pay\n", ""), 3, 3),
    ("missing_key", ISSUER + "    algorithms: [RS256]\n", 2, 3),
    ("missing_key", "upstreams:\n  u:\n    targets: [http://a]\n    health:\n      active: {every: 1s}\n", 5, 7),
    ("wrong_type", "gateway: {workers: '2'}\n", 1, 20),
    ("wrong_type", "plans:\n", 1, 1),
    ("wrong_type", "- a\n", 1, 1),
    ("wrong_type", "", 1, 1),
    ("wrong_type", "plans: {p: {limits: [1/second], quota: }}\n", 1, 39),
    ("wrong_type", "gateway: {manager: ~}\n", 1, 20),
    ("wrong_type", "gateway: {data: 010, workers: true}\n", 1, 31),
    ("bad_value", "gateway: {workers: 65}\n", 1, 20),
    ("bad_value", ISSUER + "    jwks: 'https://a/b'\n    secret: abcdefghijklmnopqrstuvwxyz0123456\n    algorithms: [RS256]\n", 2, 3),
    ("bad_value", ISSUER + "    jwks: http://a/b\n    algorithms: [RS256]\n", 5, 11),
    ("bad_value", "consumers: {a: {credentials: [{}]}}\n", 1, 31),
    ("bad_name", "consumers:\n  'a b': {}\n", 2, 3),
    ("bad_openapi", UPSTREAM + API + "    openapi: none.yaml\n    validate: {}\n", 9, 14),
    ("no_operation", UPSTREAM + API + "    openapi: {openapi: 3.1.0, paths: {}}\n    validate: {}\n", 8, 16),
    ("not_validated", UPSTREAM + API + "    openapi: {openapi: 3.1.0, paths: {/payments: {get: {parameters: [{name: c, in: cookie}]}}}}\n    validate: {}\n", 9, 14),
    ("unresolved_reference", "consumers: {a: {plan: gold}}\n", 1, 23),
    ("unresolved_reference", "consumers: {a: {credentials: [{jwt: {issuer: x, subject: y}}]}}\n", 1, 46),
    ("unresolved_reference", API, 3, 15),
    ("unresolved_reference", UPSTREAM + API.replace("/v1}", "/v1, successor: v2}"), 6, 43),
    ("unresolved_reference", UPSTREAM + API.replace("/v1}", "/v1, successor: v1}"), 6, 43),
    ("unresolved_reference", UPSTREAM + API.replace("/v1}", "/v1, preview: [a]}"), 6, 42),
    ("unresolved_reference", UPSTREAM + API.replace("/v1}", "/v1, upstream: b}"), 6, 42),
    ("route_conflict", UPSTREAM + API + "      - match: GET /payments\n", 9, 16),
    ("duplicate_credential", "consumers:\n" + "".join(
        f"  {name}: {{credentials: [api_key: {{id: {name}, sha256: '{digest}'}}]}}\n" for name, digest in (("a", DIGEST), ("b", DIGEST.upper()))
    ), 3, 46),
    ("duplicate_limit", "plans:\n  a:\n    limits: [1/second, 2/second]\n", 3, 13),
    ("no_versions", UPSTREAM + API.replace("{v1: {path: /v1}}", "{}"), 6, 15),
    ("no_routes", UPSTREAM + API.partition("    routes")[0], 6, 16),
    ("no_routes", UPSTREAM + API.replace("/v1}", "/v1, routes: []}"), 6, 40),
    ("public_requires", UPSTREAM + PUBLIC_API + "        require: payments:read\n", 9, 9),
    ("algorithm_mismatch", ISSUER + "    jwks: 'https://a/b'\n    algorithms: [RS256, HS256]\n", 6, 25),
    ("algorithm_mismatch", ISSUER + f"    secret: {'s' * 64}\n    algorithms: [RS256, HS256]\n", 6, 18),
    ("weak_secret", ISSUER + f"    secret: {'s' * 47}\n    algorithms: [HS256, HS384]\n", 5, 13),
    ("file_missing", ISSUER + "    jwks: keys.json\n    algorithms: [ES256]\n", 5, 11),
    ("file_missing", ISSUER + "    jwks: 'https://a'\n    algorithms: [ES256]\n    tls: {ca: ca.pem}\n", 7, 15),
    ("bad_key_set", {"faregate.yaml": ISSUER + "    jwks: k.json\n    algorithms: [ES256]\n", "k.json": "[]"}, 5, 11),
    ("bad_key_set", {"faregate.yaml": ISSUER + "    jwks: k.json\n    algorithms: [RS256]\n", "k.json": key_set(EC_KEY.replace("%s", ""))}, 5, 11),
    ("private_key", {"faregate.yaml": ISSUER + "    jwks: k.json\n    algorithms: [ES256]\n", "k.json": key_set(PRIVATE)}, 5, 11),
    ("public_idempotency", UPSTREAM + PUBLIC_API.replace("GET", "DELETE") + "        limits: [1/second]\n        idempotency: optional\n", 10, 9),
    ("not_available", "gateway: {shared: 'redis://h:1/0', ledger: embedded}\nplans: {p: {limits: [1/second]}}\n", 1, 11),
    ("money_unguarded", UPSTREAM + API + "      - match: POST /payments\n", 9, 16),
    ("short_keep", UPSTREAM + API + "      - {match: PUT /payments, idempotency: {keep: 23h}}\n", 9, 52),
    ("open_write", UPSTREAM + PUBLIC_API + "      - match: POST /payments\n", 9, 16),
    ("open_listener", "gateway: {listen: [{address: '0.0.0.0:80'}]}\n", 1, 30),
    ("open_listener", "gateway: {listen: [{address: '[::]:80'}]}\n", 1, 30),
    ("open_manager", "gateway: {manager: {address: '10.0.0.1:80'}}\n", 1, 30),
    ("no_master_key", "gateway: {store: 'postgresql://h/f', manager: {address: '127.0.0.1:80'}}\n", 1, 18),
    ("unverified_upstream", "upstreams: {u: {targets: [https://a], tls: {verify: false}}}\n", 1, 53),
    ("unused_tls", "upstreams: {u: {targets: [http://a], tls: {server_name: a.test}}}\n", 1, 38),
    ("undated_deprecation", UPSTREAM + API.replace("path: /", "state: deprecated, path: /"), 6, 28),
    ("trusts_everyone", "gateway: {trusted_proxies: ['::/0']}\n", 1, 29),
    ("no_limits", "plans:\n  a: {quota: 5/month}\n", 2, 3),
    ("no_limits", UPSTREAM + API + "consumers: {a: {}}\n", 3, 3),
    ("sample_credential", f"consumers: {{a: {{credentials: [api_key: {{id: k, sha256: '{sha256(b'test').hexdigest()}'}}]}}}}\n", 1, 56),
    ("sample_credential", ISSUER + "    secret: a-string-secret-at-least-256-bits-long\n    algorithms: [HS256]\n", 5, 13),
    ("credential_expired", f"consumers: {{a: {{credentials: [api_key: {{id: k, sha256: '{DIGEST}', expires: 2020-01-31}}]}}}}\n", 1, 133),
    ("ungranted_permission", UPSTREAM + API + "        require: payments:read\n", 9, 18),
    ("private_key", {"faregate.yaml": ISSUER + "    jwks: k.pem\n    algorithms: [ES256]\n", "k.pem": "-----BEGIN PRIVATE KEY-----\n"}, 5, 11),
]  # fmt: skip


@pytest.mark.parametrize(("code", "files", "line", "column"), CASES)
def test_the_one_thing_wrong_is_reported_at_its_place(
    tmp_path: Path, code: str, files: str | dict[str, str], line: int, column: int
) -> None:
    assert brief(check(tmp_path, files)) == [(code, line, column)]


def test_every_code_has_a_case() -> None:
    elsewhere = {
        "file_unreadable", "credential_expires",
        "bad_certificate", "certificate_expired", "certificate_expires", "unprovable_credential",  # test_certificates
    }  # fmt: skip
    assert {code for code, *_ in CASES} | elsewhere == set(CODES)


def test_an_unreadable_file_is_a_diagnostic(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"plans:\n  a: caf\xe9\n")
    (tmp_path / "folder.yaml").mkdir()
    found = check(tmp_path, "include: [latin.yaml, folder.yaml]\n")
    assert brief(found) == [("file_unreadable", 1, 1), ("file_unreadable", 2, 1)]


def test_every_code_is_explained_in_a_sentence() -> None:
    for level, explanation in CODES.values():
        assert isinstance(level, Level)
        assert explanation.endswith(".")
        assert len(explanation) <= 110
