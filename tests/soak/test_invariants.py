"""The judges can fail: each kind of lie is told once, and found; an honest run is not blamed."""

import pytest

from tests.soak.invariants import Story
from tests.soak.tunnels import Talk
from tests.soak.world import Window
from tests.support.ledger import Entry, expected_answer
from tests.support.live_accounts import Kill
from tests.support.load_keyed import Told

WHOLE = Entry(heads=1, complete=1)
KILLED = [Kill(1, frozenset({7}), 10.04, 10.05, 10.06)]
ELSEWHERE = [Kill(1, frozenset({8}), 10.04, 10.05, 10.06)]
LONG_AGO = [Kill(1, frozenset({7}), 6.9, 7.0, 7.1)]


def story(call: Told, entry: Entry | None, *lines: tuple[int, str], **more: object) -> list[str]:
    ledger = {call.name: entry} if entry is not None else {}
    logged = {call.name: list(lines)} if lines else {}
    return Story([call], ledger, logged, **more).judge()  # type: ignore[arg-type]


def told(outcome: str, status: int, **more: object) -> Told:
    return Told("k-1", 10.0, 10.1, status, outcome, port=7, opened=9.0, **more)  # type: ignore[arg-type]


def windows(*names: str) -> dict[str, object]:
    return {"windows": [Window(name, 9, 11) for name in names]}


def tunnel(end: str, *, rough: bool = False, fault: str = "", **more: object) -> list[str]:
    call = told("answered", 101)
    talk = Talk(call, rough, 3, end, fault)
    return Story([call], {"k-1": WHOLE}, {"k-1": [(101, "answered")]}, talks=[talk], **more).judge()  # type: ignore[arg-type]


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
        (story(told("unknown", 504), WHOLE, (504, "unknown"), windows=[Window("slices_up", 9, 11)]), "during slices_up"),
        (story(told("not_sent", 503, code="overloaded"), None, (503, "not_sent"), **windows("slices_up")), ""),
        (story(told("not_sent", 503, code="overloaded"), None, (503, "not_sent"), **windows("reloaded")), "during reloaded"),
        (story(told("unknown", 504), WHOLE, (504, "unknown"), windows=[Window("cut_up", 9, 11)]), ""),
        (story(told("unknown", 504), WHOLE, (504, "unknown"), windows=[Window("cut_up", 1, 4)]), "error outside"),
        (story(told("lost", 0), None), "no answer and no kill"),
        (story(told("lost", 0), None, kills=KILLED), ""),
        (story(told("lost", 0), None, kills=ELSEWHERE), "no answer and no kill"),
        (story(told("lost", 0), None, kills=LONG_AGO), "no answer and no kill"),
        (story(told("lost", 0), None, **windows("upgraded")), "no answer and no kill"),
        (story(told("lost", 0, reused=True), None, **windows("upgraded")), ""),
        (story(told("lost", 0, reused=True), WHOLE, **windows("upgraded")), "no answer and no kill"),
        (story(told("reset", 0), None), "no answer and no kill"),
        (story(told("unopened", 0), None), "no answer and no kill"),
        (story(told("unopened", 0), None, kills=KILLED), ""),
        (story(OK, WHOLE, kills=KILLED), ""),
        (story(OK, WHOLE, kills=LONG_AGO), "0 log lines"),
        (story(OK, WHOLE, lines_lost=1, **windows("disk_full")), ""),
        (story(OK, WHOLE, lines_lost=0, **windows("disk_full")), "lines missing"),
        (story(OK, WHOLE, lines_lost=1, **windows("reloaded")), "0 log lines"),
        (story(OK, WHOLE, (200, "answered"), stumps=1), "stumps"),
        (story(OK, WHOLE, (200, "answered"), stumps=1, kills=KILLED), ""),
        (story(told("grpc", 200, code="14"), None, (502, "not_sent"), **windows("cut_up")), ""),
        (story(told("grpc", 200, code="14"), Entry(1, 0), (502, "not_sent"), **windows("cut_up")), "unavailable"),
        (story(told("grpc", 200, code="14"), None, (502, "unknown"), **windows("cut_up")), "told and logged differ"),
        (story(told("grpc", 200, code="2"), WHOLE, (502, "unknown"), **windows("cut_up")), ""),
        (story(told("grpc", 200, code="2"), WHOLE, (502, "unknown")), "error outside"),
        (story(told("unread", 0), None), ""),
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


@pytest.mark.parametrize(
    ("found", "rule"),
    [
        (tunnel("parted"), ""),
        (tunnel("broke"), "direct: broke"),
        (tunnel("broke", kills=KILLED), ""),
        (tunnel("broke", kills=ELSEWHERE), "direct: broke"),
        (tunnel("broke", **windows("cut_up")), "direct: broke"),
        (tunnel("broke", rough=True, **windows("cut_up")), ""),
        (tunnel("broke", rough=True, **windows("reloaded")), "rough: broke"),
        (tunnel("closed 1001", **windows("upgraded")), ""),
        (tunnel("closed 1001", **windows("reloaded")), "go away"),
        (tunnel("closed 1011"), "closed 1011"),
        (tunnel("broke", rough=True, fault="heard b'1' for b'2'", **windows("cut_up")), "heard"),
        (tunnel("broke", rough=True, fault="no echo in 15 s", **windows("silence_up")), ""),
        (tunnel("broke", fault="no echo in 15 s", **windows("silence_up")), "no echo"),
    ],
)
def test_tunnels_end_for_a_reason_only(found: list[str], rule: str) -> None:
    assert bool(found) == bool(rule), found
    assert any(rule in violation for violation in found) == bool(rule)
