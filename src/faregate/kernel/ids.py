"""Request ids and W3C trace context."""

import re
import secrets
from random import Random
from typing import Final

_VISIBLE: Final = re.compile(rb"[!-~]{1,128}")
_TRACEPARENT: Final = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_ZERO_TRACE: Final = b"0" * 32
_ZERO_SPAN: Final = b"0" * 16


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

    A request id is 32 hex digits: 12 of milliseconds since the epoch, so that ids sort by time, 12 that are random
    per process, 8 that count. Ids name things; they guard nothing, so a seeded generator is enough.
    """

    __slots__ = ("_count", "_origin", "_random")

    def __init__(self) -> None:
        self._origin = secrets.token_hex(6)
        self._count = 0
        self._random = Random(secrets.randbits(256))  # noqa: S311 - names, not secrets

    def request_id(self, wall: float) -> bytes:
        """A new id for a call that began at ``wall`` (seconds since the epoch)."""
        self._count = count = (self._count + 1) & 0xFFFFFFFF
        return b"%012x%b%08x" % (int(wall * 1000), self._origin.encode(), count)

    def trace_id(self) -> bytes:
        return b"%032x" % (self._random.getrandbits(128) or 1)

    def span_id(self) -> bytes:
        return b"%016x" % (self._random.getrandbits(64) or 1)
