"""WebSockets by hand (RFC 6455), both ends of them: a caller, a server that echoes, and a crowd for the proofs.

Neither end repairs anything. The caller may send any bytes; what it reads is checked as a browser would: no masks from a
server, no reserved bits, whole frames. The server insists on masks. ``Crowd`` keeps many callers talking while a gateway is
reloaded, upgraded or killed, and says of each whether every message came back once, in order, and how it ended.
"""

import asyncio
import base64
import hashlib
import os
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Final, Self

from tests.support.client import Address, RawClient
from tests.support.wire import Head, Wire, WireError, no_delay

GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY: Final = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT: Final = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
"""The pair that RFC 6455 section 1.3 works out."""
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def accept_of(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())


def frame(
    opcode: int, payload: bytes = b"", *, mask: bytes = b"", final: bool = True, bits: int = 0
) -> bytes:
    """One frame; with four bytes of ``mask`` as a client sends it. ``bits``: reserved ones to set."""
    size = len(payload)
    marked = 0x80 if mask else 0
    if size < 126:
        length = bytes([marked | size])
    elif size < 65_536:
        length = bytes([marked | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([marked | 127]) + size.to_bytes(8, "big")
    if mask:
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return bytes([(0x80 if final else 0) | bits | opcode]) + length + mask + payload


def said(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """A frame as a client sends it."""
    return frame(opcode, payload, mask=b"\x01\x02\x03\x04", final=final)


def closing(code: int, reason: str = "") -> bytes:
    """The payload of a Close frame."""
    return code.to_bytes(2, "big") + reason.encode()


@dataclass(frozen=True)
class Frame:
    """A frame as received, unmasked. ``masked``: how it came."""

    opcode: int
    payload: bytes
    final: bool
    masked: bool
    bits: int

    @property
    def code(self) -> int:
        """Of a Close frame."""
        assert self.opcode == CLOSE, self
        return int.from_bytes(self.payload[:2], "big")

    @property
    def reason(self) -> str:
        assert self.opcode == CLOSE, self
        return self.payload[2:].decode()


async def read_frame(wire: Wire) -> Frame | None:
    """The next whole frame, None at the end of the stream; a frame cut short is an end too."""

    async def take(count: int) -> bytes | None:
        while len(wire.buffer) < count:
            if not await wire.fill():
                return None
        piece = bytes(wire.buffer[:count])
        del wire.buffer[:count]
        return piece

    start = await take(2)
    if start is None:
        return None
    size = start[1] & 0x7F
    if size > 125:
        longer = await take(2 if size == 126 else 8)
        if longer is None:
            return None
        size = int.from_bytes(longer, "big")
    mask = await take(4) if start[1] & 0x80 else b""
    payload = await take(size)
    if payload is None or mask is None:
        return None
    if mask:
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return Frame(start[0] & 0x0F, payload, bool(start[0] & 0x80), bool(mask), start[0] & 0x70)


def upgrade(path: str, *lines: str, host: str = "api.test", key: str = KEY, version: str = "13") -> bytes:
    """A request for a WebSocket; ``lines`` are added."""
    return "\r\n".join(
        [
            f"GET {path} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}", f"Sec-WebSocket-Version: {version}", *lines, "", "",
        ]
    ).encode()  # fmt: skip


class WsClient(RawClient):
    """A caller; ``head`` is the 101 once ``open`` has returned."""

    head: Head

    async def open(self, path: str, *lines: str) -> Self:
        """Asks for a WebSocket and insists on getting one."""
        answer = await self.ask(upgrade(path, *lines))
        assert answer.status == 101, (answer.status, answer.text)
        assert answer.header("sec-websocket-accept") == ACCEPT
        self.head = answer.head
        return self

    async def say(self, payload: bytes, opcode: int = TEXT) -> None:
        await self.send(said(opcode, payload))

    async def hear(self, timeout_s: float = 8.0) -> Frame | None:
        """The next frame, None when the gateway ends the stream. Raises AssertionError on a masked one."""
        async with asyncio.timeout(timeout_s):
            heard = await read_frame(self.wire)
        assert heard is None or not heard.masked
        return heard

    async def echo(self, payload: bytes, opcode: int = TEXT) -> None:
        """Says something and insists on hearing the same."""
        await self.say(payload, opcode)
        heard = await self.hear()
        assert heard is not None, "ended instead of an echo"
        assert (heard.opcode, heard.payload) == (opcode, payload)

    async def part(self) -> int:
        """Closes with 1000 and waits for the answer; its code."""
        await self.send(said(CLOSE, closing(1000)))
        while (heard := await self.hear()) is not None:
            if heard.opcode == CLOSE:
                return heard.code
        return 0

    async def closed(self, timeout_s: float = 8.0) -> tuple[int, str]:
        """Waits for a Close frame, answers it, waits for the end of the stream; code and reason (0 without one)."""
        while (heard := await self.hear(timeout_s)) is not None:
            if heard.opcode == CLOSE:
                await self.send(said(CLOSE, heard.payload[:2]))
                assert await self.hear(timeout_s) is None, "a frame after Close"
                return heard.code, heard.reason
        return 0, ""


@dataclass
class Visit:
    """One connection at the server: the request's head, its frames, and whether it is still open."""

    head: Head
    frames: list[Frame] = field(default_factory=list)
    open: bool = True
    was_reset: bool = False
    wire: Wire | None = None


class EchoServer:
    """A WebSocket server in a thread of its own: echoes texts and binaries, answers pings and Close. A context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="echo", daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self.visits: list[Visit] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def open_count(self) -> int:
        return sum(visit.open for visit in self.visits)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(2048)
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self._track(asyncio.create_task(self._accept(listener)))

    def _track(self, task: "asyncio.Task[None]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                sock, _ = await loop.sock_accept(listener)
                self._track(asyncio.create_task(self._serve(Wire(no_delay(sock)))))
        finally:
            listener.close()

    async def _serve(self, wire: Wire) -> None:
        visit: Visit | None = None
        try:
            request = await wire.request_head()
            if request is None:
                return
            key = request.one("sec-websocket-key")
            if key is None:
                await wire.send(
                    b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
                return
            visit = Visit(request, wire=wire)
            self.visits.append(visit)
            await wire.send(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept_of(key)
            )
            while (heard := await read_frame(wire)) is not None:
                assert heard.masked, "a client's frame came without a mask"
                visit.frames.append(heard)
                if heard.opcode == CLOSE:
                    await wire.send(frame(CLOSE, heard.payload[:2]))
                    return
                await wire.send(frame(PONG if heard.opcode == PING else heard.opcode, heard.payload))
        except ConnectionError:
            pass
        finally:
            if visit is not None:
                visit.open = False
                visit.was_reset = wire.reset
            wire.close()


@dataclass
class Talk:
    """How one WebSocket of a crowd fared: messages echoed, its Close frame (0: none came), what went wrong.

    ``broken``: it ended without a Close frame where that may be, as when its worker was killed. ``port``: the caller's end.
    """

    echoed: int = 0
    code: int = 0
    reason: str = ""
    fault: str = ""
    broken: bool = False
    port: int = 0
    opened: float = 0.0
    ended: float = 0.0


@dataclass
class Crowd:
    """``size`` callers, each saying a numbered text every ``pause_s`` and insisting on its echo, once and in order.

    A WebSocket that ends with 1001 is opened anew, as clients do; any other end, or a lost echo, is a ``fault``. With
    ``may_break`` an end without a Close frame is none: for proofs that kill workers. A connection refused is always one.
    """

    address: Address
    path: str
    size: int
    lines: tuple[str, ...] = ()
    pause_s: float = 0.05
    may_break: bool = False
    talks: list[Talk] = field(default_factory=list)
    _stop: bool = False

    async def run(self, seconds: float) -> None:
        """Talks for ``seconds``, or until ``stop()``."""
        deadline = asyncio.get_running_loop().time() + seconds
        await asyncio.gather(*(self._caller(number, deadline) for number in range(self.size)))

    def stop(self) -> None:
        self._stop = True

    @property
    def echoed(self) -> int:
        return sum(talk.echoed for talk in self.talks)

    @property
    def faults(self) -> list[str]:
        return [talk.fault for talk in self.talks if talk.fault]

    def _over(self, deadline: float) -> bool:
        return self._stop or asyncio.get_running_loop().time() >= deadline

    async def _caller(self, number: int, deadline: float) -> None:
        await asyncio.sleep(self.pause_s * number / self.size)
        while not self._over(deadline):
            talk = Talk()
            self.talks.append(talk)
            client = WsClient(self.address, timeout_s=15)
            try:
                async with client:
                    talk.port, talk.opened = client.wire.sock.getsockname()[1], time.monotonic()
                    await client.open(self.path, *self.lines)
                    await self._talk(client, talk, deadline)
            except (OSError, AssertionError, TimeoutError, WireError) as error:
                cut = isinstance(error, ConnectionError) or (talk.port and client.wire.ended)
                talk.broken = bool(self.may_break and talk.port and cut)
                talk.fault = "" if talk.broken else f"{type(error).__name__}: {error}"
            talk.ended = time.monotonic()
            if talk.fault:
                await asyncio.sleep(self.pause_s)

    async def _talk(self, client: WsClient, talk: Talk, deadline: float) -> None:
        nonce = os.urandom(4).hex()
        while not self._over(deadline):
            wanted = f"{nonce} {talk.echoed}".encode()
            await client.say(wanted)
            heard = await client.hear(15)
            if heard is None:
                talk.broken = self.may_break
                talk.fault = "" if self.may_break else "the stream ended without a Close frame"
                return
            if heard.opcode == CLOSE:
                talk.code, talk.reason = heard.code, heard.reason
                if heard.code != 1001:
                    talk.fault = f"closed with {heard.code} {heard.reason}"
                await client.send(said(CLOSE, heard.payload[:2]))
                return
            if heard.payload != wanted:
                talk.fault = f"heard {heard.payload!r} for {wanted!r}"
                return
            talk.echoed += 1
            await asyncio.sleep(self.pause_s)
        assert await client.part() in {1000, 1001}
