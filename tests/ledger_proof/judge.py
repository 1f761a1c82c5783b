"""The judge: both histories against I1 to I10 of http-rules.md section 11, key by key.

Pure, so that it can be shown to fail (test_judge.py). What it holds the gateway to, for each key: at most one request arrives
upstream until an operator says that it did not happen; one fresh answer, and every other final answer the same bytes; nothing
told as not sent has arrived; nothing is sent after somebody was told ``unknown``; no word about a key that only another's call explains.
I7 (clocks) is not told by histories: the stores' own tests move their clocks.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from tests.ledger_proof.histories import KEPT_BYTES_MAX, Attempt, History, Scope, Seen, grouped

NOWHERE: Final = Scope("", "", "", "")
_ARRIVED: Final = frozenset({"fragment", "head"})
_OTHERS: Final = frozenset({"idempotency_in_flight", "idempotency_mismatch"})

_OUTSIDE: Final = ("cut_", "reset_", "upstream_")
"""How faults are called that leave the gateway and its ledger alone."""


class Violation(NamedTuple):
    """``rule``: of http-rules.md section 11, or ``truth`` (a word to a caller that was not so) or ``bench``."""

    rule: str
    scope: Scope
    text: str

    def __str__(self) -> str:
        return f"{self.rule} {self.scope}: {self.text}"


@dataclass
class Case:
    """One key's part of both histories. ``others``: attempts in order of their begin."""

    scope: Scope
    attempts: Sequence[Attempt]
    seen: Sequence[Seen]
    history: History

    def __post_init__(self) -> None:
        self.executed = [line for line in self.seen if line.what == "executed"]
        self.arrived = [line for line in self.seen if line.what in _ARRIVED]
        self.names = {line.name for line in self.arrived}
        self.finals = [one for one in self.attempts if one.told == "final"]
        self.verdict = self.history.verdicts.get(self.scope, "")

    def begun(self, name: str) -> float:
        """When the attempt of this name began; 0 for one that nobody made."""
        return next((one.begun for one in self.attempts if one.name == name), 0.0)


def judge(history: History) -> list[Violation]:
    """All violations; none is a passed run."""
    found = [Violation("bench", NOWHERE, text) for text in history.complaints]
    owners = {one.name: one.scope for one in history.attempts}
    placed = []
    for line in history.seen:
        owner = owners.get(line.name, NOWHERE)
        if owner == NOWHERE or line.scope not in {owner, NOWHERE}:
            found.append(
                Violation("I6", line.scope, f"{line.name} arrived as {line.scope}, asked as {owner}")
            )
        placed.append(replace(line, scope=owner) if line.scope == NOWHERE else line)
    whole = replace(history, seen=placed)
    for scope, (attempts, seen) in grouped(whole).items():
        case = Case(scope, attempts, seen, whole)
        found += [Violation(rule, scope, text) for check in CHECKS for rule, text in check(case)]
    return found


Found = Iterator[tuple[str, str]]


def executed_once(case: Case) -> Found:
    if len(case.executed) > 1:
        made = ", ".join(f"{line.execution} by {line.name}" for line in case.executed)
        yield "I1", f"executed {len(case.executed)} times: {made}"


def sent_once(case: Case) -> Found:
    """At most one request arrives before the settling, and one after it only where it was freed by a verdict."""
    away = {line.name for line in case.seen if line.what == "turned_away"}
    sent = [line for line in case.arrived if line.name not in away]
    before = [line for line in sent if line.at < case.history.settled_at]
    after = [line for line in sent if line.at >= case.history.settled_at]
    if len(before) > 1:
        yield "I4", f"sent {len(before)} times: {', '.join(line.name for line in before)}"
    if len(after) > 1 or (before and after and case.verdict != "released"):
        yield (
            "I5",
            f"sent again after {case.verdict or 'no'} verdict: {', '.join(line.name for line in sent)}",
        )


def nothing_after_unknown(case: Case) -> Found:
    """Once a caller was told that its own call is ``unknown``, no call that begins later is sent before somebody settled it.

    Told of another's call (409), it may have been a call that was not sent, whose release was stored late.
    """
    own = [one.ended for one in case.attempts if one.unknown and one.code != "idempotency_in_flight"]
    told = min(own, default=float("inf"))
    for line in case.arrived:
        if told < case.begun(line.name) and line.at < case.history.settled_at:
            yield "I9", f"{line.name} was sent although its like had been told unknown"


def one_answer(case: Case) -> Found:
    answers = {one.answer: one for one in case.finals}
    if len(answers) > 1:
        first, second, *_ = answers.values()
        yield "I2", f"{first.name} was told {first.words}; {second.name} {second.words}: other bytes"
    fresh = [one.name for one in case.finals if not one.replayed]
    if len(fresh) > 1:
        yield "I2", f"several fresh answers: {', '.join(fresh)}"


def answers_are_theirs(case: Case) -> Found:
    """A final answer names an execution of this key, by this body and consumer; a fresh one its own."""
    executions = {line.execution: line for line in case.executed}
    for one in case.finals:
        line = executions.get(one.said.get("execution", ""))
        if line is None:
            yield "truth", f"{one.name} was told {one.words}, which was not executed under this key"
            continue
        if one.said["consumer"] != case.scope.consumer or one.said["key"] != case.scope.key:
            yield "I6", f"{one.name} got the answer of {one.said['consumer']}'s {one.said['key']}"
        if line.digest != one.digest:
            yield "I3", f"{one.name} with body {one.digest} got the answer to {line.digest}"
        if one.replayed is (line.name == one.name):
            yield "truth", f"{one.name} was told {one.words}, and {line.name} was executed"


def not_sent_is_true(case: Case) -> Found:
    for one in case.attempts:
        if one.told == "refused" and one.name in case.names:
            if one.code == "idempotency_mismatch":
                yield "I3", f"{one.name} was told mismatch, and was sent"
            elif one.outcome != "unknown" or one.code == "idempotency_in_flight":
                yield "truth", f"{one.name} was sent, and told {one.words}"
        if one.told == "part" and one.name in case.names:
            yield "truth", f"{one.name} was sent, of which only a part had come"
        if one.outcome == "answered" and not case.executed:
            yield "truth", f"{one.name} was told {one.words}, and nothing was executed"


def words_have_a_cause(case: Case) -> Found:
    """What is said of another call needs another call under this very key (I6), and with another body for a mismatch (I3)."""
    for one in case.attempts:
        if one.code not in _OTHERS and not one.replayed:
            continue
        others = [other for other in case.attempts if other is not one and other.begun < one.ended]
        if one.code == "idempotency_mismatch":
            others = [other for other in others if other.digest != one.digest]
            if one.status != 422:
                yield "I3", f"{one.name} was told {one.words}"
        if not others:
            yield "I6", f"{one.name} was told {one.words}, and nobody else had asked"
        if one.code == "idempotency_in_flight" and not (
            one.unknown or one.outcome == "answered" or one.retry_after
        ):
            yield "I4", f"{one.name} was told {one.words} without Retry-After"


def refused_without_store(case: Case) -> Found:
    for one in case.attempts:
        if one.code == "store_unavailable" and not (
            one.status == 503 and one.retry_after and one.outcome == "not_sent"
        ):
            yield "I8", f"{one.name} was told {one.words}, Retry-After {one.retry_after}"
        if one.code == "internal_error":
            yield "truth", f"{one.name} met an internal error"
    for window in case.history.windows:
        if window.store_away:
            for line in case.arrived:
                if window.begin < case.begun(line.name) and line.at < window.end:
                    yield "I8", f"{line.name} was sent while the store was away ({window.name})"


def free_when_not_sent(case: Case) -> Found:
    """Where every caller was told that nothing was sent, no record is left to be settled: a repeat may run.

    Nothing is asked of this where the gateway or its ledger was broken meanwhile, and the release may have been lost.
    """
    if case.verdict != "released":
        return
    asked = [one for one in case.attempts if not one.last]
    begin, end = min(one.begun for one in asked), max(one.ended for one in asked)
    for window in case.history.windows:
        if not window.name.startswith(_OUTSIDE) and window.begin < end and begin < window.end:
            return
    if all(one.told == "refused" and (not one.unknown or one.code in _OTHERS) for one in asked):
        yield "I10", f"left unknown although nothing was sent: {', '.join(one.name for one in asked)}"


def ends_settled(case: Case) -> Found:
    """Asked once more at the end, a key has its final answer, or the pointer to one that could not be kept."""
    last = [one for one in case.attempts if one.last]
    if not last:
        return
    one = last[-1]
    unkept = one.code == "idempotency_in_flight" and one.outcome == "answered"
    long = any(line.answer_bytes > KEPT_BYTES_MAX for line in case.executed)
    if one.told != "final" and not (unkept and (long or case.verdict == "completed")):
        yield "I10", f"not settled at the end: {one.name} was told {one.words}, verdict {case.verdict or '-'}"


CHECKS: Final[tuple[Callable[[Case], Found], ...]] = (
    executed_once, sent_once, nothing_after_unknown, one_answer, answers_are_theirs, not_sent_is_true,
    words_have_a_cause, refused_without_store, free_when_not_sent, ends_settled,
)  # fmt: skip
