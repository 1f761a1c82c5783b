"""A thousand bad callers in a process of their own: ``python -m tests.support.slow_peers KIND COUNT PORT``.

Each keeps a connection in one bad way and opens it anew when the gateway ends it, so that an attack lasts. ``head`` and
``body`` drip a byte every two seconds, ``read`` asks for a large answer and takes none of it, ``idle`` says nothing after
one answered call. Says ``ready`` once all have begun; ends when its standard input does. A line ``count`` is answered with the
connections that the gateway has ended so far.
"""

import asyncio
import contextlib
import socket
import subprocess
import sys
from typing import Final, Self

KINDS: Final = ("idle", "head", "body", "read")
DRIP_EVERY_S: Final = 2.0
_HEADS: Final = {
    "head": b"POST /open/v1/t HTTP/1.1\r\nHost: api.test\r\nX-Drip: ",
    "body": b"POST /open/v1/t HTTP/1.1\r\nHost: api.test\r\nContent-Length: 100000\r\n\r\n",
    "read": b"GET /open/v1/large HTTP/1.1\r\nHost: api.test\r\n\r\n",
    "idle": b"GET /nowhere HTTP/1.1\r\nHost: api.test\r\n\r\n",
}


class _Attack:
    def __init__(self, kind: str, count: int, port: int) -> None:
        self._kind = kind
        self._count = count
        self._port = port
        self.begun = 0
        self.ended = 0
        self.all_begun = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self._count):
                group.create_task(self._peer(number / self._count * DRIP_EVERY_S))

    async def _peer(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        first = True
        while True:
            try:
                await self._attempt(first)
            except OSError:
                await asyncio.sleep(0.5)
            first = False
            self.ended += 1

    async def _attempt(self, first: bool) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.setblocking(False)
            if self._kind == "read":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await loop.sock_connect(sock, ("127.0.0.1", self._port))
            await loop.sock_sendall(sock, _HEADS[self._kind])
            if first:
                self.begun += 1
                if self.begun == self._count:
                    self.all_begun.set()
            if self._kind == "idle":
                await loop.sock_recv(sock, 65_536)
                await loop.sock_recv(sock, 1)
            elif self._kind == "read":
                await _until_ended(sock)
            else:
                while True:
                    await asyncio.sleep(DRIP_EVERY_S)
                    await loop.sock_sendall(sock, b"a")


async def _until_ended(sock: socket.socket) -> None:
    """Looks for the end of the connection without taking a byte; a refusal is too short to leave unread, and is one."""
    while not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        with contextlib.suppress(BlockingIOError):
            if b" 503 " in sock.recv(16, socket.MSG_PEEK):
                return
        await asyncio.sleep(0.5)


class SlowPeers:
    """Runs the attack; a context manager. ``ended``: connections that the gateway has ended."""

    def __init__(self, kind: str, count: int, port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.slow_peers", kind, str(count), str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    @property
    def ended(self) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("count\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


async def _main(kind: str, count: int, port: int) -> None:
    attack = _Attack(kind, count, port)
    running = asyncio.create_task(attack.run())
    await attack.all_begun.wait()
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(attack.ended, flush=True)
    running.cancel()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
