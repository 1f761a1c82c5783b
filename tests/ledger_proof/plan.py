"""What a run will do, made from a seed before anything runs: rounds of errands, each round with one fault.

An errand is one purpose of one caller: a key, a body, how often it asks again, whether it hangs up. Concurrent duplicates, late
repeats and reused keys are errands of their own. A plan can be cut down to some keys and faults and played again: that is how a
violation is made small.
"""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tests.ledger_proof.histories import Scope, digest_of

CONSUMERS: Final = ("acme", "bravo", "carol")
PLACES: Final = (("alpha", "payments"), ("alpha", "refunds"), ("beta", "payments"))
"""API and route; ``beta`` waits for the first answer and has a query that settles."""
SPREAD_MS: Final = 600
"""Over which a round's errands begin."""
_PLAIN: Final = "status=201"
_ACTS: Final = (
    (40, _PLAIN), (14, "status=201;delay={ms}"), (8, "status=201;late={ms}"), (5, "status=402"), (5, "status=500"),
    (3, "status=503;refuse=1"), (3, "status=503"), (2, "status=502;refuse=1"), (4, "status=429;refuse=1"), (2, "status=201;delay=2000"),
    (4, "cut=before"), (4, "cut=after"), (6, "status=201;cut={bytes}"), (6, "status=201;filler={bytes}"),
    (4, "status=201;chunked=1;filler={bytes}"), (2, "status=201;filler=70000"),
    (1, "status=201;filler=70000;chunked=1;late={ms}"), (1, "status=201;filler=70000;cut=66000"),
)  # fmt: skip


@dataclass(frozen=True)
class Errand:
    """``act``: what the upstream shall do with it. ``leaves_ms``: hangs up so long after sending, 0 never. ``tries``, ``pause_ms``:
    how often it asks in all, and how long it waits between.
    """

    number: int
    scope: Scope
    body: bytes
    act: str
    begins_ms: int
    leaves_ms: int
    tries: int
    pause_ms: int

    @property
    def digest(self) -> str:
        return digest_of(self.body)


@dataclass(frozen=True)
class Round:
    """``fault``: its name, empty for none; ``seed`` of what it does; ``fault_ms`` after the round's begin, for ``hold_ms``."""

    errands: tuple[Errand, ...]
    fault: str
    seed: int
    fault_ms: int
    hold_ms: int


@dataclass(frozen=True)
class Plan:
    rounds: tuple[Round, ...]
    seed: int

    @property
    def errands(self) -> int:
        return sum(len(one.errands) for one in self.rounds)

    def only(self, scopes: Collection[Scope]) -> "Plan":
        """The same rounds with the errands of these keys alone; rounds without any lose their fault as well."""
        kept = []
        for one in self.rounds:
            errands = tuple(errand for errand in one.errands if errand.scope in scopes)
            if errands:
                kept.append(replace(one, errands=errands))
        return Plan(tuple(kept), self.seed)

    def without_fault(self, at: int) -> "Plan":
        return Plan(
            tuple(replace(one, fault="") if at == number else one for number, one in enumerate(self.rounds)),
            self.seed,
        )

    def without_errand(self, number: int) -> "Plan":
        rounds = (
            replace(one, errands=tuple(errand for errand in one.errands if errand.number != number))
            for one in self.rounds
        )
        return Plan(tuple(one for one in rounds if one.errands), self.seed)


def make_plan(seed: int, calls: int, faults: int, names: Sequence[str]) -> Plan:
    """``calls`` errands over ``faults`` rounds; each of ``names`` comes once before any comes again."""
    dice = random.Random(f"plan {seed}")
    rounds = []
    past: list[Errand] = []
    waiting: list[str] = []
    number = 0
    for turn in range(max(1, faults)):
        due = calls * (turn + 1) // max(1, faults) - number
        errands = _errands(dice, turn, number, due, past)
        number += len(errands)
        past = (past + errands)[-400:]
        if names and faults:
            if not waiting:
                waiting = list(names)
                dice.shuffle(waiting)
            fault = waiting.pop()
        else:
            fault = ""
        rounds.append(
            Round(
                tuple(errands), fault, dice.getrandbits(32), dice.randrange(50, 350), dice.randrange(150, 600)
            )
        )
    return Plan(tuple(rounds), seed)


def _errands(dice: random.Random, turn: int, first: int, count: int, past: Sequence[Errand]) -> list[Errand]:
    made: list[Errand] = []
    key = ""
    while len(made) < count:
        if past and dice.random() < 0.15:  # somebody asks again for what was asked in a round before
            old = dice.choice(past)
            made.append(_made(dice, first + len(made), old.scope, old.body))
            continue
        if (
            not key or dice.random() < 0.7
        ):  # else the same text again: of another consumer, or for another route
            key = f"k{turn}-{len(made)}"
        api, route = dice.choice(PLACES)
        scope = Scope(dice.choice(CONSUMERS), api, route, key)
        body = b'{"amount_minor":%d,"order":"%b"}' % (dice.randrange(1, 10**6), key.encode())
        group = 1 + (dice.choice((1, 1, 2, 3)) if dice.random() < 0.5 else 0)
        for _ in range(min(group, count - len(made))):
            other = dice.random() < 0.12
            made.append(_made(dice, first + len(made), scope, body + b" " if other else body))
    return made


def _made(dice: random.Random, number: int, scope: Scope, body: bytes) -> Errand:
    act = dice.choices([text for _, text in _ACTS], [weight for weight, _ in _ACTS])[0]
    if scope.api == "beta" and act not in {_PLAIN, "cut=before", "cut=after"} and "delay" not in act:
        act = _PLAIN  # its query tells no status but 201
    text = act.replace("{ms}", str(dice.randrange(20, 700))).replace("{bytes}", str(dice.randrange(400)))
    leaves = dice.choice((1, 5, 30, 150)) if dice.random() < 0.08 else 0
    begins = dice.randrange(SPREAD_MS)
    return Errand(
        number, scope, body, text, begins, leaves, dice.choice((1, 2, 3, 4)), dice.choice((10, 60, 250))
    )
