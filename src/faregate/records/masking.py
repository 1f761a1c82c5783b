"""The text masker: what may be shown of a string that came from outside (payments.md section 7.2).

One function, ``mask_text``, looks at a string as it stands and as it reads once percent, ``+`` and ``\\u``
escapes and base64 are undone; a secret that shows in any reading is masked. Field names that tell what a
value is are listed here once, folded; ``bodies`` applies them to JSON and forms. Quick rejections come first:
most text holds nothing.
"""

import base64
import binascii
import hashlib
import hmac
import re
from typing import Final
from urllib.parse import unquote

from faregate.kernel.secrets import MASK
from faregate.records.recognise import mask_cards, mask_ibans, mask_resident_ids

SENSITIVE_NAMES: Final = frozenset(
    [
        "cvv",
        "cvc",
        "cvv2",
        "cvc2",
        "cvn",
        "cvn2",
        "csc",
        "cav2",
        "cvvcode",
        "cvccode",
        "cardcvv",
        "cardcvc",
        "securitycode",
        "cardsecuritycode",
        "verificationcode",
        "pin",
        "pincode",
        "pinblock",
        "pindata",
        "track",
        "track1",
        "track2",
        "track3",
        "trackdata",
        "track1data",
        "track2data",
    ]
)
"""Sensitive authentication data: never kept in any form (PCI DSS 4.0.1 requirement 3.3.1). Names are folded.
"""

MASKED_NAMES: Final = frozenset(
    [
        "expiry",
        "expirydate",
        "expirymonth",
        "expiryyear",
        "expmonth",
        "expyear",
        "expdate",
        "expirationdate",
        "expirationmonth",
        "expirationyear",
        "expired",
        "validthru",
        "phoneno",
        "phone",
        "phonenumber",
        "mobile",
        "mobileno",
        "mobilephone",
        "mobilenumber",
        "telephone",
        "msisdn",
        "certifid",
        "certid",
        "certno",
        "idcard",
        "idcardno",
        "idnumber",
        "nationalid",
        "ssn",
        "email",
        "emailaddress",
        "mail",
        "iban",
        "bankaccount",
        "accountnumber",
        "bankaccountnumber",
        "password",
        "passwd",
        "passphrase",
        "secret",
        "clientsecret",
        "apikey",
        "xapikey",
        "authorization",
        "proxyauthorization",
        "cookie",
        "setcookie",
        "token",
        "accesstoken",
        "refreshtoken",
        "idtoken",
        "sessiontoken",
        "bearertoken",
        "clientassertion",
        "assertion",
        "privatekey",
        "signature",
        "sign",
        "sig",
        "otp",
    ]
)
"""Values of these names are replaced as a whole. Names are folded."""

CARD_NAMES: Final = frozenset(
    [
        "pan",
        "cardnumber",
        "cardno",
        "cardnum",
        "accno",
        "primaryaccountnumber",
        "creditcardnumber",
        "debitcardnumber",
        "ccnumber",
        "fpan",
        "dpan",
    ]
)
"""Values of these names are card numbers whatever they look like: first six and last four at most. Names are
folded.
"""

_SENSITIVE_ENDINGS: Final = ("cvv", "cvv2", "cvc", "cvc2", "cvn2", "securitycode", "pinblock")
_CARD_ENDINGS: Final = ("cardnumber", "cardno")

_WHOLLY_MASKED: Final = SENSITIVE_NAMES | MASKED_NAMES

_FOLDED: Final = str.maketrans("", "", "_- ")


def fold(name: str) -> str:
    """A field name without case, ``_``, ``-`` and spaces, as the name lists hold them."""
    return name.translate(_FOLDED).lower()


def mask_card_value(text: str) -> str:
    """The value of a field that is named as a card number: first six and last four of 13-19 digits, else all
    masked.
    """
    digits = text.replace(" ", "").replace("-", "")
    if digits.isascii() and digits.isdigit() and 13 <= len(digits) <= 19:
        return f"{digits[:6]}{'*' * (len(digits) - 10)}{digits[-4:]}"
    return MASK


def mask_by_name(name: str, value: str) -> str | None:
    """What a field's name alone makes of its ``value``; None when the name says nothing."""
    folded = fold(name)
    if folded in _WHOLLY_MASKED or folded.endswith(_SENSITIVE_ENDINGS):
        return MASK
    if folded in CARD_NAMES or folded.endswith(_CARD_ENDINGS):
        return mask_card_value(value)
    return None


def keyed_digest(key: bytes, data: bytes) -> str:
    """HMAC-SHA-256 in hex: the one form in which a card number may be compared (PCI DSS 4.0.1 requirement
    3.5.1.1).
    """
    return hmac.new(key, data, hashlib.sha256).hexdigest()


# Header kept, claims and signature not: the header says which key and algorithm, and nothing of the person.
_JWT: Final = re.compile(r"(eyJ[A-Za-z0-9_-]{4,})\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*)*")
_SCHEME: Final = re.compile(
    r"\b(bearer|basic|dpop|digest)([ :]+)(?!eyJ[A-Za-z0-9_-]+\.\*)[A-Za-z0-9._~+/=*-]{6,}", re.IGNORECASE
)
_API_KEY: Final = re.compile(r"(?<![A-Za-z0-9])fg_[A-Za-z0-9_-]{4,}")
_PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL
)
_EMAIL: Final = re.compile(r"[A-Za-z0-9._%+-]{1,64}@(?=[A-Za-z0-9-]{1,63}\.[A-Za-z0-9])")
_E164: Final = re.compile(r"(?<![A-Za-z0-9+])\+[1-9][0-9]{9,14}(?![0-9])")
_HEADER_LINE: Final = re.compile(
    r"\b((?:proxy-)?authorization|(?:set-)?cookie|x-api-key)(\s*:\s*)[^\r\n]+", re.IGNORECASE
)
_NAMED: Final = re.compile(
    r"(?<![A-Za-z0-9])([A-Za-z][A-Za-z0-9_-]{1,40})(\]?[\"']?\s{0,4}[=:]\s{0,4}[\"']?)([^\s\"'&,;<>{}]+)"
)


def _mask_named(match: re.Match[str]) -> str:
    masked = mask_by_name(match[1], match[3])
    return match[0] if masked is None else f"{match[1]}{match[2]}{masked}"


_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")
_BASE64_PART: Final = re.compile(r"[A-Za-z0-9_-]{16,}={0,2}")
_URL_SAFE: Final = str.maketrans("-_", "+/")


def _base64_text(token: str) -> str | None:
    """The printable text that ``token`` encodes, or None."""
    bare = token.rstrip("=").translate(_URL_SAFE)
    try:
        text = base64.b64decode(bare[: len(bare) - (len(bare) % 4 == 1)] + "=" * (-len(bare) % 4)).decode()
    except (binascii.Error, ValueError):
        return None
    return (
        text
        if text.isprintable() or text.replace("\n", "").replace("\r", "").replace("\t", "").isprintable()
        else None
    )


def _hides_secret(token: str) -> bool:
    text = _base64_text(token)
    return text is not None and _mask_reading(text) != text


def _mask_base64(match: re.Match[str]) -> str:
    token = match[0]
    if _hides_secret(token):
        return MASK
    if "/" in token:  # a path: its segments may each be base64
        return _BASE64_PART.sub(lambda part: MASK if _hides_secret(part[0]) else part[0], token)
    return token


def _mask_reading(text: str) -> str:
    """Masks what shows in ``text`` as it stands, base64 left closed."""
    if "-----BEGIN" in text:
        text = _PRIVATE_KEY.sub(f"{MASK} private key {MASK}", text)
    if ":" in text:
        text = _HEADER_LINE.sub(rf"\1\2{MASK}", text)
    if "eyJ" in text:
        text = _JWT.sub(rf"\1.{MASK}", text)
    text = _SCHEME.sub(rf"\1\2{MASK}", text)
    if "fg_" in text:
        text = _API_KEY.sub(f"fg_{MASK}", text)
    if "=" in text or ":" in text:
        text = _NAMED.sub(_mask_named, text)
    if "@" in text:
        text = _EMAIL.sub(f"{MASK}@", text)
    if "+" in text:
        text = _E164.sub(f"+{MASK}", text)
    return mask_cards(mask_resident_ids(mask_ibans(text)))


_UNICODE_ESCAPE: Final = re.compile(r"\\u([0-9A-Fa-f]{4})")
_ROUNDS_MAX: Final = 3
"""Escapes may be nested (``%2534``): so many layers are undone, as no honest client writes more."""


def _undone(text: str) -> str:
    """``text`` with one layer of percent and ``\\u`` escapes undone."""
    if "%" in text:
        text = unquote(text)
    if "\\u" in text:
        text = _UNICODE_ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
    return text


def _masked(text: str) -> str:
    return _BASE64.sub(_mask_base64, _mask_reading(text))


def mask_text(text: str) -> str:
    """``text`` with every card number, id, address, key and token in it masked.

    When one shows only after escapes are undone, the masked decoded text is returned in place of the
    original.
    """
    shown = reading = _masked(text)
    for _ in range(_ROUNDS_MAX):
        following = _undone(reading)
        if following == reading:
            break
        reading = _masked(following)
        if reading != following:
            shown = reading
    else:
        if _undone(reading) != reading:
            return MASK
    if "+" in shown:  # a form's space
        spaced = shown.replace("+", " ")
        masked = _masked(spaced)
        if masked != spaced:
            shown = masked
    return shown
