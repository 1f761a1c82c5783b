"""Why a call ended as it did, in plain words, from its line in the access log and, where it is at hand, from
the configuration that decided.

Pure: whoever asks reads the line and the snapshot. The words are for operators; callers are told less. What
the configuration says is only shown as certain when it is of the revision that the line names.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from faregate.kernel.problems import PROBLEMS, Fault, Retry
from faregate.records.reasons import words_of
from faregate.snapshot.data import Consumer, Route, Snapshot

PROBLEMS_PAGE: Final = "docs/reference/problems.md"
_FAULTS: Final = {
    Fault.CALLER: "the caller's to mend",
    Fault.GATEWAY: "the gateway's",
    Fault.UPSTREAM: "the service's",
}
_RETRIES: Final = {
    Retry.NEVER: "The same request fails again.",
    Retry.SAME_REQUEST: "The same request may be repeated.",
    Retry.AFTER: "The caller may repeat it when Retry-After has passed.",
    Retry.AFTER_QUERY: "The caller must ask what became of it before repeating it.",
}
_OUTCOMES: Final = {
    "answered": "The service answered.",
    "refused": "It was refused; the service saw nothing of it.",
    "not_sent": "It was not sent; the service saw nothing of it.",
    "unknown": "It was sent, and whether the service acted is not known.",
    "client_gone": "The caller left before its answer was delivered.",
}
_KEYED: Final = {
    "completed": "its answer is stored: a repeat with the same key gets it again",
    "released": "nothing was sent, so that a repeat with the same key runs",
    "unknown": "what became of it is not known: a repeat is refused until it is settled (`faregate ledger`)",
    "replayed": "it was a repeat, and got the stored answer; the service saw nothing of it",
    "mismatch": "the key was used before with another request",
    "in_flight": "the first call with its key had not ended, or its outcome is not known",
    "not_kept": "its answer could not be stored: a repeat is refused, not answered again",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """``headline``: how it ended, in one line; ``because``: why, each a sentence; ``facts``: who, what,
    where, by name; ``advice``: what to do.
    """

    headline: str
    because: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    advice: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        return {
            "headline": self.headline,
            "because": list(self.because),
            "facts": dict(self.facts),
            "advice": list(self.advice),
        }


Line = Mapping[str, object]


def explain(line: Line, snapshot: Snapshot | None = None) -> Explanation:
    """``line``: of the access log; ``snapshot``: the configuration that runs now, or None."""
    return Explanation(
        _headline(line), tuple(_because(line, snapshot)), tuple(_facts(line)), tuple(_advice(line))
    )


def _text(line: Line, name: str) -> str:
    value = line.get(name)
    return "" if value is None else str(value)


def _headline(line: Line) -> str:
    status, refusal, outcome = _text(line, "status"), _text(line, "refusal"), _text(line, "outcome")
    if refusal:
        problem = PROBLEMS.get(refusal)
        title = problem.title if problem is not None else refusal
        return f"{status} {refusal}: {title}." if status else f"{refusal}: {title}; no answer was begun."
    if outcome == "client_gone":
        return f"{status}: the caller left." if status else "The caller left before an answer was begun."
    where = f" by {_text(line, 'target')}" if _text(line, "target") else ""
    if _text(line, "idempotency") == "replayed":
        return f"{status}: answered from the record of its idempotency key."
    return f"{status}: answered{where}." if status else f"Ended without an answer ({outcome})."


def _because(line: Line, snapshot: Snapshot | None) -> Iterator[str]:
    reason, refusal = _text(line, "reason"), _text(line, "refusal")
    if reason:
        words = words_of(reason) or (PROBLEMS[reason].detail.rstrip(".") if reason in PROBLEMS else "")
        yield f"Reason: {words} ({reason})." if words else f"Reason: {reason}."
    elif refusal in PROBLEMS:
        yield PROBLEMS[refusal].detail
    if snapshot is not None:
        yield from _configured(line, snapshot)
    outcome = _OUTCOMES.get(_text(line, "outcome"))
    if outcome:
        yield outcome
    keyed = _text(line, "idempotency")
    if keyed:
        yield f"Idempotency key: {_KEYED.get(keyed, keyed)}."


def _configured(line: Line, snapshot: Snapshot) -> Iterator[str]:
    """What the configuration has to do with it."""
    found = list(_rules(line, snapshot))
    if found and _text(line, "revision") not in {"", str(snapshot.revision)}:
        yield (
            f"Revision {_text(line, 'revision')} decided; what follows is of revision {snapshot.revision}, "
            "which runs now."
        )
    yield from found


def _rules(line: Line, snapshot: Snapshot) -> Iterator[str]:
    route = _route(line, snapshot)
    consumer = next((one for one in snapshot.consumers if one.name == _text(line, "consumer")), None)
    refusal = _text(line, "refusal")
    if refusal == "permission_denied" and route is not None and consumer is not None:
        yield from _permissions(route, consumer, snapshot.versions[route.version].name)
    if refusal in {"rate_limited", "quota_exhausted", "concurrency_exceeded"}:
        yield from _limits(route, consumer, snapshot)
    if refusal == "address_denied" and consumer is not None:
        yield f"{consumer.name} may call from {', '.join(consumer.allow_ips) or 'anywhere'}."
    if refusal in {"credential_missing", "credential_invalid"} and route is not None:
        yield f"The route accepts {', '.join(route.authenticate) or 'anybody'}."


def _route(line: Line, snapshot: Snapshot) -> Route | None:
    api, version, label = (_text(line, name) for name in ("api", "version", "route"))
    for one in snapshot.routes:
        if one.api == api and one.label == label and snapshot.versions[one.version].name == version:
            return one
    return None


def _permissions(route: Route, consumer: Consumer, version: str) -> Iterator[str]:
    place = (f"@{route.api}", f"@{route.api}/{version}", "")
    lacks = [one for one in route.require if not any(f"{one}{at}" in consumer.permissions for at in place)]
    yield f"The route requires {', '.join(route.require) or 'nothing'}."
    if lacks:
        yield f"{consumer.name} lacks {', '.join(lacks)}; it has {', '.join(consumer.permissions) or 'none'}."
    if consumer.apis is not None:
        yield f"{consumer.name} may call {', '.join(consumer.apis) or 'no API'} only."


def _limits(route: Route | None, consumer: Consumer | None, snapshot: Snapshot) -> Iterator[str]:
    rates = [] if route is None else [one.name for one in route.limits]
    plan = next((one for one in snapshot.plans if consumer is not None and one.name == consumer.plan), None)
    if plan is not None:
        rates += [one.name for one in (*plan.limits, *((plan.quota,) if plan.quota else ()))]
        rates += [f"concurrency.{plan.name} ({plan.concurrency})"] if plan.concurrency else []
    if rates:
        yield f"What limits such calls: {', '.join(rates)}."


def _facts(line: Line) -> Iterator[tuple[str, str]]:
    """Who, what and where."""
    yield "call", " ".join(filter(None, (_text(line, "method"), _text(line, "path")))) or "unreadable"
    yield "time", _text(line, "time")
    if _text(line, "api"):
        version = _text(line, "version")
        asked = _text(line, "version_asked")
        told = f"{version} (asked for {asked})" if asked else version
        yield "route", f"{_text(line, 'api')} {told} {_text(line, 'route')}"
    consumer, credential = _text(line, "consumer"), _text(line, "credential")
    yield "caller", f"{consumer} by {credential}" if consumer else "not proven"
    yield "address", _text(line, "client_ip")
    if _text(line, "upstream"):
        attempts = _text(line, "attempts")
        tried = f", {attempts} connection{'' if attempts == '1' else 's'} tried" if attempts else ""
        yield "upstream", f"{_text(line, 'upstream')} {_text(line, 'target')}{tried}"
    spent = {name: line.get(f"{name}_us") for name in ("duration", "upstream", "gateway")}
    yield "time spent", ", ".join(f"{name} {value} us" for name, value in spent.items() if value is not None)
    for name in ("idempotency", "tls", "trace_id", "revision"):
        if _text(line, name):
            yield name.replace("_", " "), _text(line, name)


def _advice(line: Line) -> Iterator[str]:
    problem = PROBLEMS.get(_text(line, "refusal"))
    if problem is not None:
        retry = Retry.AFTER_QUERY if _text(line, "outcome") == "unknown" else problem.retry
        yield f"The fault is {_FAULTS[problem.fault]}. {_RETRIES[retry]}"
        yield f"What to do about it: {PROBLEMS_PAGE}#{problem.code}"
    elif _text(line, "outcome") == "unknown":
        yield _RETRIES[Retry.AFTER_QUERY]
