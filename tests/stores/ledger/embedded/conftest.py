"""A test that plays a crash leaves its log open, as a crash does; here what it left is closed behind it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from faregate.stores.ledger.embedded.disk import Disk
from tests.stores.ledger.embedded.material import FaultyDisk


@pytest.fixture(autouse=True)
def _nothing_stays_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    held: set[int] = set()
    create, open_, close = Disk.create, Disk.open, Disk.close

    def created(self: Disk, path: Path, size: int) -> int:
        held.add(descriptor := create(self, path, size))
        return descriptor

    def opened(self: Disk, path: Path) -> int:
        held.add(descriptor := open_(self, path))
        return descriptor

    def closed(self: Disk, descriptor: int) -> None:
        held.discard(descriptor)
        close(self, descriptor)

    monkeypatch.setattr(Disk, "create", created)
    monkeypatch.setattr(Disk, "open", opened)
    monkeypatch.setattr(Disk, "close", closed)
    monkeypatch.setattr(FaultyDisk, "made", lambda _, descriptor: held.add(descriptor))
    yield
    for descriptor in held:
        os.close(descriptor)
