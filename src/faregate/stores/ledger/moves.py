"""What one move of a call says to the ledger, and the ledger to the call: the part of ``protocol`` that every
call runs through, compiled with the data plane. What the words mean stands there.
"""

from typing import Final

# States of a record; stored and shown, so the numbers never change.
CLAIMED: Final = 1
SENT: Final = 2
COMPLETED: Final = 3
RELEASED: Final = 4
UNKNOWN: Final = 5
STATE_NAMES: Final = ("absent", "claimed", "sent", "completed", "released", "unknown")

# What ``Standing.kind`` says.
GRANTED: Final = 1
"""claim: the record is this attempt's now."""
IN_FLIGHT: Final = 2
"""claim: another attempt with the same request holds it (CLAIMED or SENT)."""
OPEN: Final = 3
"""claim: the same request was sent and what became of it is not known (UNKNOWN)."""
MISMATCH: Final = 4
"""claim: the key stands for another request, whatever its state."""
REPLAY: Final = 5
"""claim: the same request is COMPLETED; ``answer`` is what was stored, empty when it was not kept."""
DONE: Final = 6
"""mark_sent, settle: stored."""
LOST: Final = 7
"""mark_sent, settle: the record is not this attempt's any more; nothing was changed."""
UNAVAILABLE: Final = 8
"""The store cannot be asked, or could not store it; ``reason`` says why. After ``claim`` and ``mark_sent``
nothing may be sent; the store sees to it that the attempt is not left claimed for longer than its lease."""

KEY_BYTES: Final = 16
ATTEMPT_BYTES: Final = 16
FINGERPRINT_BYTES: Final = 32
ANSWER_BYTES_MAX: Final = 80 << 10
"""Of a sealed answer: the cap on kept bodies (64 KiB) with its header lines and the seal."""
ABOUT_BYTES_MAX: Final = 2 << 10
LEASE_S: Final = 15.0
RENEW_S: Final = 5.0


class Claim:
    """What one attempt asks for. ``key``, ``attempt``, ``fingerprint``: bytes of the lengths above;
    ``attempt`` is random. ``keep_s``: seconds that the answer is kept, 60 to 90 days. ``sends``: a connection
    is at hand, so that a granted record is SENT at once. ``resolves``: the route has a query that may settle
    an UNKNOWN. ``about``: an encoded ``About``, at most ``ABOUT_BYTES_MAX``; the store keeps and returns it
    unread.
    """

    __slots__ = ("about", "attempt", "fingerprint", "keep_s", "key", "resolves", "sends")

    def __init__(  # noqa: PLR0913, PLR0917 - one value per property
        self,
        key: bytes,
        attempt: bytes,
        fingerprint: bytes,
        keep_s: int,
        about: bytes,
        sends: bool,  # noqa: FBT001 - as stored
        resolves: bool,  # noqa: FBT001 - as stored
    ) -> None:
        self.key = key
        self.attempt = attempt
        self.fingerprint = fingerprint
        self.keep_s = keep_s
        self.about = about
        self.sends = sends
        self.resolves = resolves


class Standing:
    """What came of a move. ``attempt``: of the record's own attempt, where it is another's; ``answer``:
    sealed; ``age_s``: seconds since the record's last move; ``reason``: lower_snake_case, of UNAVAILABLE.
    """

    __slots__ = ("age_s", "answer", "attempt", "kind", "reason")

    def __init__(
        self, kind: int, attempt: bytes = b"", answer: bytes = b"", age_s: float = 0.0, reason: str = ""
    ) -> None:
        self.kind = kind
        self.attempt = attempt
        self.answer = answer
        self.age_s = age_s
        self.reason = reason


class Teller:
    """Who waits for a move; a call."""

    def ledger_told(self, standing: Standing) -> None:
        """What came of it; called once. Must not raise."""
        raise NotImplementedError
