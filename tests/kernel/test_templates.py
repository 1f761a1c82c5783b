"""Names in a text are filled in once; braces that name nothing stay."""

import pytest

from faregate.kernel.templates import filled, names_in


@pytest.mark.parametrize(
    ("template", "names", "text"),
    [
        ("/a/{id}?k={key}", {"id", "key"}, "/a/<id>?k=<key>"),
        ('{"a": "{key}"}', {"key"}, '{"a": "<key>"}'),
        ("{}{ x}{1}{a-b}{a", set(), "{}{ x}{1}{a-b}{a"),
        ("{{key}}", {"key"}, "{<key>}"),
    ],
)
def test_names_are_found_and_filled(template: str, names: set[str], text: str) -> None:
    assert names_in(template) == names
    assert filled(template, lambda name: f"<{name}>") == text


def test_what_is_filled_in_is_not_searched_again() -> None:
    assert filled("{a}{b}", {"a": "{b}", "b": "{a}"}.__getitem__) == "{b}{a}"
