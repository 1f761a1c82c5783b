"""Certificate files that cannot work are found before a worker meets them, each at the place that names it."""

import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from faregate.compile import compile_config
from faregate.snapshot.data import ListenerTls, MtlsCredential
from tests.model.configs import API, DIGEST, UPSTREAM, brief, check, compiled, loaded
from tests.support.certificates import Authority, Issued

NOW = time.time()
DAY = 86_400
LISTEN = "gateway:\n  listen:\n    - address: 127.0.0.1:1\n      tls:\n        certificates: [{chain: %s.pem, key: %s.key}]\n"
CLIENTS = "        client_certificates: {mode: optional, ca: ca.pem}\n"
PLAIN = LISTEN % ("a", "a")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority("CN=partners")
    made.issue("CN=a", dns=("a.test",)).write(tmp_path, "a")
    (tmp_path / "ca.pem").write_bytes(made.pem)
    return made


def found(folder: Path, text: str) -> list[tuple[str, int, int]]:
    return brief(check(folder, text))


def test_good_files_are_named_by_their_absolute_paths(tmp_path: Path, authority: Authority) -> None:
    (tmp_path / "ca.crl").write_bytes(authority.revocations())
    (listener,) = compiled(tmp_path, PLAIN + CLIENTS.replace("ca.pem", "ca.pem, crl: ca.crl")).gateway.listen
    assert isinstance(listener.tls, ListenerTls)
    names = [str(tmp_path / name) for name in ("a.pem", "a.key", "ca.pem", "ca.crl")]
    assert list(listener.tls.files) == names
    assert listener.tls.client_mode == "optional"


def test_a_clear_listener_and_mode_none_ask_for_nothing(tmp_path: Path, authority: Authority) -> None:
    none = PLAIN + "        client_certificates: {mode: none}\n"
    (listener,) = compiled(tmp_path, none).gateway.listen
    assert listener.tls is not None
    assert (listener.tls.client_mode, listener.tls.client_ca) == ("none", "")


def prepare(what: str, folder: Path, authority: Authority) -> None:
    good = authority.issue("CN=a", dns=("a.test",))
    match what:
        case "no chain":
            (folder / "a.pem").unlink()
        case "no key":
            (folder / "a.key").unlink()
        case "empty chain":
            (folder / "a.pem").write_bytes(b"")
        case "another key":
            (folder / "a.key").write_bytes(good.key_pem)
        case "no key in the key file":
            (folder / "a.key").write_bytes(good.pem)
        case "an encrypted key":
            good.write(folder, "a")
            form = (Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret word"))
            (folder / "a.key").write_bytes(good.key.private_bytes(*form))
        case "the chain out of order":
            below = Authority("CN=middle", parent=authority)
            issued = below.issue("CN=a", dns=("a.test",))
            issued.above = (authority.certificate, below.certificate)
            issued.write(folder, "a")
        case "RSA 1024":
            authority.issue("CN=a", key=rsa.generate_private_key(65537, 1024)).write(folder, "a")
        case "expired":
            authority.issue("CN=a", dns=("a.test",), days=(-9, -1)).write(folder, "a")
        case "not begun":
            authority.issue("CN=a", dns=("a.test",), days=(1, 200)).write(folder, "a")
        case "ends soon":
            authority.issue("CN=a", dns=("a.test",), days=(-9, 20)).write(folder, "a")
        case _:
            raise AssertionError(what)


@pytest.mark.parametrize(
    ("what", "code", "column"),
    [
        ("no chain", "file_missing", 32),
        ("no key", "file_missing", 44),
        ("empty chain", "bad_certificate", 32),
        ("another key", "bad_certificate", 44),
        ("no key in the key file", "bad_certificate", 44),
        ("an encrypted key", "bad_certificate", 44),
        ("the chain out of order", "bad_certificate", 32),
        ("RSA 1024", "bad_certificate", 32),
        ("expired", "certificate_expired", 32),
        ("not begun", "certificate_expired", 32),
        ("ends soon", "certificate_expires", 32),
    ],
)
def test_a_servers_files(tmp_path: Path, authority: Authority, what: str, code: str, column: int) -> None:
    prepare(what, tmp_path, authority)
    diagnostics = check(tmp_path, PLAIN)
    assert brief(diagnostics) == [(code, 5, column)]
    named = tmp_path / ("a.pem" if column == 32 else "a.key")
    assert diagnostics[0].message.startswith(f"{named}: ")  # the line itself is shown masked
    assert diagnostics[0].expected
    key = (tmp_path / "a.key").read_text() if (tmp_path / "a.key").exists() else ""
    assert not any(line in str(diagnostics) for line in key.splitlines()[1:-1])


@pytest.mark.parametrize(
    ("clients", "code", "column"),
    [
        ("{mode: optional}", "missing_key", 30),
        ("{mode: required}", "missing_key", 30),
        ("{mode: none, ca: ca.pem}", "bad_value", 43),
        ("{mode: none, crl: ca.crl}", "bad_value", 43),
        ("{mode: required, ca: gone.pem}", "file_missing", 51),
        ("{mode: required, ca: empty.pem}", "bad_certificate", 51),
        ("{mode: required, ca: ca.pem, crl: gone.crl}", "file_missing", 64),
        ("{mode: required, ca: ca.pem, crl: empty.pem}", "bad_certificate", 64),
        ("{mode: required, ca: ca.pem, crl: other.crl}", "bad_certificate", 64),
        ("{mode: required, ca: ca.pem, crl: old.crl}", "certificate_expired", 64),
    ],
)
def test_reg_missing_option_refuses_what_asks_callers_for_certificates(
    tmp_path: Path, authority: Authority, clients: str, code: str, column: int
) -> None:
    (tmp_path / "empty.pem").write_bytes(b"")
    (tmp_path / "other.crl").write_bytes(Authority("CN=others").revocations())
    (tmp_path / "old.crl").write_bytes(authority.revocations(days=(-9, -1)))
    assert found(tmp_path, PLAIN + f"        client_certificates: {clients}\n") == [(code, 6, column)]


def test_a_second_certificate_must_have_a_name_to_be_asked_for(tmp_path: Path, authority: Authority) -> None:
    authority.issue("CN=nameless").write(tmp_path, "b")
    one, two = "{chain: a.pem, key: a.key}", "{chain: b.pem, key: b.key}"
    text = PLAIN.replace(one, f"{one}, {two}")
    assert found(tmp_path, text) == [("bad_certificate", 5, 60)]
    assert found(tmp_path, PLAIN.replace(one, f"{two}, {one}")) == []


def test_routes_that_want_a_certificate_need_a_listener_that_asks(
    tmp_path: Path, authority: Authority
) -> None:
    api = UPSTREAM + API.replace("[api_key]", "[api_key, mtls]")
    limited = api.replace("    upstream: pay\n", "    upstream: pay\n    limits: [1/second]\n")
    assert ("bad_value", 6, 29) in found(tmp_path, limited)
    assert found(tmp_path, limited + PLAIN + CLIENTS) == []


CONSUMER = "consumers:\n  a:\n    credentials:\n      - mtls: %s\n"


def credential(folder: Path, written: str) -> MtlsCredential:
    text = CONSUMER % written + PLAIN + CLIENTS
    (made,) = compiled(folder, text).consumers[0].credentials
    assert isinstance(made, MtlsCredential)
    return made


def digests(issued: Issued | Authority) -> bytes:
    from hashlib import sha256

    return sha256(issued.certificate.public_bytes(Encoding.DER)).digest()


def test_credentials_are_read_into_what_workers_compare(tmp_path: Path, authority: Authority) -> None:
    assert credential(tmp_path, f"{{sha256: {DIGEST}}}").sha256 == bytes.fromhex(DIGEST)
    colons = ":".join(["AB"] * 32)
    assert credential(tmp_path, f"{{sha256: '{colons}'}}").sha256 == bytes.fromhex(DIGEST)
    for ca in ("ca.pem", "ca"):  # the path, or the name of a listener's file
        made = credential(tmp_path, f"{{subject: 'CN=acme, O=Acme Ltd', ca: {ca}}}")
        assert made.subject == ((("2.5.4.3", "acme"),), (("2.5.4.10", "Acme Ltd"),))
        assert made.authorities == (digests(authority),)
        assert made.id == "mtls:CN=acme, O=Acme Ltd"


@pytest.mark.parametrize(
    ("written", "code", "column"),
    [
        ("{subject: acme, ca: ca.pem}", "bad_value", 25),
        ("{subject: 'CN=a,', ca: ca.pem}", "bad_value", 25),
        ("{subject: 'CN=a', ca: gone.pem}", "file_missing", 37),
        ("{subject: 'CN=a', ca: empty.pem}", "bad_certificate", 37),
        ("{subject: 'CN=a'}", "bad_value", 15),
        ("{sha256: 12}", "wrong_type", 24),
        ("{sha256: abcd}", "bad_value", 24),
        ("{}", "bad_value", 15),
    ],
)
def test_credentials_that_cannot_work(
    tmp_path: Path, authority: Authority, written: str, code: str, column: int
) -> None:
    (tmp_path / "empty.pem").write_bytes(b"")
    assert found(tmp_path, CONSUMER % written + PLAIN + CLIENTS) == [(code, 4, column)]


@pytest.mark.parametrize(
    ("written", "listen", "place"),
    [
        (f"{{sha256: {DIGEST}}}", PLAIN, (4, 15)),
        (f"{{sha256: {DIGEST}}}", PLAIN + "        client_certificates: {mode: none}\n", (4, 15)),
        (f"{{sha256: {DIGEST}}}", PLAIN + CLIENTS, None),  # who signed it is not known here
        ("{subject: CN=a, ca: ca.pem}", PLAIN, (4, 15)),
        ("{subject: CN=a, ca: ca.pem}", PLAIN + CLIENTS, None),
        ("{subject: CN=a, ca: other.pem}", PLAIN + CLIENTS, (4, 35)),
        ("{subject: CN=a, ca: both.pem}", PLAIN + CLIENTS, None),
        ("{subject: CN=a, ca: below.pem}", PLAIN + CLIENTS, None),
        ("{subject: CN=a, ca: stranger.pem}", PLAIN + CLIENTS, None),  # may be below one of ours
        ("{subject: CN=a, ca: chain.pem}", PLAIN + CLIENTS, (4, 35)),
    ],
)
def test_a_certificate_that_no_listener_could_accept_is_told_of(
    tmp_path: Path, authority: Authority, written: str, listen: str, place: tuple[int, int] | None
) -> None:
    other = Authority("CN=others")
    middle = Authority("CN=middle", parent=other)
    for name, content in {
        "other": other.pem,
        "both": other.pem + authority.pem,
        "below": Authority("CN=below", parent=authority).pem,
        "stranger": middle.pem,
        "chain": middle.pem + other.pem,
    }.items():
        (tmp_path / f"{name}.pem").write_bytes(content)
    diagnostics = check(tmp_path, CONSUMER % written + listen)
    assert brief(diagnostics) == ([("unprovable_credential", *place)] if place else [])
    assert all(one.expected and one.level == "warning" for one in diagnostics)


def test_the_certificate_of_a_caller_signs_nobodys(tmp_path: Path, authority: Authority) -> None:
    (tmp_path / "both.pem").write_bytes((tmp_path / "a.pem").read_bytes() + authority.pem)
    for ca, places in (("a.pem", [("unprovable_credential", 4, 35)]), ("both.pem", [])):
        text = CONSUMER % f"{{subject: CN=a, ca: {ca}}}" + PLAIN + CLIENTS
        assert found(tmp_path, text) == places


@pytest.mark.parametrize(("taken", "places"), [("mtls", []), ("api_key", [("unprovable_credential", 4, 15)])])
def test_a_certificate_that_no_api_accepts_is_told_of(
    tmp_path: Path, authority: Authority, taken: str, places: list[tuple[str, int, int]]
) -> None:
    api = (
        "upstreams:\n  main: {targets: ['http://127.0.0.1:1']}\n"
        f"apis:\n  a:\n    upstream: main\n    authenticate: [{taken}]\n    limits: [1/second]\n"
        "    versions: {v1: {path: /v1}}\n    routes: [{match: GET /}]\n"
    )
    assert found(tmp_path, CONSUMER % f"{{sha256: {DIGEST}}}" + api + PLAIN + CLIENTS) == places


def test_a_fingerprint_as_openssl_prints_it_is_told_what_of_it_counts(
    tmp_path: Path, authority: Authority
) -> None:
    line = "sha256 Fingerprint=" + ":".join(["AB"] * 32)
    (told,) = check(tmp_path, CONSUMER % f"{{sha256: '{line}'}}" + PLAIN + CLIENTS)
    assert "what stands behind `=`" in told.expected


def test_one_certificate_proves_one_consumer(tmp_path: Path, authority: Authority) -> None:
    (tmp_path / "copy.pem").write_bytes(authority.pem)
    pairs = [
        (f"{{sha256: {DIGEST}}}", f"{{sha256: '{':'.join(['AB'] * 32)}'}}"),
        ("{subject: 'CN=a,O=b', ca: ca.pem}", "{subject: 'CN=a, O=b', ca: copy.pem}"),
    ]
    for one, two in pairs:
        text = CONSUMER % one + f"  b:\n    credentials:\n      - mtls: {two}\n" + PLAIN + CLIENTS
        assert [code for code, *_ in found(tmp_path, text)] == ["duplicate_credential"]


def test_ends_are_judged_by_the_time_given(tmp_path: Path, authority: Authority) -> None:
    _, later = compile_config(loaded(tmp_path, PLAIN), 1, wall=NOW + 190 * DAY)
    assert [one.code for one in later] == ["certificate_expires"]
    _, after = compile_config(loaded(tmp_path, PLAIN), 1, wall=NOW + 210 * DAY)
    assert [one.code for one in after] == ["certificate_expired"]
    assert ": what is in this file ended 2" in after[0].message  # the day
    _, early = compile_config(loaded(tmp_path, PLAIN), 1, wall=NOW - 10 * DAY)
    assert [one.code for one in early] == ["certificate_expired"]
    assert "is not valid before 2" in early[0].message
