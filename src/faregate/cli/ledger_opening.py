"""Finds and opens the ledger that a command asks: by the configuration file, or by the data folder of a
gateway, whose last good revision names it too.

An embedded ledger is asked through the process that keeps it while a gateway runs, else opened here, alone.
What the gateway's workers use is used here, with a hold on the store that owns no record.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from faregate.cli.errors import CommandError
from faregate.stores.ledger.protocol import Ledger, LedgerError
from faregate.stores.ledger.secrets import FOLDER, Secrets, SecretsError, configured, load_or_make

if TYPE_CHECKING:
    from faregate.snapshot.data import Snapshot

PAUSES_S: Final = (0.0, 0.5, 1.0)
"""Before each try to reach an embedded ledger."""


class Place(NamedTuple):
    """Where the ledger is: the settings of a compiled configuration, and the data folder."""

    snapshot: "Snapshot"
    data: Path

    @property
    def told(self) -> str:
        """In words, without a secret."""
        store = self.snapshot.gateway.ledger.store
        return f"{store} ledger in {self.data / FOLDER}" if store == "embedded" else f"{store} ledger"


def place_of(file: Path, data: Path | None) -> Place:
    """What ``file`` says, or the last good revision in the folder ``data``. Raises CommandError."""
    if data is not None:
        return Place(_last_good(data), data)
    from faregate.compile.compiler import compile_config
    from faregate.model.load import load
    from faregate.model.report import as_text

    loaded = load(file, os.environ)
    snapshot, diagnostics = compile_config(loaded, 0)
    if snapshot is None:
        raise CommandError(
            f"{file} has errors; --data names the data folder of a gateway that ran before",
            before=as_text(diagnostics, loaded.tree.sources),
            facts={"diagnostics": [diagnostic.as_json() for diagnostic in diagnostics]},
        )
    return Place(snapshot, Path(snapshot.gateway.data))


def _last_good(data: Path) -> "Snapshot":
    from faregate.snapshot import encoded

    try:
        return encoded.decode((data / "snapshot").read_bytes())
    except OSError as error:
        raise CommandError(f"no revision ran on {data} yet: {error.strerror} (snapshot)") from None
    except (ValueError, msgspec.MsgspecError):
        raise CommandError(f"the snapshot in {data} is not one of this version of faregate") from None


def secrets_of(place: Place) -> Secrets:
    """What finds records and opens what they hold; never made here. Raises CommandError."""
    given = configured(place.snapshot.gateway.ledger)
    if given is not None:
        return given
    if not (place.data / FOLDER).is_dir():
        raise CommandError(f"no gateway has kept a ledger in {place.data} yet")
    try:
        return load_or_make(place.data, may_make=False)
    except SecretsError as error:
        raise CommandError(str(error)) from None


@asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ledger]:
    """The ledger, ready to be asked. Raises LedgerError."""
    settings = place.snapshot.gateway.ledger
    if settings.store == "embedded":
        ledger = await _embedded(place.data, settings.disk_bytes)
    else:
        from faregate.stores.ledger.make import make_ledger

        ledger = make_ledger(settings, place.data, holds=False)
        await ledger.start()
    try:
        yield ledger
    finally:
        await ledger.close()


async def _embedded(data: Path, disk_bytes: int) -> Ledger:
    """Through the process that keeps it, or by itself where none runs. Raises LedgerError."""
    folder = data / FOLDER
    try:
        owner = folder.stat().st_uid
    except FileNotFoundError:
        raise LedgerError("no gateway has kept one here yet") from None
    except OSError as error:
        raise LedgerError(error.strerror or str(error)) from None
    if owner != os.geteuid():  # the process takes no other user, and files of another would lock it out
        raise LedgerError(f"it belongs to another user: run this as uid {owner}")
    from faregate.stores.ledger.embedded.client import EmbeddedLedger
    from faregate.stores.ledger.embedded.offline import open_offline

    refused = LedgerError("it cannot be reached")
    for pause_s in PAUSES_S:
        await asyncio.sleep(pause_s)
        running = EmbeddedLedger(data, holds=False)
        await running.start()
        if running.link.connected:
            return running
        await running.close()
        try:
            return open_offline(data, disk_bytes)
        except LedgerError as error:
            refused = error  # one may just be starting, or leaving
    raise refused
