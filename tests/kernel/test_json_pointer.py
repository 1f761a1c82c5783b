"""Pointers lead where RFC 6901 says, and nowhere else."""

import pytest

from faregate.kernel.json_pointer import ABSENT, find, parse
from faregate.kernel.strict_json import JsonValue

# RFC 6901 section 5
DOCUMENT: JsonValue = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "e^f": 3,
    'k"l': 6,
    " ": 7,
    "m~n": 8,
    "~1": 9,
}


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", DOCUMENT), ("/foo", ["bar", "baz"]), ("/foo/0", "bar"), ("/", 0), ("/a~1b", 1), ("/c%d", 2), ("/e^f", 3), ('/k"l', 6),
        ("/ ", 7), ("/m~0n", 8), ("/~01", 9),
        ("/foo/2", ABSENT), ("/foo/-", ABSENT), ("/foo/01", ABSENT), ("/foo/-1", ABSENT), ("/foo/\u0660", ABSENT), ("/foo/0/x", ABSENT), ("/bar", ABSENT),
        ("/foo/99999999999999999999", ABSENT), ("//", ABSENT),
    ],
)  # fmt: skip
def test_it_leads_to_its_value(pointer: str, value: object) -> None:
    found = find(DOCUMENT, pointer)
    assert found is value if value is ABSENT else found == value


@pytest.mark.parametrize("text", ["foo", "/~", "/~2", "/a~", "#/foo"])
def test_other_texts_are_no_pointers(text: str) -> None:
    with pytest.raises(ValueError, match="not a JSON pointer"):
        parse(text)
