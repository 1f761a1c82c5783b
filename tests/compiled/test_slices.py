"""mypyc cuts bytes without looking whether the cut begins behind its end, where Python gives an empty one.

``data[7:]`` of three bytes is ``b""`` to Python and a SystemError once compiled (mypyc 2.4). So every slice with a lower
bound in a compiled module stands here, with the reason why it cannot begin behind the end; one more must be looked at first.
Lists, tuples, text and memoryviews have no such fault and are marked ``not bytes``.
"""

import ast

from faregate.compiled import PACKAGE
from faregate.compiled.modules import MODULES

REVIEWED = {
    "gateway.body": {"data[self.left:]": "asked only when data is longer than that"},
    "gateway.exchange": {
        "route.steps[route.steps.index(step) + 1:]": "not bytes",
        "made[32:]": "always 48 bytes",
    },
    "gateway.http1.chunked": {
        "data[at:at + take]": "at < size, and take is at most what is left",
        "data[at:stop]": "stop is behind a line end found from at on, or the size",
        "data[at:]": "at is behind what was taken of data",
    },
    "gateway.http1.request": {
        "data[data.find(b'\\r\\n') + 2:end]": "a head holds a line end, and end lies behind it",
        "line[15:]": "the line begins with 22 known bytes",
    },
    "gateway.http1.response": {
        "raw[1:]": "not bytes",
        "raw[0][9:]": "the pattern of the status line has matched: 12 bytes at least",
    },
    "gateway.http1.sections": {
        "raw[raw.find(b'\\r\\n', at + 2):]": "every section ends in an empty line, behind any line that was found",
        "raw[at + _BEARER_BEGINS:raw.find(b'\\r\\n', at + 2)]": "the line end found is behind what was found at at",
        "raw[at + _KEY_BEGINS:raw.find(b'\\r\\n', at + 2)]": "likewise",
        "raw[begin:end]": "the line of the key was found before begin, its end is looked for from there on",
        "data[begin:end]": "the last key's length behind begin and still within, or an end found from begin on",
        "raw[end:]": "every section ends in an empty line, and end is that of a line within",
        "value[_TOKEN_BEGINS:]": "value begins with `Bearer `",
    },
    "gateway.http1.targets": {"version[-1:]": "a negative bound is cut off at the beginning"},
    "gateway.http2.connection": {
        "left[size:]": "size is at most its length",
        "data[at + 5:begin]": "nine bytes from at on are there",
        "data[begin:at]": "at is begin and a length, both within data",
        "data[at:]": "only when at < size",
    },
    "gateway.http2.frames": {
        "block[at:at + frame_bytes_max]": "at < len(block)",
        "payload[at:at + 2]": "a multiple of six bytes, walked by sixes",
        "payload[at + 2:at + 6]": "likewise",
        "payload[begin:end]": "only when begin <= end",
    },
    "gateway.http2.grpc": {"content_type[16:17]": "asked only when sixteen bytes stand before"},
    "gateway.http2.sending": {"piece[room:]": "only when it is longer than room"},
    "gateway.http2.stream": {
        "data[end + 4:]": "every head that an exchange writes ends in an empty line",
        "data[at:at + FRAME_BYTES_MAX]": "at < size",
    },
    "gateway.http2.translate": {
        "fields[1:]": "not bytes",
        "fields[4:]": "not bytes",
        "lines[1:]": "not bytes",
        "lines[0][9:12]": "a status line that an exchange wrote: 12 bytes at least",
    },
    "gateway.http2.upstream": {
        "data[at + 5:begin]": "nine bytes from at on are there",
        "data[begin:at]": "at is begin and a length, both within data",
        "data[at:]": "only when at < len(data)",
        "payload[4:8]": "eight bytes are there",
    },
    "gateway.http2.upstream_stream": {"data[end + 4:]": "the head of a request comes whole and first"},
    "gateway.keeping": {
        "line[17:]": "the line begins with 17 known bytes",
        "self._random[at:at + ATTEMPT_BYTES]": "never empty, and a multiple of that long",
    },
    "gateway.listener": {
        "data[at:end]": "only when end > at",
        "data[taken:]": "taken is at most its length",
        "data[2:]": "begins with two known bytes",
        "buffer[2:]": "not bytes",
        "data[end:]": "end is where its head ends",
    },
    "gateway.outbound": {"made[32:]": "always 48 bytes"},
    "gateway.router": {"path.split(b'/')[1:]": "not bytes"},
    "gateway.upstream": {"data[end:]": "end is where its head ends"},
    "gateway.websocket": {
        "data[at:]": "at < size",
        "data[at + 2:at + head]": "a head of that length is there",
    },
    "kernel.ids": {"digits[at:at + _TRACE_DIGITS]": "at walks through the digits by whole ids"},
    "kernel.api_keys": {
        "key[8:]": "asked only of 44 bytes",
        "key[-CHECKSUM_DIGITS:]": "likewise",
        "text[-SHOWN_DIGITS:]": "not bytes",
    },
    "policies.authenticate.step": {"value[7:]": "seven bytes stand before the prefix that was found"},
    "records.stored_answer": {
        "body[begin:end]": "end was found from begin on, or is the length",
        "kept[_PREFIX.size:end]": "asked only when it is as long as both",
        "kept[end:]": "likewise",
    },
    "policies.concurrency.step": {"self.cells[cell:cell + used]": "not bytes"},
    "policies.idempotency.step": {"target[question + 1:]": "asked only when the mark was found"},
    "policies.jwt.claims": {"start[7:]": "begins with `bearer `"},
    "policies.jwt.step": {
        "value[7:-1 - len(signature)]": "of three parts the first, with `bearer ` before it, was read"
    },
    "policies.limit_sets": {"flat[size:]": "not bytes", "cells[cell:cell + used]": "not bytes"},
    "policies.rate_limit.step": {
        "cells[place:place + length]": "not bytes",
        "cells[cell:place]": "not bytes",
        "cells[place + 1:cell + BODY_CELLS]": "not bytes",
        "self.cells[self.cell:self.cell + BODY_CELLS]": "not bytes",
    },
    "policies.validate.step": {"target[question + 1:]": "asked only when the mark was found"},
    "records.recorder": {"pending[start:start + _PIECE]": "not bytes"},
    "stores.ledger.embedded.expiry": {
        "keys[at:at + 16]": "at walks through the keys by whole entries",
        "keys[at + 16:at + _ENTRY]": "likewise",
    },
    "stores.ledger.embedded.index": {"data[_HEAD.size:]": "asked only when it is as long as that"},
    "stores.ledger.embedded.link": {
        "data[at:]": "at < size",
        "data[begin:end]": "only when begin < end",
    },
    "stores.ledger.embedded.moving": {"data[begin:end]": "only when begin < end"},
    "stores.ledger.embedded.records": {
        "memoryview(data)[at + 4:at + length]": "not bytes",
        "data[at + HEAD_BYTES:at + by_at]": "lengths are not negative, and their sum was held against the record's",
        "data[at + by_at:at + note_at]": "likewise",
        "data[at + note_at:at + answer_at]": "likewise",
        "data[at + answer_at:at + end]": "likewise",
    },
    "stores.ledger.embedded.server": {
        "data[at:]": "at < len(data)",
        "unsent[sent:]": "only when sent < len(unsent)",
    },
    "stores.ledger.sealing": {
        "sealed[ID_BYTES + SALT_BYTES:HEAD_BYTES]": "asked only when it is longer than its head",
        "sealed[HEAD_BYTES:]": "likewise",
        "head[ID_BYTES:]": "always as long as an id and a salt",
    },
}
"""Module -> slice -> why it is safe. ``stores.counters`` slices maps and views only."""
VIEWS_ONLY = {"stores.counters"}


def test_no_slice_of_bytes_begins_behind_its_end() -> None:
    found: dict[str, set[str]] = {}
    for module in MODULES:
        tree = ast.parse((PACKAGE / f"{module.replace('.', '/')}.py").read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice) and node.slice.lower:
                found.setdefault(module, set()).add(ast.unparse(node))
    for module in VIEWS_ONLY:
        del found[module]
    assert found == {module: set(slices) for module, slices in REVIEWED.items()}
