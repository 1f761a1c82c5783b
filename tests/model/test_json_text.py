"""JSON is read strictly, and positions are found when they are asked for."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faregate.model.json_text import locate, read_json
from faregate.model.yaml_text import Place, TextError, YamlText

KEYS = st.text('abcxyz "\\é{}[]:,', min_size=0, max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-999, 999) | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


def paths(value: object, path: tuple = ()) -> list[tuple]:
    found = [path]
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for step, member in members:
        found += paths(member, (*path, step))
    return found


def place_at(root: Place, path: tuple) -> Place:
    for step in path:
        root = root.children[step]
    return root


@given(VALUES, st.sampled_from([None, 1, 3]))
def test_every_value_is_located_where_it_stands(value: object, indent: int | None) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    assert read_json(text) == value
    wanted = paths(value)
    root = locate(text, wanted)
    lines = text.split("\n")
    for path in wanted:
        place = place_at(root, path)
        rest = "\n".join([lines[place.line - 1][place.column - 1 :], *lines[place.line :]])
        here = value
        for step in path:
            here = here[step]
        assert json.JSONDecoder().raw_decode(rest)[0] == here
        if path and isinstance(path[-1], str):
            rest = "\n".join([lines[place.key_line - 1][place.key_column - 1 :], *lines[place.key_line :]])
            assert json.JSONDecoder().raw_decode(rest)[0] == path[-1]


def test_json_and_yaml_agree_on_places() -> None:
    text = '{"a": {"b": [1, {"c": "d"}]},\n "e": [\n  true, null]}'
    yaml = YamlText(text)
    assert read_json(text) == yaml.value
    root = locate(text, paths(yaml.value))
    for path in paths(yaml.value):
        ours, theirs = place_at(root, path), place_at(yaml.place, path)
        assert (ours.line, ours.column, ours.key_line, ours.key_column) == (
            theirs.line,
            theirs.column,
            theirs.key_line,
            theirs.key_column,
        )


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ('{"a": 1, "a": 2}', "duplicate_key", 1, 10),
        ('{"x": [{"k": "a\\"b", "z": {}},\n {"k": 1, "y": "k",  "k": 2}]}', "duplicate_key", 2, 22),
        ('{"a": 1, "\\u0061": 2}', "duplicate_key", 1, 10),
        ('{"a": NaN}', "bad_yaml", 1, 1),
        ('{"a": -Infinity}', "bad_yaml", 1, 1),
        ('{"a": 1\n "b"}', "bad_yaml", 2, 2),
        ("{'a': 1}", "bad_yaml", 1, 2),
        ('{"a": 1} x', "bad_yaml", 1, 10),
        ("", "bad_yaml", 1, 1),
        ("[" * 40 + "]" * 40, "too_large", 1, 1),
        ("[" * 100_000, "too_large", 1, 1),
        ('{"a": ' + "9" * 5000 + "}", "bad_yaml", 1, 1),
    ],
)
def test_what_is_refused_is_said_with_its_place(text: str, code: str, line: int, column: int) -> None:
    with pytest.raises(TextError) as caught:
        read_json(text)
    assert (caught.value.code, caught.value.line, caught.value.column) == (code, line, column)


PAIRS = st.recursive(
    st.integers(0, 9).map(str) | st.sampled_from(['"a"', '":"', '"\\":"', '"x: y"', "null"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda members: f"[{','.join(members)}]")
        | st.lists(
            st.tuples(
                st.sampled_from(["a", "b", ":", '\\"', "\\u0061"]), st.sampled_from(["", " ", "\n"]), inner
            ),
            max_size=3,
        ).map(lambda pairs: "{" + ",".join(f'"{key}"{blank}:{value}' for key, blank, value in pairs) + "}")
    ),
    max_leaves=10,
)


def one_of_two_equal_keys(text: str) -> bool:
    found = []

    def look(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found.append(len(dict(pairs)) != len(pairs))
        return dict(pairs)

    json.loads(text, object_pairs_hook=look)
    return any(found)


@given(PAIRS)
def test_however_keys_are_written_two_equal_ones_are_refused(text: str) -> None:
    if one_of_two_equal_keys(text):
        with pytest.raises(TextError) as refused:
            read_json(text)
        assert refused.value.code == "duplicate_key"
    else:
        assert read_json(text) == json.loads(text)


ODD = (
    "-0",
    "-0.0",
    "1E5",
    "1e400",
    "1e-400",
    "9007199254740993.0",
    str(1 << 64),
    "-" + "9" * 40,
    '"\\ud800"',
)
NOT_JSON = (
    "01",
    "1.",
    "-",
    "[1,]",
    "[1]x",
    "{1:2}",
    '"\t"',
    '"\\x"',
    "NaN",
    "-Infinity",
    "\u00a01",
    "",
    "9" * 5000,
)


@pytest.mark.parametrize("text", ODD)
def test_odd_values_are_what_the_standard_library_reads(text: str) -> None:
    assert repr(read_json(text)) == repr(json.loads(text))


@pytest.mark.parametrize("text", NOT_JSON)
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(TextError):
        read_json(text)
