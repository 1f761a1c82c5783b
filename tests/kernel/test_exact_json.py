"""JSON read exactly: decimals keep their digits, what is doubled, deep or huge is refused, each as such."""

from decimal import Decimal

import pytest

from faregate.kernel.exact_json import DeepError, NumberError, decode, depth
from faregate.kernel.strict_json import DoubledError


def test_numbers_keep_their_digits() -> None:
    text = b'{"a":1.10,"b":12345678901234567890.123,"c":9007199254740993,"d":1e2}'
    a, b = Decimal("1.10"), Decimal("12345678901234567890.123")
    assert decode(text) == {"a": a, "b": b, "c": 9007199254740993, "d": Decimal(100)}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b'{"a":1,"a":1}', DoubledError),
        (b'{ "a": [{"b":1, "b":2}] }', DoubledError),
        (b'{"a":1,"\\u0061":2}', DoubledError),
        (b"[" * 65 + b"]" * 65, DeepError),
        (b"[" * 100_000, DeepError),
        (b"1" * 65, NumberError),
        (b"[" + b"1" * 5000 + b"]", NumberError),
        (b"0." + b"1" * 70, NumberError),
        (b"1e65", NumberError),
        (b"1e-999999999", NumberError),
        (b'{"a":NaN}', ValueError),
        (b'{"a":01}', ValueError),
        (b"\xef\xbb\xbf{}", ValueError),
        (b'"\xff"', ValueError),
        (b"{} {}", ValueError),
        (b"", ValueError),
    ],
)
def test_what_is_refused(text: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        decode(text)


def test_levels() -> None:
    assert decode(b"[" * 64 + b"]" * 64)
    assert depth(decode(b'{"a":[{"b":1},[]]}')) == 3
    with pytest.raises(DeepError):
        decode(b"[[1]]", 1)
    assert decode(b'["[[[", "{{{"]', 1) == ["[[[", "{{{"]
