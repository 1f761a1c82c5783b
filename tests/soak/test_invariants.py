"""The judges can fail: each kind of lie is told once, and found; an honest run is not blamed."""

import pytest

from tests.soak.faults import Window
from tests.soak.invariants import Story, slope_kib_per_minute
from tests.support.ledger import Entry, expected_answer
from tests.support.load_keyed import Told

WHOLE = Entry(heads=1, complete=1)


def story(call: Told, entry: Entry | None, *lines: tuple[int, str], **more: object) -> list[str]:
    ledger = {call.name: entry} if entry is not None else {}
    logged = {call.name: list(lines)} if lines else {}
    return Story([call], ledger, logged, **more).judge()  # type: ignore[arg-type]


def told(outcome: str, status: int, **more: str) -> Told:
    return Told("k-1", 10.0, 10.1, status, outcome, **more)


OK = told("answered", 200)


@pytest.mark.parametrize(
    ("found", "rule"),
    [
        (story(OK, WHOLE, (200, "answered")), ""),
        (story(told("answered", 200, fault="body of another"), WHOLE, (200, "answered")), "wrong answer"),
        (story(OK, Entry(2, 2), (200, "answered")), "sent twice"),
        (story(OK, Entry(1, 1, 1), (200, "answered")), "sent twice"),
        (story(OK, None, (200, "answered")), "never received it whole"),
        (story(OK, WHOLE), "0 log lines"),
        (story(OK, WHOLE, (200, "answered"), (200, "answered")), "2 log lines"),
        (story(OK, WHOLE, (502, "unknown")), "told and logged differ"),
        (story(told("not_sent", 502), Entry(1, 0), (502, "not_sent"), windows=[Window("refused", 9, 11)]), "said not_sent"),
        (story(told("not_sent", 502), Entry(0, 0, 1), (502, "not_sent"), windows=[Window("refused", 9, 11)]), "said not_sent"),
        (story(told("refused", 400), WHOLE, (400, "refused"), windows=[Window("refused", 9, 11)]), "said refused"),
        (story(told("unknown", 504), WHOLE, (504, "unknown")), "error outside harmful faults"),
        (story(told("unknown", 504), WHOLE, (504, "unknown"), windows=[Window("reloaded", 9, 11)]), "during reloaded"),
        (story(told("unknown", 504), WHOLE, (504, "unknown"), windows=[Window("cut_up", 9, 11)]), ""),
        (story(told("unknown", 504), WHOLE, (504, "unknown"), windows=[Window("cut_up", 1, 4)]), "error outside"),
        (story(told("lost", 0), None), "no answer and no kill"),
        (story(told("lost", 0), None, kills=[9.5]), ""),
        (story(told("lost", 0), None, kills=[7.0]), "no answer and no kill"),
        (story(told("unread", 0), WHOLE), "handled behind a closing answer"),
        (story(told("cut", 200), WHOLE, (200, "answered"), windows=[Window("cut_up", 9, 11)]), "told and logged differ"),
        (Story([], {"x": WHOLE}, {}).judge(), "upstream saw a call nobody made"),
        (Story([], {}, {"x": [(200, "answered")]}).judge(), "log has a call nobody made"),
        (Story([], {}, {"x": [(400, "refused")]}).judge(), "more broken heads"),
    ],
)  # fmt: skip
def test_each_lie_is_found(found: list[str], rule: str) -> None:
    assert bool(found) == bool(rule), found
    assert any(rule in violation for violation in found) == bool(rule)


def test_answers_of_different_calls_differ() -> None:
    answers = {
        expected_answer(name, who, digest, 50) for name in "ab" for who in "cd" for digest in ("0", "1")
    }
    assert len(answers) == 8


def test_the_slope_ignores_the_first_half() -> None:
    steady = [(float(second), 1000.0 + max(0, 30 - second) * -50) for second in range(90)]
    assert abs(slope_kib_per_minute(steady)) < 1
    assert round(slope_kib_per_minute([(float(s), 7.0 * s) for s in range(90)])) == 420
