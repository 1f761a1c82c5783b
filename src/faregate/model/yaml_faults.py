"""What is wrong with text that is not YAML, in our words: what it is, where it began, and how to mend it.

A parser notices a fault where it can go no further, which for a bracket or a quote left open is often lines
below the mistake, and says so in its own terms. Here its complaint becomes the one that a person needs. This
runs only when reading has failed, so it may scan the text again. Messages name lines, columns and
punctuation, and quote nothing from the file, which may hold secrets.
"""

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.tokens import (
    FlowMappingEndToken,
    FlowMappingStartToken,
    FlowSequenceEndToken,
    FlowSequenceStartToken,
    ScalarToken,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ruamel.yaml.error import StreamMark

_KEY_VALUE: Final = "`key: value`, with a space after the colon"
_QUOTED: Final = "quotes around the whole value"
_SAME_INDENT: Final = "the same number of spaces as the lines it belongs to"
_BREAKS: Final = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""Where lines end for ruamel, which counts them."""


class Fault(NamedTuple):
    """Line and column from 1; ``message`` what is wrong, ``expected`` what to write instead."""

    line: int
    column: int
    message: str
    expected: str = ""


class _Open(NamedTuple):
    """A bracket that was opened: ``[`` or ``{``, and where."""

    bracket: str
    line: int
    column: int

    @property
    def closing(self) -> str:
        return "]" if self.bracket == "[" else "}"


def explain(text: str, error: YAMLError) -> Fault:
    """The fault in ``text`` that made ruamel raise ``error``."""
    if not isinstance(error, MarkedYAMLError):
        index = int(getattr(error, "position", 0))
        line, column = text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)
        return Fault(line, column, "a character that YAML does not allow", "text that can be printed")
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return Fault(1, 1, "not well-formed YAML")
    return _Complaint(text, error, mark).explained()


class _Complaint:
    """One error of the parser beside the text it stopped in."""

    def __init__(self, text: str, error: MarkedYAMLError, mark: "StreamMark") -> None:
        self._text = text
        self._lines = _BREAKS.split(text)
        self._problem = error.problem or ""
        self._context = error.context or ""
        self._began = error.context_mark
        self._line, self._column = mark.line + 1, mark.column + 1
        self._found = _found(self._problem)

    def explained(self) -> Fault:  # noqa: PLR0911 - one for each kind of complaint
        problem = self._problem
        if problem.endswith("cannot start any token"):
            return self._bad_start()
        if "flow" in self._context or self._found in {"]", "}"}:
            return self._in_brackets()
        if "quoted scalar" in self._context:
            return self._in_quotes()
        if problem.startswith("mapping values"):
            return self._extra_colon()
        if problem.startswith("could not find expected ':'"):
            line, column = self._beginning()
            return Fault(line, column, "neither a key with a value nor an entry of a list", _KEY_VALUE)
        if problem.startswith("expected <block end>"):
            return self._in_block()
        return self._here(*_rest(problem, self._context))

    def _here(self, message: str, expected: str = "") -> Fault:
        return Fault(self._line, self._column, message, expected)

    def _beginning(self) -> tuple[int, int]:
        began = self._began
        return (self._line, self._column) if began is None else (began.line + 1, began.column + 1)

    def _bad_start(self) -> Fault:
        character = self._text_line(self._line)[self._column - 1 : self._column]
        if character == "\t":
            if self._text_line(self._line)[: self._column].strip():
                return self._here("a tab between a key or dash and its value", "a space")
            return self._here("a tab in the indentation", "spaces; `expand -t 2` turns all tabs into them")
        shown = "a backtick" if character == "`" else f"`{character}`"
        return self._here(f"a value cannot begin with {shown} without quotes", _QUOTED)

    def _in_brackets(self) -> Fault:
        opened = self._innermost_open()
        if opened is None:
            if self._found in {"]", "}"}:
                message = f"`{self._found}` closes a bracket that was never opened"
                return self._here(message, f"no bracket, or {_QUOTED}")
            return self._here("not well-formed between brackets")
        where = f"line {opened.line}, column {opened.column}"
        if self._found in {"]", "}"}:
            message = f"`{self._found}` where the `{opened.bracket}` of {where} is still open"
            return self._here(message, f"`{opened.closing}` first")
        if self._found == "<stream end>" or self._is_outside(opened):
            message = f"the bracket `{opened.bracket}` that opens here is never closed"
            return Fault(opened.line, opened.column, message, f"`{opened.closing}` where the value ends")
        return self._between_entries(opened, where)

    def _between_entries(self, opened: _Open, where: str) -> Fault:
        if self._found == ",":
            return self._here("a comma with nothing before it", "one comma between two entries")
        before = self._text_line(self._line)[: self._column - 1].rstrip()[-1:]
        if self._found in {"[", "{"} and before not in {"", ",", "]", "}", '"', "'"}:
            return self._here(f"`{self._found}` within a value between brackets", _QUOTED)
        message = f"a comma is missing before this, or the `{opened.bracket}` of {where} is not closed"
        return self._here(message, f"a comma between two entries, `{opened.closing}` after the last")

    def _is_outside(self, opened: _Open) -> bool:
        """Whether the line looks like one after the value: indented no deeper than where it opened."""
        return self._line > opened.line and _indent(self._text_line(self._line)) <= _indent(
            self._text_line(opened.line)
        )

    def _in_quotes(self) -> Fault:
        if "end of" in self._problem or "document separator" in self._problem:
            line, column = self._beginning()
            quote = self._text_line(line)[column - 1 : column]
            return Fault(
                line, column, f"the quote {quote} that opens here is never closed", "a closing quote"
            )
        return self._here(
            "a backslash before a character that makes no escape", "\\\\ for a backslash, or single quotes"
        )

    def _extra_colon(self) -> Fault:
        before = self._text_line(self._line)[: self._column - 1]
        if re.search(r":\s", before):
            return self._here(
                "a second colon in one line", f"{_QUOTED}, or the inner key in a line of its own"
            )
        above = self._line - 1
        while above and not _content(self._text_line(above)):
            above -= 1
        if not above:
            return self._here("a colon that follows no key", _KEY_VALUE)
        indent, indent_above = _indent(before), _indent(self._text_line(above))
        if indent > indent_above and re.search(r":\s", self._text_line(above)):
            message = "indented deeper than the line above, which has its value already"
            return Fault(self._line, indent + 1, message, _SAME_INDENT)
        message = "neither a key with a value nor an entry of a list"
        return Fault(above, indent_above + 1, message, _KEY_VALUE)

    def _in_block(self) -> Fault:
        if self._found == "<scalar>" or self._found in {"[", "{"}:
            return self._after_value()
        if self._found == "-":
            return self._here("an entry of a list where a key should stand", "its key above it, or no dash")
        if self._found == "?" and "collection" in self._context:
            return self._here(
                "a key where an entry of a list should stand", f"a dash before it, or {_SAME_INDENT}"
            )
        return self._here("indented like no line that it could belong to", _SAME_INDENT)

    def _after_value(self) -> Fault:
        before = self._text_line(self._line)[: self._column - 1].rstrip()[-1:]
        if before in {"]", "}"}:
            return self._here(f"text after a value that ended with `{before}`", _QUOTED)
        if before not in {'"', "'"}:
            return self._here("indented like no line that it could belong to", _SAME_INDENT)
        opened = self._last_scalar()
        if opened is not None and opened[0] < self._line:
            message = f"the quote that opens here was closed only in line {self._line}"
            return Fault(*opened, message, "the closing quote where the value ends")
        return self._here("text after the closing quote", _QUOTED)

    def _text_line(self, number: int) -> str:
        return self._lines[number - 1] if 0 < number <= len(self._lines) else ""

    # the text once more, as tokens

    def _tokens(self) -> "Iterator[object]":
        """The tokens that begin before the place of the error."""
        with suppress(YAMLError):  # the very error that is being explained
            for token in YAML(typ="safe", pure=True).scan(self._text):
                start = token.start_mark
                if (start.line + 1, start.column + 1) >= (self._line, self._column):
                    return
                yield token

    def _innermost_open(self) -> _Open | None:
        opened: list[_Open] = []
        for token in self._tokens():
            if isinstance(token, FlowSequenceStartToken | FlowMappingStartToken):
                bracket = "[" if isinstance(token, FlowSequenceStartToken) else "{"
                opened.append(_Open(bracket, token.start_mark.line + 1, token.start_mark.column + 1))
            elif isinstance(token, FlowSequenceEndToken | FlowMappingEndToken) and opened:
                opened.pop()
        return opened[-1] if opened else None

    def _last_scalar(self) -> tuple[int, int] | None:
        last = None
        for token in self._tokens():
            if isinstance(token, ScalarToken):
                last = token.start_mark.line + 1, token.start_mark.column + 1
        return last


def _rest(problem: str, context: str) -> tuple[str, str]:
    """What needs no look at the text."""
    if problem.startswith("sequence entries"):
        return "a list that begins in the line of its key", "each entry in a line of its own below the key"
    if "alias" in context or "anchor" in context:
        return "a value cannot begin with `*` or `&` without quotes", _QUOTED
    if "block scalar" in context:
        return "text in the line of a `|` or `>`", "the text in the lines below, indented deeper"
    if "<document start>" in problem:
        return "text beside the one mapping that a configuration is", "keys and values only, in one mapping"
    if problem.startswith("found incompatible"):
        return "a `%YAML` line for another version of YAML", "no such line"
    words = re.sub(r"['\"].*?['\"]", "...", problem.strip().splitlines()[0]) if problem else ""
    return (words if words.isascii() and words else "not well-formed YAML"), ""


def _found(problem: str) -> str:
    """The token at which the parser stopped, as it names them; empty when it names none."""
    match = re.search(r"(?:but found|but got) '(.+)'$", problem)
    return match[1] if match else ""


def _content(line: str) -> str:
    return line.split("#", 1)[0].strip()


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
