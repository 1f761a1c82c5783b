"""Totals add up, readings merge by their family's rule, and the text is what Prometheus reads."""

import pytest

from faregate.manager.exposition import render
from faregate.manager.totals import IDLE_SERIES_S, Totals
from faregate.records.families import FAMILIES, SERIES_MAX, Across, Kind
from faregate.records.frames import (
    DURATION_SUM,
    GATEWAYS_AT,
    Count,
    Reading,
    Report,
    RouteGrowth,
    WorkerState,
)

READY = WorkerState(ready=True, draining=False, revision=3)


def report(
    worker: int = 0, sequence: int = 1, *, state: WorkerState = READY, instance: str = "life", **parts
) -> Report:
    return Report(
        worker,
        instance,
        sequence,
        0,
        state,
        parts.get("counts", []),
        parts.get("routes", []),
        parts.get("readings", []),
        parts.get("labels", []),
        parts.get("first", 0),
    )


def bytes_count(value: int, direction: str = "request") -> Count:
    return Count("faregate_bytes_total", (direction,), value)


def test_counts_add_up_over_workers_and_lives() -> None:
    totals = Totals(2)
    totals.take(report(0, counts=[bytes_count(1)]), 0)
    totals.take(report(1, counts=[bytes_count(10)]), 0)
    totals.take(report(0, 2, counts=[bytes_count(100)]), 0)
    totals.take(report(0, 1, instance="next", counts=[bytes_count(1000)]), 0)
    assert 'faregate_bytes_total{direction="request"} 1111\n' in render(totals)


def test_a_histogram_is_cumulative_in_seconds() -> None:
    totals = Totals(1)
    family = FAMILIES["faregate_gateway_duration_seconds"]
    last = GATEWAYS_AT + len(family.buckets_us)
    grown = {GATEWAYS_AT: 1, GATEWAYS_AT + 2: 2, last: 3, DURATION_SUM: 2_500_000}
    labels = [("a", "v1", 'GET /"x"\\\n')]
    totals.take(report(routes=[RouteGrowth(0, grown, {})], labels=labels), 0)
    lines = [line for line in render(totals).splitlines() if line.startswith(family.name)]
    labels = r'api="a",version="v1",route="GET /\"x\"\\\n"'
    assert lines[0] == f'{family.name}_bucket{{{labels},le="1e-05"}} 1'
    assert [line.rpartition(" ")[2] for line in lines[1:3]] == ["1", "3"]
    assert lines[-4:] == [
        f'{family.name}_bucket{{{labels},le="1.0"}} 3',
        f'{family.name}_bucket{{{labels},le="+Inf"}} 6',
        f"{family.name}_sum{{{labels}}} 2.5",
        f"{family.name}_count{{{labels}}} 6",
    ]
    assert f"# TYPE {family.name} histogram" in render(totals)


def test_readings_merge_by_sum_mean_or_worker() -> None:
    totals = Totals(2)
    for worker, up in enumerate((1.0, 0.0)):
        readings = [
            Reading("faregate_connections", ("client",), 3),
            Reading("faregate_target_up", ("u", "t"), up),
            Reading("faregate_worker_resident_bytes", (), 100 + worker),
        ]
        totals.take(report(worker, readings=readings), 0)
    text = render(totals)
    assert 'faregate_connections{side="client"} 6' in text
    assert 'faregate_target_up{upstream="u",target="t"} 0.5' in text
    assert 'faregate_worker_resident_bytes{worker="0"} 100' in text
    assert 'faregate_worker_resident_bytes{worker="1"} 101' in text
    totals.forget(1)
    assert 'faregate_connections{side="client"} 3' in render(totals)
    assert 'worker="1"' not in render(totals)


def test_what_all_workers_read_from_one_place_is_not_added_up() -> None:
    totals = Totals(2)
    for worker, unknown in enumerate((3, 4)):  # one looked a moment later
        readings = [
            Reading("faregate_ledger_unknown", (), unknown),
            Reading("faregate_ledger_up", (), worker),
        ]
        totals.take(report(worker, readings=readings), 0)
    text = render(totals)
    assert "\nfaregate_ledger_unknown 4\n" in text
    assert "\nfaregate_ledger_up 0.5\n" in text


def test_series_beyond_the_ceiling_are_other_and_counted() -> None:
    totals = Totals(1)
    counts = [
        Count("faregate_limit_refusals_total", (f"limit {index}",), 1) for index in range(SERIES_MAX + 5)
    ]
    totals.take(report(counts=counts), 0)
    text = render(totals)
    assert 'faregate_limit_refusals_total{parameter="other"} 5\n' in text
    assert 'faregate_series_folded_total{metric="faregate_limit_refusals_total"} 5\n' in text


def route_report(sequence: int, *numbers: int, labels: int = 0, first: int = 0) -> Report:
    """One call of each number; ``labels`` new label sets from ``first`` on, named after their numbers."""
    sets = [("a", "v1", f"GET /{number}") for number in range(first, first + labels)]
    growths = [RouteGrowth(number, {0: 1, DURATION_SUM: 9}, {"2xx answered": 1}) for number in numbers]
    return report(sequence=sequence, routes=growths, labels=sets, first=first)


def test_labels_are_known_by_their_number_until_the_numbering_begins_anew() -> None:
    totals, numbered = Totals(1), []
    totals.take(route_report(1, 0, 1, labels=2), 0, numbered)
    totals.take(route_report(2, 1, 2, labels=1, first=2), 0, numbered)
    begun_anew = report(
        sequence=3, routes=[RouteGrowth(0, {}, {"5xx answered": 1})], labels=[("b", "v1", "GET /")]
    )
    totals.take(begun_anew, 0, numbered)
    with pytest.raises(ValueError):
        totals.take(route_report(4, 2, first=1), 0, numbered)
    calls = [line for line in render(totals).splitlines() if line.startswith("faregate_calls_total")]
    assert [(line.split("route=")[1].split(",")[0], line[-1]) for line in calls] == [
        ('"GET /0"', "1"), ('"GET /1"', "2"), ('"GET /2"', "1"), ('"GET /"', "1"),
    ]  # fmt: skip


def test_a_repeated_report_brings_its_labels_to_a_new_connection_but_counts_once() -> None:
    totals = Totals(1)
    totals.take(route_report(1, 0, labels=1), 0, [])
    numbered = []
    totals.take(route_report(1, 0, labels=1), 0, numbered)
    totals.take(route_report(2, 0, first=1), 0, numbered)
    assert 'outcome="answered"} 2\n' in render(totals)


def test_routes_beyond_the_ceiling_are_other_and_each_sample_is_counted_as_folded() -> None:
    totals = Totals(1)
    totals.take(route_report(1, *range(SERIES_MAX + 3), labels=SERIES_MAX + 3), 0)
    text = render(totals)
    other = 'api="other",version="other",route="other"'
    assert f'faregate_calls_total{{{other},status_class="2xx",outcome="answered"}} 3\n' in text
    assert 'faregate_series_folded_total{metric="faregate_calls_total"} 3\n' in text
    assert 'faregate_series_folded_total{metric="faregate_upstream_duration_seconds"} 0\n' in text


def test_a_route_that_expired_comes_back_under_its_number() -> None:
    totals, numbered = Totals(1), []
    totals.take(route_report(1, 0, labels=1), 0, numbered)
    totals.expire(IDLE_SERIES_S + 1)
    assert "GET /0" not in render(totals)
    totals.take(route_report(2, 0, first=1), IDLE_SERIES_S + 2, numbered)
    assert 'outcome="answered"} 1\n' in render(totals)


def test_series_that_stopped_growing_expire() -> None:
    totals = Totals(1)
    totals.take(report(counts=[bytes_count(1)]), 0)
    totals.take(report(sequence=2, counts=[bytes_count(1, "response")]), 10)
    totals.expire(IDLE_SERIES_S + 5)
    text = render(totals)
    assert 'direction="request"' not in text
    assert 'direction="response"' in text


@pytest.mark.parametrize(
    "bad",
    [
        report(64),
        report(-1),
        report(counts=[Count("faregate_bytes_total", (), 1)]),
        report(counts=[bytes_count(-1)]),
        report(counts=[Count("faregate_calls_in_flight", (), 1)]),
        report(routes=[RouteGrowth(0, {}, {})]),
        report(routes=[RouteGrowth(0, {}, {"answered": 1})], labels=[("a", "b", "c")]),
        report(routes=[RouteGrowth(1, {}, {})], labels=[("a", "b", "c")]),
        report(labels=[("a", "b", "c")], first=1),
        report(counts=[Count("faregate_calls_total", ("a", "b", "c", "2xx", "answered"), 1)]),
        report(readings=[Reading("faregate_call_duration_seconds", ("a", "b", "c"), 1)]),
    ],
)
def test_a_report_that_no_worker_sends_is_refused_whole(bad: Report) -> None:
    totals = Totals(2)
    bad.counts.insert(0, bytes_count(7))
    with pytest.raises(ValueError):
        totals.take(bad, 0)
    assert "faregate_bytes_total" not in render(totals)


@pytest.mark.parametrize(
    ("states", "lacks"),
    [
        ([], "0 of 2 workers report"),
        ([READY], "1 of 2 workers report"),
        ([READY, READY], ""),
        ([READY, WorkerState(ready=False, draining=False, revision=3)], "1 of 2 reporting workers not ready"),
        ([READY, WorkerState(ready=True, draining=True, revision=3)], "1 draining"),
        ([READY, WorkerState(ready=False, draining=True, revision=3)], "1 draining"),
        ([READY, WorkerState(ready=True, draining=False, revision=4)], "2 different revisions run"),
        ([READY, READY, WorkerState(ready=False, draining=True, revision=2)], ""),
        (
            [WorkerState(ready=False, draining=False, revision=4)],
            "1 of 2 workers report; 1 of 1 reporting workers not ready",
        ),
    ],
)
def test_readiness_names_what_is_missing(states: list[WorkerState], lacks: str) -> None:
    totals = Totals(2)
    for worker, state in enumerate(states):
        totals.take(report(worker, state=state), 0)
    assert totals.readiness().lacks == lacks


def test_every_family_is_well_formed() -> None:
    for family in FAMILIES.values():
        assert family.name.startswith("faregate_")
        assert (family.kind is Kind.COUNTER) == family.name.endswith("_total"), family.name
        assert bool(family.buckets_us) == (family.kind is Kind.HISTOGRAM)
        assert list(family.buckets_us) == sorted(set(family.buckets_us))
        assert "worker" not in family.labels, "the manager adds that label"
        assert family.help.endswith(".")
        assert family.across not in {Across.MEAN, Across.LARGEST} or family.kind is Kind.GAUGE
