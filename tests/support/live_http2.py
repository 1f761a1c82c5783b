"""Callers by HTTP/2 over TLS that keep several calls in flight on each connection, while a gateway is changed under them.

The protocol engine is jh2's. It takes a GOAWAY for the end of everything, so that frame is read here, as RFC 9113 section 6.8 says:
nothing new is begun on this connection, streams up to the last one named are waited for, those above it were never looked
at and are sent again on another connection. A call that is sent again must still arrive once.
"""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from jh2.config import H2Configuration
from jh2.connection import H2Connection
from jh2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset
from jh2.exceptions import ProtocolError

from tests.support.ledger import ID
from tests.support.live_accounts import ANSWER_S, Callers, Way, closed

_GOAWAY: Final = 7
_REFUSED_STREAM: Final = 7


@dataclass
class Stream:
    """A call on its way and what came for it so far."""

    name: str
    began: float
    status: bytes = b""
    content: bytes = b""


@dataclass
class Link:
    """One connection. ``leaving``: a GOAWAY came. ``over``: nothing more will; ``error`` says why if it was no plain end."""

    way: Way
    engine: H2Connection
    streams: dict[int, Stream] = field(default_factory=dict)
    leaving: bool = False
    over: bool = False
    error: object = "the end of the stream"
    held: bytearray = field(default_factory=bytearray)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it is leaving, over, or has no stream left."""

    def flush(self) -> None:
        if data := self.engine.data_to_send():
            self.way.writer.write(data)


@dataclass
class Http2KeepAlive(Callers):
    """``batch`` calls are begun at once on each connection; ``again``: those that a GOAWAY or REFUSED_STREAM gave back."""

    batch: int = 3
    goaways: int = 0
    given_back: int = 0
    again: deque[str] = field(default_factory=deque)

    async def run(self, stop: asyncio.Event) -> None:
        await super().run(stop)
        if self.again:
            self._faults.append(f"never sent again: {list(self.again)}")

    def _finished(self, stop: asyncio.Event) -> bool:
        return stop.is_set() and not self.again

    async def _calls(self, way: Way, due: float, every: float, stop: asyncio.Event) -> float:
        engine = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        engine.initiate_connection()
        link = Link(way, engine)
        link.flush()
        self._tasks.create_task(self._listen(link))
        while not (link.leaving or link.over or self._finished(stop)):
            now = time.monotonic()
            if due > now:
                link.changed.clear()
                try:
                    async with asyncio.timeout(due - now):
                        await link.changed.wait()
                except TimeoutError:
                    pass
                continue
            due = max(due + every * self.batch, now - 0.2)
            for _ in range(self.batch):
                self._begin(link, self.again.popleft() if self.again else self._next_name())
            link.flush()
        self._tasks.create_task(self._see_off(link))
        return due

    def _begin(self, link: Link, name: str) -> None:
        number = int(link.engine.get_next_available_stream_id())
        body = name.encode()
        fields = [
            (":method", "POST"), (":scheme", "https"), (":authority", "api.test"), (":path", self.path),
            (ID.lower(), name), ("content-length", str(len(body))),
            *((key.lower(), value) for key, value in self._wishes()),
        ]  # fmt: skip
        link.engine.send_headers(number, fields)
        link.engine.send_data(number, body, end_stream=True)
        link.streams[number] = Stream(name, time.monotonic())

    async def _see_off(self, link: Link) -> None:
        """Waits for the answers to what was begun, then for nothing more."""
        try:
            async with asyncio.timeout(ANSWER_S):
                while link.streams and not link.over:
                    link.changed.clear()
                    await link.changed.wait()
        except TimeoutError:
            self._faults += [f"{stream.name}: no answer in {ANSWER_S} s" for stream in link.streams.values()]
            link.streams.clear()
        for stream in link.streams.values():
            self._ended_badly(stream.name, link.way.port, link.way.opened, stream.began, link.error)
        await closed(link.way)

    async def _listen(self, link: Link) -> None:
        try:
            while data := await link.way.reader.read(65_536):
                link.held += data
                self.take(link)
                link.flush()
                if link.leaving or not link.streams:
                    link.changed.set()
        except (OSError, ProtocolError) as error:
            link.error = error
            if isinstance(error, ProtocolError):
                self._faults.append(f"against the protocol: {error!r}")
        link.over = True
        link.changed.set()

    def take(self, link: Link) -> None:
        """Whole frames, in their order."""
        held = link.held
        while len(held) >= 9 and len(held) >= (size := 9 + int.from_bytes(held[:3], "big")):
            frame = bytes(held[:size])
            del held[:size]
            if frame[3] == _GOAWAY:
                self._leave(link, frame[9:])
                continue
            for event in link.engine.receive_data(frame):
                self._event(link, event)

    def _leave(self, link: Link, payload: bytes) -> None:
        last, code = int.from_bytes(payload[:4], "big"), int.from_bytes(payload[4:8], "big")
        self.goaways += 1
        link.leaving = True
        if code:
            self._faults.append(f"GOAWAY with code {code} {payload[8:]!r}")
        for number in [number for number in link.streams if number > last]:
            self._give_back(link, number)

    def _give_back(self, link: Link, number: int) -> None:
        self.given_back += 1
        self.again.append(link.streams.pop(number).name)

    def _event(self, link: Link, event: object) -> None:
        number = getattr(event, "stream_id", 0)
        stream = link.streams.get(number)
        if isinstance(event, DataReceived):
            link.engine.acknowledge_received_data(event.flow_controlled_length, number)
        if stream is None:
            if isinstance(event, ResponseReceived | DataReceived | StreamEnded):
                self._faults.append(f"an answer on stream {number}, which is over")
        elif isinstance(event, ResponseReceived):
            stream.status = dict(event.headers)[b":status"]
        elif isinstance(event, DataReceived):
            stream.content += event.data
        elif isinstance(event, StreamEnded):
            del link.streams[number]
            self._answered(stream.name, link.way, stream.began, stream.status, stream.content)
        elif isinstance(event, StreamReset):
            if event.error_code == _REFUSED_STREAM:
                self._give_back(link, number)
            else:
                del link.streams[number]
                self._faults.append(f"{stream.name}: reset with code {event.error_code}")
