"""X11 in its short form: half a minute of seeded faults, then every invariant. ``make soak`` runs 30 minutes."""

from pathlib import Path

import pytest

from tests.soak.run import Plan, soak

pytestmark = [pytest.mark.proof, pytest.mark.timeout(120)]
SEED = 20261123


def test_x11_half_a_minute_of_faults_breaks_no_invariant(tmp_path: Path) -> None:
    summary = soak(Plan(seconds=24, seed=SEED, per_second=120, every_s=2), tmp_path)
    print(summary)
    assert summary["violations"] == []
    outcomes = summary["outcomes"]
    assert isinstance(outcomes, dict)
    assert outcomes["answered"] > 1000, "too few calls to prove anything"
    assert len(outcomes) >= 4, "the faults were too tame to prove anything"
