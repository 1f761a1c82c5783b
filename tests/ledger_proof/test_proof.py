"""The proof in its short form, for each store: seconds of faults, then every invariant. ``FAREGATE_PROOF=long`` is the whole of it,
10,000 calls and 200 faults a store.
"""

import os
import random
from pathlib import Path

import pytest

from tests.ledger_proof.run import Order, prove
from tests.ledger_proof.store_servers import why_not
from tests.ledger_proof.world import STORES

LONG = os.environ.get("FAREGATE_PROOF") == "long"
SEED = int(os.environ.get("FAREGATE_PROOF_SEED", "0")) or (random.randrange(1, 10**6) if LONG else 11)
"""A long proof takes another seed each time, and says which."""
SHORT = {
    "embedded": Order("embedded", 300, 6, SEED, lease_s=2,
                      only=("worker_killed", "ledger_killed", "gateway_killed", "cut_up", "cut_down", "ledger_stalled")),
    "redis": Order("redis", 150, 4, SEED, lease_s=2, only=("worker_killed", "store_killed", "store_cut_down", "upstream_killed")),
    "postgresql": Order("postgresql", 150, 4, SEED, lease_s=2, only=("worker_killed", "store_killed", "store_cut_down", "cut_down")),
}  # fmt: skip
PATIENCE = pytest.mark.timeout(1800 if LONG else 120)
pytestmark = [pytest.mark.apart, pytest.mark.beside, pytest.mark.proof, PATIENCE]


@pytest.mark.parametrize("store", STORES)
def test_no_key_runs_twice_and_every_caller_learns_the_truth(store: str, tmp_path: Path) -> None:
    if reason := why_not(store):
        pytest.skip(reason)
    # in shared stores a worker is stalled for longer than its leases, again and again
    lease_s = 0 if store == "embedded" else 3
    order = Order(store, 10_000, 200, SEED, lease_s=lease_s) if LONG else SHORT[store]
    result = prove(order, tmp_path)
    print(result.figures)
    assert result.violations == [], f"{len(result.violations)} violations\n{result.story}"
    told = result.figures["told"]
    assert isinstance(told, dict)
    assert told["final"] > order.calls / 3, "too few answers to prove anything"
    assert result.figures["replayed"], "nothing was replayed"
    verdicts = result.figures["verdicts"]
    assert verdicts, "no call was left unknown: the faults were too tame"
