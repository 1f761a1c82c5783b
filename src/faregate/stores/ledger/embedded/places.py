"""Where in the data folder the embedded ledger lies, and its socket, however long the folder's name is.

The name of a unix socket has 107 bytes at most; a longer one is reached through an open descriptor of its
folder.
"""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_NAME_BYTES_MAX: Final = 107


def folder_in(data: Path) -> Path:
    return data / "ledger"


def socket_in(data: Path) -> Path:
    return folder_in(data) / "socket"


@contextlib.contextmanager
def short_name(path: Path) -> Iterator[str]:
    """A name of ``path`` that a socket takes, for as long as the context lasts. Raises OSError."""
    if len(os.fsencode(path)) <= _NAME_BYTES_MAX:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def listen(path: Path) -> socket.socket:
    """A socket at ``path`` in place of one that was left there. Raises OSError."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        fresh.unlink(missing_ok=True)
        with short_name(fresh) as name:
            sock.bind(name)
        fresh.chmod(0o600)
        sock.listen(256)
        fresh.replace(path)
    except OSError:
        sock.close()
        raise
    return sock
