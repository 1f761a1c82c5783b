"""The moves that wait for a shared store: their order, their bounds, and what a batch may hold.

A batch is of one kind, so that a store runs it as one command, and names no record twice, so that the order
within it does not matter. Settlements are kept until they are stored and count against a bound of their own;
claims and marks live two seconds at most and are bounded in number. No clock and no socket here.
"""

from collections import deque
from typing import Final

from faregate.stores.ledger.protocol import RELEASED, Claim, Standing, Teller
from faregate.stores.ledger.remote_faults import unforeseen

# Kinds of a move.
CLAIM: Final = 0
MARK: Final = 1
SETTLE: Final = 2
WITHDRAW: Final = 3
"""RELEASED of an attempt that was told UNAVAILABLE. It leaves a trace even where the record is absent, so
that a claim of that attempt which is still under way on another connection finds it and is void.
"""
KINDS: Final = 4

BATCH_MOST: Final = 64
BATCH_BYTES_MAX: Final = 1 << 20
WAITING_MOST: Final = 10_000
KEPT_MOST: Final = 10_000
KEPT_BYTES_MAX: Final = 64 << 20
_MOVE_BYTES: Final = 256
"""What a move counts for besides its answer."""


class Move:
    """One move under way. ``asked``: it may have reached the store. ``given_up``: its teller was told
    UNAVAILABLE. ``until``: when that is due, in the loop's time.
    """

    __slots__ = ("answer", "asked", "attempt", "claim", "given_up", "key", "kind", "state", "teller", "until")

    def __init__(  # noqa: PLR0913, PLR0917 - one value per property
        self,
        kind: int,
        key: bytes,
        attempt: bytes,
        state: int,
        answer: bytes,
        claim: Claim | None,
        teller: Teller | None,
        until: float,
    ) -> None:
        self.kind = kind
        self.key = key
        self.attempt = attempt
        self.state = state
        self.answer = answer
        self.claim = claim
        self.teller = teller
        self.until = until
        self.asked = False
        self.given_up = False

    @property
    def weight(self) -> int:
        return len(self.answer) + _MOVE_BYTES

    def tell(self, standing: Standing) -> None:
        """Tells it to whoever waits, once. What goes wrong there is not the next one's fault."""
        teller, self.teller = self.teller, None
        if teller is not None:
            try:
                teller.ledger_told(standing)
            except Exception as error:  # noqa: BLE001 - the rest of the batch is to be told too
                unforeseen("a call that the ledger told", error)


def withdrawal(move: Move) -> Move:
    return Move(WITHDRAW, move.key, move.attempt, RELEASED, b"", None, None, 0.0)


class Backlog:
    """What waits for a connection, and how much of it must not be dropped."""

    def __init__(self) -> None:
        self._queues: tuple[deque[Move], ...] = tuple(deque() for _ in range(KINDS))
        self._turn = 0
        self.kept = 0
        """Settlements and withdrawals that are not stored yet, those under way too."""
        self.kept_bytes = 0

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues)

    def waiting(self) -> int:
        """Claims and marks."""
        return len(self._queues[CLAIM]) + len(self._queues[MARK])

    def keep(self, move: Move) -> bool:
        """Puts a settlement or withdrawal; False when there is no room for it."""
        if self.kept >= KEPT_MOST or self.kept_bytes + move.weight > KEPT_BYTES_MAX:
            return False
        self.kept += 1
        self.kept_bytes += move.weight
        self._queues[move.kind].append(move)
        return True

    def stored(self, move: Move) -> None:
        """A settlement or withdrawal that ``keep`` took is over."""
        self.kept -= 1
        self.kept_bytes -= move.weight

    def put(self, move: Move) -> None:
        """A claim or mark."""
        self._queues[move.kind].append(move)

    def back(self, batch: list[Move]) -> None:
        """A batch that came to nothing, to be asked again, first of its kind."""
        self._queues[batch[0].kind].extendleft(reversed(batch))

    def take(self) -> list[Move]:
        """The next batch: kinds have their turn one after the other. Empty when nothing waits."""
        for step in range(KINDS):
            kind = (self._turn + step) % KINDS
            if self._queues[kind]:
                self._turn = (kind + 1) % KINDS
                batch = _batch(self._queues[kind])
                if batch:
                    return batch
        return []


def _batch(queue: deque[Move]) -> list[Move]:
    """At most ``BATCH_MOST`` moves of different records. Claims and marks that were given up unasked are left
    out: the store never heard of them.
    """
    batch: list[Move] = []
    aside: list[Move] = []
    keys: set[bytes] = set()
    bytes_left = BATCH_BYTES_MAX
    while queue and len(batch) < BATCH_MOST and len(aside) < BATCH_MOST and bytes_left > 0:
        move = queue.popleft()
        if move.given_up and move.kind in {CLAIM, MARK} and not move.asked:
            continue
        if move.key in keys:
            aside.append(move)
            continue
        keys.add(move.key)
        bytes_left -= move.weight
        batch.append(move)
    queue.extendleft(reversed(aside))
    return batch
