"""Field lines, each judged once: what a line means is a pure function of its bytes, so the verdict is
remembered.

llhttp (strict) judges every line that was not seen before: name a token, no blank before the colon, no
fold, no bare CR or LF, no control character. Of the lines of a keep-alive peer most come again (Host,
User-Agent, Accept, Content-Type, a token), and then one dictionary look-up replaces parsing, classifying
and rebuilding. What depends on several lines (doubled fields, framing) is judged per head by the caller.
The memory has two generations of bounded size, so that a peer who never repeats himself costs the others at
most one more look at a line.
"""

from typing import Final, Protocol

import httptools

from faregate.gateway.http1.fields import BAD, PASS, FieldTable

GENERATION_LINES: Final = 4096
"""Lines per generation; with ``LINE_BYTES_LEARNED_MAX`` the memory is bounded by 2 x 4096 x 2 KiB = 16 MiB
a worker.
"""
LINE_BYTES_LEARNED_MAX: Final = 1024
_STATUS_LINE: Final = b"HTTP/1.1 200 OK\r\n"
_END: Final = b"\r\n\r\n"

Fact = tuple[int, bytes, bytes]
"""Kind (``fields``), the line to pass on ending in CRLF, and the value without blanks at its ends."""


class LineError(Exception):
    """A line that no rule lets pass; ``args[0]`` is the reason word."""


class Refine(Protocol):
    """Checks a value that we interpret; may raise to refuse the line."""

    def __call__(self, kind: int, value: bytes) -> None: ...


class LineMemory:
    """The facts of the lines of one direction. ``get`` is the hot path; ``learn`` everything else."""

    __slots__ = ("_fields", "_names", "_old", "_refine", "get", "young")

    def __init__(self, names: FieldTable, refine: Refine) -> None:
        self._names = names
        self._refine = refine
        self._old: dict[bytes, Fact] = {}
        self._fields: list[tuple[bytes, bytes]] = []
        self.young: dict[bytes, Fact] = {}
        self.get = self.young.get

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value))

    def learn(self, lines: list[bytes]) -> list[Fact]:
        """The facts of lines that ``get`` does not know, in order. Raises ``LineError``, or what ``refine``
        raises.
        """
        old = self._old
        fresh = [line for line in lines if line not in old]
        parsed = iter(self._parse(fresh) if fresh else ())
        facts = []
        for line in lines:
            fact = old.get(line)
            if fact is None:
                name, value = next(parsed)
                fact = self._judge(name, value)
            facts.append(fact)
            if len(line) <= LINE_BYTES_LEARNED_MAX:
                self._remember(line, fact)
        return facts

    def _parse(self, lines: list[bytes]) -> list[tuple[bytes, bytes]]:
        fields: list[tuple[bytes, bytes]] = []
        self._fields = fields
        try:
            # A response, since llhttp then leaves framing and Upgrade alone; fields have the same grammar.
            httptools.HttpResponseParser(self).feed_data(_STATUS_LINE + b"\r\n".join(lines) + _END)
        except httptools.HttpParserError:
            raise LineError("field_syntax") from None
        if len(fields) != len(lines):
            raise LineError("field_syntax")
        return fields

    def _judge(self, name: bytes, value: bytes) -> Fact:
        kind = self._names[name]
        if kind == BAD:
            raise LineError("field_name")
        value = value.rstrip(b" \t")
        if kind != PASS:
            self._refine(kind, value)
        return kind, b"%b: %b\r\n" % (name, value), value

    def _remember(self, line: bytes, fact: Fact) -> None:
        if len(self.young) >= GENERATION_LINES:
            self._old = self.young
            self.young = {}
            self.get = self.young.get
        self.young[line] = fact
