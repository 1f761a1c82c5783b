"""Request lines that are not the common one: other forms of target, other versions, other methods
(F01-F08).
"""

import re
from typing import Final

from faregate.kernel.problems import Refusal

_ANY_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([!-~\x80-\xff]+) ([!-~]+)\r\n")
_VERSION: Final = re.compile(rb"HTTP/[0-9]\.[0-9]")
_ABSOLUTE: Final = re.compile(rb"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?#]*)(.*)", re.DOTALL)
_TARGET: Final = re.compile(rb"/[!\"$-\[\]-~]*")
METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})


def unusual_request_line(data: bytes, target_bytes_max: int) -> tuple[bytes, bytes, bytes]:
    """Method, target and minor version of a head whose request line is not the common one. Raises
    ``Refusal``.
    """
    match = _ANY_REQUEST_LINE.match(data)
    if match is None:
        if len(data.partition(b"\r\n")[0]) > target_bytes_max:
            raise Refusal("target_too_long", reason="target_too_long")
        raise Refusal("malformed_request", reason="request_line")
    method, target, version = match.groups()
    if version not in {b"HTTP/1.0", b"HTTP/1.1"}:
        if _VERSION.fullmatch(version):
            raise Refusal("version_not_supported", reason="http_version")
        raise Refusal("malformed_request", reason="protocol_name")
    if method not in METHODS:
        raise Refusal("method_not_implemented", reason="method_unknown")
    if len(target) > target_bytes_max:
        raise Refusal("target_too_long", reason="target_too_long")
    if target[:1] == b"/":
        raise Refusal("malformed_request", reason="target_characters")
    return method, target, version[-1:]


def other_forms(method: bytes, target: bytes, host: bytes, scheme: bytes = b"http") -> bytes:
    """F07 and F08: asterisk-form with OPTIONS alone; an absolute-form equal to Host becomes origin-form.
    ``scheme``: the listener's. Raises ``Refusal``.
    """
    if target == b"*" and method == b"OPTIONS":
        return b"*"
    match = _ABSOLUTE.fullmatch(target)
    if match is None or match[1].lower() != scheme or b"@" in match[2]:
        raise Refusal("malformed_request", reason="target_form")
    if _folded(match[2], scheme) != _folded(host, scheme):
        raise Refusal("malformed_request", reason="target_authority")
    rest = match[3]
    if rest[:1] != b"/":
        rest = b"/" + rest
    if _TARGET.fullmatch(rest) is None:
        raise Refusal("malformed_request", reason="target_characters")
    return rest


def _folded(authority: bytes, scheme: bytes) -> bytes:
    return authority.lower().removesuffix(b":443" if scheme == b"https" else b":80")
