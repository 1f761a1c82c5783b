"""Numbers that must not be logged, recognised by their content: cards, resident ids, IBANs (payments.md
section 7.2).

Pure functions over text. A card number needs a known issuer prefix for its length and a true Luhn sum, since
one random number in ten passes Luhn alone. What names, encodings and bodies add is left to ``masking`` and
``bodies``. A masked text has the length of the original, and only digits (letters in an IBAN) give way to
``*``.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

CARD_DIGITS_MIN: Final = 13
CARD_DIGITS_MAX: Final = 19
_SHOWN_FIRST: Final = 6
_SHOWN_LAST: Final = 4


class _Range(NamedTuple):
    """Issuer numbers from ``low`` to ``high``, both as long as their text, of cards with one of ``lengths``
    digits.
    """

    brand: str
    low: str
    high: str
    lengths: frozenset[int]


def _lengths(*values: int) -> frozenset[int]:
    return frozenset(values)


_16: Final = _lengths(16)
_16_19: Final = frozenset(range(16, 20))
_14_19: Final = frozenset(range(14, 20))
_13_19: Final = frozenset(range(13, 20))

CARD_RANGES: Final = (
    _Range("visa", "4", "4", _lengths(13, 16, 19)),
    _Range("mastercard", "51", "55", _16),
    _Range("mastercard", "2221", "2720", _16),
    _Range("amex", "34", "34", _lengths(15)),
    _Range("amex", "37", "37", _lengths(15)),
    _Range("unionpay", "62", "62", _16_19),
    _Range("unionpay", "81", "81", _16_19),
    _Range("discover", "6011", "6011", _16_19),
    _Range("discover", "644", "649", _16_19),
    _Range("discover", "65", "65", _16_19),
    _Range("jcb", "3528", "3589", _16_19),
    _Range("diners", "300", "305", _14_19),
    _Range("diners", "3095", "3095", _14_19),
    _Range("diners", "36", "36", _14_19),
    _Range("diners", "38", "39", _14_19),
    _Range("maestro", "50", "50", _13_19),
    _Range("maestro", "56", "58", _13_19),
    _Range("maestro", "6304", "6304", _13_19),
    _Range("maestro", "6759", "6759", _13_19),
    _Range("maestro", "6761", "6763", _13_19),
    _Range("mir", "2200", "2204", _16_19),
    _Range("rupay", "60", "60", _16),
    _Range("rupay", "82", "82", _16),
    _Range("rupay", "508", "508", _16),
)
"""Issuer prefixes, first match wins (payments.md section 7.2)."""

_BY_FIRST: Final = {
    digit: tuple(row for row in CARD_RANGES if row.low[0] <= digit <= row.high[0]) for digit in "0123456789"
}
_DOUBLED: Final = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def luhn(digits: str) -> bool:
    """Whether the last of ``digits`` (ASCII 0-9, not empty) is their check digit (ISO/IEC 7812-1 annex B)."""
    values = [ord(digit) - 48 for digit in reversed(digits)]
    return (sum(values[::2]) + sum([_DOUBLED[value] for value in values[1::2]])) % 10 == 0


def card_brand(digits: str) -> str | None:
    """The brand whose cards begin and count like ``digits``, or None; Luhn is not looked at."""
    length = len(digits)
    for row in _BY_FIRST[digits[0]]:
        if length in row.lengths and row.low <= digits[: len(row.low)] <= row.high:
            return row.brand
    return None


def is_card(digits: str) -> bool:
    """Whether ``digits`` (ASCII 0-9, not empty) is a card number: known issuer for its length, and Luhn
    holds.
    """
    return card_brand(digits) is not None and luhn(digits)


_SEQUENCE: Final = re.compile(r"[0-9](?:[ -]?[0-9]){12,}")
_GROUP: Final = re.compile(r"[0-9]+")


def _card_spans(groups: list[tuple[int, str]]) -> Iterator[list[int]]:
    """The positions of the digits of each card number among neighbouring groups ``(start, digits)``."""
    for first in range(len(groups)):
        digits = ""
        positions: list[int] = []
        for start, group in groups[first:]:
            digits += group
            if len(digits) > CARD_DIGITS_MAX:
                break
            positions.extend(range(start, start + len(group)))
            if len(digits) >= CARD_DIGITS_MIN and is_card(digits):
                yield positions[:]


def _mask_sequence(match: re.Match[str]) -> str:
    text = match[0]
    # Longer than any card and unbroken: a trade number, which stays whole.
    groups = [(group.start(), group[0]) for group in _GROUP.finditer(text)]
    if all(len(digits) > CARD_DIGITS_MAX for _, digits in groups):
        return text
    hidden: set[int] = set()
    for positions in _card_spans(groups):
        hidden.update(positions[_SHOWN_FIRST:-_SHOWN_LAST])  # where readings overlap, each hides its middle
    if not hidden:
        return text
    return "".join("*" if index in hidden else character for index, character in enumerate(text))


def mask_cards(text: str) -> str:
    """``text`` with every card number cut to its first six and last four digits.

    Digit groups are unbroken runs; neighbouring groups may be joined by one space or dash. A part of one
    unbroken run is never taken for a card, so that 28-digit trade numbers stay whole. Source: payments.md
    section 7.2.
    """
    return _SEQUENCE.sub(_mask_sequence, text)


_RESIDENT_ID: Final = re.compile(
    r"(?<![0-9])[1-9][0-9]{5}(?:18|19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9Xx](?![0-9])"
)
_RESIDENT_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def is_resident_id(text: str) -> bool:
    """Whether ``text`` is a PRC resident id: 18 characters, a date of birth, ISO 7064 MOD 11-2 (GB
    11643-1999).
    """
    if _RESIDENT_ID.fullmatch(text) is None:
        return False
    total = sum(int(digit) * weight for digit, weight in zip(text, _RESIDENT_WEIGHTS, strict=False))
    return "10X98765432"[total % 11] == text[17].upper()


def _mask_resident_id(match: re.Match[str]) -> str:
    text = match[0]
    return f"{text[0]}{'*' * 16}{text[-1]}" if is_resident_id(text) else text


def mask_resident_ids(text: str) -> str:
    """``text`` with every PRC resident id cut to its first and last character."""
    return _RESIDENT_ID.sub(_mask_resident_id, text)


# SWIFT IBAN registry: the length of each country's numbers.
_IBAN_LENGTHS: Final = {
    country: int(length)
    for length, countries in (
        entry.split(":")
        for entry in [
            "15:NO",
            "16:BE",
            "18:DK,FI,FK,FO,GL,NL,SD",
            "19:MK,SI",
            "20:AT,BA,EE,KZ,LT,LU,MN,XK",
            "21:CH,HR,LI,LV",
            "22:BG,BH,CR,DE,GB,GE,IE,ME,RS,VA",
            "23:AE,GI,IL,IQ,OM,SO,TL",
            "24:AD,CZ,ES,MD,PK,RO,SA,SE,SK,TN,VG",
            "25:LY,PT,ST",
            "26:IS,TR",
            "27:BI,DJ,FR,GR,IT,MC,MR,SM",
            "28:AL,AZ,BY,CY,DO,GT,HN,HU,LB,NI,PL,SV",
            "29:BR,EG,PS,QA,UA",
            "30:JO,KW,MU,YE",
            "31:MT,SC",
            "32:LC",
            "33:RU",
        ]
    )
    for country in countries.split(",")
}
_IBAN: Final = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}")


def is_iban(text: str) -> bool:
    """Whether ``text`` (capitals and digits, no spaces) is an IBAN: its country's length, and ISO 7064 MOD
    97-10 holds.
    """
    if _IBAN_LENGTHS.get(text[:2]) != len(text):
        return False
    return int("".join(str(int(character, 36)) for character in text[4:] + text[:4])) % 97 == 1


def _mask_iban(match: re.Match[str]) -> str:
    text = match[0]
    length = _IBAN_LENGTHS.get(text[:2], 0)
    # Words may follow within the match: the number is as long as its country says, spaces aside.
    positions = [index for index, character in enumerate(text) if character != " "][:length]
    if len(positions) != length or not is_iban("".join(text[index] for index in positions)):
        return text
    hidden = set(positions[4:-4])
    return "".join("*" if index in hidden else character for index, character in enumerate(text))


def mask_ibans(text: str) -> str:
    """``text`` with every IBAN cut to its first four and last four characters."""
    return _IBAN.sub(_mask_iban, text)
