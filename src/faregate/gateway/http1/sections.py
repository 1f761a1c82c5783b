"""Field sections that a worker met before: their facts cost one look-up in place of a parse.

Callers repeat themselves, and differ from each other in little but the credential. So a section is known as a
whole, or as another one with only the credential exchanged. What a section means is ``request``'s affair;
nothing here can change it, only who works it out.
"""

from typing import Final

from faregate.gateway.http1.request import TARGET_BYTES_MAX, Fields, parse_fields
from faregate.kernel.problems import Refusal

SECTIONS_PER_GENERATION: Final = 1024
_LIMIT_BYTES_MIN: Final = TARGET_BYTES_MAX + (5 << 10)
SECTIONS_SEEN_MAX: Final = 4096
SECTION_BYTES_LEARNED_MAX: Final = 4 << 10
"""With the facts about three times that: at most 25 MiB a worker when callers do their worst, 2 MiB in
common use.
"""
_BEARER_LINES: Final = (b"\r\nAuthorization: Bearer ", b"\r\nauthorization: Bearer ")
_KEY_LINES: Final = (b"\r\nX-API-Key: ", b"\r\nX-Api-Key: ", b"\r\nx-api-key: ")
"""The line that differs by caller, as clients spell it; ten times quicker to find than by a pattern."""
_IDEMPOTENCY_LINES: Final = (b"\r\nIdempotency-Key: ", b"\r\nidempotency-key: ")
_IDEMPOTENCY_BEGINS: Final = len(_IDEMPOTENCY_LINES[0])
_BEARER_BEGINS: Final = len(b"\r\nAuthorization: ")
_TOKEN_BEGINS: Final = len(b"Bearer ")
_KEY_BEGINS: Final = len(_KEY_LINES[0])
_KEY_BYTES_MAX: Final = 256
_TOKEN_CHARACTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"
_VISIBLE: Final = bytes(range(0x21, 0x7F))
"""What the two may hold (RFC 6750 section 2.1): nothing that leaves anything to parse."""


class FieldsMemory:
    """Field sections met before, on any connection: the same bytes have the same facts.

    A section is kept when it comes for the second time, so that callers who never repeat themselves fill
    nothing. Two generations, bounded in entries and by ``SECTION_BYTES_LEARNED_MAX``; one memory per
    snapshot, so that no limit of an older one lives on. Sections that differ in nothing but the credential
    share what was learned of the rest, and so do those that differ by their idempotency key. ``known``: the
    facts of a section kept of late, or None; read in place, since every call asks.
    """

    __slots__ = ("_headers_max", "_old", "_seen", "_young", "header_bytes_max", "known", "section_bytes_max")

    def __init__(self, header_bytes_max: int, headers_max: int) -> None:
        self.header_bytes_max = header_bytes_max
        # Under so small a limit a remembered section might pass with a target too long for both together.
        self.section_bytes_max = 0 if header_bytes_max < _LIMIT_BYTES_MIN else SECTION_BYTES_LEARNED_MAX
        self._headers_max = headers_max
        self._old: dict[bytes, Fields] = {}
        self._seen: set[int] = set()
        self._young: dict[bytes, Fields] = {}
        self.known = self._young.get

    def recall(self, raw: bytes) -> Fields:
        """The facts of ``raw``, from memory or parsed now. Raises ``Refusal``."""
        fields = self._young.get(raw)
        if fields is not None:
            return fields
        fields = self._old.get(raw)
        if fields is None:
            fields = self._but_for_key(raw)
            if fields is not None:
                return fields
            fields = self._but_for_credential(raw) or parse_fields(raw, self._headers_max)
            if not self._came_before(raw):
                return fields
        self._keep(raw, fields)
        return fields

    def keyed(self, raw: bytes) -> Fields | None:
        """The facts of a section that was kept of late but for its ``Idempotency-Key``; None: of any other.
        Read by each call that ``known`` does not know.
        """
        if len(raw) > self.section_bytes_max:
            return None
        at, end = _key_line(raw)
        if at < 0:
            return None
        base = self._young.get(raw[:at] + raw[end:])
        return None if base is None else self._with_key(base, raw, at, end)

    def _but_for_key(self, raw: bytes) -> Fields | None:
        """The facts of ``raw`` from those of the same section without its ``Idempotency-Key``, which is
        another in every call; None when it has none or that must be parsed.
        """
        at, end = _key_line(raw)
        if at < 0:
            return None
        try:
            base = self.recall(raw[:at] + raw[end:])
        except Refusal:
            return None  # parsing the whole says what is wrong
        return self._with_key(base, raw, at, end)

    def _with_key(self, base: Fields, raw: bytes, at: int, end: int) -> Fields | None:
        if base.idempotency_key is not None or base.count >= self._headers_max:
            return None  # two of them, or one line too many: parsing says what is wrong with that
        begin = at + _IDEMPOTENCY_BEGINS
        key = raw[begin:end]
        return base.with_key(raw[:begin], key, raw[end:]) if _is_plain(key) else None

    def _but_for_credential(self, raw: bytes) -> Fields | None:
        """The facts of ``raw`` from those of the same section without its credential, when that is known.

        A key or a token is a fact of its own: nothing that the other lines say depends on it.
        """
        if len(raw) > SECTION_BYTES_LEARNED_MAX or raw.count(b"\r\n") - 1 > self._headers_max:
            return None
        api_key = None
        at, authorization = _bearer(raw)
        if authorization is None:
            at, api_key = _api_key(raw)
            if api_key is None:
                return None
        rest = raw[:at] + raw[raw.find(b"\r\n", at + 2) :]
        known = self._young.get(rest)
        if known is None:
            known = self._old.get(rest)
            if known is None:
                if not self._came_before(rest):
                    return None
                try:
                    known = parse_fields(rest, self._headers_max)
                except Refusal:
                    return None  # parsing the whole says what is wrong
            self._keep(rest, known)
        if (known.api_key if authorization is None else known.authorization) is not None:
            return None  # two of a kind: parsing says what is wrong with that
        return known.with_credential(raw, api_key, authorization)

    def _came_before(self, raw: bytes) -> bool:
        """Whether these bytes were asked for of late; if not, they are from now on."""
        seen = self._seen
        mark = hash(raw)
        if mark in seen:
            return True
        if len(seen) >= SECTIONS_SEEN_MAX:
            seen.clear()
        seen.add(mark)
        return False

    def _keep(self, raw: bytes, fields: Fields) -> None:
        if len(raw) > SECTION_BYTES_LEARNED_MAX or fields.via:
            return  # our own name in Via is looked for each time
        if len(self._young) >= SECTIONS_PER_GENERATION:
            self._old, self._young = self._young, {}
            self.known = self._young.get
        self._young[raw] = fields


def keyed_anew(fields: Fields, data: bytes, at: int) -> Fields | None:
    """The facts of the section at ``at`` if it is ``fields`` with another idempotency key: the next call on a
    connection mostly is. None: it is something else, or ``fields`` has no key that was told apart.
    """
    base = fields.base
    old = fields.idempotency_key
    if base is None or old is None or not data.startswith(fields.before, at):
        return None
    begin = at + len(fields.before)
    end = begin + len(old)
    if not data.startswith(fields.after, end):
        end = data.find(b"\r\n", begin)
        if end < 0 or not data.startswith(fields.after, end):
            return None
    key = data[begin:end]
    return base.with_key(fields.before, key, fields.after) if _is_plain(key) else None


def _is_plain(key: bytes) -> bool:
    return 0 < len(key) <= _KEY_BYTES_MAX and not key.translate(None, _VISIBLE)


def _key_line(raw: bytes) -> tuple[int, int]:
    """Where the line before an ``Idempotency-Key`` ends, and where that ends; -1 when there is none."""
    for line in _IDEMPOTENCY_LINES:
        at = raw.find(line)
        if at >= 0:
            return at, raw.find(b"\r\n", at + 2)
    return -1, -1


def _bearer(raw: bytes) -> tuple[int, bytes | None]:
    """Where the line before a bearer token ends, and the field's value; None when there is no plain one."""
    for line in _BEARER_LINES:
        at = raw.find(line)
        if at >= 0:
            value = raw[at + _BEARER_BEGINS : raw.find(b"\r\n", at + 2)]
            token = value[_TOKEN_BEGINS:].rstrip(b"=")
            plain = bool(token) and not token.translate(None, _TOKEN_CHARACTERS)
            return at, value if plain else None
    return -1, None


def _api_key(raw: bytes) -> tuple[int, bytes | None]:
    """The same of an API key."""
    for line in _KEY_LINES:
        at = raw.find(line)
        if at >= 0:
            value = raw[at + _KEY_BEGINS : raw.find(b"\r\n", at + 2)]
            plain = 0 < len(value) <= _KEY_BYTES_MAX and not value.translate(None, _VISIBLE)
            return at, value if plain else None
    return -1, None
