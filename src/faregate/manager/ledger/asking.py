"""Asks a gateway's ledger from beside it: for the command line and the admin API.

An embedded ledger is asked through the process that keeps it while a gateway runs, else opened here, alone.
What the gateway's workers use is used here, with a hold on the store that owns no record.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from faregate.manager.ledger.shown import Kept, about_of
from faregate.records.stored_answer import unpack_answer
from faregate.snapshot import encoded
from faregate.snapshot.idempotency import Ledger as LedgerSettings
from faregate.stores.ledger.about import RESOLVER
from faregate.stores.ledger.protocol import COMPLETED, Entry, Ledger, LedgerError
from faregate.stores.ledger.sealing import Sealer, SealError
from faregate.stores.ledger.secrets import FOLDER, Secrets, SecretsError, configured, load_or_make

PAUSES_S: Final = (0.0, 0.5, 1.0)
"""Before each try to reach an embedded ledger."""
PAGE: Final = 500
_ANSWER_MISSING: Final = "it is too long, shows card data, or cannot be looked into"


class Asked(NamedTuple):
    """Which ledger: its settings, and the gateway's data folder."""

    settings: LedgerSettings
    data: Path


def last_good(data: Path) -> Asked:
    """The ledger of the gateway that last ran on ``data``. Raises LedgerError."""
    try:
        outline = encoded.decode_outline((data / "snapshot").read_bytes())
    except OSError as error:
        raise LedgerError(f"no revision ran on {data} yet: {error.strerror} (snapshot)") from None
    except (ValueError, msgspec.MsgspecError):
        raise LedgerError(f"the snapshot in {data} is not one of this version of faregate") from None
    return Asked(outline.gateway.ledger, data)


def secrets_of(asked: Asked) -> Secrets:
    """What finds records and opens what they hold; never made here. Raises LedgerError."""
    given = configured(asked.settings)
    if given is not None:
        return given
    if not (asked.data / FOLDER).is_dir():
        raise LedgerError(f"no gateway has kept a ledger in {asked.data} yet")
    try:
        return load_or_make(asked.data, may_make=False)
    except SecretsError as error:
        raise LedgerError(str(error)) from None


@asynccontextmanager
async def opened(asked: Asked) -> AsyncIterator[Ledger]:
    """The ledger, ready to be asked. Raises LedgerError."""
    settings = asked.settings
    if settings.store == "embedded":
        ledger = await _embedded(asked.data, settings.disk_bytes)
    else:
        from faregate.stores.ledger.make import make_ledger  # noqa: PLC0415 - its libraries are optional

        ledger = make_ledger(settings, asked.data, holds=False)
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
    from faregate.stores.ledger.embedded.client import EmbeddedLedger  # noqa: PLC0415 - one store is needed
    from faregate.stores.ledger.embedded.offline import open_offline  # noqa: PLC0415 - likewise

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


async def listed(  # noqa: PLR0913 - what is looked for, and where from
    ledger: Ledger,
    states: Sequence[int],
    consumer: str,
    most: int,
    *,
    after: bytes = b"",
    apis: frozenset[str] | None = None,
) -> list[Entry]:
    """The first ``most`` records behind the key ``after`` in these states, of one consumer or of all, of
    ``apis`` alone where that is not None. Raises LedgerError.
    """
    found: list[Entry] = []
    while len(found) < most:
        page = await ledger.entries(states, after, PAGE)
        for entry in page:
            about = about_of(entry)
            if (not consumer or about.consumer == consumer) and (apis is None or about.api in apis):
                found.append(entry)
        if len(page) < PAGE:
            break
        after = page[-1].key
    return found[:most]


def kept_of(asked: Asked, entry: Entry) -> Kept | None:
    """The stored answer of a completed record, opened; None: it is not completed. Raises LedgerError."""
    if entry.state != COMPLETED:
        return None
    if not entry.answer:
        return Kept(None, _without(entry.by))
    sealer = Sealer(secrets_of(asked))
    try:
        return Kept(unpack_answer(sealer.unseal(entry.key, entry.attempt, entry.answer)))
    except (SealError, ValueError):
        return Kept(None, "it does not open with the secrets that are here")


def _without(by: str) -> str:
    """Why a completed record has no answer."""
    if not by:
        return _ANSWER_MISSING
    return "the query settled the call, not its answer" if by == RESOLVER else "it was settled without one"
