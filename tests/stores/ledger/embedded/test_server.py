"""The server over a disk that fills up, fails, or holds what was damaged, and peers that do not read."""

import asyncio
import errno
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from faregate.stores.ledger.embedded import link, server, wire
from faregate.stores.ledger.embedded.client import EmbeddedLedger
from faregate.stores.ledger.embedded.opening import open_book
from faregate.stores.ledger.embedded.places import folder_in, listen, socket_in
from faregate.stores.ledger.moves import COMPLETED, DONE, GRANTED, UNAVAILABLE
from faregate.stores.ledger.protocol import LedgerError
from tests.stores.ledger.embedded.material import FaultyDisk
from tests.stores.ledger.embedded.program import claim, new, settle, worker

Scene = Callable[[EmbeddedLedger, FaultyDisk], Awaitable[None]]


class Served:
    """A server in a thread, on a disk that can be made to fail; ``said``: its lines to the operator."""

    def __init__(self, data: Path) -> None:
        folder_in(data).mkdir(parents=True)
        self.data = data
        self.disk = FaultyDisk()
        self.said: list[str] = []
        book, clock = open_book(folder_in(data), 64 << 20, self.disk)
        self.server = server.Server(book, clock, listen(socket_in(data)), self.said.append)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def run(self, scene: Scene) -> None:
        async def play() -> None:
            ledger = await worker(self.data)
            try:
                await scene(ledger, self.disk)
            finally:
                await ledger.close()

        self.thread.start()
        try:
            uvloop.run(play())
        finally:
            self.server.stopping = True
            self.thread.join(5)
            self.server.close()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Served:
    monkeypatch.setattr(server, "_RETRY_S", 0.05)
    monkeypatch.setattr(server, "_TICK_S", 0.02)
    monkeypatch.setattr(link, "_RETRY_S", 0.05)
    return Served(tmp_path)


def test_a_full_disk_refuses_claims_at_once_and_stores_settlements_when_there_is_room(served: Served) -> None:
    async def scene(ledger: EmbeddedLedger, disk: FaultyDisk) -> None:
        key, attempt = new(), new()
        assert (await claim(ledger, key, attempt)).kind == GRANTED
        disk.fails = errno.ENOSPC
        settling = asyncio.ensure_future(settle(ledger, key, attempt, COMPLETED, b"answer"))
        await asyncio.sleep(0.3)
        assert not settling.done(), "it is not told before it is stored"
        disk.fails = 0
        assert (await settling).kind == DONE
        disk.room = 0
        served.server.book.log.full = True
        told = await claim(ledger, new(), new())
        assert (told.kind, told.reason) == (UNAVAILABLE, "ledger_full")
        disk.room = None
        for _ in range(100):
            if (await claim(ledger, new(), new())).kind == GRANTED:
                break
            await asyncio.sleep(0.02)
        else:
            raise AssertionError("it never takes claims again")

    served.run(scene)
    assert served.said[0] == "the ledger's disk is full: no key is claimed until there is room"
    assert served.said[1] == "the ledger's disk has room again"


def test_a_sync_that_fails_is_told_to_whoever_waits_and_to_everybody_after(served: Served) -> None:
    async def scene(ledger: EmbeddedLedger, disk: FaultyDisk) -> None:
        assert (await claim(ledger, new(), new())).kind == GRANTED
        disk.fails_sync = errno.EIO
        asked = [claim(ledger, new(), new()) for _ in range(3)]
        told = await asyncio.gather(*asked)
        assert {(each.kind, each.reason) for each in told} == {(UNAVAILABLE, "ledger_failed")}
        disk.fails_sync = 0
        assert (await claim(ledger, new(), new())).reason == "ledger_failed"
        with pytest.raises(LedgerError, match="ledger_failed"):
            await ledger.figures()

    served.run(scene)
    assert len(served.said) == 1, "once"
    assert "cannot be trusted any more" in served.said[0]


def test_a_record_that_cannot_be_read_refuses_its_key_and_no_other(served: Served) -> None:
    async def scene(ledger: EmbeddedLedger, _: FaultyDisk) -> None:
        key, attempt = new(), new()
        assert (await claim(ledger, key, attempt)).kind == GRANTED
        assert (await settle(ledger, key, attempt, COMPLETED, b"answer")).kind == DONE
        path = next(iter(folder_in(served.data).glob("*.log")))
        content = path.read_bytes()
        with path.open("r+b") as file:
            file.seek(content.index(b"answer"))
            file.write(b"ANSWER")
        told = await claim(ledger, key, new())
        assert (told.kind, told.reason) == (UNAVAILABLE, "ledger_damaged")
        with pytest.raises(LedgerError, match="ledger_damaged"):
            await ledger.entry(key)
        assert (await claim(ledger, new(), new())).kind == GRANTED

    served.run(scene)
    assert len(served.said) == 1
    assert "is damaged at byte" in served.said[0]


def test_a_peer_that_never_reads_is_dropped_and_what_it_held_is_let_go(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "STUCK_S", 0.2)

    async def scene(ledger: EmbeddedLedger, _: FaultyDisk) -> None:
        key, attempt = new(), new()
        assert (await claim(ledger, key, attempt)).kind == GRANTED
        assert (await settle(ledger, key, attempt, COMPLETED, bytes(64 << 10))).kind == DONE
        frame = wire.CLAIM_HEAD.pack(wire.CLAIM_BYTES, wire.CLAIM, 1, 1, 60, key, new(), b"f" * 32)
        own = wire.CLAIM_HEAD.pack(wire.CLAIM_BYTES, wire.CLAIM, 2, 0, 60, new(), new(), b"f" * 32)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(socket_in(served.data)))
            sock.sendall(wire.hello(b"slow own") + own + 100 * frame)
            for _ in range(200):
                if served.said:
                    break
                await asyncio.sleep(0.02)
            assert served.said == ["the ledger drops a connection that does not read its answers"]
        for _ in range(100):
            if not (await ledger.figures()).in_flight:
                break
            await asyncio.sleep(0.02)
        assert (await ledger.figures()).in_flight == 0

    served.run(scene)
