"""A worker knows when the embedded ledger's process is not there."""

from pathlib import Path

import uvloop

from faregate.stores.ledger.embedded.client import EmbeddedLedger
from tests.support.ledger_bench import EmbeddedBench


def test_a_ledger_without_its_process_is_away_once_that_is_known(tmp_path: Path) -> None:
    async def run() -> None:
        ledger = EmbeddedLedger(tmp_path / "data")
        assert ledger.away == "", "nobody has looked yet"
        await ledger.start()
        assert ledger.away == "ledger_away"
        await ledger.close()
        bench = EmbeddedBench(tmp_path / "data")
        try:
            connected = await bench.worker()
            assert connected.away == ""
        finally:
            await bench.close()

    uvloop.run(run())
