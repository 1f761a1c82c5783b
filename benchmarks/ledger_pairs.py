"""Pairs of a claim and a settlement, asked of a ledger as calls ask it: as fast as it answers, or a trickle.

Each pair has a key of its own: a claim that sends, and a settlement with an answer of 600 bytes.
"""

import asyncio
import os
import time
from random import Random
from typing import Final

from faregate.stores.ledger.moves import COMPLETED, DONE, GRANTED, UNAVAILABLE, Claim, Standing, Teller
from faregate.stores.ledger.protocol import Ledger

CALLS: Final = 64
ABOUT: Final = Random(1).randbytes(150)
ANSWER: Final = Random(2).randbytes(600)
"""As little to be compressed as what is sealed."""
FINGERPRINT: Final = b"f" * 32
DAY_S: Final = 86_400
_TRICKLE_PAIRS: Final = 8
_TRICKLE_CALLS: Final = 4
_TRICKLE_PAUSE_S: Final = 0.01


class Call(Teller):
    """Claims and settles one key after another while ``load`` has more to do."""

    def __init__(self, load: "Load") -> None:
        self.load = load
        self.settling = False
        self.key = self.attempt = b""
        self.began = 0.0

    def go(self) -> None:
        load = self.load
        if not load.left:
            load.running -= 1
            if not load.running:
                load.done.set()
            return
        load.left -= 1
        self.key, self.attempt = os.urandom(16), os.urandom(16)
        self.settling = False
        self.began = time.perf_counter()
        load.ledger.claim(Claim(self.key, self.attempt, FINGERPRINT, DAY_S, ABOUT, True, True), self)

    def ledger_told(self, standing: Standing) -> None:
        load = self.load
        if standing.kind == UNAVAILABLE:  # a disk that others keep busy for two seconds
            load.unavailable += 1
            self.go()
            return
        assert standing.kind == (DONE if self.settling else GRANTED), standing.kind
        now = time.perf_counter()
        load.longest = max(load.longest, now - self.began)
        self.began = now
        if self.settling:
            load.made += 1
            self.go()
        else:
            self.settling = True
            load.ledger.settle(self.key, self.attempt, COMPLETED, ANSWER, self)


class Load:
    """Runs so many pairs. ``made``: all so far, ``unavailable``: that came to nothing; ``longest``: of one
    move of the last run, in seconds.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.left = self.running = self.made = self.unavailable = 0
        self.longest = 0.0
        self.done = asyncio.Event()

    async def run(self, pairs: int, calls: int = CALLS) -> float:
        """Pairs a second."""
        self.left, self.running, self.longest = pairs, calls, 0.0
        self.done.clear()
        began = time.perf_counter()
        for _ in range(calls):
            Call(self).go()
        await self.done.wait()
        return pairs / (time.perf_counter() - began)

    async def trickle(self) -> float:
        """A few pairs and a pause; the longest that one move waited, in milliseconds."""
        await self.run(_TRICKLE_PAIRS, _TRICKLE_CALLS)
        await asyncio.sleep(_TRICKLE_PAUSE_S)
        return self.longest * 1e3
