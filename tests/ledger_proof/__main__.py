"""``python -m tests.ledger_proof --store embedded --calls 10000 --faults 200 --seed 1``: exit status 1 when a rule was broken.

Prints what happened in numbers, and for a violation the shortest story that was found.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.ledger_proof.run import Order, prove
from tests.ledger_proof.store_servers import why_not
from tests.ledger_proof.world import STORES, fault_names


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.ledger_proof")
    parser.add_argument("--store", choices=STORES, default="embedded")
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--seconds-max", type=float, default=0, help="rounds that would begin later are left out; 0: none"
    )
    parser.add_argument("--lease", type=float, default=0, help="seconds of a lease, in place of the real 15")
    parser.add_argument("--only", default="", help="names of faults, joined by commas; all by default")
    parser.add_argument("--mutant", default="", help="a bug to plant: see mutants/sitecustomize.py")
    parser.add_argument("--replays", type=int, default=12, help="of a violation, to make it small")
    parser.add_argument("--folder", type=Path, help="keeps everything there")
    options = parser.parse_args()
    if reason := why_not(options.store):
        parser.error(reason)
    only = tuple(filter(None, options.only.split(",")))
    if unknown := set(only) - set(fault_names(options.store)):
        parser.error(
            f"no fault {', '.join(sorted(unknown))}; there are {', '.join(fault_names(options.store))}"
        )
    order = Order(
        options.store, options.calls, options.faults, options.seed, options.seconds_max, options.lease, only,
        options.mutant, options.replays,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="faregate-proof-", ignore_cleanup_errors=True) as folder:
        result = prove(order, options.folder or Path(folder))
    print(json.dumps(result.figures, indent=1))
    for violation in result.violations[:40]:
        print(str(violation)[:1000])
    if result.story:
        print(f"\n{result.story}")
    return 1 if result.violations else 0


if __name__ == "__main__":
    sys.exit(main())
