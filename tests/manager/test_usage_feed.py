"""Who called arrives with the reports, once, in pieces, also over a manager's death, and with a worker's end."""

import asyncio
from pathlib import Path

from faregate.records.feed import USAGE_PER_REPORT
from faregate.snapshot.call import Identity, ReadyConsumer
from tests.manager.test_feed import Worker, manager, run, until
from tests.records.calls import make_call


def record(worker: Worker, credentials: int, times: int = 1) -> None:
    for number in range(credentials):
        caller = Identity(ReadyConsumer("acme"), f"key_{number}")
        for _ in range(times):
            worker.recorder.record(make_call(identity=caller))


def test_a_worker_hands_all_over_at_its_end(tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        async with manager(path) as (_, totals):
            workers = [Worker(path, 0), Worker(path, 1)]
            await until(lambda: totals.readiness().connected == 2)
            credentials = 2 * USAGE_PER_REPORT + 7
            for worker in workers:
                record(worker, credentials)
                await worker.feed.close()
            rows = totals.usage.drain()
            assert len(rows) == credentials
            assert {one.calls for one in rows} == {2}

    run(scenario, tmp_path)


def test_no_row_is_counted_twice_or_lost_over_a_reconnect(tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        async with manager(path) as (server, totals):
            worker = Worker(path)
            await until(lambda: totals.readiness().connected == 1)
            for _ in range(5):
                record(worker, 1200)
                worker.recorder.drain(worker.feed._deltas, last=True)
                worker.feed.report()
                for connection in list(server.connections):
                    connection.close()  # what is on its way is sent again
                await until(lambda: not server.connections)
                await until(lambda: totals.readiness().connected == 1)
            await worker.feed.close()
            rows = totals.usage.drain()
            assert len(rows) == 1200
            assert {one.calls for one in rows} == {5}

    run(scenario, tmp_path)


def test_it_is_handed_over_by_itself_now_and_then(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("faregate.records.recorder.USAGE_EVERY_S", 0.3)

    async def scenario(path: Path) -> None:
        async with manager(path) as (_, totals):
            worker = Worker(path)
            await until(lambda: totals.readiness().connected == 1)
            record(worker, 3, times=2)
            await until(lambda: len(totals.usage) == 3)
            assert {one.calls for one in totals.usage.drain()} == {2}
            await worker.feed.close()

    run(scenario, tmp_path)


def test_a_new_manager_gets_what_the_former_one_did_not(tmp_path: Path) -> None:
    async def scenario(path: Path) -> None:
        async with manager(path) as (_, totals):
            worker = Worker(path)
            await until(lambda: totals.readiness().connected == 1)
        record(worker, 2)
        await asyncio.sleep(0)
        async with manager(path) as (_, totals):
            await until(lambda: totals.readiness().connected == 1)
            await worker.feed.close()
            assert sum(one.calls for one in totals.usage.drain()) == 2

    run(scenario, tmp_path)
