"""What is said of a refused certificate: whose it is and what to do, on one line whatever its names hold."""

import pytest
from cryptography import x509

from faregate.gateway.tls.words import TEXT_MAX, refused, to_do, verification_failed, whose
from tests.support.certificates import Authority


def test_a_refused_certificate_is_named_by_subject_and_serial() -> None:
    issued = Authority().issue("CN=acme,O=Acme Ltd")
    text = str(refused(issued.certificate, "no clientAuth usage"))
    assert "subject CN=acme,O=Acme Ltd" in text
    assert f"serial {issued.certificate.serial_number:X}" in text
    assert "extendedKeyUsage=clientAuth" in text


@pytest.mark.parametrize("subject", ["CN=a\nb\r\x00c", "CN=" + "\u2028" * 9, "CN=" + "\x1b[2J"])
def test_no_name_ends_the_line(subject: str) -> None:
    text = str(refused(Authority().issue(subject).certificate, "control characters in a name"))
    assert text.isprintable()


def test_long_names_are_cut() -> None:
    many = ",".join(["OU=" + "x" * 60] * 20)
    assert len(str(refused(Authority().issue(many).certificate, "no clientAuth usage"))) < TEXT_MAX + 250


@pytest.mark.parametrize(
    "error", [ValueError("x"), TypeError("x"), OverflowError("x"), x509.InvalidVersion("2", 1)]
)
def test_what_cannot_be_read_of_a_certificate_is_left_out(error: Exception) -> None:
    class Broken:
        def __getattr__(self, _: str) -> object:
            raise error

    assert whose(Broken()) == "subject ?, issuer ?, serial ?"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("certificate has expired", "renewed"),
        ("CRL has expired", "`crl`"),
        ("certificate is not yet valid", "clock"),
        ("certificate revoked", "new certificate"),
        ("unable to get local issuer certificate", "intermediates"),
        ("unable to get certificate CRL", "list of each"),
        ("something new", "another certificate"),
    ],
)
def test_every_refusal_says_what_to_do(message: str, words: str) -> None:
    assert words in to_do(message)
    assert message in verification_failed(message)
