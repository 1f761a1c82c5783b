"""X4: a full disk and a disk that fails, under the access log: calls go on, the loss is counted and shown, and it heals by itself.

``/dev/full`` answers every write with ENOSPC; a directory in the log's place cannot be opened at all.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.conftest import SEED, Rig, tree
from tests.support.chaos import ChaosProxy
from tests.support.gateway import GatewayProcess, until
from tests.support.ledger import LedgerUpstream

pytestmark = pytest.mark.apart


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with ExitStack() as stack:
        ledger = stack.enter_context(LedgerUpstream())
        proxy = stack.enter_context(ChaosProxy(ledger.address, SEED))
        gateway = GatewayProcess(tmp_path, lambda port, manager: tree(port, manager, proxy, ledger))
        yield Rig(stack.enter_context(gateway), proxy, ledger)


def _full(log: Path) -> None:
    log.symlink_to("/dev/full")


def _directory(log: Path) -> None:
    log.mkdir()


@pytest.mark.parametrize(("spoil", "word"), [(_full, "No space left"), (_directory, "Is a directory")])
def test_x4_a_log_that_cannot_be_written_costs_no_call_and_is_counted(
    rig: Rig, spoil: Callable[[Path], None], word: str
) -> None:
    log = rig.gateway.folder / "data" / "access.jsonl"
    assert rig.post("x4-before").status == 200
    until(lambda: log.exists() and b"x4-before" in log.read_bytes(), "the first line")
    log.rename(log.with_suffix(".old"))
    spoil(log)
    number = 0

    def lost() -> bool:
        nonlocal number
        number += 1
        assert rig.post(f"x4-{number}").status == 200
        return rig.gateway.metric("faregate_log_lines_lost_total") >= 3

    until(lost, "lost lines on /metrics", 8)
    assert word in rig.gateway.stderr
    log.rmdir() if log.is_dir() else log.unlink()

    def written() -> bool:
        nonlocal number
        number += 1
        assert rig.post(f"x4-{number}").status == 200
        return log.exists() and f'"x4-{number - 1}"'.encode() in log.read_bytes()

    until(written, "lines on the disk that has room again", 8)
