"""How long a change takes from being applied to running in every worker, at the size of a large bank.

``python -m benchmarks.publishing --consumers 100000 --routes 10000``: a gateway on a file of a few lines, all
else in the replica as a manager would have it; changes of each kind one after the other, by the manager's own
parts (compiler, replica, publisher). Shown are p50, p99 and the longest, the longest pause that a change gave
a worker's loop, and the memory of the compiler.
"""

import argparse
import asyncio
import contextlib
import hashlib
import http.client
import json
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from faregate.gateway.commands import Request, ask
from faregate.kernel.changes import Change
from faregate.kernel.replica import NAME, Replica
from faregate.manager.publishing.publisher import Publisher
from faregate.manager.publishing.service import Compiler

ROUTES_PER_API: Final = 20
START_S: Final = 120.0
_PAUSE: Final = re.compile(r'^faregate_reload_pause_seconds\{.*clock="(\w+)".*\} (\S+)$', re.MULTILINE)


def api(number: int, *, more: int = 0, limit: int = 0) -> dict[str, object]:
    """An API of twenty routes; ``more``: further ones. ``limit``: calls a second of each consumer."""
    routes = [
        {"match": f"{'POST' if route % 2 else 'GET'} /resource-{route:02d}", "require": "payments:read"}
        for route in range(ROUTES_PER_API + more)
    ]
    made: dict[str, object] = {
        "upstream": "payments",
        "authenticate": ["api_key"],
        "versions": {"v2": {"path": f"/api-{number:03d}/v2"}},
        "routes": routes,
    }
    return {**made, "limits": [f"{limit}/second"]} if limit else made


def consumer(*permissions: str) -> dict[str, object]:
    return {"plan": "standard", "permissions": ["payments:read", *permissions]}


def plan(count: int) -> dict[str, object]:
    return {"limits": [f"{count}/second"], "concurrency": 50}


def everything(consumers: int, routes: int, target: str) -> Iterator[Change]:
    """What the database holds."""
    yield Change("upstreams", "payments", {"targets": [target]})
    yield Change("plans", "standard", plan(100))
    for number in range(consumers):
        yield Change("consumers", f"merchant-{number:06d}", consumer())
    for number in range(routes // ROUTES_PER_API):
        yield Change("apis", f"api-{number:03d}", api(number))
    for number in range(consumers):
        digest = hashlib.sha256(f"key {number}".encode()).hexdigest()
        content = {"consumer": f"merchant-{number:06d}", "api_key": {"sha256": digest}}
        yield Change("credentials", f"key-{number:06d}", content)


def kinds(consumers: int, routes: int) -> dict[str, Callable[[int], Change]]:
    """The ``number``-th change of each kind, spread over all entries."""
    apis = routes // ROUTES_PER_API

    def merchant(number: int) -> int:
        return number * 7919 % consumers

    return {
        "permission of a consumer": lambda number: Change(
            "consumers", f"merchant-{merchant(number):06d}", consumer(f"extra:{number}")
        ),
        "key revoked": lambda number: Change("credentials", f"key-{merchant(number):06d}"),
        "limit of a plan": lambda number: Change("plans", "standard", plan(101 + number)),
        "target of an upstream": lambda number: Change(
            "upstreams", "payments", {"targets": ["http://127.0.0.1:9", f"http://127.0.0.1:{10 + number}"]}
        ),
        "route added": lambda number: Change(
            "apis", f"api-{number * 7 % apis:03d}", api(number * 7 % apis, more=1 + number // apis)
        ),
        "API changed": lambda number: Change(
            "apis", f"api-{number * 11 % apis:03d}", api(number * 11 % apis, limit=10 + number)
        ),
    }


class Ground:
    """A gateway on ``folder`` with two workers."""

    def __init__(self, folder: Path, port: int) -> None:
        self.data = folder / "data"
        self.manager_port = port + 1
        gateway = {
            "listen": [{"address": f"127.0.0.1:{port}"}],
            "manager": {"address": f"127.0.0.1:{self.manager_port}"},
            "workers": 2,
            "data": str(self.data),
        }
        self.file = folder / "faregate.json"
        self.file.write_text(json.dumps({"gateway": gateway}))

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        command = [sys.executable, "-m", "faregate", "run", str(self.file)]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            try:
                deadline = time.monotonic() + START_S
                while not (self.data / "control").exists():
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise SystemExit("the gateway does not start")
                    time.sleep(0.1)
                yield
            finally:
                process.send_signal(signal.SIGTERM)

    def pauses(self) -> dict[str, float]:
        """The longest pause of the last change in any worker, by clock, in seconds."""
        connection = http.client.HTTPConnection("127.0.0.1", self.manager_port, timeout=5)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        finally:
            connection.close()
        found: dict[str, float] = {}
        for clock, value in _PAUSE.findall(text):
            found[clock] = max(found.get(clock, 0.0), float(value))
        return found


async def measure(ground: Ground, consumers: int, routes: int, changes: int, only: str) -> None:
    """Runs every kind of change and prints its line."""
    writing = asyncio.Lock()
    compiler = Compiler(ground.data)
    publisher = Publisher(compiler, ground.data, writing)
    replica = Replica(ground.data / NAME)
    revision = 1000
    begun = time.monotonic()
    await compiler.show("plans", "standard")
    print(f"compiler loaded in {time.monotonic() - begun:.1f} s, {resident(compiler.pid)} MiB", flush=True)
    print(f"{'change':28} {'p50':>7} {'p99':>7} {'max':>7} ms; apply, replica, write; pause own/wall (ms)")
    for kind, make in kinds(consumers, routes).items():
        if only and only not in kind:
            continue
        times: list[float] = []
        parts: list[tuple[float, ...]] = []
        pauses: dict[str, float] = {}
        for number in range(changes):
            change = make(number)
            revision += 1
            begun = time.perf_counter()
            async with writing:
                answer = await compiler.apply([change])
                applied = time.perf_counter()
                if not answer.ok:
                    raise SystemExit(f"{kind}: {answer.message} {answer.diagnostics}")
                replica.append([change], revision)
            kept = time.perf_counter()
            published = await publisher.publish(revision)
            times.append(time.perf_counter() - begun)
            parts.append((applied - begun, kept - applied, published.seconds))
            if not published.ok:
                raise SystemExit(f"{kind}: {published.message}")
            if number % 20 == 0:
                await asyncio.sleep(0.3)  # the former revision is freed, and the manager told
                for clock, value in (await asyncio.to_thread(ground.pauses)).items():
                    pauses[clock] = max(pauses.get(clock, 0.0), value)
        ordered = sorted(times)
        p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
        medians = ", ".join(f"{statistics.median(column) * 1e3:.1f}" for column in zip(*parts, strict=True))
        longest = "/".join(f"{pauses.get(clock, 0) * 1e3:.1f}" for clock in ("processor", "wall"))
        print(
            f"{kind:28} {statistics.median(times) * 1e3:7.0f} {p99 * 1e3:7.0f} {ordered[-1] * 1e3:7.0f}     "
            f"{medians}; {longest}",
            flush=True,
        )
    print(f"compiler at the end: {resident(compiler.pid)} MiB")
    await compiler.close()


def resident(pid: int | None) -> int:
    """Memory of a process in MiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) >> 10


def main() -> None:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.publishing", allow_abbrev=False)
    parser.add_argument("--consumers", type=int, default=100_000)
    parser.add_argument("--routes", type=int, default=10_000)
    parser.add_argument("--changes", type=int, default=200, help="of each kind")
    parser.add_argument("--port", type=int, default=18_480)
    parser.add_argument("--only", default="", help="kinds whose name holds this")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="faregate-bench-") as folder:
        ground = Ground(Path(folder), options.port)
        ground.data.mkdir(mode=0o700)
        database = everything(options.consumers, options.routes, "http://127.0.0.1:9")
        Replica(ground.data / NAME).replace(database, 1)
        begun = time.monotonic()
        with ground.running():
            print(f"gateway started in {time.monotonic() - begun:.1f} s", flush=True)
            status = ask(ground.data, Request("status"), 5.0)
            workers = status["workers"]
            assert isinstance(workers, list)
            print(f"routes {status['routes']}, workers {len(workers)}")
            asyncio.run(measure(ground, options.consumers, options.routes, options.changes, options.only))


if __name__ == "__main__":
    main()
