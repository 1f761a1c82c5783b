"""A reload of 10,000 routes and 100,000 keys keeps the loop for milliseconds at a time, and frees the former revision alike.

Measured in processor time of the thread, which other processes' work does not lengthen.
"""

import asyncio
import gc
import time
import weakref
from collections.abc import Generator
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import pytest

from faregate.gateway import slices
from faregate.gateway.assembly import Runtime, assembling, finish, retire
from faregate.gateway.slices import free, in_slices, quiet_gc
from faregate.gateway.worker_process import open_snapshot
from faregate.kernel.clock import SystemClock
from faregate.snapshot.data import (
    FORMAT,
    ApiKeyCredential,
    Consumer,
    Gateway,
    Plan,
    Rate,
    Route,
    Snapshot,
    Target,
    Upstream,
    Version,
)
from faregate.snapshot.encoded import encode
from faregate.stores.keysets import KeySets
from tests.stores import table

PAUSE_MAX_S = 0.010
ResultT = TypeVar("ResultT")


def snapshot(routes: int, keys: int, revision: int, plan: int = 100, granted: str = "p:read") -> Snapshot:
    rate = Rate("plan.standard.100/second", "plan", plan, 1000)
    return Snapshot(
        FORMAT, revision, Gateway((), None, 1, "data"), (),
        (Upstream("pay", (Target("127.0.0.1:9", "127.0.0.1", 9),)),),
        (Plan("standard", (rate,)),),
        tuple(
            Consumer(f"c{n}", "standard", (granted,), (ApiKeyCredential(f"k{n}", sha256(b"%d" % n).digest()),))
            for n in range(keys)
        ),
        (Version("v1", "/v1"),),
        tuple(
            Route("pay", 0, "GET", f"/v1/r{n}/{{id}}", f"GET /r{n}/{{id}}", "pay", ("api_key",), (granted,))
            for n in range(routes)
        ),
    )  # fmt: skip


def timed(work: Generator[None, None, ResultT], spent: list[float]) -> Generator[None, None, ResultT]:
    """``work``, with the processor time of each piece noted."""
    while True:
        begun = time.thread_time()
        try:
            next(work)
        except StopIteration as done:
            spent.append(time.thread_time() - begun)
            return done.value
        spent.append(time.thread_time() - begun)
        yield


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counters = table.alone(folder)
        self.keysets = KeySets(lambda ca: None, SystemClock(), folder)  # type: ignore[arg-type, return-value]
        self.loop = asyncio.get_running_loop()

    def write(self, of: Snapshot) -> str:
        (self.folder / f"snapshot{of.revision}").write_bytes(encode(of))
        return str(self.folder / f"snapshot{of.revision}")

    def first(self, path: str) -> Runtime:
        return finish(assembling(open_snapshot(path), self.counters, self.keysets, self.loop))

    async def reload(self, path: str, before: Runtime, spent: list[float]) -> Runtime:
        begun = time.thread_time()
        sections = open_snapshot(path)
        spent.append(time.thread_time() - begun)
        with quiet_gc():
            made = await in_slices(
                timed(assembling(sections, self.counters, self.keysets, self.loop, before), spent)
            )
        begun = time.thread_time()
        retire(before, made)
        spent.append(time.thread_time() - begun)
        return made


@pytest.mark.proof
def test_no_piece_of_a_large_reload_keeps_the_loop_for_ten_milliseconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing, one consumer, or the plan of all of them changed."""
    emptied = slices._emptied
    spent: list[float] = []
    monkeypatch.setattr(slices, "_emptied", lambda large: timed(emptied(large), spent))

    async def play() -> None:
        bench = Bench(tmp_path)
        runtime = bench.first(bench.write(snapshot(10_000, 100_000, 1)))
        gc.collect()
        gc.freeze()
        for revision, keys, plan in ((2, 100_000, 100), (3, 100_001, 100), (4, 100_001, 99)):
            path = bench.write(snapshot(10_000, keys, revision, plan))
            gc.collect()  # the test's own litter
            gc.freeze()
            spent.clear()
            begun = time.thread_time()
            former, runtime = runtime, await bench.reload(path, runtime, spent)
            whole = time.thread_time() - begun
            large, gone = former.large, weakref.ref(former)
            begun = time.thread_time()
            del former
            assert gone() is None, "nothing but calls keeps a revision alive"
            spent.append(time.thread_time() - begun)
            await free(gone, large)
            assert large == []
            begun = time.thread_time()
            gc.collect()
            spent.append(time.thread_time() - begun)
            print(
                f"\nrevision {revision}: {whole:.2f} s of work; the longest pieces "
                f"{', '.join(f'{piece * 1000:.1f}' for piece in sorted(spent)[-4:])} ms"
            )
            assert max(spent) < PAUSE_MAX_S
            assert len(runtime.router.nodes) >= 10_000
        bench.counters.close()

    asyncio.run(play())


def test_reloads_collect_nothing_and_what_they_replace_is_freed(tmp_path: Path) -> None:
    """What is built is put where no collection looks: it must go by its references alone, or memory would grow by each reload."""
    collected: list[str] = []

    def noted(phase: str, _: dict[str, int]) -> None:
        collected.append(phase)

    async def play() -> None:
        bench = Bench(tmp_path)
        paths = [
            bench.write(snapshot(200, 3000, revision, granted=f"p:{revision}")) for revision in range(1, 8)
        ]
        runtime = bench.first(paths[0])
        gc.collect()
        gc.freeze()
        frozen = [gc.get_freeze_count()]
        gc.callbacks.append(noted)
        try:
            for path in paths[1:]:
                former, runtime = runtime, await bench.reload(path, runtime, [])
                large, gone = former.large, weakref.ref(former)
                del former
                frozen.append(gc.get_freeze_count())
                await free(gone, large)
                frozen.append(gc.get_freeze_count())
        finally:
            gc.callbacks.remove(noted)
        assert collected == []
        assert frozen[1] - frozen[2] > 3000, "a revision is thousands of objects"
        assert frozen[-1] - frozen[4] < 100, frozen
        bench.counters.close()

    asyncio.run(play())


def test_what_did_not_change_is_taken_over_and_what_did_is_made_anew(tmp_path: Path) -> None:
    async def play() -> None:
        bench = Bench(tmp_path)
        first = bench.first(bench.write(snapshot(50, 2000, 1)))
        same = await bench.reload(bench.write(snapshot(50, 2000, 2)), first, [])
        assert same.parts == first.parts
        assert all(same.parts[digest] is part for digest, part in first.parts.items())
        more = await bench.reload(bench.write(snapshot(50, 2001, 3)), same, [])
        kept = [digest for digest in more.parts if more.parts[digest] is same.parts.get(digest)]
        assert len(more.parts) - len(kept) <= 2
        replanned = await bench.reload(bench.write(snapshot(50, 2001, 4, plan=5)), more, [])
        assert all(replanned.parts[one] is part for one, part in more.parts.items()), (
            "limits follow their plan"
        )
        granted = await bench.reload(bench.write(snapshot(50, 2001, 5, granted="p:all")), replanned, [])
        assert not any(granted.parts.get(one) is part for one, part in replanned.parts.items())
        bench.counters.close()

    asyncio.run(play())


def test_a_key_of_two_consumers_is_refused_and_leaves_the_running_revision(tmp_path: Path) -> None:
    async def play() -> None:
        bench = Bench(tmp_path)
        first = bench.first(bench.write(snapshot(5, 100, 1)))
        twin = Consumer("twin", credentials=(ApiKeyCredential("k", sha256(b"7").digest()),))
        whole = snapshot(5, 100, 2)
        path = tmp_path / "twins"
        fields = {name: getattr(whole, name) for name in Snapshot.__struct_fields__}
        path.write_bytes(encode(Snapshot(**{**fields, "consumers": (*whole.consumers, twin)})))
        with pytest.raises(ValueError, match="same credential"):
            await bench.reload(str(path), first, [])
        assert gc.isenabled()
        bench.counters.close()

    asyncio.run(play())


def test_work_waits_for_others_between_its_slices() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def work() -> Generator[None, None, str]:
        for _ in range(10):
            until = time.perf_counter() + slices.SLICE_S
            while time.perf_counter() < until:
                pass
            yield
        return "done"

    async def play() -> str:
        beside = asyncio.ensure_future(other())
        result = await in_slices(work())
        beside.cancel()
        return result

    assert asyncio.run(play()) == "done"
    assert turns >= 10


def test_the_longest_piece_between_two_waits_is_known_by_the_clock_and_in_processor_time() -> None:
    pauses = slices.Pauses()

    def busy(seconds: float) -> None:
        until = time.thread_time() + seconds
        while time.thread_time() < until:
            pass

    async def work() -> str:
        busy(0.002)
        await asyncio.sleep(0.05)
        busy(0.004)
        await asyncio.sleep(0)
        time.sleep(0.02)  # noqa: ASYNC251 - keeps the loop without working
        return "done"

    assert asyncio.run(pauses.over(work())) == "done"
    assert pauses.wall_s >= 0.02
    assert 0.004 <= pauses.processor_s < 0.02
    assert {reading.labels for reading in pauses.readings()} == {("wall",), ("processor",)}
    pauses.forget()
    assert pauses.wall_s == pauses.processor_s == 0.0


def test_what_is_measured_fails_and_is_cancelled_as_ever() -> None:
    seen: list[str] = []

    async def cleans_up() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            seen.append("cancelled")
            raise

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("why")

    async def play() -> None:
        task = asyncio.ensure_future(slices.Pauses().over(cleans_up()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(ValueError, match="why"):
            await slices.Pauses().over(fails())

    asyncio.run(play())
    assert seen == ["cancelled"]


def test_connections_are_told_of_a_reload_in_pieces() -> None:
    told: list[int] = []

    class Client:
        def forget(self) -> None:
            told.append(len(told))

    pieces = list(slices.told([Client() for _ in range(1000)]))  # type: ignore[misc]
    assert len(told) == 1000
    assert len(pieces) >= 10


def test_what_is_large_stays_until_its_owner_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "_LOOK_S", 0.001)

    class Owner:
        pass

    async def play() -> None:
        owner, keys, parts = Owner(), dict.fromkeys(range(1000)), list(range(1000))
        freeing = asyncio.ensure_future(free(weakref.ref(owner), [keys, parts]))
        await asyncio.sleep(0.01)
        assert len(keys) == len(parts) == 1000, "a call may still look into it"
        del owner
        await freeing
        assert not keys
        assert not parts

    asyncio.run(play())
