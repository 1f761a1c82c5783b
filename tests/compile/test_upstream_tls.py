"""``upstreams.<name>.tls``: files that are missing, unfit or without use are errors at their place, and defaults verify."""

from pathlib import Path

import pytest

from faregate.snapshot.data import Breaker, UpstreamTls
from tests.model.configs import API, check, compiled
from tests.support.tls_front import Authority

PLANS = "plans: {p: {limits: [1/second]}}\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("ca"))
    made.issue("client", client=True)
    made.issue("other", client=True)
    (made.folder / "empty.pem").write_text("", encoding="utf-8")
    (made.folder / "junk.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n", encoding="utf-8")
    return made


def text(settings: str, target: str = "https://bank.test") -> str:
    return f"upstreams:\n  pay:\n    targets: ['{target}']\n    tls: {settings}\n" + API


@pytest.mark.parametrize(
    ("settings", "target", "code", "says"),
    [
        ("{ca: %s/none.pem}", "https://a", "file_missing", "cannot be read"),
        ("{ca: %s/empty.pem}", "https://a", "bad_certificate", "not a file of certificates"),
        ("{ca: %s/junk.pem}", "https://a", "bad_certificate", "not a file of certificates"),
        (
            "{ca: %s/client.pem}",
            "https://a",
            "bad_certificate",
            "no certificate in the file is an authority's",
        ),
        ("{ca: %s/ca.pem, verify: false}", "https://a", "bad_value", "no use with `verify: false`"),
        (
            "{certificate: %s/client.pem, key: %s/other.key}",
            "https://a",
            "bad_certificate",
            "not this certificate's",
        ),
        ("{certificate: %s/client.pem}", "https://a", "bad_certificate", "not a certificate with its key"),
        ("{certificate: %s/none.pem, key: %s/client.key}", "https://a", "file_missing", "cannot be read"),
        ("{key: %s/client.key}", "https://a", "missing_key", "`key` without `certificate`"),
        ("{server_name: bank.test}", "http://a", "unused_tls", "no use without an https:// target"),
        ("{server_name: 'bank.test:443'}", "https://a", "bad_value", "a name only"),
        ("{server_name: 'bank test'}", "https://a", "bad_value", "not a host"),
        ("{verify: 'no'}", "https://a", "wrong_type", "text"),
        ("{verify: false}", "https://a", "unverified_upstream", "not verified"),
    ],
)
def test_what_cannot_be_used_is_said_at_its_place(
    tmp_path: Path, authority: Authority, settings: str, target: str, code: str, says: str
) -> None:
    found = check(tmp_path, text(settings.replace("%s", str(authority.folder)), target))
    matching = [each for each in found if each.code == code and says in each.message]
    assert matching, found
    assert matching[0].line == 4


def test_no_diagnostic_repeats_what_a_key_file_holds(tmp_path: Path, authority: Authority) -> None:
    folder = authority.folder
    secret = (folder / "other.key").read_text(encoding="utf-8").splitlines()[1]
    found = check(tmp_path, text(f"{{certificate: {folder}/client.pem, key: {folder}/other.key}}"))
    assert found
    assert secret not in repr(found)


def test_files_are_named_by_where_they_are_and_nothing_of_them_enters_the_snapshot(
    tmp_path: Path, authority: Authority
) -> None:
    for name in ("ca.pem", "client.pem", "client.key"):
        (tmp_path / name).write_bytes((authority.folder / name).read_bytes())
    settings = "{ca: ca.pem, certificate: client.pem, key: client.key, server_name: Bank.Test}"
    snapshot = compiled(tmp_path, text(settings))
    upstream = snapshot.upstreams[0]
    assert upstream.tls == UpstreamTls(
        ca=str(tmp_path / "ca.pem"),
        certificate=str(tmp_path / "client.pem"),
        key=str(tmp_path / "client.key"),
        server_name="bank.test",
        verify=True,
    )
    assert "PRIVATE" not in repr(snapshot)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("https://bank.test", ("bank.test", 443, True)),
        ("https://bank.test:8443", ("bank.test", 8443, True)),
        ("http://bank.test", ("bank.test", 80, False)),
    ],
)
def test_the_scheme_of_a_target_says_how_it_is_spoken_to(
    tmp_path: Path, target: str, expected: tuple[str, int, bool]
) -> None:
    snapshot = compiled(tmp_path, f"upstreams: {{pay: {{targets: ['{target}']}}}}\n" + API)
    found = snapshot.upstreams[0].targets[0]
    assert (found.host, found.port, found.tls) == expected
    assert snapshot.upstreams[0].tls == UpstreamTls(), "verified by the system's authorities"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("", Breaker(50, 20, 10.0, 5.0)),
        (", health: {breaker: off}", None),
        (", health: {breaker: {ratio: 25%, calls: 5, within: 2s, open_for: 1m}}", Breaker(25, 5, 2.0, 60.0)),
    ],
)
def test_the_breaker_is_on_unless_it_is_off(tmp_path: Path, written: str, expected: Breaker | None) -> None:
    snapshot = compiled(tmp_path, f"upstreams: {{pay: {{targets: [http://a]{written}}}}}\n" + API)
    assert snapshot.upstreams[0].breaker == expected


def test_a_breaker_that_would_open_at_nothing_is_refused(tmp_path: Path) -> None:
    found = check(tmp_path, "upstreams: {pay: {targets: [http://a], health: {breaker: {ratio: 0%}}}}\n" + API)
    assert [each.code for each in found if each.code == "bad_value"] == ["bad_value"]
