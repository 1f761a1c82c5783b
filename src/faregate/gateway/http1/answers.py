"""Our own answers: one place where a refusal becomes bytes (SPEC section 3, http-rules.md W15)."""

from email.utils import formatdate
from http import HTTPStatus
from typing import Final

import msgspec

from faregate.kernel.problems import Outcome, Refusal

REASONS: Final[dict[int, bytes]] = {status.value: status.phrase.encode() for status in HTTPStatus}
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
RETRY_AFTER_DEFAULT: Final = 1
"""Seconds, for a 503 whose cause names no better time: connections and health are re-judged within that
order.
"""

_encode: Final = msgspec.json.encode
_NEEDS_RETRY_AFTER: Final = frozenset({429, 503})


_dates: dict[int, bytes] = {}


def date_line(wall: float) -> bytes:
    """The ``Date`` field of that second (RFC 9110 section 5.6.7), made once a second."""
    second = int(wall)
    line = _dates.get(second)
    if line is None:
        _dates.clear()
        line = _dates[second] = b"Date: %b\r\n" % formatdate(second, usegmt=True).encode()
    return line


def refusal_answer(  # noqa: PLR0913 - one value per property
    refusal: Refusal, request_id: bytes, wall: float, *, close: bool, head_only: bool, extra: bytes = b""
) -> bytes:
    """The whole answer, head and problem+json body.

    ``extra``: further header lines (rate limits, deprecation), each ended by CRLF. ``head_only``: the
    answer to HEAD, which has no body. ``wall``: seconds since the epoch, for ``Date``.
    """
    problem = refusal.problem
    members: dict[str, str | int] = {
        "type": problem.type,
        "title": problem.title,
        "status": problem.status,
        "code": problem.code,
        "detail": refusal.detail,
        "request_id": request_id.decode("ascii"),
        "retry": refusal.told_retry.value,
    }
    outcome = refusal.told_outcome
    if outcome is not Outcome.REFUSED:
        members["outcome"] = outcome.value
    if refusal.parameter:
        members["parameter"] = refusal.parameter
    body = _encode(members)
    retry_after = refusal.retry_after or (RETRY_AFTER_DEFAULT if problem.status in _NEEDS_RETRY_AFTER else 0)
    return b"".join(
        (
            b"HTTP/1.1 %d %b\r\n" % (problem.status, REASONS[problem.status]),
            date_line(wall),
            b"Content-Type: application/problem+json\r\nContent-Length: %d\r\n" % len(body),
            b"X-Content-Type-Options: nosniff\r\nX-Request-Id: %b\r\n" % request_id,
            b"Retry-After: %d\r\n" % retry_after if retry_after else b"",
            refusal.headers,
            extra,
            b"Connection: close\r\n\r\n" if close else b"\r\n",
            b"" if head_only else body,
        )
    )
