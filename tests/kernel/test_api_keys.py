"""Keys of our own: hard to guess, told from others and from typing errors by themselves, kept as HMACs."""

import hashlib
import hmac
import string
from zlib import crc32

import pytest

from faregate.kernel import api_keys
from faregate.kernel.api_keys import KEY_LENGTH, Peppered, checksum_ok, digest, is_ours, make, shown

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
KEY = b"fg_live_" + b"0" * 30 + b"3Q0jlC"
"""CRC-32 of what stands before it is 0xbaba1c62."""


def test_the_checksum_is_the_crc_of_all_before_it_in_base_62() -> None:
    number = 0
    for character in KEY[-6:].decode():
        number = number * 62 + BASE62.index(character)
    assert number == crc32(KEY[:-6]) == 0xBABA1C62
    assert checksum_ok(KEY)


@pytest.mark.parametrize("mode", ["live", "test"])
def test_a_made_key_has_the_form_and_178_random_bits(mode: str) -> None:
    keys = {make(mode).reveal() for _ in range(500)}
    assert len(keys) == 500
    for key in keys:
        assert key.startswith(f"fg_{mode}_".encode())
        assert len(key) == KEY_LENGTH == 44
        assert is_ours(key)
        assert checksum_ok(key)
    assert 62**api_keys.RANDOM_DIGITS > 2**160
    for place in range(8, 38):  # every digit of the random part takes every value sooner or later
        assert len({key[place] for key in keys}) > 40


def test_a_made_key_does_not_show_itself() -> None:
    key = make("live")
    assert key.reveal().decode() not in f"{key} {key!r}"


def test_there_are_two_modes() -> None:
    with pytest.raises(ValueError, match="live or test"):
        make("other")  # type: ignore[arg-type]


def test_every_wrong_character_is_noticed() -> None:
    for place in range(8, KEY_LENGTH):
        for other in (b"1", b"z", b"-", b" "):
            changed = KEY[:place] + other + KEY[place + 1 :]
            assert changed == KEY or not checksum_ok(changed)


@pytest.mark.parametrize("first", range(8, KEY_LENGTH - 1))
def test_two_characters_that_change_places_are_noticed(first: int) -> None:
    key = make("test").reveal()
    swapped = key[:first] + key[first + 1 : first + 2] + key[first : first + 1] + key[first + 2 :]
    assert swapped == key or not checksum_ok(swapped)


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"fg_live_",
        KEY[:-1],
        KEY + b"0",
        b"fg_LIVE_" + KEY[8:],
        b"fg_live_7Q2vXk1mN8pR4tZ6wB3cD5eF9gH0jK2L",  # made by hand, as the documentation of 0.x had it
        b"fg_live_" + b"-" * 36,
        b"fg_live_" + "é".encode() * 18,
    ],
)
def test_other_keys_are_not_ours(key: bytes) -> None:
    assert not is_ours(key)
    assert not checksum_ok(key)
    assert shown(key) == "…"


def test_what_is_shown_is_prefix_and_four_characters() -> None:
    assert shown(KEY) == "fg_live_…0jlC"


@pytest.mark.parametrize("length", [0, 1, 32, 63, 64, 65, 200])
def test_the_digest_is_hmac_sha256_for_peppers_and_keys_of_any_length(length: int) -> None:
    pepper = b"p" * length
    for key in (b"", KEY, KEY * 10):
        expected = hmac.new(pepper, key, hashlib.sha256).digest()
        assert digest(pepper, key) == expected
        ready = Peppered(pepper)
        assert ready.digest(key) == expected == ready.digest(key)


def test_a_pepper_is_random_and_hidden() -> None:
    first, second = api_keys.make_pepper(), api_keys.make_pepper()
    assert first.reveal() != second.reveal()
    assert len(first.reveal()) == api_keys.PEPPER_BYTES
    assert repr(first) == "***"
