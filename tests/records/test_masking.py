"""Text that came from outside is masked in every spelling that a caller may choose."""

import base64
from urllib.parse import quote

import pytest

from faregate.records.masking import fold, keyed_digest, mask_by_name, mask_text
from tests.records.vectors import ROWS, TEST_CARDS, rows

JWT = "eyJhbGciOiJFUzI1NiIsImtpZCI6ImsxIn0.eyJzdWIiOiJhY21lIn0.c2lnbmF0dXJlLWJ5dGVz"


# A field's name masks more than its content would: "pan" and "card" rows are the same either way.
@pytest.mark.parametrize(("text", "masked"), rows("text", "masked"))
def test_vectors_of_text(text: str, masked: str) -> None:
    assert mask_text(text) == masked


ENCODED = [row["given"]["text"] for row in ROWS if row["expect"].get("contains_pan")]


@pytest.mark.parametrize("text", ENCODED)
def test_encoded_cards_of_the_vectors_are_found(text: str) -> None:
    masked = mask_text(text)
    assert masked != text
    assert "4111111111111111" not in masked
    assert "NDExMTEx" not in masked
    assert "0034111" not in masked


@pytest.mark.parametrize("card", TEST_CARDS)
@pytest.mark.parametrize(
    "spell",
    [
        lambda card: f"/cards/{card}",
        lambda card: f"/cards/{quote(' '.join(card[i : i + 4] for i in range(0, len(card), 4)))}",
        lambda card: "+".join(card[i : i + 4] for i in range(0, len(card), 4)),
        lambda card: "".join(f"%{ord(digit):02x}" for digit in card),
        lambda card: "".join(f"%25{ord(digit):02X}" for digit in card),
        lambda card: "".join(f"\\u{ord(digit):04x}" for digit in card),
        lambda card: f"/x/{base64.b64encode(f'card {card}.'.encode()).decode()}/y",
        lambda card: f"/{base64.urlsafe_b64encode(f'{card}'.encode()).decode().rstrip('=')}",
    ],
    ids=["plain", "percent-spaces", "plus", "percent", "percent-twice", "unicode", "base64", "base64url"],
)
def test_no_spelling_of_a_card_survives(card: str, spell) -> None:
    text = spell(card)
    masked = mask_text(text)
    assert masked != text
    assert card not in masked.replace(" ", "").replace("+", "")


def test_more_layers_of_escapes_than_any_client_writes_show_nothing() -> None:
    assert mask_text("%2525252534111111111111111") == "***"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (JWT, "eyJhbGciOiJFUzI1NiIsImtpZCI6ImsxIn0.***"),
        (f"Bearer {JWT}", "Bearer eyJhbGciOiJFUzI1NiIsImtpZCI6ImsxIn0.***"),
        ("bearer abcdef123456", "bearer ***"),
        ("Basic dXNlcjpwYXNz", "Basic ***"),
        ("/keys/fg_live_4f9a8b7c/x", "/keys/fg_***/x"),
        (
            "a\n-----BEGIN EC PRIVATE KEY-----\nMHcCAQ\n-----END EC PRIVATE KEY-----\nb",
            "a\n*** private key ***\nb",
        ),
        ("-----BEGIN PRIVATE KEY-----\nMHcCAQ", "*** private key ***"),
        ("Cookie: a=1; b=2\nx", "Cookie: ***\nx"),
        ("mail alice.b@example.com now", "mail ***@example.com now"),
        ("call +4791234567.", "call +***."),
        ("a=1;cvv=123;b=2", "a=1;cvv=***;b=2"),
        ("cvv: 123", "cvv: ***"),
        ("card[number]=4111111111111111", "card[number]=411111******1111"),
        ("acc_no=6222021234567890", "acc_no=622202******7890"),
        ("id GB82WEST12345698765432 110101199003071006", "id GB82**************5432 1****************6"),
    ],
)
def test_tokens_keys_addresses_and_named_values(text: str, masked: str) -> None:
    assert mask_text(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/v2/payments/pay_01HX5ZZKBKACTAV9WEVGEMMVRZ/refunds",
        "/v2/payments/8e03978e-40d5-43e8-bc93-6894a57f9324",
        "/v2/orders/2026030222001438370510123456",
        "01a20665480aec40184b097e00000004",
        "token_expired",
        "/files/report.2026-11-23T02:49:02Z",
        "/search/caf%C3%A9",
    ],
)
def test_harmless_text_stays(text: str) -> None:
    assert mask_text(text) == text


@pytest.mark.parametrize(
    "name", ["cvv", "CVC2", "card_cvv", "security-code", "pinBlock", "track2", "password"]
)
def test_a_name_masks_its_value_wholly(name: str) -> None:
    assert mask_by_name(name, "123") == "***"


def test_a_card_field_shows_at_most_six_and_four_digits() -> None:
    assert mask_by_name("cardNumber", "4111 1111 1111 1112") == "411111******1112"
    assert mask_by_name("pan", "41111") == "***"
    assert mask_by_name("lifespan", "41111") is None


def test_names_fold_case_and_separators() -> None:
    assert fold("Card-Security_Code") == "cardsecuritycode"


def test_cards_are_compared_by_keyed_digest() -> None:
    row = next(row for row in ROWS if row["name"] == "pan-keyed-hash")
    digest = keyed_digest(bytes.fromhex(row["given"]["hmac_key_hex"]), row["given"]["pan"].encode())
    assert digest == row["expect"]["hmac_sha256_hex"]
