"""The ledger's real process, and a worker that asks it, for tests that kill one or the other."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from faregate.stores.ledger.embedded.client import EmbeddedLedger
from faregate.stores.ledger.embedded.places import folder_in, socket_in
from faregate.stores.ledger.protocol import Claim, Standing, Teller

START_S = 15.0


class Program:
    """One process on the data folder ``data``."""

    def __init__(self, data: Path, disk_bytes: int = 64 << 20) -> None:
        self.data = data
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "faregate.stores.ledger.embedded.program",
                str(folder_in(data)),
                str(disk_bytes),
            ],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        assert self.process.stderr is not None
        self.process.stdin.close()
        self.process.stderr.close()

    def tell(self, **facts: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(facts).encode() + b"\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def said(self) -> str:
        """All that it said; it has ended."""
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def ended(self, seconds: float = START_S) -> int:
        return self.process.wait(seconds)


class Told(Teller):
    """Waits for one answer."""

    def __init__(self) -> None:
        self.future: asyncio.Future[Standing] = asyncio.get_running_loop().create_future()

    def ledger_told(self, standing: Standing) -> None:
        self.future.set_result(standing)


async def worker(data: Path) -> EmbeddedLedger:
    """A ledger that is connected."""
    ledger = EmbeddedLedger(data)
    await ledger.start()
    await connected(ledger)
    return ledger


async def connected(ledger: EmbeddedLedger) -> None:
    deadline = time.monotonic() + START_S
    while not ledger.link.connected:
        assert time.monotonic() < deadline, "nobody listens"
        await asyncio.sleep(0.01)


async def claim(ledger: EmbeddedLedger, key: bytes, attempt: bytes, sends: bool = True) -> Standing:
    told = Told()
    ledger.claim(Claim(key, attempt, b"f" * 32, 3_600, b"about", sends, True), told)
    return await told.future


async def mark(ledger: EmbeddedLedger, key: bytes, attempt: bytes) -> Standing:
    told = Told()
    ledger.mark_sent(key, attempt, told)
    return await told.future


async def settle(
    ledger: EmbeddedLedger, key: bytes, attempt: bytes, state: int, answer: bytes = b""
) -> Standing:
    told = Told()
    ledger.settle(key, attempt, state, answer, told)
    return await told.future


async def state_of(ledger: EmbeddedLedger, key: bytes) -> int:
    entry = await ledger.entry(key)
    return 0 if entry is None else entry.state


async def comes(ledger: EmbeddedLedger, key: bytes, state: int) -> None:
    """Waits until the record is in ``state``."""
    deadline = time.monotonic() + 5.0
    while (found := await state_of(ledger, key)) != state:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.01)


def new() -> bytes:
    return os.urandom(16)


def there(data: Path) -> bool:
    return socket_in(data).exists()
