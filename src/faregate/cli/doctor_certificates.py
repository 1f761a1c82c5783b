"""The checks of ``faregate doctor`` on certificate files: listeners', callers' authorities, revocation lists,
and those that upstreams are spoken to with.

What cannot be read is said by the configuration's own check; here it counts how long each file lasts. A
running gateway shows the same in its metrics.
"""

from collections.abc import Callable, Iterator
from math import ceil
from typing import Final

from faregate.cli.doctor_findings import Finding, ok, problem, warning
from faregate.snapshot.data import Snapshot
from faregate.stores.certificates import (
    CertificateFault,
    read_authorities,
    read_chain,
    read_file,
    read_revocations,
)

SOON_DAYS: Final = 30
CRL_SOON_DAYS: Final = 1
_DAY_S: Final = 86_400

Reader = Callable[[bytes], float]


def check_certificates(snapshot: Snapshot, wall: float) -> Iterator[Finding]:
    """One finding a file; ``wall``: seconds since the epoch."""
    for name, (read, soon) in _files(snapshot).items():
        yield _judged(name, read, soon, wall)


def _files(snapshot: Snapshot) -> dict[str, tuple[Reader, int]]:
    found: dict[str, tuple[Reader, int]] = {}
    for listener in snapshot.gateway.listen:
        tls = listener.tls
        if tls is None:
            continue
        for one in tls.certificates:
            found[one.chain] = (lambda content: read_chain(content).ends, SOON_DAYS)
        if tls.client_ca:
            found[tls.client_ca] = (lambda content: read_authorities(content).ends, SOON_DAYS)
        if tls.client_crl:
            found[tls.client_crl] = (lambda content: read_revocations(content).ends, CRL_SOON_DAYS)
    for upstream in snapshot.upstreams:
        for name in (upstream.tls.ca, upstream.tls.certificate):
            if name:
                found.setdefault(name, (lambda content: read_authorities(content).ends, SOON_DAYS))
    return found


def _judged(name: str, read: Reader, soon: int, wall: float) -> Finding:
    try:
        left_s = read(read_file(name)) - wall
    except CertificateFault as fault:
        return problem("certificate", f"{name}: {fault}", "put a sound file there")
    days = ceil(left_s / _DAY_S)
    if left_s <= 0:
        return problem("certificate", f"{name} has ended: handshakes that rest on it fail", "renew it now")
    if days <= soon:
        told = f"{name} ends within {days} day{'' if days == 1 else 's'}"
        return warning("certificate", told, "renew it; a running gateway takes the new file up by itself")
    return ok("certificate", f"{name} lasts {days} days")
