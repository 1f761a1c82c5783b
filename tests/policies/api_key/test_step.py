"""API keys: looked up by digest, ended by date, never kept."""

import gc
import hashlib

import pytest

from faregate.kernel.api_keys import digest, make
from faregate.policies.api_key.step import ApiKeyVerifier, build_verifier
from faregate.snapshot.data import ApiKeyCredential, Consumer, Pepper
from tests.policies.jwt.material import API_KEY, WALL, call_with, ready

DIGEST = hashlib.sha256(API_KEY).digest()


def verifier(expires: int = 0, **changes: object):
    consumers = (
        Consumer(
            "acme",
            "standard",
            ("a",),
            (ApiKeyCredential(**{"id": "key_7Q2", "sha256": DIGEST, "expires": expires, **changes}),),
        ),
    )
    return build_verifier(consumers, ready(consumers))


def reason(key: bytes, expires: int = 0, wall: float = WALL) -> str:
    call = call_with(wall=wall)
    verdict = verifier(expires).verify(call, key, b"x-api-key")
    if verdict is None:
        assert call.identity.credential == "key_7Q2"
        assert call.identity.headers.endswith(b"X-Credential-Id: key_7Q2\r\n")
        return "accepted"
    assert verdict.code == "credential_invalid"
    return verdict.reason


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (API_KEY, "accepted"),
        (API_KEY + b"x", "unknown_api_key"),
        (API_KEY[:-1], "unknown_api_key"),
        (API_KEY.upper(), "unknown_api_key"),
        (DIGEST.hex().encode(), "unknown_api_key"),
        (b"", "malformed_key"),
        (API_KEY + b" ", "malformed_key"),
        (API_KEY + b"\n", "malformed_key"),
        (b"x" * 256, "unknown_api_key"),
        (b"x" * 257, "malformed_key"),
        (b"\xff", "malformed_key"),
        (API_KEY + b", " + API_KEY, "malformed_key"),
    ],
)
def test_only_the_very_key_is_accepted(key: bytes, expected: str) -> None:
    assert reason(key) == expected


@pytest.mark.parametrize(
    ("wall", "expected"), [(WALL - 0.001, "accepted"), (WALL, "expired"), (WALL + 1, "expired")]
)
def test_a_key_ends_at_its_second(wall: float, expected: str) -> None:
    assert reason(API_KEY, expires=WALL, wall=wall) == expected


def test_expiry_is_checked_on_every_call() -> None:
    keys = verifier(WALL + 5)
    assert keys.verify(call_with(wall=WALL), API_KEY, b"x-api-key") is None
    assert keys.verify(call_with(wall=WALL + 5), API_KEY, b"x-api-key").reason == "expired"


@pytest.mark.parametrize("changes", [{"sha256": b"short"}, {"id": "a\r\nb"}])
def test_a_bad_digest_or_id_does_not_build(changes: dict) -> None:
    with pytest.raises(ValueError):
        verifier(**changes)


def test_one_key_of_two_consumers_does_not_build() -> None:
    twins = tuple(Consumer(name, credentials=(ApiKeyCredential("k", DIGEST),)) for name in ("a", "b"))
    with pytest.raises(ValueError, match="repeated"):
        build_verifier(twins, ready(twins))


def test_no_raw_key_stays_in_memory() -> None:
    keys, key = verifier(), bytes(bytearray(API_KEY))
    assert keys.verify(call_with(), key, b"x-api-key") is None
    assert [holder for holder in gc.get_referrers(key) if isinstance(holder, dict) and key in holder] == []
    assert key not in repr(keys).encode()


def test_a_hundred_thousand_keys_are_one_lookup() -> None:
    many = Consumer(
        "many",
        credentials=tuple(
            ApiKeyCredential(f"k{n}", hashlib.sha256(b"%d" % n).digest()) for n in range(100_000)
        ),
    )
    keys = build_verifier((many,), ready((many,)))
    assert len(keys) == 100_000
    call = call_with()
    assert keys.verify(call, b"99999", b"x-api-key") is None
    assert call.identity.credential == "k99999"


OURS = make("live").reveal()
PEPPERS = tuple(Pepper(f"p{number}", bytes([number]) * 32) for number in range(4))


def ours(pepper: Pepper | None, **changes: object):
    """A verifier of ``OURS``, kept under ``pepper``, or as SHA-256 where there is none."""
    kept = {"sha256": hashlib.sha256(OURS).digest()} if pepper is None else {"hmac": digest(pepper.key, OURS)}
    consumers = (Consumer("acme", credentials=(ApiKeyCredential("key_1", **kept, **changes),)),)
    return build_verifier(consumers, ready(consumers), PEPPERS)


@pytest.mark.parametrize("pepper", [*PEPPERS, None])
def test_a_key_of_ours_is_found_under_each_pepper_and_by_its_plain_digest(pepper: Pepper | None) -> None:
    call = call_with()
    verdicts = ours(pepper)
    assert verdicts.verify(call, OURS, b"x-api-key") is None
    assert call.identity.credential == "key_1"
    assert verdicts.ends(OURS) == float("inf")


def test_a_key_under_a_pepper_that_is_gone_is_unknown() -> None:
    consumers = (Consumer("acme", credentials=(ApiKeyCredential("key_1", hmac=digest(b"x" * 32, OURS)),)),)
    refusal = build_verifier(consumers, ready(consumers), PEPPERS).verify(call_with(), OURS, b"x-api-key")
    assert refusal.reason == "unknown_api_key"


class Counted(dict):
    """A dictionary that counts how often it is asked."""

    asked = 0

    def get(self, key, default=None):
        self.asked += 1
        return super().get(key, default)


def asked_for(key: bytes, peppers: tuple[Pepper, ...]) -> tuple[str, int]:
    keys = Counted()
    refusal = ApiKeyVerifier(keys, peppers).verify(call_with(), key, b"x-api-key")
    return refusal.reason, keys.asked


def test_an_unknown_key_costs_at_most_one_look_up_a_pepper_and_one_more() -> None:
    assert asked_for(OURS, PEPPERS) == ("unknown_api_key", 5)
    assert asked_for(OURS, ()) == ("unknown_api_key", 1)
    assert asked_for(b"fg_live_made_by_hand", PEPPERS) == ("unknown_api_key", 1)


def test_a_wrong_checksum_is_refused_without_a_look_up() -> None:
    wrong = OURS[:-1] + (b"0" if OURS[-1:] != b"0" else b"1")
    assert asked_for(wrong, PEPPERS) == ("bad_checksum", 0)


@pytest.mark.parametrize(
    ("wall", "expected"),
    [(99.0, "not_yet_valid"), (100.0, "accepted"), (199.9, "accepted"), (200.0, "expired")],
)
def test_a_key_counts_from_its_beginning_to_its_end(wall: float, expected: str) -> None:
    refusal = ours(PEPPERS[0], not_before=100, expires=200).verify(call_with(wall=wall), OURS, b"x-api-key")
    assert (refusal.reason if refusal else "accepted") == expected


def test_a_credential_without_any_digest_does_not_build() -> None:
    consumers = (Consumer("acme", credentials=(ApiKeyCredential("key_1"),)),)
    with pytest.raises(ValueError, match="bad digest"):
        build_verifier(consumers, ready(consumers))
