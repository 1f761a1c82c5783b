"""Nothing that is changed while the gateway runs costs a call: reloads, worker and listener counts, failed upgrades, drains.

``test_live_proof`` has the proof of it for all protocols at once.
"""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.client import RawClient, request
from tests.support.configuration import base, changed, public_api
from tests.support.configuration import write as write_configuration
from tests.support.gateway import fetch, until
from tests.support.ledger import LedgerUpstream
from tests.support.live import KeepAlive, LiveGateway, big, drive, quantile
from tests.support.ports import free_ports

pytestmark = pytest.mark.apart

LONG = os.environ.get("FAREGATE_PROOF") == "long"
GET = request("GET", "/open/v1/live")


@pytest.fixture(scope="module")
def upstream() -> Iterator[LedgerUpstream]:
    with LedgerUpstream() as made:
        yield made


@pytest.fixture
def start(tmp_path: Path, upstream: LedgerUpstream) -> Iterator[Callable[..., LiveGateway]]:
    running: list[LiveGateway] = []

    def one(workers: int = 1, *options: str) -> LiveGateway:
        gateway = LiveGateway(
            tmp_path, lambda port, manager: base(port, manager, upstream.url, workers=workers)
        )
        gateway.options = options
        gateway.launch()
        running.append(gateway)
        gateway.wait_ready()
        until((tmp_path / "data" / "control").exists, "the control socket")
        return gateway

    yield one
    for gateway in running:
        gateway.kill()


def judge(upstream: LedgerUpstream, *callers: KeepAlive) -> None:
    for caller in callers:
        assert caller.faults() == [], caller.faults()[:10]
        assert caller.doubled(upstream.entries) == []
        assert caller.ended == caller.calls


@pytest.mark.proof
@pytest.mark.timeout(1200)
def test_reloads_of_ten_thousand_routes_leave_calls_as_quick_as_they_were(
    start: Callable[..., LiveGateway], upstream: LedgerUpstream
) -> None:
    """p99 within 1.5 times what it is without, and what this machine adds by itself: compiling takes a core of two."""
    routes, keys, times = (10_000, 100_000, 5) if LONG else (2_000, 10_000, 2)
    gateway = start(1)
    big(gateway.folder, routes, keys)
    write_configuration(gateway.folder, {**gateway.tree, "include": ["many.json"]})
    gateway.told("reload")
    callers = KeepAlive(gateway.address, 20, 200, "pause")
    spans: list[tuple[float, float]] = []

    def work() -> None:
        for number in range(times):
            time.sleep(2)
            tree = changed(gateway.tree, "apis", f"more{number}", to=public_api("main", f"/more{number}"))
            write_configuration(gateway.folder, {**tree, "include": ["many.json"]})
            begun = time.monotonic()
            gateway.told("reload")
            spans.append((begun, time.monotonic()))

    drive(work, callers)
    judge(upstream, callers)
    during = [one for one in callers.latencies if any(begin <= one[0] < end for begin, end in spans)]
    others = [one for one in callers.latencies if not any(begin <= one[0] < end for begin, end in spans)]
    figures = {share: (quantile(others, share), quantile(during, share)) for share in (0.5, 0.99, 1.0)}
    print(
        f"\n{routes} routes, {keys} keys, {times} reloads of {sum(b - a for a, b in spans) / times:.1f} s: ",
        ", ".join(
            f"p{share * 100:.0f} {a * 1000:.1f} -> {b * 1000:.1f} ms" for share, (a, b) in figures.items()
        ),
    )
    quiet, busy = figures[0.99]
    assert busy <= 1.5 * quiet + 0.02
    gateway.stop()


def test_reload_says_what_came_of_it(start: Callable[..., LiveGateway]) -> None:
    gateway = start(1)
    told = gateway.told("reload")
    assert (told["ok"], told["revision"]) == (True, 2)
    write_configuration(gateway.folder, changed(gateway.tree, "apis", "open", "upstream", to="nowhere"))
    refused = gateway.command("reload")
    assert refused.returncode == 1
    assert "unresolved_reference" in refused.stderr
    assert "revision 2 stays" in refused.stderr
    error = json.loads(gateway.command("reload", "--json").stderr)["error"]
    assert (error["revision"], error["diagnostics"][0]["code"]) == (2, "unresolved_reference")
    assert gateway.command("status").returncode == 1, "it runs something else than the file says"
    assert gateway.metric("faregate_config_stale") == 1
    gateway.file.write_text("{ not: [yaml")
    assert "faregate.yaml:1:" in gateway.command("reload").stderr, "found although the file names nothing"
    write_configuration(gateway.folder, gateway.tree)
    assert gateway.told("reload")["revision"] == 3
    assert gateway.metric("faregate_config_stale") == 0
    gateway.stop()
    missing = gateway.command("status")
    assert (missing.returncode, "no running gateway" in missing.stderr) == (1, True)


def test_a_start_with_a_broken_file_runs_the_last_good_snapshot_and_says_so(
    start: Callable[..., LiveGateway],
) -> None:
    gateway = start(1)
    gateway.stop()
    good = gateway.file.read_text()
    gateway.file.write_text(good + "\nplan: {\n")
    gateway.launch()
    gateway.wait_ready()
    assert "STARTING ON THE LAST GOOD SNAPSHOT" in gateway.stderr
    assert gateway.metric("faregate_config_stale") == 1
    assert asyncio.run(_status(gateway.address)) == 200
    gateway.file.write_text(good)
    gateway.told("reload")
    assert gateway.metric("faregate_config_stale") == 0
    gateway.stop()
    gateway.file.write_text(good + "\nplan: {\n")
    gateway.options = ("--strict",)
    gateway.launch()
    assert gateway.wait_exit() == 1
    gateway.kill()


async def _status(address: tuple[str, int]) -> int:
    async with RawClient(address) as client:
        return (await client.ask(GET)).status


def test_watched_files_are_reloaded_when_they_change(
    start: Callable[..., LiveGateway], tmp_path: Path
) -> None:
    more = tmp_path / "more"
    more.mkdir()
    gateway = start(1, "--watch")
    apis = [json.dumps({"apis": {name: public_api("main", f"/{name}/v1")}}) for name in ("one", "two", "six")]
    (more / "one.yaml").write_text(apis[0])
    write_configuration(gateway.folder, {**gateway.tree, "include": ["more/*.yaml"]})
    until(lambda: gateway.revision() == 2, "the changed file")
    (more / "one.yaml").write_text(apis[2])
    until(lambda: gateway.revision() == 3, "the included file")
    (more / "two.yaml").write_text(apis[1])
    until(lambda: gateway.revision() == 4, "another file that the pattern matches")
    gateway.stop()


def test_worker_count_listeners_and_manager_change_live(
    start: Callable[..., LiveGateway], upstream: LedgerUpstream
) -> None:
    gateway = start(1)
    extra, moved = free_ports(2)
    tree = changed(gateway.tree, "gateway", "workers", to=3)
    tree = changed(
        tree, "gateway", "listen", to=[{"address": f"127.0.0.1:{port}"} for port in (gateway.port, extra)]
    )
    callers = KeepAlive(gateway.address, 10, 100, "resize")
    others = KeepAlive(("127.0.0.1", extra), 5, 50, "extra")

    def grow() -> None:
        write_configuration(gateway.folder, tree)
        gateway.told("reload")

    drive(grow, callers)
    assert len(gateway.workers()) == 3
    until(lambda: fetch(gateway.manager_port, "/readyz")[0] == 200, "/readyz with three workers")

    def shrink() -> None:
        write_configuration(
            gateway.folder, changed(gateway.tree, "gateway", "manager", "address", to=f"127.0.0.1:{moved}")
        )
        gateway.told("reload")
        until(lambda: len(gateway.workers()) == 1, "two workers fewer")

    drive(lambda: time.sleep(0.5), others)
    more = KeepAlive(gateway.address, 10, 100, "shrink")
    drive(shrink, more)
    judge(upstream, callers, others, more)
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(_status(("127.0.0.1", extra)))
    assert fetch(gateway.manager_port, "/readyz")[0] == 0
    until(lambda: fetch(moved, "/readyz")[0] == 200, "/readyz at its new address")
    gateway.stop()


def test_limits_stay_exact_while_two_generations_serve(
    start: Callable[..., LiveGateway], upstream: LedgerUpstream, tmp_path: Path
) -> None:
    """A single worker counts without locks, until another shares the counters with it."""
    gateway = start(1)
    limited = public_api("main", "/limited/v1", limits=["200/minute"])
    write_configuration(gateway.folder, changed(gateway.tree, "apis", "limited", to=limited))
    gateway.told("reload")
    statuses: list[int] = []

    async def caller(stop: asyncio.Event) -> None:
        while not stop.is_set():
            async with RawClient(gateway.address) as client:
                statuses.append((await client.ask(request("GET", "/limited/v1/x"))).status)
            await asyncio.sleep(0.03)

    async def play() -> None:
        stop = asyncio.Event()
        tasks = [asyncio.ensure_future(caller(stop)) for _ in range(4)]
        await asyncio.to_thread(gateway.told, "upgrade")
        while statuses.count(429) < 20:  # noqa: ASYNC110 - until the limit has been met by both generations
            await asyncio.sleep(0.02)
        stop.set()
        await asyncio.gather(*tasks)

    begun = time.monotonic()
    asyncio.run(play())
    assert time.monotonic() - begun < 50, "within one window"
    assert set(statuses) == {200, 429}
    assert statuses.count(200) == 200
    gateway.stop()


def test_an_upgrade_that_fails_leaves_the_running_version(
    start: Callable[..., LiveGateway], upstream: LedgerUpstream, tmp_path: Path
) -> None:
    gateway = start(1)
    before = gateway.supervisor
    good = gateway.file.read_text()
    callers = KeepAlive(gateway.address, 5, 50, "failing")

    def fail() -> None:
        gateway.file.write_text(good + "\nplan: {\n")
        done = gateway.command("upgrade")
        assert done.returncode == 1
        assert "did not take over" in done.stderr
        gateway.file.write_text(good)

    drive(fail, callers)
    judge(upstream, callers)
    assert gateway.supervisor == before
    assert gateway.told("status")["revision"] == 1
    assert gateway.told("reload")["ok"] is True, "a later change is possible"
    gateway.stop()


def test_a_drain_fails_readiness_first_and_lets_requests_on_their_way_be_answered(
    start: Callable[..., LiveGateway],
) -> None:
    gateway = start(1, "--drain-wait", "1s", "--grace", "5s")

    async def play() -> tuple[list[int], list[str], float]:
        async with RawClient(gateway.address) as kept, RawClient(gateway.address) as idle:
            statuses = [(await kept.ask(GET)).status, (await idle.ask(GET)).status]
            begun = time.monotonic()
            os.kill(gateway.pid, signal.SIGTERM)
            while await asyncio.to_thread(lambda: fetch(gateway.manager_port, "/readyz")[0]) == 200:
                assert time.monotonic() - begun < 3
            first = await kept.ask(GET)
            await asyncio.sleep(max(0.0, begun + 1.3 - time.monotonic()))
            late = await kept.ask(GET)
            assert await idle.ended(5) == b""
            return (
                [*statuses, first.status, late.status],
                [str(answer.header("connection")) for answer in (first, late)],
                time.monotonic() - begun,
            )

    statuses, ends, seconds = asyncio.run(play())
    assert statuses == [200] * 4
    assert ends[1] == "close", "told with the answer to a request that came after the drain began"
    assert ends[0] != "close", "while only readiness fails, connections are kept"
    assert seconds < 6
    assert gateway.wait_exit() == 0
