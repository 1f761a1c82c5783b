"""How much memory a worker may come to need, from its configuration alone (promise P6 of http-rules.md).

One formula, printed at the start, shown by a metric and held against measured memory by tests:

    connections x (own, TLS + held of later requests + held of answers)
    + calls x (head + body on its way up + answer on its way down + captured for the log + kept whole
      where a route has ``idempotency`` or ``validation``)
    + caches + log queue + program and configuration

It is what callers could fill if all of them did their worst at once, so it lies far above common use. Where
it lies above what the machine has, the watch over resident memory (``overload``) is the bound that holds.
Kernel memory of sockets is not in it.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from faregate.snapshot.data import Gateway

READ_BYTES_MAX: Final = 256_000
"""One read of uvloop (``UV_STREAM_RECV_BUF_SIZE``)."""
CONNECTION_OWN_BYTES: Final = 24 << 10
"""Transport, protocol, deadline, its remembered fields: 1.5 KiB were measured with a short head, 8.5 KiB
with one of 2 KiB; allocators and long heads have the rest.
"""
TLS_BYTES: Final = 64 << 10
"""Of one TLS connection; both ends in one process were measured at 54 KiB, and a record waits each way."""
HELD_BYTES_MAX: Final = (64 << 10) + READ_BYTES_MAX
"""Later requests wait up to 64 KiB, found out behind one read; so do answers, and a body on its way up."""
UPSTREAM_HELD_BYTES_MAX: Final = (256 << 10) + READ_BYTES_MAX
"""Of a body on its way up. Over HTTP/2 it comes in pieces of one window (64 KiB) at most, and as much may
wait before it; that is less than the read counted here, and leaves room for 64 KiB of the answer's queue.
"""
CALL_OWN_BYTES: Final = 16 << 10
CAPTURED_BYTES_MAX: Final = 2 * (64 << 10)
KEPT_BYTES_MAX: Final = 3 * (1 << 20) + 4 * (64 << 10)
"""Of a call whose route keeps records: its body whole, as it came, decoded and joined, of which a route takes
1 MiB at most; and its answer, held, packed, sealed and on its way to the ledger.
"""
CACHES_BYTES: Final = 96 << 20
"""Tokens 32 MiB, field sections 25 MiB, identities, series of metrics, learned lines."""
LOG_QUEUE_BYTES: Final = 16 << 20
PROGRAM_BYTES: Final = 80 << 20
CONFIGURATION_FACTOR: Final = 16
"""Resident bytes for a byte of snapshot. With 100,000 API keys (12.2 MiB) 4.5 were measured; a reload holds
two revisions, and consumers who call hold counters beside.
"""
MACHINE_SHARE: Final = 0.75
_CGROUP_FILES: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class Budget(NamedTuple):
    """Bytes of one worker. ``fillable``: what the formula gives; ``watched``: where the watch draws the
    line; ``bound``: the lesser, beyond which a worker does not grow.
    """

    fillable: int
    watched: int

    @property
    def bound(self) -> int:
        return min(self.fillable, self.watched)


def budget(
    gateway: "Gateway", workers: int, snapshot_bytes: int, machine_bytes: int, *, keeps: bool = False
) -> Budget:
    """The budget of each of ``workers``. ``machine_bytes``: see ``machine_memory``; ``keeps``: a route has
    ``idempotency`` or ``validation``.
    """
    limits = gateway.limits
    connection = CONNECTION_OWN_BYTES + max(limits.header_bytes, HELD_BYTES_MAX) + HELD_BYTES_MAX
    if any(listener.tls is not None for listener in gateway.listen):
        connection += TLS_BYTES
    call = (
        CALL_OWN_BYTES
        + 2 * limits.header_bytes
        + UPSTREAM_HELD_BYTES_MAX
        + READ_BYTES_MAX
        + CAPTURED_BYTES_MAX
        + (KEPT_BYTES_MAX if keeps else 0)
    )
    fixed = PROGRAM_BYTES + CACHES_BYTES + LOG_QUEUE_BYTES + CONFIGURATION_FACTOR * snapshot_bytes
    fillable = fixed + limits.connections * connection + limits.calls * call
    watched = (limits.memory or int(machine_bytes * MACHINE_SHARE)) // max(1, workers)
    return Budget(fillable, max(watched, MIN_WATCHED_BYTES))


MIN_WATCHED_BYTES: Final = 64 << 20
"""Less than the program itself takes could only refuse everything."""


def machine_memory() -> int:
    """Bytes this process may use: its control group's limit, or the machine's memory."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in _CGROUP_FILES:
        try:
            text = Path(name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            return min(physical, int(text))
    return physical


def usable_cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0))


def mebibytes(count: int) -> str:
    """``count`` bytes for people: ``812 MiB``, ``4.2 GiB``."""
    return f"{count / (1 << 30):.1f} GiB" if count >= 10 << 30 or count >= 1 << 31 else f"{count >> 20} MiB"
