"""Callers by HTTP/2 over TLS that check that each call got exactly its own answer, for chaos runs: ``load_keyed`` on streams.

Several calls are in flight on each connection; some streams are reset by their caller, some connections left by GOAWAY or cut. The engine is
jh2's, which takes a GOAWAY for the end of everything; so that frame is read here, as RFC 9113 section 6.8 says.
"""

import asyncio
import contextlib
import hashlib
import json
import random
import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import Final

from jh2.config import H2Configuration
from jh2.connection import H2Connection
from jh2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from jh2.exceptions import ProtocolError

from tests.support.client import Address
from tests.support.ledger import ANSWER_BYTES, ID, expected_answer
from tests.support.load_keyed import TIMEOUT_S, Caller, Told, blamed, problem, unopened

_GOAWAY: Final = 7
_INTERNAL_ERROR: Final = 2
_REFUSED_STREAM: Final = 7
_CANCEL: Final = 8
_BATCH: Final = 4
_LIFE_CALLS: Final = 120
_EMPTY: Final = hashlib.sha256().hexdigest()


@dataclass
class _Stream:
    """One call: what is still to be sent, what came, what should."""

    told: Told
    wanted: bytes
    rest: bytes
    grpc: bool
    fields: dict[bytes, bytes] = field(default_factory=dict)
    content: bytes = b""


@dataclass
class _Link:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    engine: H2Connection
    port: int
    opened: float
    calls: int = 0
    streams: dict[int, _Stream] = field(default_factory=dict)
    cancelled: set[int] = field(default_factory=set)
    """Streams that we reset: what was on its way for them may still come."""
    held: bytearray = field(default_factory=bytearray)
    leaving: bool = False
    over: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def flush(self) -> None:
        if (data := self.engine.data_to_send()) and not self.writer.is_closing():
            self.writer.write(data)

    def abort(self) -> None:
        with contextlib.suppress(
            AttributeError
        ):  # a TLS transport of Python 3.11 that was closed twice has no protocol
            self.writer.transport.abort()


@dataclass
class Http2Load:
    """About ``per_second`` calls on ``connections`` connections. ``told`` holds every call that was begun.

    Calls of a caller whose path begins with ``/rpc`` speak gRPC in half of the cases: refusals come as ``grpc-status``.
    """

    address: Address
    callers: tuple[Caller, ...]
    per_second: float
    connections: int
    seed: int
    label: str
    tls: ssl.SSLContext
    told: list[Told] = field(default_factory=list)
    _dice: random.Random = field(init=False)
    _stop: bool = False

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    async def run(self) -> None:
        """Calls until ``stop()``."""
        async with asyncio.TaskGroup() as group:
            for number in range(self.connections):
                group.create_task(self._again(self.callers[number % len(self.callers)]))

    def stop(self) -> None:
        self._stop = True

    async def _again(self, caller: Caller) -> None:
        await self._pause()
        while not self._stop:
            link = await self._connect()
            if link is not None:
                listening = asyncio.create_task(self._listen(link))
                try:
                    await self._calls(link, caller)
                    await self._see_off(link)
                finally:
                    await self._close(link, listening)
            await self._pause()

    async def _pause(self) -> None:
        """As long as a batch of calls may take of this connection's share."""
        await asyncio.sleep((0.5 + self._dice.random()) * _BATCH / 2 * self.connections / self.per_second)

    async def _connect(self) -> _Link | None:
        sock = socket.socket()
        sock.setblocking(False)
        began = time.monotonic()
        port = 0
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await asyncio.get_running_loop().sock_connect(sock, self.address)
                port = sock.getsockname()[1]
                streams = await asyncio.open_connection(sock=sock, ssl=self.tls, server_hostname="api.test")
        except OSError as error:
            sock.close()
            self.told.append(unopened(error, began, port))
            return None
        engine = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        engine.initiate_connection()
        link = _Link(*streams, engine, port, began)
        link.flush()
        return link

    async def _calls(self, link: _Link, caller: Caller) -> None:
        """Batches of calls until the connection has had enough of them, or is ended."""
        while not (self._stop or link.leaving or link.over or link.calls > _LIFE_CALLS):
            begun = [self._begin(link, caller) for _ in range(self._dice.randrange(1, _BATCH + 1))]
            link.flush()
            if self._dice.random() < 0.15:
                await asyncio.sleep(self._dice.choice((0, 0.003, 0.05)))
                self._cancel(link, begun[0])
            await self._pause()

    def _begin(self, link: _Link, caller: Caller) -> int:
        dice, engine = self._dice, link.engine
        number = int(engine.get_next_available_stream_id())
        name = f"{self.label}-{len(self.told)}"
        told = Told(name, time.monotonic(), port=link.port, opened=link.opened, reused=link.calls > 0)
        self.told.append(told)
        link.calls += 1
        size = dice.choice((0, 100, 2000, 30_000))
        rpc = caller.path.startswith("/rpc")
        grpc = rpc and dice.random() < 0.5
        body = dice.randbytes(dice.choice((1, 64, 1000, 20_000))) if rpc or dice.random() < 0.8 else b""
        method, path = ("POST", caller.path) if body else ("GET", f"{caller.path}/g1")
        fields = [
            (":method", method), (":scheme", "https"), (":authority", "api.test"), (":path", path),
            (ID.lower(), name), (ANSWER_BYTES.lower(), str(size)),
        ]  # fmt: skip
        if caller.credential:
            key, _, value = caller.credential.partition(": ")
            fields.append((key.lower(), value))
        if grpc:
            fields += [("content-type", "application/grpc"), ("te", "trailers")]
        elif body and dice.random() < 0.5:
            fields.append(("content-length", str(len(body))))
        engine.send_headers(number, fields, end_stream=not body)
        digest = hashlib.sha256(body).hexdigest() if body else _EMPTY
        wanted = expected_answer(name, caller.consumer, digest, size)
        link.streams[number] = _Stream(told, wanted, body, grpc)
        self._send_on(link)
        return number

    def _send_on(self, link: _Link) -> None:
        """What the windows allow of the bodies."""
        for number, stream in list(link.streams.items()):
            while stream.rest:
                room = min(link.engine.local_flow_control_window(number), link.engine.max_outbound_frame_size)
                if room <= 0:
                    break
                piece, stream.rest = stream.rest[:room], stream.rest[room:]
                link.engine.send_data(number, piece, end_stream=not stream.rest)

    def _cancel(self, link: _Link, number: int) -> None:
        stream = link.streams.get(number)
        if stream is None or link.over:
            return
        with contextlib.suppress(ProtocolError):
            link.engine.reset_stream(number, _CANCEL)
            link.cancelled.add(number)
            self._left(link, number)
            link.flush()

    async def _see_off(self, link: _Link) -> None:
        """Takes leave in one of three ways: what is in flight is waited for, before or behind a GOAWAY, or left."""
        way = self._dice.randrange(3)
        if way == 0 and not (link.over or link.leaving):
            link.flush()
            link.writer.write(
                b"\0\0\x08\x07\0\0\0\0\0" + bytes(8)
            )  # the engine, which would end with it, is not told
        if way < 2 or link.leaving:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TIMEOUT_S):
                    while link.streams and not link.over:
                        link.changed.clear()
                        await link.changed.wait()
            for stream in link.streams.values():
                if not link.over:
                    stream.told.fault = f"no answer in {TIMEOUT_S} s"
        if not link.over:
            for number in list(link.streams):
                self._left(link, number)

    @staticmethod
    def _left(link: _Link, number: int) -> None:
        told = link.streams.pop(number).told
        told.outcome, told.ended = "left", time.monotonic()

    async def _close(self, link: _Link, listening: "asyncio.Task[None]") -> None:
        if self._dice.random() < 0.5:
            link.writer.close()
            await asyncio.wait({listening}, timeout=2)
        link.abort()
        await listening

    async def _listen(self, link: _Link) -> None:
        try:
            while data := await link.reader.read(65_536):
                link.held += data
                self._take(link)
                link.flush()
                link.changed.set()
        except ProtocolError as error:
            self.told.append(blamed(f"against HTTP/2: {error!r}"))
        except OSError:
            pass  # what its calls were told is judged
        link.over = True
        for stream in link.streams.values():
            stream.told.outcome = "cut" if stream.fields else "lost"
            stream.told.ended = time.monotonic()
        link.changed.set()
        link.abort()
        with contextlib.suppress(OSError):
            await link.writer.wait_closed()

    def _take(self, link: _Link) -> None:
        """Whole frames, in their order."""
        held = link.held
        while len(held) >= 9 and len(held) >= (size := 9 + int.from_bytes(held[:3], "big")):
            frame = bytes(held[:size])
            del held[:size]
            if frame[3] == _GOAWAY:
                self._leave(link, frame[9:])
                continue
            try:
                events = link.engine.receive_data(frame)
            except ProtocolError:
                if int.from_bytes(frame[5:9], "big") not in link.cancelled:
                    raise
                self._give_up(link)  # jh2 takes no interim head for a stream that it has reset
                return
            for event in events:
                self._event(link, event)
        self._send_on(link)

    def _give_up(self, link: _Link) -> None:
        link.leaving = True
        for number in list(link.streams):
            self._left(link, number)

    def _leave(self, link: _Link, payload: bytes) -> None:
        last, code = int.from_bytes(payload[:4], "big"), int.from_bytes(payload[4:8], "big")
        link.leaving = True
        if code:
            self.told.append(blamed(f"GOAWAY with code {code} {payload[8:]!r}"))
        for number in [number for number in link.streams if number > last]:
            self._given_back(link, number)

    @staticmethod
    def _given_back(link: _Link, number: int) -> None:
        told = link.streams.pop(number).told
        told.outcome, told.ended = "unread", time.monotonic()

    def _event(self, link: _Link, event: object) -> None:
        number = getattr(event, "stream_id", 0) or 0
        stream = link.streams.get(number)
        if isinstance(event, DataReceived):
            link.engine.acknowledge_received_data(event.flow_controlled_length, number)
        if stream is None:
            return
        if isinstance(event, ResponseReceived | TrailersReceived):
            stream.fields |= {bytes(name): bytes(value) for name, value in event.headers}
        elif isinstance(event, DataReceived):
            stream.content += event.data
        elif isinstance(event, StreamReset):
            if event.error_code == _REFUSED_STREAM:
                self._given_back(link, number)
                return
            broken = (
                event.error_code == _INTERNAL_ERROR
            )  # an answer that had begun, whose head may not have left yet
            stream.told.outcome = "cut" if broken else "reset"
            stream.told.code = "" if broken else str(int(event.error_code))
            stream.told.ended = time.monotonic()
            del link.streams[number]
        elif isinstance(event, StreamEnded):
            del link.streams[number]
            judge(stream)


def judge(stream: _Stream) -> None:
    """Notes what an answer says, and whether it is this call's own."""
    told, fields = stream.told, stream.fields
    told.ended = time.monotonic()
    told.status = int(fields[b":status"])
    if fields.get(b"x-request-id") != told.name.encode():
        told.fault = f"answer says it is for {fields.get(b'x-request-id')!r}"
    status = fields.get(b"grpc-status", b"0")
    if stream.grpc and status != b"0":
        told.outcome, told.code = "grpc", status.decode()
        return
    if told.status != 200:
        problem(told, json.loads(stream.content))
        return
    told.outcome = "answered"
    if stream.content != stream.wanted:
        told.fault = f"body of another: {stream.content[:120]!r} in place of {stream.wanted[:120]!r}"
    if stream.grpc and b"grpc-status" not in fields:
        told.fault = "the trailers are missing"
