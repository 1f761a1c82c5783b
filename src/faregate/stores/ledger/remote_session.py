"""What a shared store gives to ``RemoteLedger``: one connection that runs batches and answers questions.

A session is used by one at a time. Whatever fails raises StoreAway, after which it is closed and never used
again: what the batch did is not known, and every question may be asked again.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from faregate.stores.ledger.protocol import Entry, Figures, Standing
from faregate.stores.ledger.remote_moves import Move

_MARK: Final = b"faregate mark 1"  # at most 16 bytes

OTHER_KEY: Final = "store_other_lookup_key"
OTHER_KEY_WORDS: Final = (
    "its records were made with another `lookup_key`: their keys would not be found, and payments run again"
)


def mark_of(lookup_key: bytes) -> bytes:
    """What a store keeps to know ``lookup_key`` again: 16 bytes that tell nothing of it; empty for none."""
    return blake2b(b"ledger", digest_size=16, key=lookup_key, person=_MARK).digest() if lookup_key else b""


class StoreAway(Exception):  # noqa: N818 - a state of the store, not a mistake
    """The store could not be asked. ``reason``: lower_snake_case, for callers' logs; the message is for
    operators and holds no secret.
    """

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(message or reason)
        self.reason = reason


class Session:
    """One connection to the store. Every coroutine raises StoreAway."""

    async def run(self, kind: int, moves: Sequence[Move]) -> list[Standing | None]:
        """What came of each move of one ``kind``, in order; None: ask again."""
        raise NotImplementedError

    async def renew(self, held: Sequence[tuple[bytes, bytes]]) -> None:
        """New leases for these keys, where the attempt beside it still holds them."""
        raise NotImplementedError

    async def sweep(self) -> bool:
        """Moves what has lapsed and drops what has expired, a batch at a time; True when there is more."""
        raise NotImplementedError

    async def check(self) -> str:
        """Raises StoreAway when the store does not keep what it is told, and that was not accepted, or when
        it is kept with another lookup key. Words on what a crash may lose all the same; empty for nothing.
        """
        raise NotImplementedError

    async def due(self, most: int) -> list[Entry]:
        raise NotImplementedError

    async def defer(self, key: bytes, attempt: bytes, after_s: float) -> None:
        raise NotImplementedError

    async def decide(  # noqa: PLR0913, PLR0917 - one value per property
        self, key: bytes, attempt: bytes, state: int, answer: bytes, by: str, note: str, *, again: bool
    ) -> bool:
        """``again``: it was asked before and the answer was lost: the same verdict found is this one."""
        raise NotImplementedError

    async def entries(self, states: Sequence[int], after: bytes, most: int) -> list[Entry]:
        raise NotImplementedError

    async def entry(self, key: bytes) -> Entry | None:
        raise NotImplementedError

    async def figures(self) -> Figures:
        raise NotImplementedError

    async def close(self) -> None:
        """Lets go of the connection; never raises."""
        raise NotImplementedError

    def abort(self) -> None:
        """Cuts the connection, so that what waits on it fails at once."""
        raise NotImplementedError
