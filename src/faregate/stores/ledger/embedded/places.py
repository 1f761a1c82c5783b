"""Where in the data folder the embedded ledger lies, and its socket."""

from pathlib import Path

from faregate.kernel.unix_sockets import listen as listen  # noqa: PLC0414 - for those who open the ledger
from faregate.kernel.unix_sockets import short_name as short_name  # noqa: PLC0414 - likewise


def folder_in(data: Path) -> Path:
    return data / "ledger"


def socket_in(data: Path) -> Path:
    return folder_in(data) / "socket"
