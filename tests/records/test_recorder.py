"""Every recorded call becomes one line and is counted once, and one bad call harms no other."""

import json
from pathlib import Path

import pytest

from faregate.records.audit.client import Audit
from faregate.records.audit.line import Line
from faregate.records.families import SERIES_MAX
from faregate.records.frames import DURATION_SUM, GATEWAYS_AT, UPSTREAM_SUM, UPSTREAMS_AT
from faregate.records.metrics import Deltas
from faregate.records.recorder import Recorder
from faregate.records.writer import LogWriter
from faregate.snapshot.call import ReadyRoute
from faregate.snapshot.data import Route, Version
from tests.records.calls import ROUTE, make_call, make_route


def counts(recorder: Recorder) -> dict[tuple[str, ...], int]:
    deltas = Deltas()
    recorder.drain(deltas)
    found = {(count.name.removeprefix("faregate_"), *count.labels): count.value for count in deltas.take()}
    for tally, growth in deltas.take_routes(99):
        found |= {("calls_total", *tally.labels, *end.split()): calls for end, calls in growth.ends.items()}
    return found


def routes(count: int, method: str = "GET") -> list[ReadyRoute]:
    return [
        ReadyRoute(Route("a", 0, method, f"/{number}", f"{method} /{number}", "u"), Version("v1", "/"), None)
        for number in range(count)
    ]


def test_record_and_flush_write_one_line_a_call_in_order(tmp_path: Path) -> None:
    recorder = Recorder(LogWriter(tmp_path / "access.jsonl"))
    for index in range(300):
        recorder.record(make_call(path=f"/v2/payments/{index}"))
    assert len(recorder.pending) == 300
    assert recorder.flush() == 300
    assert not recorder.pending
    recorder.record(make_call(path="/v2/payments/300"))
    assert recorder.close()
    lines = (tmp_path / "access.jsonl").read_text().splitlines()
    assert [json.loads(line)["path"] for line in lines] == [f"/v2/payments/{index}" for index in range(301)]


def test_calls_are_counted_by_route_status_class_and_outcome() -> None:
    recorder = Recorder(None)
    for call in (
        make_call(),
        make_call(status=200),
        make_call(
            status=429,
            outcome="refused",
            refusal="rate_limited",
            parameter="plan.standard.100/second",
            attempts=0,
        ),
        make_call(status=404, outcome="refused", refusal="no_route", parameter="x", route=None, attempts=0),
        make_call(status=0, outcome="client_gone", target_name="b"),
    ):
        recorder.record(call)
    route = ("payments", "v2", "POST /payments")
    assert counts(recorder) == {
        ("calls_total", *route, "2xx", "answered"): 2,
        ("calls_total", *route, "4xx", "refused"): 1,
        ("calls_total", *route, "none", "client_gone"): 1,
        ("calls_total", "", "", "", "4xx", "refused"): 1,
        ("target_calls_total", "payments", "127.0.0.1:9001"): 2,
        ("target_calls_total", "payments", "b"): 1,
        ("refusals_total", "rate_limited"): 1,
        ("refusals_total", "no_route"): 1,
        ("limit_refusals_total", "plan.standard.100/second"): 1,
        ("bytes_total", "request"): 5 * 312,
        ("bytes_total", "response"): 5 * 204,
        ("log_lines_total",): 5,
    }
    assert counts(recorder) == {}, "a drain starts again from zero"


def test_calls_with_an_idempotency_key_are_counted_once_by_what_became_of_them() -> None:
    recorder = Recorder(None)
    odd = {"path": "/v2/payments/%20"}  # rendered twice, the second time carefully
    for result, others in (("completed", {}), ("replayed", {}), ("replayed", odd), ("", {}), ("unknown", {})):
        recorder.record(make_call(idempotency=result, **others))
    route = ("payments", "v2", "POST /payments")
    keyed = {key: value for key, value in counts(recorder).items() if key[0] == "idempotency_total"}
    assert keyed == {
        ("idempotency_total", *route, "completed"): 1,
        ("idempotency_total", *route, "replayed"): 2,
        ("idempotency_total", *route, "unknown"): 1,
    }
    assert not [key for key in counts(recorder) if key[0] == "idempotency_total"]


def test_durations_fall_into_their_buckets() -> None:
    recorder = Recorder(None)
    recorder.record(make_call(duration=0.0005, upstream_duration=0.00049))  # at a bound: within
    recorder.record(make_call(duration=100.0, upstream_duration=99.0))
    recorder.record(make_call(duration=0.002, attempts=0, upstream_duration=0.0))
    deltas = Deltas()
    recorder.drain(deltas)
    ((_, growth),) = deltas.take_routes(99)
    grown = growth.counts
    duration = {place: grown[place] for place in grown if place < UPSTREAMS_AT}
    upstream = {place: grown[place] for place in grown if UPSTREAMS_AT <= place < GATEWAYS_AT}
    assert duration == {0: 1, 2: 1, 16: 1}
    assert grown[DURATION_SUM] == 100_002_500
    assert grown[UPSTREAM_SUM] == 99_000_490
    assert sum(upstream.values()) == 2, "a call that was not sent has no upstream time"
    assert grown[GATEWAYS_AT] == 1


def test_a_route_keeps_its_row_from_report_to_report_and_gives_each_growth_once() -> None:
    recorder, deltas = Recorder(None), Deltas()
    grown = []
    for times in (1, 2, 0, 3):
        for _ in range(times):
            recorder.record(make_call())
        recorder.drain(deltas)
        grown.append([(tally, sum(growth.ends.values())) for tally, growth in deltas.take_routes(9)])
    assert [[calls for _, calls in part] for part in grown] == [[1], [2], [], [3]]
    assert grown[0][0][0] is grown[1][0][0] is grown[3][0][0]


def test_routes_are_taken_in_parts_until_none_is_left() -> None:
    recorder, deltas = Recorder(None), Deltas()
    for route in routes(5):
        recorder.record(make_call(route=route))
    recorder.drain(deltas)
    parts = [[tally.labels[2] for tally, _ in deltas.take_routes(2)] for _ in range(4)]
    assert parts == [["GET /0", "GET /1"], ["GET /2", "GET /3"], ["GET /4"], []]


def test_routes_beyond_the_ceiling_share_a_row_and_a_gone_snapshot_makes_room() -> None:
    recorder, deltas = Recorder(None), Deltas()
    old = routes(SERIES_MAX + 10)
    for route in old:
        recorder.record(make_call(route=route))
    recorder.drain(deltas)
    taken = {tally.labels: growth for tally, growth in deltas.take_routes(SERIES_MAX + 10)}
    assert len(taken) == SERIES_MAX + 1
    assert taken["other", "other", "other"].ends == {"2xx answered": 10}
    del old, route, taken
    (fresh,) = routes(1, "HEAD")
    recorder.record(make_call(route=fresh))
    recorder.drain(deltas)
    assert [tally.labels[2] for tally, _ in deltas.take_routes(9)] == ["HEAD /0"]


def test_a_call_that_cannot_be_rendered_takes_no_other_with_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recorder = Recorder(LogWriter(tmp_path / "access.jsonl"))
    for call in (make_call(path="/a"), make_call(path=object()), make_call(path="/b")):
        recorder.record(call)
    recorder.flush()
    assert counts(recorder)["log_lines_lost_total",] == 1
    assert recorder.close()
    lines = (tmp_path / "access.jsonl").read_text().splitlines()
    assert [json.loads(line)["path"] for line in lines] == ["/a", "/b"]
    assert "could not be logged" in capfd.readouterr().err


class Told(Line):
    """Keeps what it is given, as if it were durable, and loses every third call."""

    def __init__(self) -> None:
        super().__init__(Path())
        self.lines: list[str] = []
        self.closed = False

    records = property(lambda self: len(self.lines) - len(self.lines) // 3)  # type: ignore[assignment]
    lost = property(lambda self: len(self.lines) // 3)  # type: ignore[assignment]

    def put_calls(self, lines: bytes, count: int) -> None:
        self.lines += lines.decode().splitlines()
        assert len(lines.splitlines()) == count

    def close(self, timeout_s: float) -> bool:
        assert timeout_s > 0
        self.closed = True
        return True


def test_calls_of_routes_that_are_recorded_are_reported_once_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = Told()
    recorder = Recorder(LogWriter(tmp_path / "access.jsonl"), audit=Audit(tmp_path, line=line))
    recorded = make_route(audit="on")
    for index in range(150):
        recorder.record(make_call(path=f"/v2/payments/{index}", route=recorded if index % 2 else ROUTE))
    assert counts(recorder)["audit_records_total",] == 50
    assert [json.loads(one)["path"] for one in line.lines] == [
        f"/v2/payments/{index}" for index in range(1, 150, 2)
    ]
    found = counts(recorder)
    assert ("audit_lost_total",) not in found
    assert ("audit_records_total",) not in found
    monkeypatch.setattr("faregate.records.lines.suspicious", lambda _: 1 / 0)
    recorder.record(make_call(route=recorded))
    recorder.record(make_call())
    recorder.flush()
    assert len(line.lines) == 76, "those on which the quick way fails as well"
    assert recorder.close()
    assert line.closed


def test_lost_lines_are_counted_once(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "access.jsonl", queue_bytes_max=1)
    recorder = Recorder(writer)
    recorder.record(make_call())
    assert counts(recorder)["log_lines_lost_total",] == 1
    assert ("log_lines_lost_total",) not in counts(recorder)
    assert recorder.close()


def test_series_beyond_the_ceiling_are_folded_and_counted() -> None:
    deltas = Deltas()
    for index in range(SERIES_MAX + 10):
        deltas.count("faregate_limit_refusals_total", (f"limit {index}",), 1)
    deltas.count("faregate_limit_refusals_total", ("limit 0",), 1)
    taken = {(count.name, count.labels): count.value for count in deltas.take()}
    assert taken["faregate_limit_refusals_total", ("other",)] == 10
    assert taken["faregate_limit_refusals_total", ("limit 0",)] == 2
    assert taken["faregate_series_folded_total", ("faregate_limit_refusals_total",)] == 10
    assert len(taken) == SERIES_MAX + 2
