"""Who called what: counted once a call, bounded, handed on now and then, and nothing of a snapshot kept alive."""

import gc
import weakref

import pytest

from faregate.records.frames import UsageGrowth
from faregate.records.metrics import Deltas
from faregate.records.recorder import Recorder
from faregate.records.usage import FLUSH_EVERY_S, OTHER, Uses
from faregate.snapshot.call import Identity, ReadyConsumer, ReadyRoute
from faregate.snapshot.data import Route, Version
from tests.records.calls import WALL, make_call


def route(api: str = "payments", version: str = "v2", label: str = "GET /a") -> ReadyRoute:
    return ReadyRoute(Route(api, 0, "GET", "/a", label, "u"), Version(version, "/"), None)


def identity(consumer: str = "acme", credential: str = "key_1") -> Identity:
    return Identity(ReadyConsumer(consumer), credential)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def rows(recorder: Recorder, *, last: bool = True) -> list[UsageGrowth]:
    deltas = Deltas()
    recorder.drain(deltas, last=last)
    return sorted(
        deltas.take_usage(10**6), key=lambda row: (row.consumer, row.credential, row.api, row.version)
    )


def row(consumer: str, credential: str, api: str, version: str, *counts: float) -> UsageGrowth:
    return UsageGrowth(consumer, credential, api, version, *counts)  # type: ignore[arg-type]


def test_calls_are_counted_by_credential_and_version() -> None:
    recorder = Recorder(None)
    one, other = identity(), identity("acme", "key_2")
    first, second, old = route(), route(label="POST /b"), route(version="v1")
    for caller, called, status, later_s in (
        (one, first, 200, 0.0),
        (one, second, 500, 1.0),
        (one, first, 429, 2.0),
        (one, first, 0, 3.0),
        (one, old, 200, 0.0),
        (other, first, 302, 4.0),
    ):
        recorder.record(make_call(identity=caller, route=called, status=status, wall=WALL + later_s))
    recorder.record(make_call(identity=None, route=first))
    recorder.record(make_call(identity=None, route=None))
    assert rows(recorder) == [
        row("acme", "key_1", "payments", "v1", 1, 0, WALL, 2),
        row("acme", "key_1", "payments", "v2", 4, 3, WALL + 3, 0),
        row("acme", "key_2", "payments", "v2", 1, 0, WALL + 4, 3),
    ]
    assert rows(recorder) == []


def test_one_credential_is_one_row_over_snapshots_and_narrowed_tokens() -> None:
    recorder = Recorder(None)
    for _ in range(3):
        recorder.record(make_call(identity=identity(), route=route()))
    assert [one.calls for one in rows(recorder)] == [3]


def test_it_is_handed_on_every_few_seconds_and_at_the_end() -> None:
    clock = Clock()
    recorder = Recorder(None, monotonic=clock)
    recorder.record(make_call())
    clock.now += FLUSH_EVERY_S - 0.001
    assert rows(recorder, last=False) == []
    clock.now += 0.001
    assert [one.calls for one in rows(recorder, last=False)] == [1]
    recorder.record(make_call())
    assert rows(recorder, last=False) == []
    assert [one.calls for one in rows(recorder, last=True)] == [1]


def test_what_waits_is_bounded_while_the_manager_is_away() -> None:
    clock = Clock()
    recorder = Recorder(None, monotonic=clock)
    deltas = Deltas()
    for _ in range(20):
        recorder.record(make_call())
        clock.now += 2 * FLUSH_EVERY_S
        recorder.drain(deltas)
    assert len(deltas.usage) == 1
    recorder.drain(deltas, last=True)
    assert sum(one.calls for one in deltas.take_usage(100)) == 20


def test_rows_come_in_pieces_and_none_is_lost() -> None:
    recorder = Recorder(None)
    for number in range(50):
        recorder.record(
            make_call(identity=identity("acme", f"key_{number}"), route=route(version=f"v{number % 3}"))
        )
    deltas = Deltas()
    recorder.drain(deltas, last=True)
    taken = []
    while deltas.usage:
        piece = deltas.take_usage(7)
        assert 0 < len(piece) <= 7
        taken += piece
    assert sorted(one.credential for one in taken) == sorted(f"key_{number}" for number in range(50))


def test_beyond_the_bound_all_others_are_one_row_and_counted() -> None:
    uses = Uses(most=3)
    place, elsewhere = uses.place("payments", "v1"), uses.place("payments", "v2")
    callers = [identity("acme", f"key_{number}") for number in range(6)]
    for caller in callers:
        for at in (place, elsewhere):
            use = at.uses.get(caller.headers) or uses.begin(at, caller)
            use.calls += 1
    found = Uses.rows(uses.take(), 100)
    assert sum(one.calls for one in found) == 12
    (other,) = [one for one in found if one.consumer == OTHER]
    assert (other.credential, other.api, other.version, other.calls) == (OTHER, OTHER, OTHER, 9)
    assert len(found) == 4
    place.uses.get(callers[0].headers) or uses.begin(place, callers[0])
    assert [one.consumer for one in Uses.rows(uses.take(), 100)] == ["acme"]


def test_what_is_folded_is_in_the_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(None)
    recorder._metrics.uses = Uses(most=1)
    for number in range(5):
        recorder.record(make_call(identity=identity("acme", f"key_{number}"), route=route()))
    deltas = Deltas()
    recorder.drain(deltas, last=True)
    assert {count.name: count.value for count in deltas.take()}["faregate_usage_folded_total"] == 4


def test_no_identity_is_kept_alive() -> None:
    class Watched(ReadyConsumer):
        __slots__ = ("__weakref__",)

    recorder = Recorder(None)
    consumer = Watched("acme")
    recorder.record(make_call(identity=Identity(consumer, "key_1"), route=route()))
    recorder.flush()
    gone = weakref.ref(consumer)
    del consumer
    gc.collect()
    assert gone() is None
    assert [one.consumer for one in rows(recorder)] == ["acme"]
