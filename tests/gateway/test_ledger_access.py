"""A worker's way to the ledger: one store for as long as the configuration names it, and none where no route needs one."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from faregate.gateway.ledger_access import LedgerAccess
from faregate.snapshot.data import FORMAT, Gateway, Snapshot
from faregate.snapshot.idempotency import Ledger as LedgerSettings
from faregate.stores.ledger.protocol import Ledger, LedgerError
from tests.support.model_ledger import ModelLedger


class Opened(ModelLedger):
    started = closed = False

    async def start(self) -> None:
        self.started = True

    async def close(self) -> None:
        self.closed = True


class Maker:
    """Opens model ledgers and keeps them."""

    def __init__(self) -> None:
        self.made: list[Opened] = []
        self.error = ""

    def __call__(self, settings: LedgerSettings, data: Path) -> Ledger:
        if self.error:
            raise LedgerError(self.error)
        self.made.append(Opened())
        return self.made[-1]


class Running:
    """What the access reads of a runtime."""

    def __init__(self) -> None:
        self.keeping: list[object] = []
        self.upstreams: dict[str, object] = {}


def snapshot(needs: bool = True, **ledger: object) -> Snapshot:
    gateway = Gateway((), None, 1, "", ledger=LedgerSettings(**ledger))  # type: ignore[arg-type]
    return Snapshot(FORMAT, 1, gateway, (), (), (), (), (), (), needs_ledger=needs)


def access(data: Path) -> tuple[LedgerAccess, Maker]:
    maker = Maker()
    return LedgerAccess(data, lambda *_: None, maker), maker


def test_where_no_route_keeps_records_no_ledger_is_opened(tmp_path: Path) -> None:
    way, maker = access(tmp_path)
    assert way.keeper_for(snapshot(needs=False)) is None
    assert maker.made == []
    assert not (tmp_path / "ledger").exists()


def test_a_revision_with_the_same_ledger_goes_on_with_it(tmp_path: Path) -> None:
    way, maker = access(tmp_path)
    first = way.keeper_for(snapshot())
    assert way.keeper_for(snapshot()) is first
    assert way.keeper_for(snapshot(needs=False)) is None
    assert way.keeper_for(snapshot()) is first, "its records are still there"
    larger = way.keeper_for(snapshot(disk_bytes=8 << 30))
    assert larger is not None
    assert larger.ledger is maker.made[0], "the same store"
    assert len(maker.made) == 1


def test_a_moved_ledger_is_opened_and_the_former_one_lives_until_the_end(tmp_path: Path) -> None:
    async def live() -> None:
        way, maker = access(tmp_path)
        keys = {"lookup_key": b"l" * 32, "seal_keys": (("k1", b"s" * 32),)}
        before = way.keeper_for(snapshot(store="redis", url="redis://one", **keys))
        await way.start(Running())  # type: ignore[arg-type]
        after = way.keeper_for(snapshot(store="redis", url="redis://two", **keys))
        await asyncio.sleep(0)
        assert before is not None
        assert after is not None
        assert before.ledger is not after.ledger
        assert [one.started for one in maker.made] == [True, True]
        assert [one.closed for one in maker.made] == [False, False], "calls that began with it settle there"
        other_key = way.keeper_for(
            snapshot(store="redis", url="redis://two", **keys | {"lookup_key": b"m" * 32})
        )
        assert other_key is not None
        assert other_key.ledger is maker.made[2], "opened anew, so that the store can refuse the key"
        await asyncio.sleep(0)
        await way.close()
        assert [one.closed for one in maker.made] == [True, True, True]

    asyncio.run(live())


class Slow(Opened):
    def __init__(self) -> None:
        super().__init__()
        self.answers = asyncio.Event()

    async def start(self) -> None:
        await self.answers.wait()
        self.started = True


def test_a_worker_is_ready_when_its_ledger_answers_or_has_had_its_time(tmp_path: Path) -> None:
    async def live() -> None:
        ledger = Slow()
        way = LedgerAccess(tmp_path, lambda *_: None, lambda *_: ledger)
        await way.start(Running())  # type: ignore[arg-type] # nothing to wait for
        way.keeper_for(snapshot())
        await way.start(Running(), within_s=0.01)  # type: ignore[arg-type]
        assert not ledger.started, "one that is away keeps nobody"
        waiting = asyncio.ensure_future(way.start(Running(), within_s=20))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert not waiting.done()
        ledger.answers.set()
        await waiting
        assert ledger.started
        await way.close()

    asyncio.run(live())


def test_a_ledger_that_cannot_be_had_keeps_the_revision_out(tmp_path: Path) -> None:
    way, maker = access(tmp_path)
    maker.error = "install faregate[redis]"
    with pytest.raises(ValueError, match=r"install faregate\[redis\]"):
        way.keeper_for(snapshot())
    (tmp_path / "ledger" / "secrets").write_bytes(b"not ours")
    with pytest.raises(ValueError, match="secrets"):
        way.keeper_for(msgspec.structs.replace(snapshot(), revision=2))
