"""A small upstream in a process of its own, for tests that kill it: ``python -m tests.support.upstream_process NAME PORT``.

It answers every request with its name after a delay. ``PUT /_delay/<milliseconds>`` on the same port changes the delay;
the parent learns of the start by the line ``ready`` on stdout.
"""

import asyncio
import sys

from tests.support.client import request
from tests.support.script import head


class _Server(asyncio.Protocol):
    """One connection; requests here are small, so that each arrives whole or grows in ``buffer``."""

    delay_s = 0.0
    name = ""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            first = bytes(self._buffer[: self._buffer.find(b"\r\n")])
            length_at = self._buffer.lower().find(b"content-length:", 0, end)
            length = int(self._buffer[length_at + 15 :].split(b"\r\n", 1)[0]) if length_at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            del self._buffer[: end + 4 + length]
            target = first.split(b" ")[1]
            if target.startswith(b"/_delay/"):
                type(self).delay_s = int(target.rsplit(b"/", 1)[1]) / 1000
                self._answer()
            else:
                asyncio.get_running_loop().call_later(type(self).delay_s, self._answer)

    def _answer(self) -> None:
        body = self.name.encode()
        if not self._transport.is_closing():
            self._transport.write(
                head(200, f"Content-Length: {len(body)}", "Content-Type: text/plain") + body
            )


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(
        _Server, "127.0.0.1", port, reuse_address=True, backlog=1024
    )
    print("ready", flush=True)
    await server.serve_forever()


def delay_request(delay_ms: int) -> bytes:
    """The request that sets the delay of a running server."""
    return request("PUT", f"/_delay/{delay_ms}")


def main() -> None:
    _Server.name = sys.argv[1]
    asyncio.run(_serve(int(sys.argv[2])))


if __name__ == "__main__":
    main()
