"""What one peer may do to one HTTP/2 connection: frames counted as they come, before anything acts on them.

Each row of http-rules.md section 4 that is a rate or a cap of a connection's life is one number here. Pure:
it is told the time and answers with a fault, or not at all. A peer that meets one loses the connection with
GOAWAY(ENHANCE_YOUR_CALM); no caller in good faith comes near.
"""

from typing import Final

from faregate.gateway.http2.frames import ENHANCE_YOUR_CALM, ConnectionFault

PINGS: Final = 0
SETTINGS: Final = 1
EMPTY_DATA: Final = 2
EMPTY_UPDATES: Final = 3
"""``WINDOW_UPDATE`` that add nothing."""
RESETS: Final = 4
"""Streams that the peer reset (H01)."""
IDLE_FRAMES: Final = 5
"""``PRIORITY`` and frames of unknown types, which do nothing."""
_REASONS: Final = ("pings", "settings", "empty_data", "empty_updates", "resets", "idle_frames")
_PER_SECOND: Final = (100.0, 50.0, 100.0, 100.0, 100.0, 0.0)
"""0: no rate of its own."""
LIFE_MAX: Final = 10_000
"""Of each kind, while a connection lives (H05); resets have caps of their own."""
EARLY_RESETS_MAX: Final = 50
"""Streams reset by the peer before any answer, while a connection lives (H01)."""
OUR_RESETS_MAX: Final = 500
"""Streams that a peer made us reset, while a connection lives (H02)."""
CONTINUATIONS_MAX: Final = 20
BLOCK_BYTES_MAX: Final = 64 << 10
"""Of one field block, over all its frames (H03)."""


class Guards:
    """The counts of one connection. Rates are buckets: as deep as a second's worth, emptied at that rate, so
    that never more than twice the rate passes in any second.
    """

    __slots__ = ("_at", "_early_resets", "_levels", "_our_resets", "_totals")

    def __init__(self) -> None:
        self._levels = [0.0] * 6
        self._at = [0.0] * 6
        self._totals = [0] * 6
        self._early_resets = 0
        self._our_resets = 0

    def count(self, kind: int, now: float) -> None:
        """One more frame of this kind. Raises ``ConnectionFault``."""
        total = self._totals[kind] + 1
        self._totals[kind] = total
        rate = _PER_SECOND[kind]
        if rate:
            level = max(0.0, self._levels[kind] - (now - self._at[kind]) * rate) + 1.0
            self._levels[kind] = level
            self._at[kind] = now
            if level > rate:
                raise ConnectionFault(ENHANCE_YOUR_CALM, _REASONS[kind])
        if total > LIFE_MAX and kind != RESETS:
            raise ConnectionFault(ENHANCE_YOUR_CALM, _REASONS[kind])

    def stream_reset(self, now: float, *, answered: bool) -> None:
        """The peer reset a stream; ``answered``: its answer had begun. Raises ``ConnectionFault``."""
        self.count(RESETS, now)
        if not answered:
            self._early_resets += 1
            if self._early_resets > EARLY_RESETS_MAX:
                raise ConnectionFault(ENHANCE_YOUR_CALM, "early_resets")

    def we_reset(self) -> None:
        """The peer made us reset a stream. Raises ``ConnectionFault``."""
        self._our_resets += 1
        if self._our_resets > OUR_RESETS_MAX:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "made_us_reset")


def check_block(block_bytes: int, continuations: int) -> None:
    """H03: what has come of a field block so far. Raises ``ConnectionFault``."""
    if continuations > CONTINUATIONS_MAX or block_bytes > BLOCK_BYTES_MAX:
        raise ConnectionFault(ENHANCE_YOUR_CALM, "field_block_too_long")
