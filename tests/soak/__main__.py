"""``python -m tests.soak --seconds N --seed S``: prints a JSON summary, and writes it with ``--report FILE``; exit status 1 when an
invariant was broken.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.soak.run import soak
from tests.soak.schedule import Plan


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--per-second", type=float, default=100)
    parser.add_argument(
        "--every", type=float, default=0, help="seconds between faults; 0 chooses: 20 in long runs"
    )
    parser.add_argument("--only", default="", help="names of faults, joined by commas; all by default")
    parser.add_argument("--folder", type=Path, help="keeps the gateway's folder there")
    parser.add_argument("--report", type=Path, help="writes the summary there as well")
    options = parser.parse_args()
    plan = Plan(options.seconds, options.seed, options.per_second, options.every, options.only)
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
        summary = soak(plan, options.folder)
    else:
        with tempfile.TemporaryDirectory(prefix="faregate-soak-") as folder:
            summary = soak(plan, Path(folder))
    if options.report is not None:
        options.report.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(summary, indent=1))
    return 1 if summary["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
