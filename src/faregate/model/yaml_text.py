"""YAML 1.2 text to plain values, keeping where each key and value stands.

ruamel's parser gives the events; the values are built here, because its own resolver reads ``010`` as a
number and ``2026-10-01`` as a date, which a payment configuration must not (SPEC section 2). Only ``true``,
``false``, ``null``, ``~``, plain decimal integers without a leading zero and plain decimal fractions have a
type; everything else, and every key, is text. Tags, several documents and recursive aliases are refused;
aliases are copies, and their total is bounded.
"""

import re
from copy import deepcopy
from typing import TYPE_CHECKING, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ruamel.yaml.error import StreamMark

    from faregate.model.diagnostics import Value

DEPTH_MAX: Final = 32
"""Levels of nesting; the deepest declared form needs 9."""

ALIAS_VALUES_MAX: Final = 100_000
"""Values that all aliases of one file together may expand to: far beyond use, far below harm."""

_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_FRACTION: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,17}")
_WORDS: "Final[dict[str, Value]]" = {"true": True, "false": False, "null": None, "~": None, "": None}
_SECRET_KEY: Final = re.compile(r"secret|passw|token|private|key|sha256", re.IGNORECASE)


class Place:
    """Where one value stands, lines and columns from 1. ``children`` by key or index."""

    __slots__ = ("children", "column", "key_column", "key_line", "line")

    def __init__(self, line: int, column: int) -> None:
        self.line = line
        self.column = column
        self.key_line = 0
        self.key_column = 0
        self.children: dict[str | int, Place] | None = None


class TextError(Exception):
    """Text that cannot be read: ``code`` of the diagnostics table, position from 1, a message and what was
    expected, both without the text itself.
    """

    def __init__(self, code: str, line: int, column: int, message: str, expected: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.line = line
        self.column = column
        self.message = message
        self.expected = expected


class YamlText:
    """Reads one document: ``value`` and ``place`` when it went well, ``errors`` in any case.

    ``hidden_lines``: continuation lines of multi-line values under keys that may hold a secret; never print
    them.
    """

    def __init__(self, text: str) -> None:
        self.value: Value = None
        self.place = Place(1, 1)
        self.errors: list[TextError] = []
        self.hidden_lines: set[int] = set()
        self._anchors: dict[str, tuple[Value, Place, int] | None] = {}
        self._values = 0
        self._alias_values = 0
        reader = YAML(typ="safe", pure=True)
        try:
            self._events: Iterator[object] = iter(reader.parse(text))
            self._document()
        except TextError as error:
            self.errors.append(error)
        except YAMLError as error:
            from faregate.model.yaml_faults import explain  # noqa: PLC0415 - most files are well-formed

            self.errors.append(TextError("bad_yaml", *explain(text, error)))

    def _document(self) -> None:
        documents = 0
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _error("bad_yaml", event.start_mark, "a second document; one file holds one")
            elif isinstance(event, NodeEvent):
                self.value, self.place = self._node(event, 0)

    def _node(self, event: NodeEvent, depth: int) -> "tuple[Value, Place]":
        mark = event.start_mark
        if isinstance(event, AliasEvent):
            return self._alias(event)
        if getattr(event, "tag", None) is not None:
            raise _error("bad_yaml", mark, "a tag", "the plain value; quotes if it begins with `!`")
        if depth > DEPTH_MAX:
            raise _error("too_large", mark, f"more than {DEPTH_MAX} levels of nesting")
        place = Place(mark.line + 1, mark.column + 1)
        anchor = event.anchor
        if anchor is not None:
            self._anchors[anchor] = None  # open: an alias inside would be recursive
        before = self._values
        self._values += 1
        value: Value
        if isinstance(event, ScalarEvent):
            value = event.value if event.style else _plain(event.value)
        elif isinstance(event, MappingStartEvent):
            value = self._mapping(place, depth)
        else:
            assert isinstance(event, SequenceStartEvent)
            value = self._sequence(place, depth)
        if anchor is not None:
            self._anchors[anchor] = (value, place, self._values - before)
        return value, place

    def _mapping(self, place: Place, depth: int) -> "dict[str, Value]":
        value: dict[str, Value] = {}
        children: dict[str | int, Place] = {}
        for event in self._events:
            if isinstance(event, MappingEndEvent):
                break
            if not isinstance(event, ScalarEvent):
                raise _error("bad_yaml", event.start_mark, "a key that is not plain text")  # type: ignore[attr-defined]
            key, mark = event.value, event.start_mark
            following = next(self._events)
            assert isinstance(following, NodeEvent)
            child_value, child = self._node(following, depth + 1)
            if following.end_mark.line > following.start_mark.line and _SECRET_KEY.search(key):
                self.hidden_lines.update(range(following.start_mark.line + 2, following.end_mark.line + 2))
            if key in value:
                first = children[key]
                self.errors.append(
                    _error("duplicate_key", mark, f"`{key}` is already written in line {first.key_line}")
                )
                continue
            child = _keyed(child, mark)
            value[key], children[key] = child_value, child
        place.children = children
        return value

    def _sequence(self, place: Place, depth: int) -> "list[Value]":
        value: list[Value] = []
        children: dict[str | int, Place] = {}
        for event in self._events:
            if isinstance(event, SequenceEndEvent):
                break
            assert isinstance(event, NodeEvent)
            item, children[len(value)] = self._node(event, depth + 1)
            value.append(item)
        place.children = children
        return value

    def _alias(self, event: AliasEvent) -> "tuple[Value, Place]":
        known = self._anchors.get(event.anchor)
        if known is None:
            message = "an alias without an anchor before it"
            raise _error("bad_yaml", event.start_mark, message, "quotes around a value that begins with `*`")
        value, place, values = known
        self._alias_values += values
        self._values += values
        if self._alias_values > ALIAS_VALUES_MAX:
            raise _error(
                "too_large", event.start_mark, f"aliases that expand to more than {ALIAS_VALUES_MAX} values"
            )
        return deepcopy(value), place


def _keyed(place: Place, mark: "StreamMark") -> Place:
    if place.key_line:  # an alias to a value that had a key of its own
        children = place.children
        place = Place(place.line, place.column)
        place.children = children
    place.key_line, place.key_column = mark.line + 1, mark.column + 1
    return place


def _plain(text: str) -> "Value":
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FRACTION.fullmatch(text):
        return float(text)
    return text


def _error(code: str, mark: "StreamMark", message: str, expected: str = "") -> TextError:
    return TextError(code, mark.line + 1, mark.column + 1, message, expected)
