"""A listener's contexts: strict alike, chosen by name alone, and never without what they were told to ask for."""

import ssl
import time
from pathlib import Path

import pytest

from faregate.gateway.tls.profile import Profile, build, folded, is_address, not_yet_better
from faregate.snapshot.data import ListenerTls, ServerCertificate
from faregate.stores.certificates import CertificateFault
from tests.support.certificates import Authority

NAMES = {"a": ("a.test", "x.a.test"), "b": ("*.b.test", "B.test"), "c": ("a.test", "*.x.test")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    authority = Authority()
    for stem, names in NAMES.items():
        authority.issue(f"CN={stem}", dns=names).write(tmp_path, stem)
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "ca.crl").write_bytes(authority.revocations())
    return tmp_path


def settings(folder: Path, mode: str = "none", *, crl: bool = False) -> ListenerTls:
    certificates = tuple(ServerCertificate(f"{folder}/{stem}.pem", f"{folder}/{stem}.key") for stem in NAMES)
    if mode == "none":
        return ListenerTls(certificates)
    return ListenerTls(certificates, mode, f"{folder}/ca.pem", f"{folder}/ca.crl" if crl else "")


@pytest.mark.parametrize(
    ("asked", "stem"),
    [
        ("a.test", "a"), ("A.TEST", "a"), ("a.test.", "a"), ("x.a.test", "a"), ("y.a.test", "a"),
        ("b.test", "b"), ("q.b.test", "b"), ("p.q.b.test", "a"), ("q.x.test", "c"), ("x.test", "a"), ("", "a"), (".b.test", "b"),
        ("nobody.test", "a"), ("*.b.test", "b"),
    ],
)  # fmt: skip
def test_the_name_chooses_the_context(folder: Path, asked: str, stem: str) -> None:
    profile = build(settings(folder), ("http/1.1",), lambda *_: None)
    contexts = {"a": profile.exact["a.test"], "b": profile.exact["b.test"], "c": profile.wild["x.test"]}
    assert profile.first is contexts["a"]
    assert profile.context_for(folded(asked)) is contexts[stem]


@pytest.mark.parametrize("mode", ["none", "optional", "required"])
def test_every_context_is_strict(folder: Path, mode: str) -> None:
    profile = build(settings(folder, mode, crl=True), ("h2", "http/1.1"), lambda *_: None)
    for context in {profile.first, *profile.exact.values(), *profile.wild.values()}:
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        assert context.security_level == 2  # no SHA-1, no RSA below 2048 bits
        assert context.options & ssl.OP_NO_COMPRESSION
        assert context.options & ssl.OP_NO_RENEGOTIATION
        older = [one["name"] for one in context.get_ciphers() if one["protocol"] == "TLSv1.2"]
        assert older
        assert all(name.startswith("ECDHE-") and ("GCM" in name or "CHACHA20" in name) for name in older)
        asks = mode != "none"
        assert context.verify_mode is {
            "none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED,
        }[mode]  # fmt: skip
        assert bool(context.options & ssl.OP_NO_TICKET) is asks
        assert (context.num_tickets == 0) is asks
        assert bool(context.verify_flags & ssl.VERIFY_CRL_CHECK_CHAIN) is asks
    assert profile.asks is (mode != "none")


@pytest.mark.parametrize("name", ["ca.pem", "ca.crl", "b.pem", "b.key"])
def test_reg_missing_option_refuses_a_file_that_is_gone_or_empty_builds_nothing(
    folder: Path, name: str
) -> None:
    wanted = settings(folder, "required", crl=True)
    for spoil in (lambda path: path.write_bytes(b""), lambda path: path.unlink()):
        spoil(folder / name)
        with pytest.raises(CertificateFault, match=name):
            build(wanted, ("http/1.1",), lambda *_: None)


def profile_of(folder: Path, days: tuple[float, float]) -> Profile:
    Authority().issue("CN=a", dns=NAMES["a"], days=days).write(folder, "a")
    return build(settings(folder), ("http/1.1",), lambda *_: None)


@pytest.mark.parametrize(
    ("former", "made", "until_days"),
    [
        ((-9, 20), (-9, 200), None),
        ((-9, 20), (-9, -1), 20),
        ((-9, 20), (5, 200), 5),
        ((-9, 3), (5, 200), 3),
        ((-9, -2), (-9, -1), None),  # the former has ended as well
        ((2, 20), (5, 200), None),
        ((-9, 20), (-20, 10), None),
    ],
)
def test_files_out_of_time_wait_while_the_former_are_in_time(
    folder: Path, former: tuple[float, float], made: tuple[float, float], until_days: float | None
) -> None:
    now = time.time()
    worse = not_yet_better(profile_of(folder, former), profile_of(folder, made), now)
    if until_days is None:
        assert worse is None
    else:
        assert worse is not None
        assert worse.until == pytest.approx(now + until_days * 86_400, abs=60)
        assert f"{folder}/a.pem" in worse.why


def test_a_file_replaced_while_it_is_read_is_a_fault(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "faregate.gateway.tls.profile.try_out", lambda *_: (folder / "a.key").write_bytes(b"")
    )
    with pytest.raises(CertificateFault, match="changed while they were read"):
        build(settings(folder), ("http/1.1",), lambda *_: None)


@pytest.mark.parametrize("name", ["127.0.0.1", "::1", "[2001:db8::1]"])
def test_an_address_where_a_name_belongs_asks_for_no_name(name: str) -> None:
    assert is_address(name)


@pytest.mark.parametrize("name", ["api.test", "1.2.3", "127.0.0.1.test", "a", "0x7f.1", ""])
def test_names_are_not_taken_for_addresses(name: str) -> None:
    assert not is_address(name)
