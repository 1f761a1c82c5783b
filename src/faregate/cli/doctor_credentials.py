"""The check of ``faregate doctor`` on credentials that end: which have, and which will within a week.

By id, never by key. A running gateway shows how many end soon in ``faregate_credentials_expiring``.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from faregate.cli.doctor_findings import Finding, ok, warning
from faregate.snapshot.data import ApiKeyCredential, JwtCredential, MtlsCredential, Snapshot

DAYS: Final = (1, 7)
_DAY_S: Final = 86_400
_NAMED_MAX: Final = 5


def check_credentials(snapshot: Snapshot, wall: float) -> Iterator[Finding]:
    """One finding for those that have ended and one for each of ``DAYS``; ``wall``: seconds since the
    epoch.
    """
    ends = [
        (credential.expires - wall, f"{_id(credential)} of {consumer.name}")
        for consumer in snapshot.consumers
        for credential in consumer.credentials
        if credential.expires
    ]
    ends.sort()
    before = 0.0
    ended = [name for left_s, name in ends if left_s <= 0]
    if ended:
        yield warning("credentials", f"{_told(ended)} ended: calls with it are refused", "take it out")
    for days in DAYS:
        soon = [name for left_s, name in ends if before < left_s <= days * _DAY_S]
        before = days * _DAY_S
        if soon:
            within = f"{days} day{'' if days == 1 else 's'}"
            yield warning("credentials", f"{_told(soon)} ends within {within}", "give its consumer a new one")
    if ends and ends[0][0] > before:
        yield ok("credentials", f"none of {len(ends)} with an end ends within {DAYS[-1]} days")


def _id(credential: ApiKeyCredential | JwtCredential | MtlsCredential) -> str:
    if isinstance(credential, JwtCredential):
        return credential.id or f"jwt:{credential.issuer}:{credential.subject}"
    return credential.id


def _told(names: Sequence[str]) -> str:
    """``key_1 of acme``, or how many and the first of them."""
    more = len(names) - _NAMED_MAX
    told = ", ".join(names[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
    return told if len(names) == 1 else f"{len(names)} credentials ({told}), each"
