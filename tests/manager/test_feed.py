"""Counts reach the manager exactly once, readings live as long as the connection, and a scrape has the latest call."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from faregate.manager.exposition import render
from faregate.manager.feed import FeedServer
from faregate.manager.totals import Totals
from faregate.records.feed import REPORT_EVERY_S, ROUTES_PER_REPORT, MetricsFeed
from faregate.records.frames import FrameReader, Reading, Reply, Report, WorkerState, encode_frame
from faregate.records.metrics import Deltas
from faregate.records.recorder import Recorder
from faregate.snapshot.call import ReadyRoute
from faregate.snapshot.data import Route, Version
from tests.records.calls import make_call

Scenario = Callable[[Path], Awaitable[None]]


def run(scenario: Scenario, tmp_path: Path) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(scenario(tmp_path / "feed.sock"), 20))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for happens behind a socket, without an event
            await asyncio.sleep(0.005)


@asynccontextmanager
async def manager(path: Path, workers: int = 2) -> AsyncIterator[tuple[FeedServer, Totals]]:
    totals = Totals(workers)
    server = FeedServer(path, totals, asyncio.get_running_loop().time)
    await server.start()
    try:
        yield server, totals
    finally:
        await server.close()


class Worker:
    """A worker's side: a recorder and its feed, with a state that tests change."""

    def __init__(self, path: Path, number: int = 0) -> None:
        self.recorder = Recorder(None)
        self.state = WorkerState(ready=True, draining=False, revision=5)
        self.feed = MetricsFeed(
            str(path), number, self.recorder,
            readings=lambda: [Reading("faregate_calls_in_flight", (), 2.0), Reading("faregate_target_up", ("u", "t"), float(number))],
            state=lambda: self.state,
        )  # fmt: skip
        self.feed.start(asyncio.get_running_loop())

    def call(self, times: int = 1) -> None:
        for _ in range(times):
            self.recorder.record(make_call())


def calls(totals: Totals) -> float:
    text = render(totals)
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("faregate_calls_total{")
    )


def test_a_scrape_has_the_call_made_just_before_it(tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        async with manager(path) as (server, totals):
            workers = [Worker(path, 0), Worker(path, 1)]
            await until(lambda: totals.readiness().connected == 2)
            for expected in range(1, 30):
                workers[expected % 2].call()
                await server.ask()
                assert calls(totals) == expected
            assert totals.silent == 0
            text = render(totals)
            assert "faregate_calls_in_flight 4.0\n" in text
            assert 'faregate_target_up{upstream="u",target="t"} 0.5\n' in text
            assert 'faregate_config_revision{worker="1"} 5\n' in text
            for worker in workers:
                await worker.feed.close()

    run(scenario, tmp_path)


def test_the_last_counts_arrive_with_close_and_readings_vanish(tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        async with manager(path) as (_, totals):
            worker = Worker(path)
            await until(lambda: totals.readiness().connected == 1)
            worker.call(3)
            await worker.feed.close()
            assert calls(totals) == 3
            await until(lambda: totals.readiness().connected == 0)
            text = render(totals)
            assert "faregate_calls_in_flight" not in text
            assert "faregate_config_revision" not in text
            assert calls(totals) == 3

    run(scenario, tmp_path)


def test_counts_add_up_while_the_manager_is_away_and_arrive_once(tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        worker = Worker(path)
        worker.call(2)
        await asyncio.sleep(0)
        async with manager(path) as (_, totals):
            await until(lambda: calls(totals) == 2)
        worker.call(5)  # the manager is gone
        worker.recorder.flush()
        async with manager(path) as (server, totals):
            await until(lambda: totals.readiness().connected == 1)
            await server.ask()
            assert calls(totals) == 5
        await worker.feed.close()

    run(scenario, tmp_path)


def test_a_report_that_was_not_acknowledged_is_sent_again_under_its_number(tmp_path: Path) -> None:
    received: list[Report] = []

    class Deaf(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport, self.frames = transport, FrameReader(Report)

        def data_received(self, data: bytes) -> None:
            received.extend(self.frames.feed(data))
            if received and received[0].counts:
                self.transport.abort()

    async def scenario(path: Path) -> None:
        loop = asyncio.get_running_loop()
        deaf = await loop.create_unix_server(Deaf, str(path))
        worker = Worker(path)
        worker.call(4)
        await until(lambda: len(received) > 0)
        deaf.close()
        async with manager(path) as (server, totals):
            await until(lambda: totals.readiness().connected == 1)
            await server.ask()
            assert calls(totals) == 4
        await worker.feed.close()

    run(scenario, tmp_path)


def test_a_repeated_report_is_acknowledged_but_not_counted_twice(tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        async with manager(path) as (server, totals):
            reader, writer = await asyncio.open_unix_connection(str(path))
            recorder = Recorder(None)
            recorder.record(make_call())
            deltas = Deltas()
            recorder.drain(deltas)
            counted, (tally, growth) = deltas.take(), deltas.take_routes(9)[0]
            state = WorkerState(ready=True, draining=False, revision=1)
            frame = encode_frame(Report(0, "life", 1, 0, state, counted, [growth], [], [tally.labels]))
            writer.write(frame + frame)
            replies: list[Reply] = []
            frames = FrameReader(Reply)
            while len(replies) < 2:
                replies += frames.feed(await reader.read(4096))
            assert [reply.acknowledged for reply in replies] == [1, 1]
            assert calls(totals) == 1
            writer.close()
            await until(lambda: not server.connections)

    run(scenario, tmp_path)


def many_routes(count: int) -> list[ReadyRoute]:
    return [
        ReadyRoute(Route("a", 0, "GET", f"/{number}", f"GET /{number}", "u"), Version("v1", "/"), None)
        for number in range(count)
    ]


def test_many_routes_go_out_in_parts_and_their_labels_once_a_connection(tmp_path: Path) -> None:
    reports: list[Report] = []

    class Listening(FeedServer):
        def take(self, connection: Any, report: Report) -> None:
            reports.append(report)
            super().take(connection, report)

    async def scenario(path: Path) -> None:
        routes = many_routes(3 * ROUTES_PER_REPORT + 1)
        worker = Worker(path)
        totals = Totals(1)
        for expected in (1, 3):  # two managers, one after the other: labels must be told again
            server = Listening(path, totals, asyncio.get_running_loop().time)
            await server.start()
            await until(lambda: totals.readiness().connected == 1)
            for times in range(expected):
                for route in routes:
                    worker.recorder.record(make_call(route=route))
                await server.ask(timeout_s=10)
                assert calls(totals) == len(routes) * (expected // 2 + times + 1)
            assert sum(len(report.labels) for report in reports) == len(routes)
            assert max(len(report.routes) for report in reports) == ROUTES_PER_REPORT
            assert totals.silent == 0
            reports.clear()
            await server.close()
            await until(lambda: worker.feed._transport is None)
            totals.forget(0)
        await worker.feed.close()

    run(scenario, tmp_path)


def test_a_numbering_that_is_full_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faregate.records.feed.LABELS_MAX", 5)

    async def scenario(path: Path) -> None:
        async with manager(path) as (server, totals):
            worker = Worker(path)
            await until(lambda: totals.readiness().connected == 1)
            routes = many_routes(4)
            for turn in range(6):
                for route in routes[turn % 2 : turn % 2 + 3]:
                    worker.recorder.record(make_call(route=route))
                await server.ask(timeout_s=10)
            lines = [line for line in render(totals).splitlines() if line.startswith("faregate_calls_total{")]
            found = {line.split('route="')[1].split('"')[0]: int(line.rpartition(" ")[2]) for line in lines}
            assert found == {"GET /0": 3, "GET /1": 6, "GET /2": 6, "GET /3": 3}
            (connection,) = server.connections
            assert len(connection.numbered) <= 5
            await worker.feed.close()

    run(scenario, tmp_path)


def test_a_report_asked_for_while_another_goes_out_holds_later_calls_too(tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        async with manager(path) as (server, totals):
            worker = Worker(path)
            await until(lambda: totals.readiness().connected == 1)
            for route in many_routes(4 * ROUTES_PER_REPORT):
                worker.recorder.record(make_call(route=route))
            worker.feed.report()  # the first of four parts
            worker.call(7)
            await server.ask(timeout_s=10)
            assert calls(totals) == 4 * ROUTES_PER_REPORT + 7
            await worker.feed.close()

    run(scenario, tmp_path)


@pytest.mark.parametrize(("used_s", "pause_s"), [(0.0, REPORT_EVERY_S), (0.005, 0.25), (0.1, 2.0)])
def test_the_next_report_waits_so_that_reporting_takes_no_more_than_its_share(
    tmp_path: Path, used_s: float, pause_s: float
) -> None:
    readings = iter(range(10**6))
    feed = MetricsFeed(
        str(tmp_path / "none"), 0, Recorder(None), readings=list,
        state=lambda: WorkerState(ready=True, draining=False, revision=1),
        used_s=lambda: next(readings) * used_s,
    )  # fmt: skip
    pauses: list[float] = []

    class Loop:
        def call_later(self, delay: float, _: object) -> None:
            pauses.append(delay)

    class Transport:
        def is_closing(self) -> bool:
            return False

        def write(self, _: bytes) -> None:
            pass

    feed._loop = Loop()  # type: ignore[assignment]
    feed.connection_made(Transport())  # type: ignore[arg-type]
    assert pauses == [pytest.approx(pause_s)]


def test_a_stuck_worker_holds_a_scrape_no_longer_than_its_bound(tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        async with manager(path) as (server, totals):
            _, writer = await asyncio.open_unix_connection(str(path))
            state = WorkerState(ready=True, draining=False, revision=1)
            writer.write(encode_frame(Report(0, "life", 1, 0, state, [], [], [])))
            await until(lambda: totals.readiness().connected == 1)
            await server.ask(timeout_s=0.01)
            assert totals.silent == 1
            assert "faregate_workers_silent 1\n" in render(totals)
            writer.close()
            await until(lambda: not server.connections)
            await server.ask(timeout_s=5)
            assert totals.silent == 0

    run(scenario, tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        encode_frame(Report(64, "x", 1, 0, WorkerState(ready=True, draining=False, revision=1), [], [], [])),
        encode_frame(
            Report(
                0,
                "x",
                1,
                0,
                WorkerState(ready=True, draining=False, revision=1),
                [],
                [],
                [Reading("faregate_nope", (), 1.0)],
            )
        ),
    ],
    ids=["no frame", "no worker", "no metric"],
)
def test_a_stream_that_is_not_ours_is_closed(
    tmp_path: Path, data: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    async def scenario(path: Path) -> None:
        async with manager(path) as (server, totals):
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(data)
            assert await reader.read() == b""
            assert totals.readiness().connected == 0
            writer.close()
            await until(lambda: not server.connections)

    run(scenario, tmp_path)
    assert "metrics feed" in capfd.readouterr().err


def test_an_end_whose_connection_just_broke_writes_nothing_to_it(tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        async with manager(path) as (server, totals):
            worker = Worker(path)
            await until(lambda: totals.readiness().connected == 1)
            worker.call()
            for connection in server.connections:
                connection.close()  # connection_lost comes with a later turn of the loop
            worker.feed._transport.abort()
            worker.feed.report()
            await server.ask(timeout_s=5)
            await until(lambda: calls(totals) == 1)
            await worker.feed.close()

    run(scenario, tmp_path)


def test_the_socket_is_for_this_user_only_and_removed_at_the_end(tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        async with manager(path):
            modes.append(os.stat(path).st_mode)  # noqa: PTH116 - one quick look

    modes: list[int] = []
    (tmp_path / "feed.sock").touch()  # left by an earlier manager
    run(scenario, tmp_path)
    assert [mode & 0o077 for mode in modes] == [0]
    assert not (tmp_path / "feed.sock").exists()


def test_a_worker_closes_at_once_when_there_never_was_a_manager(tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        worker = Worker(path)
        worker.call()
        await asyncio.sleep(0)
        await worker.feed.close()

    run(scenario, tmp_path)
