"""Which calls of a batch need the careful renderer: their text from outside could break JSON or hold a
secret.

Most calls hold nothing, so the whole batch is joined and searched at C speed: about a third of a microsecond
a call. A false alarm costs a slow line, a miss would leak; the test holds every masking vector against both
renderers.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from faregate.snapshot.call import Call

# Two views of the text from outside, one byte a byte. RUNS shows where digits, spaces and dashes stand:
# thirteen in a row may be a card or a resident id. SHAPES shows kinds of characters; its "!" is a byte that
# JSON escapes, or that encodes, names or addresses something.
_ALERTING: Final = frozenset(b'"\\%@+=: ') | frozenset(range(0x20)) - {0x0A} | frozenset(range(0x7F, 0x100))


def _shape(byte: int) -> int:
    character = chr(byte)
    if byte in _ALERTING:
        return ord("!")
    if character.isdigit():
        return ord("0")
    if character.isalpha():
        return ord("A" if character.isupper() else "a")
    return ord("/")


_RUNS: Final = bytes(0x30 if chr(byte) in "0123456789 -" else 0x2E for byte in range(256))
_SHAPES: Final = bytes(_shape(byte) for byte in range(256))
_RUN: Final = b"0" * 13
_IBAN_HEAD: Final = b"/AA00"
# Three whole quads of base64 that decode to digits, spaces and dashes: any 13 digits in a row hold them. The
# regular expression is slow, so the third view, which shows the letters it is made of, is asked first.
_BASE64_DIGITS: Final = re.compile(rb"(?:[IL-P][CDSTijyz][AEIMQUYcgk0][gtw-z0-5]){3}")
_BASE64_LETTERS: Final = bytes(
    0x31 if byte in b"ACDEILMNOPQSTUYcgijktwxyz012345" else 0x2E for byte in range(256)
)
_BASE64_RUN: Final = b"1" * 12


def _found(view: bytes, needle: bytes, data: bytes) -> Iterator[int]:
    """Where ``needle`` stands in ``view``, at most once a line of ``data``, which ``view`` was made from."""
    position = view.find(needle)
    while position >= 0:
        yield position
        line_end = data.find(b"\n", position + 1)
        position = view.find(needle, line_end) if line_end >= 0 else -1


def _alerts(data: bytes, ids: bytes) -> Iterator[int]:
    """Positions in ``data`` followed by ``ids`` that call for the careful renderer."""
    whole = data + ids
    yield from _found(whole.translate(_RUNS), _RUN, whole)
    shapes = data.translate(_SHAPES)
    yield from _found(shapes, b"!", data)
    yield from _found(shapes, _IBAN_HEAD, data)
    yield from _found(data, b"eyJ", data)
    yield from _found(data, b"fg_", data)
    if _BASE64_RUN in data.translate(_BASE64_LETTERS):
        for match in _BASE64_DIGITS.finditer(data):
            yield match.start()


def suspicious(calls: Sequence[Call]) -> Collection[int]:
    """Indices of the calls whose text from outside must be masked or escaped, or may have to be."""
    paths = "\n".join([call.path for call in calls])
    request_ids = b"\n".join([call.request_id for call in calls])
    data = b"\n%b\n%b\n" % (paths.encode(errors="backslashreplace"), request_ids)
    ids = b"\n".join([call.trace_id for call in calls])  # 32 hex digits each, checked where they were read
    count = len(calls)
    if data.count(b"\n") + ids.count(b"\n") != 3 * count:
        return range(count)  # a line break within: positions tell nothing
    whole = data + ids
    return {(whole.count(b"\n", 0, position + 1) - 1) % count for position in _alerts(data, ids)}
