"""What ``faregate doctor`` says of memory: the ceiling, and whether the machine has it."""

import pytest

from faregate.cli.doctor_memory import check_memory
from faregate.snapshot.data import FORMAT, Gateway, GatewayLimits, Snapshot

GIB = 1 << 30


@pytest.mark.parametrize(
    ("limits", "workers", "machine", "level", "words"),
    [
        (GatewayLimits(connections=100, calls=50), 2, 64 * GIB, "ok", "keeps below 305 MiB"),
        (GatewayLimits(), 4, 8 * GIB, "ok", "load is shed before that"),
        (GatewayLimits(memory=64 * GIB), 1, GIB, "warning", "the machine has 1024 MiB"),
        (GatewayLimits(), 16, 2 * GIB, "warning", "little room"),
    ],
)
def test_the_ceiling_is_held_against_the_machine(
    limits: GatewayLimits, workers: int, machine: int, level: str, words: str
) -> None:
    snapshot = Snapshot(FORMAT, 1, Gateway((), None, workers, "", limits=limits), (), (), (), (), (), ())
    finding = check_memory(snapshot, machine)
    assert (finding.level, finding.check) == (level, "memory")
    assert words in finding.message
