"""JSON in one spelling as RFC 8785 has it, but that whole numbers are never rounded."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.kernel.canonical_json import encode, number
from faregate.kernel.strict_json import decode_value

# RFC 8785 appendix B
NUMBERS = [
    ("0000000000000000", "0"), ("8000000000000000", "0"), ("0000000000000001", "5e-324"), ("8000000000000001", "-5e-324"),
    ("7fefffffffffffff", "1.7976931348623157e+308"), ("4340000000000000", "9007199254740992"), ("4430000000000000", "295147905179352830000"),
    ("44b52d02c7e14af5", "9.999999999999997e+22"), ("44b52d02c7e14af6", "1e+23"), ("44b52d02c7e14af7", "1.0000000000000001e+23"),
    ("444b1ae4d6e2ef4e", "999999999999999700000"), ("444b1ae4d6e2ef4f", "999999999999999900000"), ("444b1ae4d6e2ef50", "1e+21"),
    ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"), ("3eb0c6f7a0b5ed8d", "0.000001"), ("41b3de4355555553", "333333333.3333332"),
    ("becbf647612f3696", "-0.0000033333333333333333"), ("43143ff3c1cb0959", "1424953923781206.2"),
]  # fmt: skip


@pytest.mark.parametrize(("bits", "text"), NUMBERS)
def test_numbers_are_written_as_ecmascript_does(bits: str, text: str) -> None:
    assert number(struct.unpack(">d", bytes.fromhex(bits))[0]) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_as_itself(value: float) -> None:
    assert float(number(value)) == value


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_json_cannot_say_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        number(value)


def test_members_are_sorted_by_utf_16_units_and_texts_escaped_no_more_than_needed() -> None:
    text = r'{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}'
    assert encode(decode_value(text.encode())) == '{"\\r":2,"1":4,"\x80":6,"ö":7,"€":1,"😀":5,"\ufb33":3}'
    assert encode('€$\x0f\nA\'B"\\\\"/') == '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("[ 1e2, 100.0, 100, -0.0, 1E-7 ]", "[100,100,100,0,1e-7]"),
        ("[9007199254740993, 9007199254740992]", "[9007199254740993,9007199254740992]"),
        ("[true, false, null, {}, []]", "[true,false,null,{},[]]"),
        ('{"b":{"d":1,"c":2},"a":[3]}', '{"a":[3],"b":{"c":2,"d":1}}'),
    ],
)
def test_one_spelling(text: str, canonical: str) -> None:
    assert encode(decode_value(text.encode())) == canonical


def test_what_is_no_json_is_an_error() -> None:
    with pytest.raises(TypeError):
        encode((1, 2))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(values)
def test_it_says_the_same_as_the_value(value: object) -> None:
    assert json.loads(encode(value)) == value
