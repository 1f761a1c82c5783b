"""base64url without padding, strictly (RFC 7515 section 2, RFC 4648 section 3.5).

The standard library's decoder takes blanks, ``+/``, padding and spare bits, so one value would have several
spellings (http-rules.md J13, J19). Here each value has one spelling and every other one is refused.
"""

import binascii
from typing import Final

_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
# "-_" become "+/"; every byte outside the alphabet, "+", "/" and "=" with them, becomes one the strict
# decoder refuses
_TO_BASE64: Final = bytes(
    byte if byte in _ALPHABET else {0x2D: 0x2B, 0x5F: 0x2F}.get(byte, 0x21) for byte in range(256)
)
_TO_BASE64URL: Final = bytes.maketrans(b"+/", b"-_")
# the last character may carry no bits beyond the last whole byte
_LAST_OF_TWO: Final = frozenset(b"AQgw")
_LAST_OF_THREE: Final = frozenset(b"AEIMQUYcgkosw048")


def decode(text: bytes) -> bytes:
    """The bytes of ``text``. Raises ``ValueError`` on any spelling but the one ``encode`` gives; empty is
    refused.
    """
    rest = len(text) & 3
    if rest == 0 and text:
        return binascii.a2b_base64(text.translate(_TO_BASE64), strict_mode=True)
    if rest == 2 and text[-1] in _LAST_OF_TWO:
        return binascii.a2b_base64(text.translate(_TO_BASE64) + b"==", strict_mode=True)
    if rest == 3 and text[-1] in _LAST_OF_THREE:
        return binascii.a2b_base64(text.translate(_TO_BASE64) + b"=", strict_mode=True)
    raise ValueError("not base64url")


def encode(data: bytes) -> bytes:
    """``data`` in base64url without padding."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").translate(_TO_BASE64URL)
