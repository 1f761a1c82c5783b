"""The upstream that keeps accounts, over HTTP/2 in clear: same entries, same answers, with ``grpc-status`` in trailers.

jh2 has the engine. ``mode`` makes it misbehave as only HTTP/2 can: streams refused or reset, GOAWAY, answers that never come. A stream
that it refuses was not processed and is not counted; neither is one above the last that its GOAWAY names (RFC 9113 section 6.8).
"""

import asyncio
import contextlib
import hashlib
import threading
from dataclasses import dataclass, field
from typing import Final, Self

from jh2.config import H2Configuration
from jh2.connection import H2Connection
from jh2.events import DataReceived, RequestReceived, StreamEnded, StreamReset, WindowUpdated
from jh2.exceptions import ProtocolError

from tests.support.ledger import ANSWER_BYTES, ANSWER_DELAY, ID, Entry, expected_answer

MODES: Final = ("echo", "refuse", "reset", "goaway", "half", "silent")
_REFUSED_STREAM: Final = 7
_INTERNAL_ERROR: Final = 2


@dataclass
class _Stream:
    name: str
    consumer: str
    answer_bytes: int
    delay_s: float
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)


@dataclass
class _Answer:
    body: bytes
    half: bool


class _Serving(asyncio.Protocol):
    """One connection."""

    def __init__(self, ledger: "Http2Ledger") -> None:
        self._ledger = ledger
        self._engine = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        self._streams: dict[int, _Stream] = {}
        self._answers: dict[int, _Answer] = {}
        self._last = 0
        self._over = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._ledger.serving.add(self)
        self._engine.initiate_connection()
        self._flush()

    def connection_lost(self, _: Exception | None) -> None:
        self._over = True
        self._ledger.serving.discard(self)

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        try:
            events = self._engine.receive_data(data)
        except ProtocolError as error:
            self._ledger.errors.append(f"HTTP/2: {error!r}")
            self._over = True
            self.transport.abort()
            return
        for event in events:
            if not self._over:
                with contextlib.suppress(ProtocolError):  # of a stream that a later event of these resets
                    self._take(event)
        self._flush()

    def _flush(self) -> None:
        if (data := self._engine.data_to_send()) and not self.transport.is_closing():
            self.transport.write(data)

    def _take(self, event: object) -> None:
        number = getattr(event, "stream_id", 0) or 0
        stream = self._streams.get(number)
        if isinstance(event, RequestReceived):
            self._begin(number, {bytes(name): bytes(value) for name, value in event.headers})
        elif isinstance(event, DataReceived):
            self._engine.acknowledge_received_data(event.flow_controlled_length, number)
            if stream is not None:
                stream.digest.update(event.data)
        elif isinstance(event, StreamEnded) and stream is not None:
            self._ledger.entries[stream.name].complete += 1
            if stream.delay_s:
                asyncio.get_running_loop().call_later(stream.delay_s, self._answer_later, number)
            else:
                self._answer(number)
        elif isinstance(event, StreamReset):
            self._streams.pop(number, None)
            self._answers.pop(number, None)
        elif isinstance(event, WindowUpdated):
            self._go_on()

    def _begin(self, number: int, fields: dict[bytes, bytes]) -> None:
        if self._ledger.mode == "refuse":
            self._engine.reset_stream(number, _REFUSED_STREAM)
            return
        self._last = number
        name = fields[ID.lower().encode()].decode("latin-1")
        self._ledger.entries.setdefault(name, Entry()).heads += 1
        self._streams[number] = _Stream(
            name,
            fields.get(b"x-consumer-id", b"-").decode("latin-1"),
            int(fields.get(ANSWER_BYTES.lower().encode(), b"0")),
            int(fields.get(ANSWER_DELAY.lower().encode(), b"0")) / 1000,
        )

    def _answer_later(self, number: int) -> None:
        if not self._over and number in self._streams:
            with contextlib.suppress(ProtocolError):
                self._answer(number)
            self._flush()

    def _answer(self, number: int) -> None:
        mode = self._ledger.mode
        stream = self._streams.pop(number)
        if mode == "silent":
            return
        if mode == "reset":
            self._engine.reset_stream(number, _INTERNAL_ERROR)
            return
        body = expected_answer(stream.name, stream.consumer, stream.digest.hexdigest(), stream.answer_bytes)
        fields = [(":status", "200"), ("content-type", "application/grpc")]
        self._engine.send_headers(number, fields)
        self._answers[number] = _Answer(body, mode == "half")
        self._go_on()
        if mode == "goaway" and not self._answers:
            self._leave()

    def _leave(self) -> None:
        """What it has not seen by now it will not look at."""
        self._over = True
        self._engine.close_connection(0, last_stream_id=self._last)
        self._flush()
        self.transport.close()

    def _go_on(self) -> None:
        """Sends of each answer what its windows allow."""
        engine = self._engine
        for number, answer in list(self._answers.items()):
            try:
                while answer.body:
                    room = min(engine.local_flow_control_window(number), engine.max_outbound_frame_size)
                    if room <= 0:
                        break
                    engine.send_data(number, answer.body[:room])
                    answer.body = answer.body[room:]
                    if answer.half:
                        break
                if answer.half:
                    engine.reset_stream(number, _INTERNAL_ERROR)
                elif not answer.body:
                    engine.send_headers(number, [("grpc-status", "0")], end_stream=True)
                else:
                    continue
            except ProtocolError:
                pass  # reset by the other side: nothing more is due
            self._answers.pop(number, None)


class Http2Ledger:
    """Use as a context manager. ``entries`` may be shared with other upstreams; ids must differ between calls."""

    def __init__(self, entries: dict[str, Entry] | None = None) -> None:
        self.entries: dict[str, Entry] = {} if entries is None else entries
        self.mode = "echo"
        self.errors: list[str] = []
        self.serving: set[_Serving] = set()
        self.address = ("127.0.0.1", 0)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ledger h2", daemon=True)
        self._server: asyncio.Server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def close_connections(self) -> None:
        """Cuts every open connection; new ones are welcome."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Serving(self), "127.0.0.1", 0, backlog=1024
        )
        self.address = self._server.sockets[0].getsockname()[:2]

    async def _cut(self) -> None:
        for serving in list(self.serving):
            serving.transport.abort()
        await asyncio.sleep(0)

    async def _close(self) -> None:
        self._server.close()
        await self._cut()
        await self._server.wait_closed()
