"""Second factors against the vectors of RFC 6238, appendix B, and RFC 4226, appendix D."""

from urllib.parse import parse_qs, urlsplit

import pytest

from faregate.manager.people import totp
from faregate.manager.people.totp import Algorithm

SEEDS: dict[Algorithm, bytes] = {
    "sha1": b"12345678901234567890",
    "sha256": b"12345678901234567890123456789012",
    "sha512": b"1234567890123456789012345678901234567890123456789012345678901234",
}
RFC_6238: list[tuple[int, Algorithm, str]] = [
    (59, "sha1", "94287082"), (59, "sha256", "46119246"), (59, "sha512", "90693936"),
    (1111111109, "sha1", "07081804"), (1111111109, "sha256", "68084774"), (1111111109, "sha512", "25091201"),
    (1111111111, "sha1", "14050471"), (1111111111, "sha256", "67062674"), (1111111111, "sha512", "99943326"),
    (1234567890, "sha1", "89005924"), (1234567890, "sha256", "91819424"), (1234567890, "sha512", "93441116"),
    (2000000000, "sha1", "69279037"), (2000000000, "sha256", "90698825"), (2000000000, "sha512", "38618901"),
    (20000000000, "sha1", "65353130"), (20000000000, "sha256", "77737706"), (20000000000, "sha512", "47863826"),
]  # fmt: skip
RFC_4226 = (
    "755224",
    "287082",
    "359152",
    "969429",
    "338314",
    "254676",
    "287922",
    "162583",
    "399871",
    "520489",
)


@pytest.mark.parametrize(("seconds", "algorithm", "code"), RFC_6238)
def test_the_vectors_of_rfc_6238(seconds: int, algorithm: Algorithm, code: str) -> None:
    assert totp.code_of(SEEDS[algorithm], totp.step_at(seconds * 1000), 8, algorithm) == code


def test_the_vectors_of_rfc_4226() -> None:
    assert tuple(totp.code_of(SEEDS["sha1"], counter) for counter in range(10)) == RFC_4226


@pytest.mark.parametrize(("off", "taken"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_clock_may_differ_by_a_step(off: int, taken: bool) -> None:
    now_ms = 1_780_000_000_000
    code = totp.code_of(SEEDS["sha1"], totp.step_at(now_ms) + off)
    assert (totp.matching_step(SEEDS["sha1"], code, now_ms, 0) is not None) is taken


def test_a_step_that_was_used_matches_no_more() -> None:
    now_ms = 1_780_000_000_000
    here = totp.step_at(now_ms)
    code = totp.code_of(SEEDS["sha1"], here)
    assert totp.matching_step(SEEDS["sha1"], code, now_ms, here - 1) == here
    assert totp.matching_step(SEEDS["sha1"], code, now_ms, here) is None


def test_authenticators_are_told_all_they_need() -> None:
    address = urlsplit(totp.address_of(SEEDS["sha1"], "ann@bank"))
    assert (address.scheme, address.netloc, address.path) == ("otpauth", "totp", "/Faregate%3Aann%40bank")
    told = parse_qs(address.query)
    assert told["secret"] == ["GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"]
    assert (told["digits"], told["period"], told["issuer"]) == (["6"], ["30"], ["Faregate"])
