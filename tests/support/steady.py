"""A good caller at an even pace: calls are due at fixed times, and a late one is late by all that it waited.

Blocking and alone on its socket, so that what it measures is the gateway and not an event loop of the test's.
"""

import socket
import time
from dataclasses import dataclass, field

from tests.support.client import Address


@dataclass
class Measured:
    """``latencies_s`` in the order of the calls; ``statuses``: how many ended with which status."""

    latencies_s: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    def quantile(self, part: float) -> float:
        """Seconds within which ``part`` of the calls were answered."""
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def steady(address: Address, request: bytes, per_second: float, seconds: float) -> Measured:
    """Calls for ``seconds``. Raises OSError when the connection breaks and AssertionError on half an answer."""
    measured = Measured()
    with socket.create_connection(address, timeout=10) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        begun = time.monotonic()
        for number in range(int(per_second * seconds)):
            due = begun + number / per_second
            time.sleep(max(0.0, due - time.monotonic()))
            sock.sendall(request)
            answer = sock.recv(65_536)
            measured.latencies_s.append(time.monotonic() - due)
            assert b"\r\n\r\n" in answer, answer
            status = int(answer[9:12])
            measured.statuses[status] = measured.statuses.get(status, 0) + 1
    return measured
