"""Warnings about who may call: at the right day, at the right place, and only where they are true."""

from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest

from faregate.compile import compile_config
from faregate.compile.lint_callers import SAMPLE_KEYS, SAMPLE_SECRETS
from faregate.model.diagnostics import Diagnostic
from tests.model.configs import API, DIGEST, PLAN, UPSTREAM, check, loaded

END = datetime(2027, 1, 31, tzinfo=UTC).timestamp()
DAY = 86_400
KEY = f"""\
consumers:
  acme:
    plan: standard
    credentials:
      - api_key: {{id: key_1, sha256: '{DIGEST}', expires: 2027-01-31}}
"""


def at(folder: Path, text: str, wall: float) -> list[Diagnostic]:
    snapshot, diagnostics = compile_config(loaded(folder, PLAN + text), 1, wall=wall)
    assert snapshot is not None
    return diagnostics


@pytest.mark.parametrize(
    ("wall", "code", "message"),
    [
        (END - 30 * DAY - 1, "", ""),
        (END - 30 * DAY, "credential_expires", "this key expires within 30 days"),
        (END - 29 * DAY - 1, "credential_expires", "this key expires within 30 days"),
        (END - DAY, "credential_expires", "this key expires within 1 day"),
        (END - 0.5, "credential_expires", "this key expires within 1 day"),
        (END, "credential_expired", "this key has expired: calls with it are refused"),
        (END + 400 * DAY, "credential_expired", "this key has expired: calls with it are refused"),
    ],
)
def test_a_key_is_warned_of_thirty_days_before_its_end_and_after(
    tmp_path: Path, wall: float, code: str, message: str
) -> None:
    found = at(tmp_path, KEY, wall)
    assert [(one.code, one.message) for one in found] == ([(code, message)] if code else [])
    for one in found:
        assert (one.line, one.path) == (6, "consumers.acme.credentials[0].api_key.expires")
        assert one.expected


def test_a_key_without_an_end_is_never_warned_of(tmp_path: Path) -> None:
    assert at(tmp_path, KEY.replace(", expires: 2027-01-31", ""), 10 * END) == []


@pytest.mark.parametrize("key", SAMPLE_KEYS)
def test_a_key_that_everybody_knows_is_warned_of_and_not_named(tmp_path: Path, key: str) -> None:
    digest = sha256(key.encode()).hexdigest()
    (found,) = at(tmp_path, KEY.replace(DIGEST, digest.upper()), END - 90 * DAY)
    assert (found.code, found.path) == ("sample_credential", "consumers.acme.credentials[0].api_key.sha256")
    assert "`acme`" in found.message
    assert digest not in found.message + found.expected


def test_the_sample_of_the_contract_is_among_them() -> None:
    contract = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    assert contract in {sha256(key.encode()).hexdigest() for key in SAMPLE_KEYS}
    assert len(set(SAMPLE_KEYS)) == len(SAMPLE_KEYS)


@pytest.mark.parametrize("secret", sorted(SAMPLE_SECRETS))
def test_a_shared_secret_from_documentation_is_warned_of(tmp_path: Path, secret: bytes) -> None:
    text = "issuers: {i: {issuer: x, audience: y, algorithms: [HS256], secret: '${S}'}}\n"
    (found,) = check(tmp_path, text, S=secret.decode())
    assert (found.code, found.line) == ("sample_credential", 1)
    assert secret.decode() not in found.message + found.expected


ROUTES = """\
        require: payments:read
      - match: DELETE /payments
        require: [payments:read, payments:wriet]
      - match: PUT /payments
        require:
          - payments:wriet
      - match: PATCH /payments
        require: [refunds:write, payments:wriet]
"""
HOLDER = KEY.replace("plan:", "permissions: [payments:read, payments:write]\n    plan:")


def test_a_permission_that_nobody_holds_is_told_once_at_its_first_place(tmp_path: Path) -> None:
    found = at(tmp_path, UPSTREAM + API + ROUTES + HOLDER, 0)
    assert [(one.code, one.line, one.column, one.nearest) for one in found] == [
        ("ungranted_permission", 12, 34, "payments:write"),
        ("ungranted_permission", 17, 19, ""),
    ]
    assert found[0].message == (
        "no consumer holds `payments:wriet`: nobody may call this route, nor 2 others that require it"
    )
    assert found[1].message == "no consumer holds `refunds:write`: nobody may call this route"


def test_a_permission_that_one_consumer_holds_is_enough(tmp_path: Path) -> None:
    text = UPSTREAM + API + "        require: payments:write\n" + HOLDER
    assert at(tmp_path, text, 0) == []
    assert at(tmp_path, text.replace("plan: standard\n", "plan: standard\n    state: suspended\n"), 0) == []


def test_routes_of_a_version_are_looked_at_too(tmp_path: Path) -> None:
    own = API.replace("{path: /v1}", "{path: /v1, routes: [{match: GET /a, require: a:b}]}")
    (found,) = at(tmp_path, UPSTREAM + own + KEY, 0)
    assert found.path == "apis.payments.versions.v1.routes[0].require"
