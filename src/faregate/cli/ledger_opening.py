"""Finds the ledger that a command asks: by the configuration file, or by the data folder of a gateway, whose
last good revision names it too.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from faregate.cli.errors import CommandError
from faregate.manager.ledger import asking as ledger_asking
from faregate.manager.ledger.asking import Asked
from faregate.stores.ledger.protocol import Ledger, LedgerError
from faregate.stores.ledger.secrets import FOLDER, Secrets

if TYPE_CHECKING:
    from faregate.snapshot.data import Snapshot


class Place(NamedTuple):
    """Where the ledger is: the settings of a compiled configuration, and the data folder."""

    snapshot: "Snapshot"
    data: Path

    @property
    def told(self) -> str:
        """In words, without a secret."""
        store = self.snapshot.gateway.ledger.store
        return f"{store} ledger in {self.data / FOLDER}" if store == "embedded" else f"{store} ledger"

    @property
    def asked(self) -> Asked:
        return Asked(self.snapshot.gateway.ledger, self.data)


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
    try:
        return ledger_asking.secrets_of(place.asked)
    except LedgerError as error:
        raise CommandError(str(error)) from None


@asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Ledger]:
    """The ledger, ready to be asked. Raises LedgerError."""
    async with ledger_asking.opened(place.asked) as ledger:
        yield ledger
