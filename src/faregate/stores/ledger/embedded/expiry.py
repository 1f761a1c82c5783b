"""Which keys expire when: by spans of 16 s, so that neither adding nor forgetting one looks at others.

A span's keys lie packed one behind the other, 20 bytes each, in pieces, so that nobody waits for a span of a
million to be copied or given back; they are handed out in slices once the span is over. Whether a key is
read as expired before that is the book's business, to the millisecond.
"""

from typing import Final

SPAN_SHIFT: Final = 14
"""A span is 16.4 s of ledger time."""
_SPANS: Final = 1 << 25
_ENTRY: Final = 20
_PIECE: Final = 4_000 * _ENTRY


class Expiry:
    """``swept``: the span whose keys are handed out. ``more``: there were more to take."""

    __slots__ = ("_at", "_keys", "_pieces", "_spans", "more", "swept")

    def __init__(self) -> None:
        self.swept = 0
        self.more = False
        self._spans: dict[int, list[bytearray]] = {}
        self._pieces: list[bytearray] = []
        self._keys = b""
        self._at = 0

    def begin(self, now_ms: int) -> None:
        """Nothing that was added had expired by then."""
        self.swept = max(0, (now_ms >> SPAN_SHIFT) - 2)

    def add(self, key: bytes, length: int, expires_ms: int) -> int:
        """A key of 16 bytes whose record is so long; its span."""
        span = min(expires_ms >> SPAN_SHIFT, _SPANS - 1)
        pieces = self._spans.get(span)
        if pieces is None:
            pieces = self._spans[span] = [bytearray()]
        keys = pieces[-1]
        if len(keys) >= _PIECE:
            keys = bytearray()
            pieces.append(keys)
        keys += key
        keys += length.to_bytes(4, "little")
        return span

    def take(self, now_ms: int, most: int) -> list[tuple[bytes, int]]:
        """Up to so many keys of one span that is over, with the lengths of their records."""
        ended = (now_ms >> SPAN_SHIFT) - 1
        while self._at >= len(self._keys):
            if not self._pieces:
                if self.swept >= ended:
                    self.more = False
                    self._keys = b""
                    self._at = 0
                    return []
                self.swept += 1
                self._pieces = self._spans.pop(self.swept, [])
            self._keys = bytes(self._pieces.pop()) if self._pieces else b""
            self._at = 0
        keys = self._keys
        begin = self._at
        end = min(begin + most * _ENTRY, len(keys))
        self._at = end
        self.more = True
        return [
            (keys[at : at + 16], int.from_bytes(keys[at + 16 : at + _ENTRY], "little"))
            for at in range(begin, end, _ENTRY)
        ]
