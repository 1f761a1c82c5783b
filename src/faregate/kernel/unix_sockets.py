"""Unix sockets of our own processes, however long their folder's name is.

The name of a unix socket has 107 bytes at most; a longer one is reached through an open descriptor of its
folder.
"""

import contextlib
import os
import select
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_NAME_BYTES_MAX: Final = 107
_CREDENTIALS: Final = struct.Struct("iII")


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


def connect(path: Path, timeout_s: float) -> socket.socket:
    """A connection to the socket at ``path``, with ``timeout_s`` for everything done on it. Raises
    OSError.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(timeout_s)
        with short_name(path) as name:
            sock.connect(name)
    except OSError:
        sock.close()
        raise
    return sock


def is_ours(sock: socket.socket) -> bool:
    """Whether the other end is of this user, or root's."""
    _, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return uid in {0, os.geteuid()}


def is_readable(sock: socket.socket) -> bool:
    """Whether something came, or the other end is gone."""
    return bool(select.select([sock], [], [], 0.0)[0])
