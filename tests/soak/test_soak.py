"""X11 in its short form: some seconds of seeded faults in both lanes, then every invariant. ``make soak`` runs 30 minutes."""

from pathlib import Path

import pytest

from tests.soak.run import soak
from tests.soak.schedule import Plan

pytestmark = [pytest.mark.proof, pytest.mark.paired, pytest.mark.timeout(120)]
SEED = 441
"""Under which the gateway's lane begins with a killed worker and an upgrade."""


def test_x11_seconds_of_faults_break_no_invariant(tmp_path: Path) -> None:
    summary = soak(Plan(seconds=18, seed=SEED, per_second=120, every_s=2), tmp_path)
    print(summary)
    assert summary["violations"] == []
    outcomes = summary["outcomes"]
    assert isinstance(outcomes, dict)
    assert outcomes["answered"] > 1000, "too few calls to prove anything"
    assert len(outcomes) >= 4, "the faults were too tame to prove anything"
    assert summary["kills"]
    assert summary["upgrades"]
