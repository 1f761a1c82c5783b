"""What gRPC needs beside HTTP/2: its time limit, and our refusals in its own words (http-rules.md W17).

A gRPC caller learns the end of a call from ``grpc-status`` alone, so a refusal is an answer of 200 with that
status and nothing else. Clients send again by themselves what ends as UNAVAILABLE; therefore only what was
provably not sent ends so.
"""

import re
from typing import Final

from faregate.kernel.problems import Outcome, Problem, Refusal

OK_STATUS: Final = b"200"
UNKNOWN: Final = 2
INVALID_ARGUMENT: Final = 3
DEADLINE_EXCEEDED: Final = 4
PERMISSION_DENIED: Final = 7
RESOURCE_EXHAUSTED: Final = 8
ABORTED: Final = 10
UNIMPLEMENTED: Final = 12
INTERNAL: Final = 13
UNAVAILABLE: Final = 14
UNAUTHENTICATED: Final = 16

BY_STATUS: Final = {
    400: INVALID_ARGUMENT,
    401: UNAUTHENTICATED,
    403: PERMISSION_DENIED,
    404: UNIMPLEMENTED,
    405: UNIMPLEMENTED,
    409: ABORTED,
    410: UNIMPLEMENTED,
    413: RESOURCE_EXHAUSTED,
    414: INVALID_ARGUMENT,
    417: INVALID_ARGUMENT,
    421: UNAVAILABLE,
    422: INVALID_ARGUMENT,
    429: RESOURCE_EXHAUSTED,
    431: RESOURCE_EXHAUSTED,
    500: INTERNAL,
    501: UNIMPLEMENTED,
    502: UNKNOWN,
    503: UNAVAILABLE,
    504: DEADLINE_EXCEEDED,
    505: UNIMPLEMENTED,
    508: INTERNAL,
}
_UNITS_MS: Final = {b"H": 3_600_000.0, b"M": 60_000.0, b"S": 1000.0, b"m": 1.0, b"u": 0.001, b"n": 0.000_001}
_timeout: Final = re.compile(rb"([0-9]{1,8})([HMSmun])").fullmatch
_MILLISECONDS_MAX: Final = 86_400_000
_KEPT: Final = frozenset({b"x-request-id", b"date", b"retry-after", b"www-authenticate", b"via"})


def is_grpc(content_type: bytes) -> bool:
    """``application/grpc``, with or without a suffix or parameters; not gRPC-Web, which is plain HTTP."""
    return content_type[:16].lower() == b"application/grpc" and content_type[16:17] in {b"", b"+", b";", b" "}


def timeout_ms(value: bytes) -> int:
    """``grpc-timeout`` in milliseconds, at most a day. Raises ``Refusal``."""
    match = _timeout(value)
    if match is None:
        raise Refusal("malformed_request", reason="grpc_timeout")
    return min(_MILLISECONDS_MAX, int(int(match[1]) * _UNITS_MS[match[2]]))


def grpc_status(problem: Problem) -> int:
    """The status that a refusal ends with."""
    if problem.status == 502 and problem.outcome is Outcome.NOT_SENT:
        return UNAVAILABLE
    return BY_STATUS.get(problem.status, UNKNOWN)


def refusal_fields(
    problem: Problem, fields: list[tuple[bytes, bytes, bool]]
) -> list[tuple[bytes, bytes, bool]]:
    """The one field block that refuses a gRPC call; ``fields``: those of the answer in HTTP's words."""
    message = f"{problem.code}: {problem.detail}".replace("%", "%25").encode("ascii", "replace")
    return [
        (b":status", OK_STATUS, False),
        (b"content-type", b"application/grpc", False),
        (b"grpc-status", b"%d" % grpc_status(problem), False),
        (b"grpc-message", message, False),
        *[field for field in fields if field[0] in _KEPT or b"ratelimit" in field[0]],
    ]
