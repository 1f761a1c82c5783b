"""What many keys cost the embedded ledger: ``python -m benchmarks.ledger_keys [--keys 1000000] [--build
FOLDER]``.

One worker, 64 calls at a time, each a claim that sends and a settlement with an answer of 600 bytes,
against the ledger's real process with fsync. Prints, with few keys and with many: pairs a second and the
process's own CPU a pair; then memory, disk, how long a new process takes to start, and, while all keys
expire under a trickle of calls, the longest that a call waited.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from faregate.stores.ledger.embedded.client import EmbeddedLedger
from faregate.stores.ledger.embedded.places import folder_in
from faregate.stores.ledger.moves import COMPLETED, DONE, GRANTED, RELEASED, Claim, Standing, Teller

CALLS = 64
ABOUT = b"a" * 150
ANSWER = b"x" * 600
FINGERPRINT = b"f" * 32
FEW = 10_000
MEASURED = 20_000
DISK_BYTES = 8 << 30
TICKS = os.sysconf("SC_CLK_TCK")
ROUNDS = 3


@dataclass
class Figures:
    """``cpu_us``: user and system time of the ledger's process a pair, at few keys and at many."""

    keys: int
    pairs_few: float = 0.0
    pairs_many: float = 0.0
    cpu_us_few: float = 0.0
    cpu_us_many: float = 0.0
    resident_mb: float = 0.0
    resident_empty_mb: float = 0.0
    disk_bytes_per_key: float = 0.0
    start_s: float = 0.0
    longest_wait_ms: float = 0.0
    longest_wait_expiring_ms: float = 0.0
    disk_mb_expired: float = 0.0


class Call(Teller):
    """Claims and settles one key after another while ``load`` has more to do."""

    def __init__(self, load: "Load") -> None:
        self.load = load
        self.settling = False
        self.key = self.attempt = b""
        self.began = 0.0

    def go(self) -> None:
        load = self.load
        if not load.left:
            load.running -= 1
            if not load.running:
                load.done.set()
            return
        load.left -= 1
        self.key, self.attempt = os.urandom(16), os.urandom(16)
        self.settling = False
        self.began = time.perf_counter()
        load.ledger.claim(Claim(self.key, self.attempt, FINGERPRINT, load.keep_s, ABOUT, True, True), self)

    def ledger_told(self, standing: Standing) -> None:
        if not self.settling:
            assert standing.kind == GRANTED, (standing.kind, standing.reason)
            self.settling = True
            self.load.ledger.settle(self.key, self.attempt, self.load.state, self.load.answer, self)
            return
        assert standing.kind == DONE, (standing.kind, standing.reason)
        self.load.longest = max(self.load.longest, time.perf_counter() - self.began)
        self.go()


class Load:
    """Runs so many pairs."""

    def __init__(self, ledger: EmbeddedLedger, keep_s: int) -> None:
        self.ledger = ledger
        self.keep_s = keep_s
        self.state = COMPLETED
        self.answer = ANSWER
        self.left = self.running = 0
        self.longest = 0.0
        self.done = asyncio.Event()

    async def run(self, pairs: int, calls: int = CALLS) -> float:
        """Pairs a second."""
        self.left, self.running, self.longest = pairs, calls, 0.0
        self.done.clear()
        began = time.perf_counter()
        for _ in range(calls):
            Call(self).go()
        await self.done.wait()
        return pairs / (time.perf_counter() - began)


class Process:
    """The ledger's, on ``data``; ``start_s``: until it takes connections."""

    def __init__(self, data: Path, build: str) -> None:
        self.folder = folder_in(data)
        environment = {**os.environ, **({"PYTHONPATH": build} if build else {})}
        (self.folder / "socket").unlink(missing_ok=True)
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "faregate.stores.ledger.embedded.program",
                str(self.folder),
                str(DISK_BYTES),
            ],
            stdin=subprocess.PIPE,
            env=environment,
        )
        while not (self.folder / "socket").exists():
            assert self.process.poll() is None
            time.sleep(0.005)
        self.start_s = time.perf_counter() - began

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident_mb(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()


async def measured(load: Load, process: Process, pairs: int) -> tuple[float, float, float]:
    """Pairs a second, CPU a pair in microseconds, the longest wait in milliseconds; medians."""
    rates, costs, longest = [], [], 0.0
    for _ in range(ROUNDS):
        before = process.cpu_s()
        rates.append(await load.run(pairs))
        costs.append((process.cpu_s() - before) / pairs * 1e6)
        longest = max(longest, load.longest)
    return sorted(rates)[ROUNDS // 2], sorted(costs)[ROUNDS // 2], longest * 1e3


async def measure(data: Path, keys: int, few: int, pairs: int, keep_s: int, build: str = "") -> Figures:
    """All of it; ``keep_s`` 0: without the expiry."""
    figures = Figures(keys)
    process = Process(data, build)
    figures.resident_empty_mb = process.resident_mb()
    ledger = EmbeddedLedger(data)
    try:
        await ledger.start()
        load = Load(ledger, keep_s or 86_400)
        began = time.perf_counter()
        await load.run(few)
        figures.pairs_few, figures.cpu_us_few, _ = await measured(load, process, pairs)
        await load.run(keys - few - ROUNDS * pairs)
        figures.pairs_many, figures.cpu_us_many, figures.longest_wait_ms = await measured(
            load, process, pairs
        )
        told = await ledger.figures()
        figures.resident_mb = process.resident_mb()
        used = sum(path.stat().st_size for path in process.folder.iterdir())
        figures.disk_bytes_per_key = used / told.records
        process.kill()
        process = Process(data, build)
        figures.start_s = process.start_s
        if keep_s:
            load.state, load.answer = RELEASED, b""  # so that none is added
            while told.records > keys // 100:
                assert time.perf_counter() - began < 4 * keep_s + 60
                await load.run(200, calls=4)
                figures.longest_wait_expiring_ms = max(figures.longest_wait_expiring_ms, load.longest * 1e3)
                await asyncio.sleep(0.02)
                told = await ledger.figures()
            await asyncio.sleep(2)
            figures.disk_mb_expired = (await ledger.figures()).bytes_used / 1e6
    finally:
        await ledger.close()
        process.kill()
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--keep", type=int, default=90, help="seconds; 0 leaves the expiry out")
    parser.add_argument(
        "--build", default="", help="a folder with the package to run instead, such as a compiled one"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="faregate-ledger-", dir=os.environ.get("LEDGER_DISK")) as folder:
        figures = uvloop.run(measure(Path(folder), options.keys, FEW, MEASURED, options.keep, options.build))
    print(json.dumps({name: round(value, 2) for name, value in asdict(figures).items()}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
