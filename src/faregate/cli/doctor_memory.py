"""Whether this machine has the memory that the configuration may ask for (promise P6 of http-rules.md).

The ceiling is computed as the gateway computes it at its start; what callers commonly fill is far less.
"""

import os
from typing import Final

from faregate.cli.doctor_findings import Finding, ok, warning
from faregate.gateway.budget import budget, machine_memory, mebibytes
from faregate.snapshot.data import Snapshot
from faregate.snapshot.encoded import encode

TIGHT_BYTES: Final = 256 << 20
"""Below this a worker with the default caches has little room for callers."""


def check_memory(snapshot: Snapshot, machine_bytes: int | None = None) -> Finding:
    """The memory of all workers. ``machine_bytes``: what there is, read when None."""
    machine = machine_memory() if machine_bytes is None else machine_bytes
    workers = snapshot.gateway.workers or len(os.sched_getaffinity(0))
    bounds = budget(snapshot.gateway, workers, len(encode(snapshot)), machine, keeps=snapshot.holds_bodies)
    said = f"a worker keeps below {mebibytes(bounds.bound)}, {workers} of them"
    if bounds.bound * workers > machine:
        return warning(
            "memory",
            f"{said}; the machine has {mebibytes(machine)}",
            "lower `gateway.limits.memory`, or leave it at `auto`",
        )
    if bounds.bound < TIGHT_BYTES:
        return warning(
            "memory",
            f"{said}, which leaves little room for callers",
            "fewer `gateway.workers`, more memory, or a higher `gateway.limits.memory`",
        )
    if bounds.watched < bounds.fillable:
        said += f"; callers could fill {mebibytes(bounds.fillable)} each, so load is shed before that"
    return ok("memory", said)
