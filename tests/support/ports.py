"""Free TCP ports on 127.0.0.1 for processes that must be told theirs.

A port that is free when it is chosen must still be free a second later, when its process listens. So they come from below those
that the kernel gives to connections, and each test process goes through them from a place of its own.
"""

import itertools
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_GIVEN_BY_THE_KERNEL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_COUNT: Final = 12_000
_APART: Final = 211
"""Between the places where two processes begin whose ids follow each other; about what one needs in a run."""
_turn: Final = itertools.count(os.getpid() * _APART)


def _candidate() -> int:
    """The next port to try; 0, any, where the kernel leaves none below its own."""
    try:
        first = int(_GIVEN_BY_THE_KERNEL.read_text().split()[0]) - _COUNT
    except OSError:
        first = 0
    return first + next(_turn) % _COUNT if first > 1024 else 0


def free_ports(count: int) -> list[int]:
    """``count`` different ports that nothing listens on now; held together while they are chosen."""
    sockets: list[socket.socket] = []
    try:
        for _ in range(_COUNT):
            if len(sockets) == count:
                break
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                sock.bind(("127.0.0.1", _candidate()))
            except OSError:
                sock.close()
            else:
                sockets.append(sock)
        assert len(sockets) == count, "no port is free"
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


@contextmanager
def closed_port() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses connections for as long as the block runs: bound, so that nobody else gets it, and
    not listening.
    """
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])
