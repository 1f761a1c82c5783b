"""The check of ``faregate doctor`` on the manager's database: can it be reached, where it is a PostgreSQL.

Calls need no database: they go on with the last good snapshot. The embedded one is a file in the data folder,
which is looked at there.
"""

from typing import Final
from urllib.parse import urlsplit

from faregate.cli.doctor_findings import Finding, ok, problem
from faregate.snapshot.data import Snapshot

PATIENCE_S: Final = 5
_CHECK: Final = "database"
_MEND: Final = "until then nothing is changed or shown by the admin API; calls go on with what runs"


async def check_database(snapshot: Snapshot) -> list[Finding]:
    """None where the manager is off, or keeps things in the data folder."""
    url = snapshot.gateway.managing.store
    if snapshot.gateway.manager is None or url == "embedded":
        return []
    place = _place(url)
    try:
        import psycopg
    except ImportError:
        return [problem(_CHECK, f"{place}: its driver is missing", "pip install 'faregate[postgresql]'")]
    try:
        connection = await psycopg.AsyncConnection.connect(url, connect_timeout=PATIENCE_S)
        async with connection:
            await connection.execute("SELECT 1")
    except (psycopg.Error, OSError) as error:
        told = str(error).strip().partition("\n")[0] or type(error).__name__
        return [problem(_CHECK, f"{place} cannot be reached: {_without(told, url)}", _MEND)]
    return [ok(_CHECK, f"{place} answers")]


def _place(url: str) -> str:
    """Where it is, without who asks."""
    parts = urlsplit(url)
    return f"the manager's database at {parts.netloc.rpartition('@')[2] or 'its socket'}{parts.path}"


def _without(text: str, url: str) -> str:
    """``text`` without the password, should a driver ever repeat it."""
    password = urlsplit(url).password
    return text.replace(password, "***") if password else text
