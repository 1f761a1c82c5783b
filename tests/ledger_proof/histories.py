"""The two histories that are judged: what callers asked and were told, and what the upstream received and executed.

Both are noted by the monotonic clock, which all processes of a machine share. The upstream's lies in a file of its own, one JSON
object a line, written before anything else happens; so it survives the upstream's end.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

GATEWAY: Final = "application/problem+json"
"""Media type of what the gateway says itself; the upstream of the proof never uses it."""
NO_VERDICT: Final = frozenset({502, 503, 504})
NOT_RUN: Final = frozenset({401, 429})
"""Statuses of an upstream that turned a call away; a repeat may run."""
KEPT_BYTES_MAX: Final = 64 << 10
"""An answer with a longer body is passed on and not stored (docs/policies/idempotency.md)."""
NEAR_S: Final = 0.5
"""A fault that ended so long before is still told in a key's story."""
KEY_FIELD: Final = "Idempotency-Key"
ATTEMPT_FIELD: Final = "X-Attempt"
ACT_FIELD: Final = "X-Act"


_LETTERS: Final = str.maketrans("0123456789", "ghijklmnop")


def digest_of(body: bytes) -> str:
    """Tells one body from another, without digits: an answer that shows what may be a card number is not stored."""
    return hashlib.sha256(body).hexdigest()[:16].translate(_LETTERS)


class Scope(NamedTuple):
    """Whose key it is."""

    consumer: str
    api: str
    route: str
    key: str

    def __str__(self) -> str:
        return f"{self.consumer}/{self.api}/{self.route}/{self.key}"


@dataclass(slots=True)
class Attempt:
    """One request of a caller. ``name`` is unique; ``errand``: the purpose that it and its repeats serve.

    ``told``: ``final`` (the upstream's answer, fresh or replayed), ``no_verdict``, ``not_run`` (the upstream's, by status), ``refused`` (the
    gateway's own words: ``code``, ``outcome``, ``retry``), ``cut``, ``lost`` (no answer), ``left`` (the caller hung up), ``part`` (before it
    had sent all).
    """

    name: str
    errand: int
    scope: Scope
    digest: str
    begun: float
    ended: float = 0.0
    told: str = "lost"
    status: int = 0
    code: str = ""
    outcome: str = ""
    retry: str = ""
    retry_after: bool = False
    replayed: bool = False
    answer: str = ""
    """Digest of status, kept headers and body of a final answer."""
    said: dict[str, str] = field(default_factory=dict)
    """What a final answer says of itself."""
    last: bool = False
    """Asked after everything was settled."""

    @property
    def unknown(self) -> bool:
        return self.outcome == "unknown"

    @property
    def words(self) -> str:
        """What it was told, in short."""
        if self.told == "refused":
            return f"{self.status} {self.code}, outcome {self.outcome or '-'}, retry {self.retry or '-'}"
        if self.told in {"final", "no_verdict", "not_run"}:
            more = ", replayed" if self.replayed else ""
            return f"{self.status} of execution {self.said.get('execution', '-')}{more}"
        return self.told


@dataclass(frozen=True, slots=True)
class Seen:
    """One line of the upstream's ledger. ``what``: ``fragment``, ``head``, ``whole``, ``executed``, ``turned_away``."""

    what: str
    name: str
    scope: Scope
    at: float
    digest: str = ""
    execution: str = ""
    answer_bytes: int = 0
    """Of the body that an execution is answered with."""


@dataclass(frozen=True, slots=True)
class Window:
    """When a fault held. ``store_away``: the part of it in which nothing could be claimed, as the fault itself made sure."""

    name: str
    begin: float
    end: float
    store_away: bool = False


@dataclass
class History:
    """All of one run. ``settled_at``: when the settling of unknowns began; ``verdicts``: what was decided there."""

    attempts: list[Attempt] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    settled_at: float = float("inf")
    verdicts: dict[Scope, str] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    """Promises of the bench's own that were not kept, as that a gateway stops well."""


def read_seen(path: Path) -> list[Seen]:
    """The upstream's ledger. A torn last line, of an upstream that was killed, is left out."""
    seen = []
    for line in path.read_bytes().split(b"\n"):
        try:
            made = json.loads(line)
        except ValueError:
            continue
        seen.append(Seen(made["what"], made["name"], Scope(*made["scope"]), made["at"],
                         made.get("digest", ""), made.get("execution", ""), made.get("answer_bytes", 0)))  # fmt: skip
    return seen


def grouped(history: History) -> dict[Scope, tuple[list[Attempt], list[Seen]]]:
    """Both histories by whose key it is, each in order of time."""
    groups: dict[Scope, tuple[list[Attempt], list[Seen]]] = {}
    for attempt in sorted(history.attempts, key=lambda one: one.begun):
        groups.setdefault(attempt.scope, ([], []))[0].append(attempt)
    for line in sorted(history.seen, key=lambda one: one.at):
        groups.setdefault(line.scope, ([], []))[1].append(line)
    return groups


def tell(history: History, scopes: Iterable[Scope]) -> str:
    """The story of a few keys: who asked what when, what arrived, which faults held."""
    wanted = set(scopes)
    events: list[tuple[float, str]] = []
    for attempt in history.attempts:
        if attempt.scope in wanted:
            who = f"{attempt.name} {attempt.scope} body {attempt.digest[:6]}"
            events += [
                (attempt.begun, f"{who} asks"),
                (attempt.ended, f"{attempt.name} is told {attempt.words}"),
            ]
    for line in history.seen:
        if line.scope in wanted:
            events.append((line.at, f"    upstream: {line.what} {line.name} {line.execution}".rstrip()))
    if not events:
        return "(nothing on record)"
    begin, end = min(events)[0], max(events)[0]
    times = [at for at, _ in events]
    for window in history.windows:
        near = (window.begin - NEAR_S < at < window.end + NEAR_S for at in times)
        if not window.store_away and any(near):
            events += [(window.begin, f"  [{window.name} begins"), (window.end, f"  {window.name} ends]")]
    if begin < history.settled_at < end:
        events.append(
            (history.settled_at, f"  settling: {[history.verdicts.get(scope, '-') for scope in wanted]}")
        )
    return "\n".join(f"{at - begin:8.3f}  {text}" for at, text in sorted(events))
