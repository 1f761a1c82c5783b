"""The proof finds bugs that are planted in the real gateway, each within a minute: so its silence means something.

``mutants/sitecustomize.py`` plants them in the gateway's processes; the product has no switch for any of it.
"""

import time
from pathlib import Path

import pytest

from tests.ledger_proof.histories import History, tell
from tests.ledger_proof.judge import NOWHERE, judge
from tests.ledger_proof.plan import make_plan
from tests.ledger_proof.run import Order, play
from tests.ledger_proof.world import STORES, World, fault_names

PATIENCE = pytest.mark.timeout(180)
pytestmark = [pytest.mark.apart, pytest.mark.beside, pytest.mark.proof, PATIENCE]
FOUND_S = 60.0
TRIES = 3
RULES = frozenset({"I1", "I4", "I5", "I8"})
PLANS = {
    "claim_after_send": (40, 1, ("reloaded",)),
    "claim_not_durable": (120, 3, ("ledger_killed",)),
    "sent_reclaimed": (120, 3, ("worker_killed",)),
    "fail_open": (60, 1, ("ledger_stalled",)),
}
"""Calls, faults, and their names."""


@pytest.mark.parametrize("mutant", PLANS)
def test_a_bug_in_the_real_gateway_is_found_within_a_minute(mutant: str, tmp_path: Path) -> None:
    begun = time.monotonic()
    history = History()
    found = []
    calls, faults, names = PLANS[mutant]
    for seed in range(TRIES):
        order = Order("embedded", calls, faults, seed, lease_s=2, only=names, mutant=mutant)
        history = play(order, make_plan(seed, calls, faults, names), tmp_path / f"{seed}")
        found = [one for one in judge(history) if one.rule in RULES]
        if found or time.monotonic() - begun > FOUND_S / 2:
            break
    assert found, "the planted bug was not found"
    assert time.monotonic() - begun < FOUND_S
    print(found[0], tell(history, {found[0].scope} - {NOWHERE}), sep="\n")


def test_every_fault_has_its_deed() -> None:
    for store in STORES:
        world = object.__new__(World)
        world.store = store
        assert tuple(world.faults) == fault_names(store)
        assert all(map(callable, world.faults.values()))
