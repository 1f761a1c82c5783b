"""A caller that sends exactly the bytes it is told to and reads answers without mercy.

``RawClient`` is one connection; ``attempt`` is a whole conversation of it: send, collect every answer, see how the
connection ends. Nothing is retried, added or repaired. All waits are bounded by ``timeout_s``.
"""

import asyncio
import json
import socket
import ssl
from dataclasses import dataclass, field
from typing import Final, Self

from tests.support.tls_wire import TlsWire
from tests.support.wire import Body, Head, Wire, WireError, no_delay

Address = tuple[str, int]
TIMEOUT_S: Final = 8.0
BODYLESS: Final = frozenset({204, 304})


@dataclass
class Answer:
    """One final answer with the interim ones that came ahead of it."""

    head: Head
    body: Body
    interim: list[Head] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.head.start[1])

    @property
    def text(self) -> bytes:
        return bytes(self.body.data)

    def header(self, name: str) -> str | None:
        """The value under ``name``, None when absent. Raises WireError when it occurs twice."""
        value = self.head.one(name)
        return None if value is None else value.decode("latin-1")

    @property
    def problem(self) -> dict[str, object]:
        """The body as problem+json. Raises AssertionError when it is something else."""
        assert self.header("content-type") == "application/problem+json", self.head.raw
        loaded = json.loads(self.text)
        assert isinstance(loaded, dict)
        return loaded

    @property
    def code(self) -> str:
        return str(self.problem["code"])

    @property
    def request_id(self) -> str:
        value = self.header("x-request-id")
        assert value is not None, self.head.raw
        return value


class RawClient:
    """One connection to ``address``, with TLS or without; use it with ``async with``."""

    def __init__(
        self, address: Address, *, timeout_s: float = TIMEOUT_S, tls: ssl.SSLContext | None = None
    ) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._tls = tls
        self.wire: Wire
        self.port = 0
        """Our end of the connection, once there is one."""
        self.opened = 0.0
        self.calls = 0

    async def __aenter__(self) -> Self:
        sock = no_delay(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        self.wire = wire = Wire(sock) if self._tls is None else TlsWire(sock, self._tls)
        try:
            async with asyncio.timeout(self._timeout_s):
                await asyncio.get_running_loop().sock_connect(sock, self._address)
                self.port = sock.getsockname()[1]
                if isinstance(wire, TlsWire):
                    await wire.handshake()
        except BaseException:
            sock.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.wire.close()

    async def send(self, data: bytes, slice_bytes: int = 0) -> None:
        async with asyncio.timeout(self._timeout_s):
            await self.wire.send(data, slice_bytes)

    async def answer(self, method: str = "GET", timeout_s: float | None = None) -> Answer | None:
        """The next final answer to a request of ``method``; None when the connection ends before its first byte.

        Raises WireError on malformed bytes, TimeoutError when nothing comes in time. A cut body is not an error here:
        ``body.complete`` tells.
        """
        interim: list[Head] = []
        async with asyncio.timeout(timeout_s or self._timeout_s):
            while (head := await self.wire.answer_head()) is not None:
                status = int(head.start[1])
                if status < 200:
                    if head.all("content-length") or head.all("transfer-encoding"):
                        raise WireError("framing fields on an interim answer")
                    interim.append(head)
                    if status != 101:
                        continue
                body = Body()
                if method == "HEAD" or status in BODYLESS or status == 101:
                    body.complete = True
                    if status == 204 and (head.all("content-length") or head.all("transfer-encoding")):
                        raise WireError("framing fields on 204")
                else:
                    await self.wire.read_body(head, body, close_ends=True)
                return Answer(head, body, interim)
        return None

    async def ask(self, data: bytes, method: str = "GET") -> Answer:
        """Sends one request and returns its answer. Raises AssertionError when the connection ends without one."""
        await self.send(data)
        answer = await self.answer(method)
        assert answer is not None, "connection ended without an answer"
        return answer

    async def ended(self, timeout_s: float | None = None) -> bytes:
        """Waits until the other side closes; returns what came before that. Raises TimeoutError."""
        body = Body()
        async with asyncio.timeout(timeout_s or self._timeout_s):
            await self.wire.read_to_end(body)
        return bytes(body.data)

    async def silent(self, for_s: float) -> bool:
        """Whether nothing, neither a byte nor an end, arrives for ``for_s`` seconds."""
        if self.wire.buffer:
            return False
        try:
            async with asyncio.timeout(for_s):
                await self.wire.fill()
        except TimeoutError:
            return True
        return False


@dataclass
class Attempt:
    """A conversation that has ended: its answers, and whether the gateway closed the connection (by RST: ``reset``)."""

    answers: list[Answer]
    closed: bool
    reset: bool
    error: str = ""

    @property
    def status(self) -> int:
        """The only answer's status; 0 when the connection ended without one. Raises AssertionError on several."""
        assert len(self.answers) <= 1, [answer.status for answer in self.answers]
        return self.answers[0].status if self.answers else 0


async def attempt(
    address: Address, *pieces: bytes, slice_bytes: int = 0, finish: bool = False, timeout_s: float = TIMEOUT_S
) -> Attempt:
    """Sends ``pieces``, a write each, on a new connection while it reads, and waits for the gateway to close.

    ``slice_bytes``: cuts the pieces further. ``finish``: half-closes when all is sent. ``closed`` is False when the connection was still open at the timeout.
    """
    method = b"".join(pieces).lstrip(b"\r\n").split(b" ", 1)[0].decode("latin-1")
    result = Attempt([], closed=False, reset=False)
    async with RawClient(address, timeout_s=timeout_s) as client:
        sending = asyncio.create_task(_send_all(client, pieces, slice_bytes, finish=finish))
        try:
            while (answer := await client.answer(method)) is not None:
                result.answers.append(answer)
            result.closed, result.reset = True, client.wire.reset
        except TimeoutError:
            pass
        except WireError as error:
            result.error = str(error)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
    return result


async def _send_all(client: RawClient, pieces: tuple[bytes, ...], slice_bytes: int, *, finish: bool) -> None:
    try:
        for piece in pieces:
            await client.send(piece, slice_bytes)
            await asyncio.sleep(0)
        if finish:
            client.wire.half_close()
    except (OSError, TimeoutError):
        return  # refused while still sending: the answer, read beside this, tells


def request(
    method: str, target: str, *headers: str, body: bytes = b"", host: str = "api.test", version: str = "1.1"
) -> bytes:
    """A well-formed request; ``Content-Length`` is written when there is a body or ``method`` usually has one."""
    lines = [f"{method} {target} HTTP/{version}", f"Host: {host}", *headers]
    if body or method in {"POST", "PUT", "PATCH"}:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(*pieces: bytes, trailers: bytes = b"") -> bytes:
    """``pieces`` as a chunked body."""
    return (
        b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
        + b"0\r\n"
        + trailers
        + b"\r\n"
    )


async def ask(address: Address, data: bytes) -> Answer:
    """One request on a connection of its own."""
    async with RawClient(address) as client:
        return await client.ask(data, data.split(b" ", 1)[0].decode())
