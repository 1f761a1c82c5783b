"""Bodies are shown masked, or only as length and digest."""

import gzip
import hashlib
import json
import zlib

import pytest

from faregate.records import bodies
from faregate.records.bodies import BODY_BYTES_MAX, CapturedBody, render_body
from tests.records.vectors import ROWS, TEST_CARDS

JSON, FORM, TEXT = b"application/json; charset=utf-8", b"application/x-www-form-urlencoded", b"text/plain"


def shown(body: bytes | str, content_type: bytes = JSON) -> object:
    data = body.encode() if isinstance(body, str) else body
    return json.loads(render_body(CapturedBody(data, len(data), content_type)))


@pytest.mark.parametrize(
    ("body", "masked"),
    [
        ('{ "pan": "4111111111111111", "x": 1 }', '{"pan":"411111******1111","x":1}'),
        (
            '{"amount":1.10,"big":12345678901234567890123,"e":1E+2}',
            '{"amount":1.10,"big":12345678901234567890123,"e":1E+2}',
        ),
        (
            '{"cvv":123,"cvc":"9","pin":null,"track2":true}',
            '{"cvv":"***","cvc":"***","pin":null,"track2":"***"}',
        ),
        ('{"cvv":{"value":"123","list":[1,"2"]}}', '{"cvv":{"value":"***","list":["***","***"]}}'),
        ('{"card":{"number":"12345"}}', '{"card":{"number":"***"}}'),
        ('{"number":"12345","cvc":"1"}', '{"number":"***","cvc":"***"}'),
        ('{"number":"12345"}', '{"number":"12345"}'),
        ('{"pan":4111111111111111}', '{"pan":"411111******1111"}'),
        ('{"note":4111111111111111}', '{"note":"411111******1111"}'),
        ('{"a":1,"a":{"cvv":"1"}}', '{"a":1,"a":{"cvv":"***"}}'),
        ('{"4111111111111111":1}', '{"411111******1111":1}'),
        ('{"event":"{\\"cvv\\":\\"123\\",\\"n\\":1}"}', '{"event":"{\\"cvv\\":\\"***\\",\\"n\\":1}"}'),
        ('{"data":"eyJwYW4iOiI0MTExMTExMTExMTExMTExIn0="}', '{"data":"***"}'),
        ('{"data":"{not json 123"}', '{"data":"***"}'),
        ('{"pan":"\\u0034111111111111111"}', '{"pan":"411111******1111"}'),
        ('{"n":"\\u0034111111111111111"}', '{"n":"411111******1111"}'),
        ("[]", "[]"),
        ("{}", "{}"),
        ('["a",false,null]', '["a",false,null]'),
        ('{"name":"Åse\\u2028"}', '{"name":"\\u00c5se\\u2028"}'),
        ('{"phoneNo":"13800138000","email":"a@b.no"}', '{"phoneNo":"***","email":"***"}'),
    ],
)
def test_json_is_masked_by_name_and_content_and_otherwise_kept(body: str, masked: str) -> None:
    assert shown(body) == masked


@pytest.mark.parametrize(
    ("body", "masked"),
    [
        (
            "card%5Bnumber%5D=4111111111111111&card%5Bcvc%5D=123",
            "card%5Bnumber%5D=411111******1111&card%5Bcvc%5D=***",
        ),
        ("a=1&b=%20&c", "a=1&b=%20&c"),
        ("note=4111+1111+1111+1111", "note=4111+11**+****+1111"),
        ("number=12345&exp_month=1", "number=***&exp_month=***"),
        ("number=12345", "number=12345"),
        ("4111111111111111=x", "411111******1111=x"),
    ],
)
def test_forms_are_masked_by_name_and_content(body: str, masked: str) -> None:
    assert shown(body, FORM) == masked


def test_chunks_are_masked_as_the_one_body_they_make() -> None:
    row = next(row for row in ROWS if row["name"] == "chunk-border")
    assert shown("".join(row["given"]["chunks"])) == row["expect"]["masked"]


@pytest.mark.parametrize("name", next(row for row in ROWS if row["name"] == "field-names")["given"]["names"])
def test_fields_of_the_vectors_are_masked_in_json_and_forms(name: str) -> None:
    assert "7261904" not in str(shown(json.dumps({"card": {name: "7261904"}})))
    assert "7261904" not in str(shown(f"card[{name}]=7261904", FORM))


@pytest.mark.parametrize(
    "name", next(row for row in ROWS if row["name"] == "field-names")["expect"]["sad_never_stored"]
)
def test_authentication_data_leaves_no_digit(name: str) -> None:
    assert shown(json.dumps({name: "4111111111111111"})) == json.dumps({name: "***"}, separators=(",", ":"))


@pytest.mark.parametrize("card", TEST_CARDS)
@pytest.mark.parametrize(
    "content_type", [JSON, FORM, TEXT, b"", b"text/html", b"multipart/form-data; boundary=b"]
)
def test_no_test_card_leaks_from_any_type_of_body(card: str, content_type: bytes) -> None:
    for body in (f'{{"n":"{card}"}}', f"n={card}", f"<n>{card}</n>", f"--b\r\n\r\n{card}\r\n--b--", card):
        assert card not in render_body(CapturedBody(body.encode(), len(body), content_type))


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (b'{"cvv":"123"', JSON, "unparsable"),
        (b'{"cvv":NaN}', JSON, "unparsable"),
        (b"[" * 1000, JSON, "unparsable"),
        (b"[" * 100 + b"]" * 100, JSON, "nested_too_deep"),
        (b"[" * 60_000 + b"]" * 5_000, JSON, "unparsable"),
        (gzip.compress(b'{"cvv":"123"}', mtime=0), JSON, "compressed"),
        (zlib.compress(b'{"cvv":"123"}'), JSON, "not_text"),
        (b"a\x00b", TEXT, "not_text"),
        (b"<cvv>123</cvv>", b"application/xml", "media_type"),
        (b"cvv", b"", "media_type"),
    ],
)
def test_what_cannot_be_read_for_certain_is_length_and_digest(
    body: bytes, content_type: bytes, reason: str
) -> None:
    assert shown(body, content_type) == {
        "withheld": reason,
        "length": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }


def test_a_body_over_the_cap_shows_the_cap_and_no_byte_more() -> None:
    body = b"{}" * BODY_BYTES_MAX
    assert shown(body, JSON) == {
        "withheld": "over_cap",
        "length": len(body),
        "captured": BODY_BYTES_MAX,
        "sha256": hashlib.sha256(body[:BODY_BYTES_MAX]).hexdigest(),
    }


def test_a_cut_body_says_how_much_was_seen() -> None:
    rendered = json.loads(render_body(CapturedBody(b'{"a":1}', 70_000, JSON)))
    assert rendered == {
        "withheld": "over_cap", "length": 70_000, "captured": 7, "sha256": hashlib.sha256(b'{"a":1}').hexdigest(),
    }  # fmt: skip


def test_digests_are_keyed_when_a_key_is_given() -> None:
    rendered = json.loads(render_body(CapturedBody(b"x", 1, b""), b"key"))
    assert set(rendered) == {"withheld", "length", "hmac_sha256"}


def test_a_masker_that_fails_logs_nothing_of_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> str:
        raise RuntimeError("4111111111111111")

    monkeypatch.setattr(bodies, "mask_text", broken)
    assert shown('{"a":"4111111111111111"}') == {"withheld": "masker_failed", "length": 24}
