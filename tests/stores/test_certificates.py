"""Names of certificates are read strictly and compared whole; files say what is wrong with them."""

from base64 import encodebytes
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.stores.certificates import (
    FILE_BYTES_MAX,
    CertificateFault,
    has_control_characters,
    read_authorities,
    read_chain,
    read_file,
    read_revocations,
    read_subject,
    stamp,
    subject_of,
)
from tests.support.certificates import Authority, of_version, replace


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("CN=acme,O=Acme Ltd", "CN=acme, O=Acme Ltd"),
        ("CN=a+OU=b,O=c", "OU=b+CN=a,O=c"),
        (r"CN=a\, b", r"CN=a\2C b"),
        (r"CN=\C3\A9", "CN=é"),
        ("2.5.4.3=a", "CN=a"),
    ],
)
def test_spellings_of_one_name(one: str, two: str) -> None:
    assert read_subject(one) == read_subject(two)


@pytest.mark.parametrize(
    "text", ["", "acme", "CN=a,", ",CN=a", "CN=a,,O=b", "CN=a\\", "CN", "=a", "XX=a", "CN=a ,O=b"]
)
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(ValueError, match="name"):
        read_subject(text)


@given(st.text(max_size=60))
def test_reading_a_name_never_fails_otherwise(text: str) -> None:
    try:
        assert read_subject(text)
    except ValueError as error:
        assert type(error) is ValueError  # noqa: PT017 - no other kind


def test_a_certificate_and_the_text_of_its_name_agree() -> None:
    issued = Authority().issue("CN=acme,OU=x,O=Acme Ltd")
    assert subject_of(issued.certificate.subject) == read_subject("CN=acme, OU=x, O=Acme Ltd")


def test_control_characters_are_seen_wherever_names_stand() -> None:
    authority = Authority()
    assert not has_control_characters(authority.issue("CN=a", dns=("a.test",)).certificate)
    assert has_control_characters(authority.issue("CN=a\0b").certificate)
    assert has_control_characters(authority.issue("CN=a", dns=("a.test\0.evil",)).certificate)


def test_a_chain_tells_its_dns_names_and_no_others() -> None:
    issued = Authority().issue("CN=common.test", dns=("A.test", "*.b.test", "a.TEST"))
    assert read_chain(issued.pem).names == ("a.test", "*.b.test")
    assert read_chain(Authority().issue("CN=common.test").pem).names == ()


def test_revocation_lists_are_read_by_issuer_and_number() -> None:
    one, two = Authority("CN=one"), Authority("CN=two")
    bad = one.issue("CN=bad")
    one.revoke(bad)
    lists = read_revocations(one.revocations(days=(-1, 9)) + two.revocations(days=(-1, 5)))
    assert lists.serials == {(one.subject.public_bytes(), bad.certificate.serial_number)}
    assert lists.issuers == {one.subject.public_bytes(), two.subject.public_bytes()}
    assert lists.ends == read_revocations(two.revocations(days=(-1, 5))).ends


@pytest.mark.parametrize("read", [read_chain, read_authorities, read_revocations])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----END X509 CRL-----",
    ],
)
def test_what_is_no_certificate_is_a_fault(read: object, content: bytes) -> None:
    with pytest.raises(CertificateFault):
        read(content)  # type: ignore[operator]


def test_files_have_a_bound(tmp_path: Path) -> None:
    large = tmp_path / "large.pem"
    large.write_bytes(b"x" * (FILE_BYTES_MAX + 1))
    for name in (large, tmp_path / "none", tmp_path):
        with pytest.raises(CertificateFault):
            read_file(str(name))


def test_a_stamp_changes_with_its_files(tmp_path: Path) -> None:
    names = [str(tmp_path / "a"), str(tmp_path / "b")]
    seen = {stamp(names)}
    for content in (b"1", b"2", b"2"):
        replace(tmp_path / "a", content)
        seen.add(stamp(names))
    (tmp_path / "a").unlink()
    assert stamp(names) in seen
    assert len(seen) == 4


@pytest.mark.parametrize("read", [read_chain, read_authorities])
def test_a_certificate_of_version_2_is_none(read: Callable[[bytes], object]) -> None:
    coded = encodebytes(of_version(1, Authority().certificate))
    with pytest.raises(CertificateFault, match="no certificate in PEM form"):
        read(b"-----BEGIN CERTIFICATE-----\n%b-----END CERTIFICATE-----\n" % coded)
