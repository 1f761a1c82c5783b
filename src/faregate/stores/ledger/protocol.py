"""What a worker asks of the ledger, whichever store keeps it (SPEC section 6, payments.md section 3).

A record is found by its ``key``, 16 bytes that ``secrets`` makes of consumer, API, route and the caller's own
key; ``Ledger`` says which states it has and who may move it. The three moves of a call take a ``Teller`` and
answer by calling it, once, from the event loop and never before they return; they raise nothing. What people
and the resolver ask is awaited and raises ``LedgerError``.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from faregate.stores.ledger.moves import (
    ABOUT_BYTES_MAX,
    ANSWER_BYTES_MAX,
    ATTEMPT_BYTES,
    CLAIMED,
    COMPLETED,
    DONE,
    FINGERPRINT_BYTES,
    GRANTED,
    IN_FLIGHT,
    KEY_BYTES,
    LEASE_S,
    LOST,
    MISMATCH,
    OPEN,
    RELEASED,
    RENEW_S,
    REPLAY,
    SENT,
    STATE_NAMES,
    UNAVAILABLE,
    UNKNOWN,
    Claim,
    Standing,
    Teller,
)

__all__ = [
    "ABOUT_BYTES_MAX",
    "ANSWER_BYTES_MAX",
    "ATTEMPT_BYTES",
    "CLAIMED",
    "COMPLETED",
    "DONE",
    "FINGERPRINT_BYTES",
    "GRANTED",
    "IN_FLIGHT",
    "KEY_BYTES",
    "LEASE_S",
    "LOST",
    "MISMATCH",
    "OPEN",
    "RELEASED",
    "RENEW_S",
    "REPLAY",
    "SENT",
    "STATE_NAMES",
    "UNAVAILABLE",
    "UNKNOWN",
    "Claim",
    "Entry",
    "Figures",
    "Ledger",
    "LedgerError",
    "Scope",
    "Standing",
    "Teller",
]


class LedgerError(Exception):
    """The store cannot be asked. The message is for operators: no key, no secret."""


class Entry(NamedTuple):
    """A record as people and the resolver see it. Times are seconds since the epoch, as the gateway's clock
    was.

    ``attempt``: the one that holds or settled it. ``tries``: how often the resolver asked. ``by``, ``note``:
    who decided, ``resolver`` or an operator's name, and why. ``answer``: sealed, empty unless one record was
    asked for.
    """

    key: bytes
    attempt: bytes
    state: int
    fingerprint: bytes
    about: bytes
    changed_at: float
    expires_at: float  # 0.0: not while it stands so
    resolves: bool
    tries: int
    by: str
    note: str
    answer: bytes = b""


class Figures(NamedTuple):
    """The store in numbers. ``bytes_used``, ``bytes_max``: of its disk where it has one, else 0."""

    records: int
    in_flight: int
    unknown: int
    oldest_unknown_s: float
    bytes_used: int = 0
    bytes_max: int = 0


class Mover(Protocol):
    """The moves of a call, as ``Ledger`` has them."""

    def claim(self, claim: Claim, teller: Teller) -> None:
        """See ``Ledger``."""

    def mark_sent(self, key: bytes, attempt: bytes, teller: Teller) -> None:
        """Likewise."""

    def settle(self, key: bytes, attempt: bytes, state: int, answer: bytes, teller: Teller | None) -> None:
        """Likewise."""


class Ledger:
    """One store, as one worker (or a command) uses it.

    The states of a record, and who may move it::

        absent --claim--> CLAIMED --mark_sent--> SENT --settle--> COMPLETED | RELEASED | UNKNOWN
        absent --claim, sends at once--> SENT
        UNKNOWN --decide, or settle of the same attempt--> COMPLETED | RELEASED
        CLAIMED, its owner gone --> RELEASED
        SENT, its owner gone    --> UNKNOWN, never free

    A claim is one atomic step. Every move that is told as done is durable as the store's page says; the first
    byte goes upstream only after SENT is. RELEASED is as good as absent. COMPLETED lives for ``keep_s`` from
    its settlement and is absent afterwards; UNKNOWN never expires. An attempt that lost its record (its lease
    lapsed and another claimed it) is told LOST and may send nothing.
    """

    @property
    def away(self) -> str:
        """Why no key can be claimed now, lower_snake_case; empty when it can, as far as is known."""
        return ""

    @property
    def mover(self) -> Mover:
        """What a call asks for its moves; its event loop runs. A store may have a shorter way than itself."""
        return self

    # the moves of a call

    def claim(self, claim: Claim, teller: Teller) -> None:
        """GRANTED, IN_FLIGHT, OPEN, MISMATCH, REPLAY or UNAVAILABLE. The same attempt asked again (its answer
        was lost) is GRANTED again.
        """
        raise NotImplementedError

    def mark_sent(self, key: bytes, attempt: bytes, teller: Teller) -> None:
        """CLAIMED to SENT: DONE, LOST or UNAVAILABLE. Durable before it is told."""
        raise NotImplementedError

    def settle(self, key: bytes, attempt: bytes, state: int, answer: bytes, teller: Teller | None) -> None:
        """To COMPLETED (``answer``: sealed, or empty when it is not kept), RELEASED or UNKNOWN: DONE, LOST or
        UNAVAILABLE. Repeated by itself while the store is away, within bounds, also when ``teller`` was
        already told UNAVAILABLE, so that an answer that comes late is stored late. ``teller`` None: nobody
        waits.
        """
        raise NotImplementedError

    # what the resolver asks

    async def due(self, most: int) -> list[Entry]:
        """UNKNOWN records of claims that ``resolves`` whose next query is due; they are this worker's for
        ``LEASE_S``, nobody else gets them meanwhile. The first query is due 1 s after a record became
        UNKNOWN.
        """
        raise NotImplementedError

    async def defer(self, key: bytes, attempt: bytes, after_s: float) -> None:
        """The query gave no verdict: ``tries`` is counted up, the next is due in ``after_s``."""
        raise NotImplementedError

    async def decide(  # noqa: PLR0913, PLR0917 - one value per property
        self, key: bytes, attempt: bytes, state: int, answer: bytes, by: str, note: str
    ) -> bool:
        """A verdict from outside: UNKNOWN of this ``attempt`` to COMPLETED or RELEASED. False when the record
        is not so (any more); nothing was changed.
        """
        raise NotImplementedError

    # what people ask

    async def entries(self, states: Sequence[int], after: bytes, most: int) -> list[Entry]:
        """Records in these states, by key, from the first one behind ``after``; at most ``most``, 1 to 1,000.
        Expired ones are left out.
        """
        raise NotImplementedError

    async def entry(self, key: bytes) -> Entry | None:
        """One record with its answer; None when there is none, or it has expired or was released."""
        raise NotImplementedError

    async def figures(self) -> Figures:
        """The store in numbers, at most a second old."""
        raise NotImplementedError

    # its own life

    async def start(self) -> None:
        """Connects, and goes on trying in the background where it cannot: until then every move is told
        UNAVAILABLE. Raises nothing for a store that is away.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Stores what is still to be stored, for a second at most, and lets go."""
        raise NotImplementedError


class Scope(NamedTuple):
    """Whose key it is: no two callers, APIs or routes share one."""

    consumer: str
    api: str
    route: str
    key: bytes
