"""Text that is not YAML: what is wrong, where it began, how to mend it, and nothing from the file."""

import pytest
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from faregate.model.yaml_text import YamlText

KEY = "neither a key with a value nor an entry of a list"
MISSING = "a comma is missing before this, or the `{} is not closed"
INDENT = "the same number of spaces as the lines it belongs to"
QUOTES = "quotes around the whole value"

CASES: list[tuple[str, int, int, str, str]] = [
    ("a:\n\tb: 1\n", 2, 1, "a tab in the indentation", "expand -t 2"),
    ("a:\n  b:\n  \tc: 1\n", 3, 3, "a tab in the indentation", "spaces"),
    ("a: text\n\tb: 1\n", 2, 1, "a tab in the indentation", "spaces"),
    ("a: |\n\ttext\n", 2, 1, "a tab in the indentation", "spaces"),
    ("a:\r\n  -\tb: 1\r\n", 2, 4, "a tab between a key or dash and its value", "a space"),
    ("a: [1, 2\nb: 3\n", 1, 4, "the bracket `[` that opens here is never closed", "`]` where the value ends"),
    ("a: [1, 2", 1, 4, "the bracket `[` that opens here is never closed", "`]` where"),
    ("a: {x: [1], y: 2\nb: 3\n", 1, 4, "the bracket `{` that opens here is never closed", "`}` where"),
    ("a: {x: 1,\nb: 3\nc: 4\n", 1, 4, "the bracket `{` that opens here is never closed", "`}` where"),
    ("a:\n  - {x: [1, 2\n  - y\n", 2, 9, "the bracket `[` that opens here is never closed", "`]` where"),
    ("a: {x: [1, 2}\nb: 3\n", 1, 13, "`}` where the `[` of line 1, column 8 is still open", "`]` first"),
    ("a: [}\n", 1, 5, "`}` where the `[` of line 1, column 4 is still open", "`]` first"),
    ("a: {b: 1}}\n", 1, 10, "`}` closes a bracket that was never opened", "no bracket"),
    ("a: ]\n", 1, 4, "`]` closes a bracket that was never opened", "no bracket"),
    ("a: {x: 1 y: 2}\n", 1, 11, MISSING.format("{` of line 1, column 4"), "a comma between two entries"),
    ("a: [\n  'x'\n  'y']\n", 3, 3, MISSING.format("[` of line 1, column 4"), "a comma between two entries"),
    ("a: [{match: GET /b/{id}}]\n", 1, 20, "`{` within a value between brackets", QUOTES),
    ("a: ['x'\n  ['y']]\n", 2, 3, MISSING.format("[` of line 1, column 4"), "a comma between two entries"),
    ("a: [{b: 1} {b: 2}]\n", 1, 12, MISSING.format("[` of line 1, column 4"), "a comma between two entries"),
    ("a: [1,,2]\n", 1, 7, "a comma with nothing before it", "one comma"),
    ('a: "text\nb: 3\nc: 4\n', 1, 4, 'the quote " that opens here is never closed', "a closing quote"),
    ("a: 'text\nb: 3\n", 1, 4, "the quote ' that opens here is never closed", "a closing quote"),
    ("'a: 1\nb: 2\n", 1, 1, "the quote ' that opens here is never closed", "a closing quote"),
    ('a: "text\nb: "3"\nc: 4\n', 1, 4, "the quote that opens here was closed only in line 2", "where the value ends"),
    ('a: "text" more\n', 1, 11, "text after the closing quote", QUOTES),
    ('a: "\\q"\n', 1, 6, "a backslash before a character that makes no escape", "single quotes"),
    ("match: {id}/x\nb: 1\n", 1, 12, "text after a value that ended with `}`", QUOTES),
    ("a: 1\ntext\nb: 2\n", 2, 1, KEY, "`key: value`"),
    ("# about\ntext\n\nb: 2\n", 2, 1, KEY, "`key: value`"),
    ("a:1\nb: 2\n", 1, 1, KEY, "a space after the colon"),
    ("a:\n  b: 1\n c: 2\n", 3, 2, "indented like no line that it could belong to", INDENT),
    ("a:\n  b: 1\n    c: 2\n", 3, 5, "indented deeper than the line above, which has its value already", INDENT),
    ("a: b: c\n", 1, 5, "a second colon in one line", QUOTES),
    ("a: 1\n- b\n", 2, 1, "an entry of a list where a key should stand", "no dash"),
    ("a:\n  - b\n  c: 1\n", 3, 3, "a key where an entry of a list should stand", "a dash"),
    ("a: - b\n", 1, 4, "a list that begins in the line of its key", "below the key"),
    ("a: @b\n", 1, 4, "a value cannot begin with `@` without quotes", QUOTES),
    ("a: `b`\n", 1, 4, "a value cannot begin with a backtick without quotes", QUOTES),
    ("a: *\n", 1, 5, "a value cannot begin with `*` or `&` without quotes", QUOTES),
    ("a: *.yaml\n", 1, 4, "an alias without an anchor before it", "quotes"),
    ("a: !b c\n", 1, 4, "a tag", "quotes"),
    ("a: |b\n  c\n", 1, 5, "text in the line of a `|` or `>`", "the lines below"),
    ("&a &b c\n", 1, 4, "text beside the one mapping that a configuration is", "one mapping"),
    ("%YAML 3.0\n---\na: 1\n", 1, 1, "a `%YAML` line for another version of YAML", "no such line"),
    ("a: b\x07\n", 1, 5, "a character that YAML does not allow", "text that can be printed"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "column", "message", "expected"), CASES)
def test_a_fault_is_said_where_it_began_with_what_mends_it(
    text: str, line: int, column: int, message: str, expected: str
) -> None:
    (error,) = YamlText(text).errors
    assert (error.line, error.column, error.code, error.message) == (line, column, "bad_yaml", message)
    assert expected in error.expected


PIECES = ["\t", "  ", "\n", "hunter2", ": ", "- ", "[", "]", "{", "}", ",", '"', "'", "\\", "*", "&", "!", "%", "@", "|", "?", "#"]  # fmt: skip


def test_no_fault_quotes_the_file_or_is_without_words() -> None:
    failed = 0
    for first in PIECES:
        for second in PIECES:
            for third in PIECES[::4]:
                text = f"a: 1\nhunter2{first}{second}{third}hunter2\nb: 2\n"
                for error in YamlText(text).errors:
                    failed += 1
                    assert error.message, text
                    assert "hunter2" not in error.message + error.expected, text
                    assert 1 <= error.line <= text.count("\n") + 1, text
                    assert error.column >= 1, text
    assert failed > 1000


def test_what_the_parser_refuses_is_refused_and_nothing_else() -> None:
    for text, *_ in CASES:
        try:
            list(YAML(typ="safe", pure=True).parse(text))
        except YAMLError:
            continue
        assert YamlText(text).errors[0].message in {"an alias without an anchor before it", "a tag"}, text
