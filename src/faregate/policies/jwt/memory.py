"""What a worker remembers of tokens: the good ones, until they end, and the bad ones, for seconds.

A verified token is found by the whole header value, compared in full, so another spelling of the same
signature is another token (http-rules.md J19). Two generations make eviction free: when the young one is full
it becomes the old one and the former old one is dropped; what is still in use moves up when it is met again.
Entries are not tracked by the garbage collector: they hold no cycles, and there are many of them.
"""

from typing import Final

import msgspec

from faregate.policies.authenticate.challenge import Reason
from faregate.snapshot.call import Identity
from faregate.stores.jwk import KeySet

ENTRIES_MAX: Final = 20_000
BYTES_MAX: Final = 32 << 20
_ENTRY_BYTES: Final = 200  # dict slot, entry and bytes header beside the token itself

FAILURES_MAX: Final = 1_000
FAILURE_BYTES_MAX: Final = 1 << 20
FAILURES_PER_PEER_MAX: Final = 64
FAILURE_S: Final = 5.0


class Verified(msgspec.Struct, frozen=True, gc=False):
    """A good token. Valid while ``not_before <= wall < expires`` (leeway included) and ``keys.live``.
    ``bound``: only beside the certificate that it was verified with, and remembered under both.
    """

    identity: Identity
    not_before: float
    expires: float
    keys: KeySet
    bound: bool = False


class TokenMemory:
    """Verified tokens by header value, at most ``entries_max`` and ``bytes_max`` together. ``young`` is read
    in place.
    """

    __slots__ = ("_bytes", "_bytes_max", "_entries_max", "_old", "young")

    def __init__(self, entries_max: int = ENTRIES_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._entries_max, self._bytes_max = entries_max // 2, bytes_max // 2
        self._bytes = 0
        self._old: dict[bytes, Verified] = {}
        self.young: dict[bytes, Verified] = {}

    def __len__(self) -> int:
        return len(self.young) + len(self._old)

    def keep(self, value: bytes, entry: Verified) -> None:
        """Stores ``entry``; at most one generation is dropped."""
        size = len(value) + _ENTRY_BYTES
        if self._bytes + size > self._bytes_max or len(self.young) >= self._entries_max:
            self._old, self.young, self._bytes = self.young, {}, 0
        self._bytes += size
        self.young[value] = entry

    def forget(self, consumers: set[str]) -> None:
        """Drops the tokens of these consumers; of 20,000 entries it takes two milliseconds."""
        self.young = {value: one for value, one in self.young.items() if _owner(one) not in consumers}
        self._old = {value: one for value, one in self._old.items() if _owner(one) not in consumers}
        self._bytes = sum([len(value) + _ENTRY_BYTES for value in self.young])

    def find(self, value: bytes) -> Verified | None:
        """The entry of ``value``, left where it is."""
        return self.young.get(value) or self._old.get(value)

    def recall(self, value: bytes) -> Verified | None:
        """Takes out the entry of the old generation, and any young one, which has ended or it would not be
        asked for.

        The caller keeps the entry anew if it is still good.
        """
        if self.young.pop(value, None) is not None:
            self._bytes -= len(value) + _ENTRY_BYTES
            return None
        return self._old.pop(value, None)


def _owner(entry: Verified) -> str:
    return entry.identity.consumer.name


class FailureMemory:
    """Tokens whose form or signature was found bad less than ``FAILURE_S`` ago, so that a repeat costs no
    signature check.

    Only faults that time and new keys cannot heal belong here. No peer fills more than its share; when full,
    all is dropped, for it is only a saving.
    """

    __slots__ = ("_bytes", "_found", "_peers")

    def __init__(self) -> None:
        self._found: dict[bytes, tuple[Reason, float]] = {}
        self._peers: dict[str, int] = {}
        self._bytes = 0

    def find(self, value: bytes, now: float) -> Reason | None:
        """Why ``value`` was refused, if that was less than ``FAILURE_S`` before ``now``."""
        found = self._found.get(value)
        return found[0] if found is not None and found[1] > now else None

    def keep(self, value: bytes, reason: Reason, peer: str, now: float) -> None:
        """Remembers ``reason`` unless ``peer`` has used up its share."""
        if len(self._found) >= FAILURES_MAX or self._bytes + len(value) > FAILURE_BYTES_MAX:
            self._found, self._peers, self._bytes = {}, {}, 0
        count = self._peers.get(peer, 0)
        if count < FAILURES_PER_PEER_MAX:
            if value not in self._found:
                self._bytes += len(value)
                self._peers[peer] = count + 1
            self._found[value] = (reason, now + FAILURE_S)
