"""An upstream with so many places and a line before them, in a process of its own: ``python -m tests.support.line_server PORT
PLACES SERVICE_MS``.

What it can do is known: places / service time calls a second. Beyond that calls wait in line, as in front of a database.
"""

import asyncio
import subprocess
import sys
from typing import Self

from tests.support.ports import free_ports

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"


class _Line:
    """First come, first served."""

    def __init__(self, places: int, service_s: float) -> None:
        self._free_at = [0.0] * places
        self._service_s = service_s

    def wait_s(self, now: float) -> float:
        """How long a call that comes now takes, its turn included."""
        first = min(range(len(self._free_at)), key=self._free_at.__getitem__)
        done = max(now, self._free_at[first]) + self._service_s
        self._free_at[first] = done
        return done - now


class _Server(asyncio.Protocol):
    def __init__(self, line: _Line) -> None:
        self._line = line
        self._buffer = bytearray()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            del self._buffer[: end + 4]
            loop = asyncio.get_running_loop()
            loop.call_later(self._line.wait_s(loop.time()), self._answer)

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(ANSWER)


class LineServer:
    """Runs the server; a context manager. ``capacity``: calls a second."""

    def __init__(self, places: int, service_ms: int) -> None:
        self.port = free_ports(1)[0]
        self.capacity = places / service_ms * 1000
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.line_server", str(self.port), str(places), str(service_ms)],
            stdout=subprocess.PIPE,
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


async def _serve(port: int, places: int, service_s: float) -> None:
    line = _Line(places, service_s)
    server = await asyncio.get_running_loop().create_server(
        lambda: _Server(line), "127.0.0.1", port, backlog=4096
    )
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) / 1000))
