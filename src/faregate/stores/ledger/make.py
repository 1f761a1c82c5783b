"""Which ledger a configuration means. The libraries of shared stores are optional: they are imported here,
when one is wanted, and nowhere before.
"""

from pathlib import Path

from faregate.snapshot.idempotency import Ledger as LedgerSettings
from faregate.stores.ledger.protocol import Ledger, LedgerError
from faregate.stores.ledger.remote_session import mark_of


def make_ledger(settings: LedgerSettings, data: Path, *, holds: bool = True) -> Ledger:
    """The ledger of ``settings``, not started; to be made in a running event loop. ``data``: the gateway's
    data folder. ``holds``: False for a command, which makes no claims. Raises LedgerError: a library is not
    installed, or the URL is not one; the message holds no secret.
    """
    if settings.store == "embedded":
        from faregate.stores.ledger.embedded.client import EmbeddedLedger  # noqa: PLC0415 - one store is needed

        return EmbeddedLedger(data, holds=holds)
    lanes = {} if holds else {"lanes": 1}
    mark = mark_of(settings.lookup_key)
    if settings.store == "redis":
        try:
            from faregate.stores.ledger.redis_store import RedisLedger  # noqa: PLC0415 - optional
        except ImportError:
            raise LedgerError("the ledger in Redis needs a library: install faregate[redis]") from None
        return RedisLedger(
            settings.url, settings.prefix, accept_loss=settings.accept_loss, mark=mark, **lanes
        )
    if settings.store == "postgresql":
        try:
            from faregate.stores.ledger.postgres_store import PostgresLedger  # noqa: PLC0415 - optional
        except ImportError:
            raise LedgerError(
                "the ledger in PostgreSQL needs a library: install faregate[postgresql]"
            ) from None
        return PostgresLedger(
            settings.url, settings.prefix, accept_loss=settings.accept_loss, mark=mark, **lanes
        )
    raise LedgerError(f"there is no ledger of the kind {settings.store!r}")
