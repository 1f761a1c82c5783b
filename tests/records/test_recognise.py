"""Card numbers, resident ids and IBANs are told from other numbers by their content."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.records.recognise import (
    card_brand,
    is_card,
    is_iban,
    is_resident_id,
    luhn,
    mask_cards,
    mask_ibans,
    mask_resident_ids,
)
from tests.records.vectors import ROWS, TEST_CARDS, rows

CARD = "4111111111111111"


def test_every_vector_row_is_held_by_some_test() -> None:
    kinds = {"pan", "text", "id", "chunks", "names", "hmac_key_hex"}
    assert len(ROWS) == 42
    assert all(kinds & set(row["given"]) for row in ROWS)


@pytest.mark.parametrize(("pan", "brand"), rows("pan", "brand"))
def test_test_cards_are_known_by_brand(pan: str, brand: str) -> None:
    assert card_brand(pan) == brand
    assert luhn(pan)


@pytest.mark.parametrize(("text", "masked"), [*rows("pan", "masked"), *rows("text", "masked")])
def test_cards_in_text_are_cut_and_other_numbers_stay(text: str, masked: str) -> None:
    assert mask_cards(text) == masked


@pytest.mark.parametrize(("text", "valid"), rows("id", "valid"))
def test_resident_ids_need_their_check_character(text: str, valid: bool) -> None:
    assert is_resident_id(text) is valid


@pytest.mark.parametrize(("text", "masked"), rows("id", "masked"))
def test_resident_ids_are_cut_to_their_ends(text: str, masked: str) -> None:
    assert mask_resident_ids(f"id {text}!") == f"id {masked}!"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("GB82WEST12345698765432", "GB82**************5432"),
        ("to GB82 WEST 1234 5698 7654 32 today", "to GB82 **** **** **** **54 32 today"),
        ("DE89370400440532013000,", "DE89**************3000,"),
        ("NO9386011117947", "NO93*******7947"),
        ("GB82WEST12345698765433", "GB82WEST12345698765433"),  # MOD 97 fails
        ("ZZ82WEST12345698765432", "ZZ82WEST12345698765432"),  # no such country
        ("pay_01HXGB82WEST12345698765432", "pay_01HXGB82WEST12345698765432"),  # within a longer word
    ],
)
def test_ibans_are_cut_to_their_ends(text: str, masked: str) -> None:
    assert mask_ibans(text) == masked


def test_an_iban_has_its_countrys_length() -> None:
    assert is_iban("GB82WEST12345698765432")
    assert not is_iban("GB82WEST1234569876543")


def test_overlapping_readings_hide_the_union_of_their_middles() -> None:
    text = "4111 1111 1111 1111 4111 1111 1111 1111"
    assert mask_cards(text).replace(" ", "").count("*") >= 2 * 6
    assert not any(
        is_card(part)
        for part in (mask_cards(text).replace(" ", "")[i : i + 16] for i in range(17))
        if part.isdigit()
    )


@given(
    st.sampled_from(TEST_CARDS), st.text("0123456789 -", max_size=12), st.text("0123456789 -", max_size=12)
)
def test_no_card_that_is_recognised_survives_its_neighbours(card: str, before: str, after: str) -> None:
    # A letter on each side keeps the card's own run unbroken.
    assert card not in mask_cards(f"{before}x{card}x{after}")


@given(st.text("0123456789 -x", max_size=60))
def test_masking_keeps_length_and_is_stable(text: str) -> None:
    masked = mask_cards(text)
    assert len(masked) == len(text)
    assert mask_cards(masked) == masked
    assert all(new in (old, "*") for old, new in zip(text, masked, strict=True))
