"""The line between the supervisor and each of its workers: small JSON messages, one a line, over a socket
pair.

Down: ``reload`` (take the snapshot at a path), ``canary`` (run the one at a path beside, for some of the
calls; revision 0: no more), ``listen`` (take calls on exactly these listeners; the descriptors of new ones
come along), ``share`` (how many processes use the counters), ``bound`` (how many workers share the memory,
where that is not what the configuration says), ``drain`` (finish within a grace time), ``stop`` (now). Up:
``ready``, ``reloaded``, ``canary``, ``failed``, ``listening``, ``shared``, ``stuck`` (a lock of the counters
does not move), ``cut`` (the grace time ended before ``calls`` calls had). Words that are not known are passed
over, since the two ends may be of different versions. The end of the line means that the other process is
gone: a worker then drains, the supervisor waits for the exit status.
"""

import socket
from typing import Final

import msgspec

LINE_BYTES_MAX: Final = 16 << 10
GRACE_S: Final = 30.0
"""How long SIGTERM lets calls finish."""
IDLE_S: Final = 1.0
"""How long a drain lets idle connections live: a request may be on its way."""
IDLE_SUCCEEDED_S: Final = 5.0
"""The same where another worker goes on taking calls, so that there is no hurry."""


class Message(msgspec.Struct, omit_defaults=True):
    """``what``: one of the words above. ``grace``, ``idle``: seconds. ``reason``: for the operator.

    ``percent``, ``consumers``: whose calls a canary has.
    ``listen``: listeners as ``host:port`` in the configuration's words; ``fresh``: those of them whose
    descriptors come with this message, in this order.
    """

    what: str
    snapshot: str = ""
    revision: int = 0
    grace: float = 0.0
    idle: float = IDLE_S
    reason: str = ""
    workers: int = 0
    calls: int = 0
    listen: list[str] = []
    fresh: list[str] = []
    percent: int = 0
    consumers: list[str] = []


class WorkerSettings(msgspec.Struct):
    """Everything a worker is started with, as one JSON argument. ``listen``: inherited listening sockets by
    descriptor, in the order of the snapshot's ``gateway.listen``; ``counters``: their memory. ``sharers``:
    how many processes use the counters, those of another generation too; 0 for ``workers``. ``speaks``:
    this worker tells what all of its generation find alike. ``joins``: it starts beside, or after, others
    that served. ``events``: what it says is JSON on standard output. ``connections``: the memory where all
    count their connections (``stores.shared_counts``), by descriptor.
    """

    index: int
    workers: int
    listen: list[int]
    control: int
    counters: int
    connections: int
    snapshot: str
    via: str
    feed: str
    sharers: int = 0
    speaks: bool = True
    joins: bool = False
    events: bool = False


def encode(message: Message) -> bytes:
    return msgspec.json.encode(message) + b"\n"


def decode(line: bytes) -> Message:
    """Raises ``msgspec.DecodeError`` on anything else."""
    return msgspec.json.decode(line, type=Message)


def listening_socket(host: str, port: int) -> socket.socket:
    """A bound, listening, non-blocking TCP socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
        sock.bind((host.strip("[]"), port))
        sock.listen(4096)
        sock.setblocking(False)  # noqa: FBT003 - the socket module's own signature
    except OSError:
        sock.close()
        raise
    return sock
