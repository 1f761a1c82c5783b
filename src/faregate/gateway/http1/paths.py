"""The one path function (http-rules.md section 2.1): checks, then normalises, once, first in line.

Its answer is a fixed point (a second run changes nothing) and the only string that routing, permission,
limits and logs see. The target itself goes upstream as received.
"""

import re
from typing import Final

from faregate.kernel.problems import Refusal

_BAD_TRIPLET: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_TRIPLET: Final = re.compile(rb"%([0-9A-Fa-f]{2})")
_DOUBLE_ENCODED: Final = re.compile(rb"%25[0-9A-Fa-f]{2}")
_ENCODED_REFUSED: Final = re.compile(rb"%(?:2[fF]|5[cC]|[01][0-9A-Fa-f]|7[fF])")  # / \ and control characters
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def check_percent(target: bytes) -> None:
    """Refuses a ``%`` without two hex digits anywhere in the target (F06)."""
    if _BAD_TRIPLET.search(target) is not None:
        raise Refusal("malformed_request", reason="target_percent")


def normalise(path: bytes) -> bytes:
    """The decision string of a path that starts with ``/``. Raises ``Refusal`` for every spelling on the
    list.

    ``path`` holds visible ASCII without ``#`` and ``\\`` (the request line's pattern saw to it).
    """
    # ``find``, for ``in`` asks first whether it is a number, and makes an error of that
    if path.find(b"%") < 0 and path.find(b";") < 0 and path.find(b"//") < 0 and path.find(b"/.") < 0:
        return path
    return _normalise_slowly(path)


def _normalise_slowly(path: bytes) -> bytes:
    check_percent(path)
    if b";" in path or b"//" in path:
        raise Refusal("malformed_request", reason="path_ambiguous")
    result = _TRIPLET.sub(_triplet, path)
    if (
        _ENCODED_REFUSED.search(path) is not None or _DOUBLE_ENCODED.search(result) is not None
    ):  # "%25%34%31" too
        raise Refusal("malformed_request", reason="path_encoding")
    if any(segment in {b".", b".."} for segment in result.split(b"/")):
        raise Refusal("malformed_request", reason="path_dot_segment")
    if b"%" in result:
        try:
            _TRIPLET.sub(lambda match: bytes((int(match[1], 16),)), result).decode()
        except UnicodeDecodeError:
            raise Refusal("malformed_request", reason="path_not_utf8") from None
    return result


def _triplet(match: "re.Match[bytes]") -> bytes:
    value = int(match[1], 16)
    return bytes((value,)) if value in _UNRESERVED else match[0].upper()
