"""YAML is read as people mean it, with positions, and within bounds."""

import pytest

from faregate.model.yaml_text import ALIAS_VALUES_MAX, DEPTH_MAX, YamlText


def read(text: str) -> object:
    yaml = YamlText(text)
    assert yaml.errors == []
    return yaml.value


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("NO", "NO"), ("no", "no"), ("off", "off"), ("on", "on"), ("yes", "yes"), ("True", "True"),
        ("010", "010"), ("0742", "0742"), ("036", "036"), ("00", "00"), ("+1", "+1"), ("0x1F", "0x1F"), ("0o17", "0o17"),
        ("12:30:45", "12:30:45"), ("1_000", "1_000"), ("2026-10-01", "2026-10-01"), ("2026-10-01T00:00:00Z", "2026-10-01T00:00:00Z"),
        ("1e3", "1e3"), ("12e5", "12e5"), (".5", ".5"), ("1.", "1."), (".inf", ".inf"), (".nan", ".nan"), ("01.5", "01.5"),
        ("true", True), ("false", False), ("null", None), ("~", None), ("", None),
        ("0", 0), ("-7", -7), ("1000000", 1000000), ("1.5", 1.5), ("-0.25", -0.25),
        ("'true'", "true"), ('"10"', "10"), ("'~'", "~"), ("9999999999999999999", "9999999999999999999"),
        ("=", "="), ("<<", "<<"),
    ],
)  # fmt: skip
def test_a_plain_scalar_has_a_type_only_when_it_is_unmistakable(written: str, value: object) -> None:
    got = read(f"key: {written}\n")
    assert got == {"key": value}
    assert type(got["key"]) is type(value)


def test_every_key_is_text_as_written() -> None:
    assert read("1: a\n010: b\ntrue: c\nnull: d\n2026-10-01: e\n") == {
        "1": "a",
        "010": "b",
        "true": "c",
        "null": "d",
        "2026-10-01": "e",
    }


def test_merge_keys_have_no_meaning() -> None:
    assert read("a: &a {x: 1}\nb:\n  <<: *a\n") == {"a": {"x": 1}, "b": {"<<": {"x": 1}}}


def test_places_count_from_one_and_are_kept_for_keys_and_values() -> None:
    yaml = YamlText("a:\n  - x\n  - {k: v, other:   w}\n")
    assert yaml.place.children is not None
    sequence = yaml.place.children["a"]
    assert (sequence.key_line, sequence.key_column, sequence.line, sequence.column) == (1, 1, 2, 3)
    member = sequence.children[1].children["other"]
    assert (member.key_line, member.key_column, member.line, member.column) == (3, 12, 3, 21)


def test_an_alias_is_a_copy() -> None:
    value = read("a: &x [1]\nb: *x\n")
    value["a"].append(2)
    assert value["b"] == [1]


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [*{old},*{old},*{old},*{old},*{old},*{old},*{old},*{old},*{old}]\n"
    for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ("a: 1\nb: 2\na: 3\n", "duplicate_key", 3, 1),
        ("{a: 1, b: {c: 1, c: 2}}", "duplicate_key", 1, 18),
        ("a: [1\nb: 2\n", "bad_yaml", 1, 4),
        ("a: 1\n\tb: 2\n", "bad_yaml", 2, 1),
        ("a: 1\n--- \nb: 2\n", "bad_yaml", 2, 1),
        ("a: !!python/object:os.system {}\n", "bad_yaml", 1, 4),
        ("a: !secret x\n", "bad_yaml", 1, 4),
        ("a: !!str 1\n", "bad_yaml", 1, 4),
        ("a: *b\n", "bad_yaml", 1, 4),
        ("a: &a [*a]\n", "bad_yaml", 1, 8),
        ("? [1, 2]\n: x\n", "bad_yaml", 1, 3),
        ("a: b\x07c\n", "bad_yaml", 1, 5),
        ("[" * (DEPTH_MAX + 2) + "]" * (DEPTH_MAX + 2), "too_large", 1, DEPTH_MAX + 2),
        (BOMB, "too_large", 6, 8),
    ],
)
def test_what_is_refused_is_said_with_its_place(text: str, code: str, line: int, column: int) -> None:
    errors = YamlText(text).errors
    assert [(error.code, error.line, error.column) for error in errors] == [(code, line, column)]


def test_several_duplicate_keys_are_all_reported() -> None:
    errors = YamlText("a: 1\na: 2\nb: {c: 1, c: 2}\n").errors
    assert [(error.code, error.line) for error in errors] == [("duplicate_key", 2), ("duplicate_key", 3)]


def test_aliases_within_the_bound_are_taken() -> None:
    items = ALIAS_VALUES_MAX // 100 - 1
    yaml = YamlText("a: &a [" + "1," * items + "]\nb: [" + "*a," * 100 + "]\n")
    assert yaml.errors == []


def test_messages_repeat_nothing_from_the_file() -> None:
    for text in (
        "a: 'hunter2\n",
        "a: [hunter2\n",
        "a: *hunter2\n",
        "a: !hunter2 b\n",
        "a: b: hunter2\n",
        "%hunter2 x\n---\na\n",
    ):
        for error in YamlText(text).errors:
            assert "hunter2" not in error.message, text


def test_continuation_lines_of_a_secret_are_never_to_be_shown() -> None:
    yaml = YamlText('secret: "abc\n  def\n  ghi"\nother: |\n  text\ntoken: >\n  jkl\nlast: x\n')
    assert {2, 3, 7} <= yaml.hidden_lines
    assert not {1, 4, 5, 8} & (yaml.hidden_lines - {8})
