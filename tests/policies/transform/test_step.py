"""Bodies and headers are carried from one form to another: exactly, by what is declared and nothing else."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.policies.transform.step import Carried, changed_body, changed_lines, is_json
from faregate.snapshot.data import Route
from faregate.snapshot.versions import Operation

RENAME = Operation("rename", ("amount",), name="total")
ITEMS = Operation("rename", ("data", "*", "amount"), name="total")


@pytest.mark.parametrize(
    ("operation", "before", "after"),
    [
        (RENAME, b'{"a":1,"amount":10.10,"b":2}', b'{"a":1,"total":10.10,"b":2}'),
        (RENAME, b'{"amount":1E+400}', b'{"total":1E+400}'),
        (RENAME, b'{"amount":123456789012345678901234567890}', b'{"total":123456789012345678901234567890}'),
        (RENAME, b'{"amount":-0.0, "s":"\\u00e9\\n"}', '{"total":-0.0,"s":"é\\n"}'.encode()),
        (ITEMS, b'{"data":[{"amount":1},{},{"amount":2}]}', b'{"data":[{"total":1},{},{"total":2}]}'),
        (Operation("rename", ("*", "a"), name="b"), b'[{"a":1}]', b'[{"b":1}]'),
        (Operation("rename", ("1", "a"), name="b"), b'[{"a":1},{"a":2}]', b'[{"a":1},{"b":2}]'),
        (Operation("move", ("a", "b"), ("c", "d")), b'{"a":{"b":1.0}}', b'{"a":{},"c":{"d":1.0}}'),
        (Operation("move", ("a", "b"), ("b",)), b'{"a":{"b":1}}', b'{"a":{},"b":1}'),
        (Operation("move", ("a",), ("b", "c", "d")), b'{"a":1,"b":{}}', b'{"b":{"c":{"d":1}}}'),
        (
            Operation("move", ("l", "*", "x"), ("l", "*", "m", "x")),
            b'{"l":[{"x":1},{"x":2}]}',
            b'{"l":[{"m":{"x":1}},{"m":{"x":2}}]}',
        ),
        (Operation("remove", ("a", "b")), b'{"a":{"b":1,"c":2}}', b'{"a":{"c":2}}'),
        (Operation("set_default", ("a", "b"), value=b'{"c":[1]}'), b'{"a":{}}', b'{"a":{"b":{"c":[1]}}}'),
        (Operation("wrap", ("a",), name="value"), b'{"a":1.50}', b'{"a":{"value":1.50}}'),
        (Operation("unwrap", ("a",), name="value"), b'{"a":{"value":1.50,"c":1}}', b'{"a":1.50}'),
    ],
)
def test_an_operation_does_what_its_name_says(operation: Operation, before: bytes, after: bytes) -> None:
    assert changed_body(before, [operation]) == after


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        (RENAME, b'{ "other" : 1 }'),
        (RENAME, b'{ "amount" : 1, "total" : 2 }'),
        (RENAME, b' "text" '),
        (ITEMS, b'{ "data" : { "amount" : 1 } }'),
        (Operation("rename", ("9" * 30, "a"), name="b"), b'[ {"a" : 1} ]'),
        (Operation("move", ("a",), ("b", "c")), b'{ "a" : 1, "b" : 2 }'),
        (Operation("move", ("a",), ("b", "c")), b'{ "a" : 1, "b" : { "c" : null } }'),
        (Operation("remove", ("a", "b")), b'{ "a" : [1] }'),
        (Operation("set_default", ("a",), value=b"1"), b'{ "a" : null }'),
        (Operation("set_default", ("a", "b"), value=b"1"), b"{ }"),
        (Operation("wrap", ("a",), name="b"), b"{ }"),
        (Operation("unwrap", ("a",), name="b"), b'{ "a" : { "c" : 1 } }'),
        (Operation("unwrap", ("a",), name="b"), b'{ "a" : 1 }'),
    ],
)
def test_where_it_does_not_apply_not_a_byte_changes(operation: Operation, body: bytes) -> None:
    assert changed_body(body, [operation]) is body


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b'{"a":1,"a":1}', b'{"x":{"a":1,"a":1}}', b'{"a":NaN}', b'{"a":Infinity}', b"\xff", b"{} {}", b"\xef\xbb\xbf{}",
        b'{"amount":"\\ud800"}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_not_one_json_value_is_an_error(body: bytes) -> None:
    with pytest.raises(ValueError):
        changed_body(body, [RENAME])


def test_a_body_may_not_grow_without_bound() -> None:
    body = b"[" + b"{}," * 300_000 + b"{}]"
    with pytest.raises(ValueError, match="too long"):
        changed_body(body, [Operation("set_default", ("*", "member"), value=b'"0123456789"')])


def test_operations_follow_each_other() -> None:
    operations = [RENAME, Operation("wrap", ("total",), name="value"), Operation("remove", ("amount",))]
    assert changed_body(b'{"amount":5}', operations) == b'{"total":{"value":5}}'


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('abé"/~*', max_size=3), inner, max_size=4)
    ),
    max_leaves=20,
)


def _written(value: object) -> str:
    if isinstance(value, dict):
        return (
            "{" + ",".join(f"{json.dumps(name)}:{_written(member)}" for name, member in value.items()) + "}"
        )
    if isinstance(value, list):
        return "[" + ",".join(map(_written, value)) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value)


@given(_values, st.decimals(allow_nan=False, allow_infinity=False))
def test_there_and_back_is_the_same_value_to_the_last_digit(rest: object, amount: Decimal) -> None:
    body = _written({"rest": rest, "amount": amount}).encode()
    there = changed_body(body, [RENAME, Operation("wrap", ("total",), name="value")])
    assert json.loads(there, parse_float=str)["total"]["value"] in (
        str(amount),
        *([int(amount)] if amount == amount.to_integral() else []),
    )
    back = [Operation("unwrap", ("total",), name="value"), Operation("rename", ("total",), name="amount")]
    assert json.loads(changed_body(there, back), parse_float=str) == json.loads(body, parse_float=str)


LINES = [b"X-Old: 1\r\n", b"Accept: */*\r\n", b"x-old: 2\r\n"]


@pytest.mark.parametrize(
    ("operation", "after"),
    [
        (
            Operation("rename_header", ("X-Old",), name="X-New"),
            [b"X-New: 1\r\n", b"Accept: */*\r\n", b"X-New: 2\r\n"],
        ),
        (Operation("remove_header", name="X-OLD"), [b"Accept: */*\r\n"]),
        (Operation("set_default_header", name="X-More", value=b"a b"), [*LINES, b"X-More: a b\r\n"]),
    ],
)
def test_headers_are_changed_by_name(operation: Operation, after: list[bytes]) -> None:
    assert changed_lines(LINES, [operation]) == after


@pytest.mark.parametrize(
    "operation",
    [
        Operation("rename_header", ("X-None",), name="X-New"),
        Operation("rename_header", ("X-Old",), name="accept"),
        Operation("remove_header", name="X-None"),
        Operation("set_default_header", name="ACCEPT", value=b"text/plain"),
    ],
)
def test_headers_that_are_not_concerned_are_the_same_list(operation: Operation) -> None:
    assert changed_lines(LINES, [operation]) is LINES


@pytest.mark.parametrize(
    ("old", "new", "target", "sent"),
    [
        (b"/v2", b"/v3", b"/v2/payments?x=/v2/", b"/v3/payments?x=/v2/"),
        (b"/v2", b"/v3", b"/%76%32/payments", b"/%76%32/payments"),
        (b"/v2", b"/", b"/v2/payments", b"/payments"),
        (b"/v2", b"/", b"/v2", b"/"),
        (b"/v2", b"/", b"/v2?x", b"/?x"),
        (b"/", b"/v3", b"/payments", b"/v3/payments"),
        (b"/v2", b"/v2", b"/v2/payments", b"/v2/payments"),
    ],
)
def test_a_target_gets_the_path_of_the_version_that_runs(
    old: bytes, new: bytes, target: bytes, sent: bytes
) -> None:
    carried = Carried(Route("a", 0, "GET", "/x", "GET /x", "u"))
    assert carried.moved(old, new).target(target) == sent
    assert carried.target(target) == target


@pytest.mark.parametrize(
    ("content_type", "is_changed"),
    [
        (b"application/json", True), (b"Application/JSON ; charset=utf-8", True), (b"application/problem+json", False),
        (b"text/json", False), (b"", False),
    ],
)  # fmt: skip
def test_only_json_is_changed(content_type: bytes, *, is_changed: bool) -> None:
    assert is_json(content_type) is is_changed
