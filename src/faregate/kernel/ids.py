"""Request ids and W3C trace context."""

import re
import secrets
from random import Random
from typing import Final

_VISIBLE: Final = re.compile(rb"[!-~]{1,128}")
_TRACEPARENT: Final = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_ZERO_TRACE: Final = b"0" * 32
_ZERO_SPAN: Final = b"0" * 16
_FIXED_BITS: Final = 0xA << 104 | 0xA << 148 | 1
"""Letters at two places of a trace id, and one bit of a span id: neither is the invalid all-zero one."""
_TOGETHER: Final = 64
"""Trace ids made at once: formatting one number a call costs four times as much."""
_TRACE_DIGITS: Final = 48
_FIXED_TOGETHER: Final = sum(_FIXED_BITS << 4 * _TRACE_DIGITS * place for place in range(_TOGETHER))
_PAIRS: Final = tuple(b"%02x" % number for number in range(256))


def accepts_request_id(value: bytes) -> bool:
    """Whether a caller's own ``X-Request-Id`` is kept: 1-128 visible ASCII characters (SPEC section 3)."""
    return _VISIBLE.fullmatch(value) is not None


def parse_traceparent(value: bytes) -> tuple[bytes, bytes] | None:
    """``(trace id, flags)`` of a valid ``traceparent``, else None (W3C Trace Context section 3.2.2)."""
    match = _TRACEPARENT.fullmatch(value)
    if match is None or match[1] == _ZERO_TRACE or match[2] == _ZERO_SPAN:
        return None
    return match[1], match[3]


class IdSource:
    """Makes request, trace and span ids for one worker.

    A request id is 32 hex digits: 12 of milliseconds since the epoch, so that ids sort by time, 12 that are
    random per process, 8 that count. Ids name things; they guard nothing, so a seeded generator is enough.
    Request and trace ids hold letters at fixed places, never 13 decimal digits in a row: the log's masker
    takes none for a card number.
    """

    __slots__ = ("_count", "_milliseconds", "_origin", "_random_bits", "_stem", "_traces")

    def __init__(self) -> None:
        self._origin = f"{secrets.choice('abdef')}{secrets.token_hex(5)}{secrets.choice('abdef')}".encode()
        self._count = 0
        self._milliseconds = -1
        self._stem = b""  # all of an id but its last two digits
        self._random_bits = Random(secrets.randbits(256)).getrandbits  # noqa: S311 - names, not secrets
        self._traces: list[bytes] = []

    def request_id(self, wall: float) -> bytes:
        """A new id for a call that began at ``wall`` (seconds since the epoch)."""
        self._count = count = (self._count + 1) & 0xFFFFFFFF
        milliseconds = int(wall * 1000)
        if milliseconds != self._milliseconds or not count & 0xFF:
            self._milliseconds = milliseconds
            self._stem = b"%012x%b%06x" % (milliseconds, self._origin, count >> 8)
        return self._stem + _PAIRS[count & 0xFF]

    def trace_and_span(self) -> bytes:
        """32 hex digits of a trace id and 16 of a span id, neither all zero."""
        if not self._traces:
            bits = self._random_bits(4 * _TRACE_DIGITS * _TOGETHER) | _FIXED_TOGETHER
            digits = b"%0*x" % (_TRACE_DIGITS * _TOGETHER, bits)
            self._traces = [digits[at : at + _TRACE_DIGITS] for at in range(0, len(digits), _TRACE_DIGITS)]
        return self._traces.pop()
