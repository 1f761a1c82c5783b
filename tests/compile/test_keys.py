"""Keys of our own making in a configuration: their peppers, their terms, and what must not be twice."""

from pathlib import Path

import pytest

from faregate.compile import compile_config
from faregate.policies.api_key.settings import parse_moment
from faregate.snapshot.data import ApiKeyCredential, JwtCredential, MtlsCredential
from faregate.snapshot.peppers import FILE, Pepper, write_peppers
from tests.model.configs import API, DIGEST, PLAN, UPSTREAM, check, compiled, loaded

OTHER = "cd" * 32
ISSUER = "issuers: {idp: {issuer: i, secret: 01234567890123456789012345678901, audience: a, algorithms: [HS256]}}\n"
PEPPER = Pepper("p1", b"x" * 32)


def with_key(*keys: str) -> str:
    listed = "".join(f"      - {key}\n" for key in keys)
    return f"{UPSTREAM}{PLAN}{ISSUER}consumers:\n  acme:\n    plan: standard\n    credentials:\n{listed}{API}"


def hmac_key(name: str = "k1", pepper: str = "p1", digest: str = DIGEST, more: str = "") -> str:
    return f"api_key: {{id: {name}, hmac: {{pepper: {pepper}, digest: '{digest}'}}{more}}}"


def lay(folder: Path, *peppers: Pepper) -> None:
    (folder / "faregate-data").mkdir()
    write_peppers(folder / "faregate-data", peppers)


def test_a_peppered_key_and_the_peppers_are_in_the_snapshot(tmp_path: Path) -> None:
    newest = Pepper("p2", b"y" * 32)
    lay(tmp_path, newest, PEPPER)
    key = hmac_key(
        more=", mode: live, note: for the shop, not_before: 2026-01-01, expires: 2027-01-31T12:00:00Z"
    )
    snapshot = compiled(tmp_path, with_key(key))
    (found,) = snapshot.consumers[0].credentials
    assert found == ApiKeyCredential(
        "k1", hmac=bytes.fromhex(DIGEST), expires=1_801_396_800, not_before=1_767_225_600
    )
    assert snapshot.peppers == (newest, PEPPER)


def test_the_data_folder_is_the_configured_one(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    write_peppers(tmp_path / "elsewhere", (PEPPER,))
    assert compiled(tmp_path, "gateway: {data: elsewhere}\n" + with_key(hmac_key())).peppers == (PEPPER,)


def test_a_pepper_that_is_not_there_is_an_error_at_its_key(tmp_path: Path) -> None:
    (found,) = check(tmp_path, with_key(hmac_key()))
    assert (found.code, found.path) == (
        "unresolved_reference",
        "consumers.acme.credentials[0].api_key.hmac.pepper",
    )
    assert "peppers.json" in found.message
    lay(tmp_path, PEPPER)
    assert [one.nearest for one in check(tmp_path, with_key(hmac_key(pepper="p11")))] == ["p1"]


def test_a_damaged_file_of_peppers_is_an_error_that_names_it(tmp_path: Path) -> None:
    lay(tmp_path, PEPPER)
    (tmp_path / "faregate-data" / FILE).write_text("{")
    found = check(tmp_path, with_key(hmac_key()))
    assert [(one.code, one.path) for one in found] == [("file_missing", "gateway.data")]
    assert "faregate-data/peppers.json: not a file of peppers" in found[0].message


def test_no_pepper_is_needed_where_no_key_has_one(tmp_path: Path) -> None:
    assert compiled(tmp_path, with_key(f"api_key: {{id: k1, sha256: '{DIGEST}'}}")).peppers == ()


@pytest.mark.parametrize(
    ("key", "code", "where"),
    [
        ("api_key: {id: k1}", "missing_key", "api_key"),
        (
            f"api_key: {{id: k1, sha256: '{DIGEST}', hmac: {{pepper: p1, digest: '{DIGEST}'}}}}",
            "bad_value",
            "api_key",
        ),
        (hmac_key(more=", mode: prod"), "bad_value", "api_key.mode"),
        (hmac_key(more=", expires: 2026-01-01, not_before: 2026-01-01"), "bad_value", "api_key"),
        (hmac_key(more=", expires: soon"), "bad_value", "api_key.expires"),
        (hmac_key(digest="ab"), "bad_value", "api_key.hmac.digest"),
        ("jwt: {issuer: idp, subject: s, id: 'a b'}", "bad_name", "jwt.id"),
    ],
)
def test_what_is_no_key_is_refused_at_its_place(tmp_path: Path, key: str, code: str, where: str) -> None:
    lay(tmp_path, PEPPER)
    found = check(tmp_path, with_key(key))
    assert (code, f"consumers.acme.credentials[0].{where}") in [(one.code, one.path) for one in found]


@pytest.mark.parametrize(
    ("second", "noun"),
    [
        (hmac_key("k2"), "key"),
        (f"api_key: {{id: k2, sha256: '{DIGEST.upper()}'}}", "key"),
        (hmac_key("k1", digest=OTHER), "id"),
        ("jwt: {issuer: idp, subject: s, id: k1}", "id"),
        (f"mtls: {{sha256: '{OTHER}', id: k1}}", "id"),
    ],
)
def test_no_two_credentials_share_a_digest_or_an_id(tmp_path: Path, second: str, noun: str) -> None:
    lay(tmp_path, PEPPER)
    (found,) = [
        one for one in check(tmp_path, with_key(hmac_key(), second)) if one.code == "duplicate_credential"
    ]
    assert found.message.startswith(f"two credentials have the same {noun}")


def test_other_credentials_have_terms_and_ids_too(tmp_path: Path) -> None:
    lay(tmp_path, PEPPER)
    term = "not_before: 2026-01-01, expires: 2027-01-31"
    snapshot = compiled(
        tmp_path,
        with_key(
            f"jwt: {{issuer: idp, subject: s, id: c1, {term}}}",
            f"mtls: {{sha256: '{OTHER}', id: c2, {term}}}",
            f"mtls: {{sha256: '{DIGEST}'}}",
        ),
    )
    token, certificate, plain = snapshot.consumers[0].credentials
    assert token == JwtCredential("idp", "s", "c1", 1_801_353_600, 1_767_225_600)
    assert certificate == MtlsCredential(
        "c2", bytes.fromhex(OTHER), expires=1_801_353_600, not_before=1_767_225_600
    )
    assert plain == MtlsCredential(f"mtls:sha256:{DIGEST[:16]}", bytes.fromhex(DIGEST))


def test_every_kind_is_warned_of_before_its_end(tmp_path: Path) -> None:
    lay(tmp_path, PEPPER)
    text = with_key(
        hmac_key(more=", expires: 2027-01-31"),
        "jwt: {issuer: idp, subject: s, expires: 2027-01-31}",
        f"mtls: {{sha256: '{OTHER}', expires: 2027-01-31}}",
    )
    _, found = compile_config(loaded(tmp_path, text), 1, wall=1_801_353_600 - 86_400)
    assert [
        (one.path.rpartition("[")[2], one.message) for one in found if one.code == "credential_expires"
    ] == [
        ("0].api_key.expires", "this key expires within 1 day"),
        ("1].jwt.expires", "this credential expires within 1 day"),
        ("2].mtls.expires", "this credential expires within 1 day"),
    ]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2027-01-31", 1_801_353_600),
        ("2027-01-31T00:00:00Z", 1_801_353_600),
        ("2027-01-31T00:00:00.999999999Z", 1_801_353_600),
        ("2027-01-31T02:00:00+02:00", 1_801_353_600),
        ("2027-01-30T19:00:00-05:00", 1_801_353_600),
        ("2027-01-31T00:00:01Z", 1_801_353_601),
    ],
)
def test_a_moment_is_a_day_or_a_time_with_its_offset(text: str, seconds: int) -> None:
    assert parse_moment(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "2027-01-31T00:00:00",
        "2027-01-31 00:00:00Z",
        "2027-01-31T00:00Z",
        "2027-01-31T24:00:01Z",
        "2027-01-31T00:00:60Z",
        "2027-02-30",
        "2027-02-30T00:00:00Z",
        "2027-01-31T00:00:00+24:00",
        "2027-01-31T00:00:00.Z",
        "1969-12-31T00:00:00Z",
        "T",
        "",
        "2027-01-31T00:00:00z",
    ],
)
def test_all_else_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_moment(text)
