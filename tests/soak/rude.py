"""Callers without manners, a few at any time: half heads, half handshakes, bodies that drip or are cut off, answers that nobody reads,
streams opened and dropped, noise.

What they do may cost their own connections only. Every call that they name is on record as ``left``; of those that they do not name the
log may have a refusal each.
"""

import asyncio
import contextlib
import random
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from jh2.config import H2Configuration
from jh2.connection import H2Connection
from jh2.exceptions import ProtocolError
from jh2.settings import SettingCodes

from tests.support.client import Address, request
from tests.support.ledger import ANSWER_BYTES, ID
from tests.support.load_keyed import Told
from tests.support.tls_wire import TlsWire
from tests.support.wire import Wire, no_delay

_Manner = Callable[[], Awaitable[None]]


@dataclass
class Rude:
    """``size`` of them, each in one manner after another."""

    plain: Address
    secure: Address
    path: str
    size: int
    seed: int
    tls: ssl.SSLContext
    """Offers ``h2``."""
    label: str = "rude"
    told: list[Told] = field(default_factory=list)
    manners: dict[str, int] = field(default_factory=dict)
    _dice: random.Random = field(init=False)
    _stop: bool = False

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self.size):
                group.create_task(self._again(number))

    def stop(self) -> None:
        self._stop = True

    async def _again(self, number: int) -> None:
        manners: list[_Manner] = [
            self._dripping_head, self._dripping_body, self._cut_body, self._reads_nothing, self._half_handshake,
            self._noise, self._drops_streams, self._closed_windows, self._rapid_resets,
        ]  # fmt: skip
        while not self._stop:
            manner = manners[number % len(manners)]
            number += self._dice.randrange(1, len(manners))
            name = manner.__name__.strip("_")
            self.manners[name] = self.manners.get(name, 0) + 1
            with contextlib.suppress(OSError, ProtocolError):  # the gateway has had enough of it
                await manner()
            await asyncio.sleep(self._dice.random())

    def _named(self) -> str:
        now = time.monotonic()
        told = Told(f"{self.label}-{len(self.told)}", now, now, outcome="left")
        self.told.append(told)
        return f"{ID}: {told.name}"

    @contextlib.asynccontextmanager
    async def _wire(self, *, little: bool = False) -> AsyncIterator[Wire]:
        """A connection in clear, which ends by RST or FIN. ``little``: it takes hardly anything in."""
        sock = no_delay(socket.socket())
        if little:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire = Wire(sock)
        try:
            await asyncio.get_running_loop().sock_connect(sock, self.plain)
            yield wire
            if self._dice.random() < 0.5:
                wire.reset_on_close()
        finally:
            wire.close()

    async def _dripping_head(self) -> None:
        async with self._wire() as wire:
            for byte in request("POST", self.path, self._named(), body=b"never whole")[:24]:
                await wire.send(bytes([byte]))
                await asyncio.sleep(0.1)

    async def _dripping_body(self) -> None:
        async with self._wire() as wire:
            await wire.send(request("POST", self.path, self._named(), "Content-Length: 100000").replace(
                b"Content-Length: 0\r\n", b""))  # fmt: skip
            for _ in range(20):
                await wire.send(b"a")
                await asyncio.sleep(0.1)

    async def _cut_body(self) -> None:
        async with self._wire() as wire:
            await wire.send(request("POST", self.path, self._named(), body=b"a" * 20_000)[:-5000])
            await asyncio.sleep(self._dice.choice((0, 0.01, 0.2)))
            wire.reset_on_close()

    async def _reads_nothing(self) -> None:
        async with self._wire(little=True) as wire:
            for _ in range(3):
                await wire.send(request("GET", f"{self.path}/g", self._named(), f"{ANSWER_BYTES}: 900000"))
            await asyncio.sleep(2)

    async def _half_handshake(self) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        engine = self.tls.wrap_bio(incoming, outgoing, server_hostname="api.test")
        with contextlib.suppress(ssl.SSLWantReadError):
            engine.do_handshake()
        hello = outgoing.read()
        with socket.socket() as sock:
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, self.secure)
            await loop.sock_sendall(sock, hello[: self._dice.randrange(1, len(hello) + 1)])
            await asyncio.sleep(1)

    async def _noise(self) -> None:
        async with self._wire() as wire:
            now = time.monotonic()
            self.told.append(Told(f"{self.label}-noise", now, now, outcome="left"))
            await wire.send(b"\x16\x03\x01" + self._dice.randbytes(50) + b"\r\n\r\n")
            await asyncio.sleep(0.3)

    @contextlib.asynccontextmanager
    async def _http2(self, window: int | None = None) -> AsyncIterator[tuple[TlsWire, H2Connection]]:
        wire = TlsWire(no_delay(socket.socket()), self.tls)
        try:
            await asyncio.get_running_loop().sock_connect(wire.sock, self.secure)
            await wire.handshake()
            engine = H2Connection(H2Configuration(client_side=True, header_encoding=None))
            if window is not None:
                engine.local_settings[SettingCodes.INITIAL_WINDOW_SIZE] = window
            engine.initiate_connection()
            yield wire, engine
            wire.reset_on_close()
        finally:
            wire.close()

    def _begin(self, engine: H2Connection, *more: tuple[str, str], end: bool = True) -> int:
        number = int(engine.get_next_available_stream_id())
        name, _, value = self._named().partition(": ")
        method = "GET" if end else "POST"
        engine.send_headers(
            number,
            [(":method", method), (":scheme", "https"), (":authority", "api.test"), (":path", f"{self.path}/g"),
             (name.lower(), value), *more],
            end_stream=end,
        )  # fmt: skip
        return number

    async def _drops_streams(self) -> None:
        """Some reset, some left open, and the connection cut."""
        async with self._http2() as (wire, engine):
            numbers = [self._begin(engine, end=self._dice.random() < 0.5) for _ in range(6)]
            await wire.send(engine.data_to_send())
            await asyncio.sleep(self._dice.choice((0, 0.005, 0.1)))
            for number in numbers[::2]:
                engine.reset_stream(number, 8)
            await wire.send(engine.data_to_send())

    async def _closed_windows(self) -> None:
        """Asks for much and lets nothing in."""
        async with self._http2(0) as (wire, engine):
            for _ in range(5):
                self._begin(engine, (ANSWER_BYTES.lower(), "900000"))
            await wire.send(engine.data_to_send())
            await asyncio.sleep(2)

    async def _rapid_resets(self) -> None:
        async with self._http2() as (wire, engine):
            for _ in range(70):
                engine.reset_stream(self._begin(engine), 8)
            await wire.send(engine.data_to_send())
            await asyncio.sleep(0.2)
