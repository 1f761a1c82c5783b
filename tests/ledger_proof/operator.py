"""The operator at the end of a run: decides every unknown by what the upstream's own ledger says.

The first ones by the command line, as a person does; the rest straight in the store, since a command takes a good part of a second.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from faregate.stores.ledger.embedded.client import EmbeddedLedger
from faregate.stores.ledger.protocol import COMPLETED, RELEASED, UNKNOWN, Entry, Ledger
from faregate.stores.ledger.protocol import Scope as Place
from faregate.stores.ledger.secrets import Secrets, load_or_make
from tests.ledger_proof.histories import Scope
from tests.support.gateway import ROOT

BY_COMMAND: Final = 2
PAGE: Final = 500
REASON: Final = "seen in the upstream's ledger"


class Operator:
    """``file``: the gateway's configuration; ``url``: of a shared store, without a proxy between."""

    def __init__(self, file: Path, store: str, url: str, lookup_key: str) -> None:
        self._file = file
        self._store = store
        self._url = url
        self._lookup_key = lookup_key
        self._commands = 0
        self.complaints: list[str] = []

    def settle(self, asked: Mapping[Scope, bool], quiet_s: float) -> dict[Scope, str]:
        """Waits until nothing is in flight any more, then decides. ``asked``: whether the upstream executed it."""
        return asyncio.run(self._settle(asked, quiet_s))

    async def _settle(self, asked: Mapping[Scope, bool], quiet_s: float) -> dict[Scope, str]:
        secrets = self._secrets()
        owners = {
            secrets.locate(
                Place(scope.consumer, scope.api, f"POST /{scope.route}", scope.key.encode())
            ): scope
            for scope in asked
        }
        ledger = self._ledger()
        await ledger.start()
        try:
            deadline = time.monotonic() + quiet_s
            while left := (await ledger.figures()).in_flight:
                if time.monotonic() > deadline:
                    self.complaints.append(f"{left} records stay in flight although nothing is on its way")
                    break
                await asyncio.sleep(0.25)
            verdicts = {}
            for entry in await _unknown(ledger):
                scope = owners.get(entry.key)
                if scope is None:
                    self.complaints.append(f"the ledger has a record of nobody: {entry.about!r}")
                    continue
                done = asked[scope]
                if await self._decide(ledger, entry, scope, done=done):
                    verdicts[scope] = "completed" if done else "released"
            return verdicts
        finally:
            await ledger.close()

    async def _decide(self, ledger: Ledger, entry: Entry, scope: Scope, *, done: bool) -> bool:
        """False when the resolver was quicker, which asks for keys of ``beta`` alone."""
        if self._commands < BY_COMMAND and scope.api == "alpha":
            self._commands += 1
            return await asyncio.to_thread(
                self._command, entry.key.hex(), "completed" if done else "released"
            )
        return await ledger.decide(
            entry.key, entry.attempt, COMPLETED if done else RELEASED, b"", "operator", REASON
        )

    def _command(self, name: str, verdict: str) -> bool:
        """As on the command line."""
        options = ("--reason", REASON, "--by", "proof", "--yes", "--json", "--config", str(self._file))
        ran = subprocess.run(
            [sys.executable, "-m", "faregate", "ledger", "settle", name, verdict, *options],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        if ran.returncode:
            self.complaints.append(
                f"faregate ledger settle: exit {ran.returncode}: {ran.stderr or ran.stdout}"
            )
            return False
        return isinstance(json.loads(ran.stdout), dict)

    def _secrets(self) -> Secrets:
        """What finds a record; nothing here opens a stored answer."""
        if self._store == "embedded":
            return load_or_make(self._data, may_make=False)
        return Secrets(bytes.fromhex(self._lookup_key), [(bytes(4), bytes(32))])

    def _ledger(self) -> Ledger:
        if self._store == "embedded":
            return EmbeddedLedger(self._data, holds=False)
        if self._store == "redis":
            from faregate.stores.ledger.redis_store import RedisLedger

            return RedisLedger(self._url)
        from faregate.stores.ledger.postgres_store import PostgresLedger

        return PostgresLedger(self._url)

    @property
    def _data(self) -> Path:
        return self._file.parent / "data"


async def _unknown(ledger: Ledger) -> list[Entry]:
    found: list[Entry] = []
    after = b""
    while page := await ledger.entries((UNKNOWN,), after, PAGE):
        found += page
        after = page[-1].key
    return found
