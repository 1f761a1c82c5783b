"""The other end of an HTTP/2 connection, made by hand: it sends any frame, also those that nobody may send.

Frames are written and read here with ``struct`` alone, so that the gateway's own frame code is not its judge.
"""

import struct
from typing import NamedTuple

from jh2.connection import Decoder, Encoder

from faregate.gateway.http2.connection import Http2Connection
from tests.gateway.fakes import FakeTransport, World

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, ACK = 0x1, 0x4, 0x8, 0x1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GET = [
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":authority", b"api.test"),
    (b":path", b"/v1/payments/p1"),
]
POST = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":authority", b"api.test"),
    (b":path", b"/v1/payments"),
]
Fields = list[tuple[bytes, bytes]]


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def u32(value: int) -> bytes:
    return struct.pack(">I", value)


def read_frames(data: bytes) -> list[Frame]:
    frames = []
    while data:
        length = int.from_bytes(data[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", data[3:9])
        assert len(data) >= 9 + length, "a frame was cut"
        frames.append(Frame(kind, flags, stream, data[9 : 9 + length]))
        data = data[9 + length :]
    return frames


class Answer:
    """What came for one stream."""

    def __init__(self) -> None:
        self.interim: list[Fields] = []
        self.fields: Fields = []
        self.body = b""
        self.trailers: Fields = []
        self.ended = False
        self.reset: int | None = None

    @property
    def status(self) -> int:
        return int(dict(self.fields)[b":status"])

    def field(self, name: bytes) -> bytes | None:
        return dict(self.fields).get(name)


class Peer:
    """A caller of ``world`` that speaks HTTP/2 over a played transport."""

    def __init__(self, world: World, *, greet: bool = True, transport: FakeTransport | None = None) -> None:
        self.world = world
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.answers: dict[int, Answer] = {}
        self.control: list[Frame] = []
        self._updates: dict[int, list[int]] = {}
        self.transport = transport or FakeTransport(world.loop, Http2Connection(world.plane))
        if greet:
            self.send(PREFACE + settings())

    def send(self, data: bytes) -> None:
        """``data`` reaches the gateway if it still reads."""
        if self.transport.delivers:
            self.transport.deliver(data)
        self.take()

    def block(self, fields: Fields) -> bytes:
        return bytes(self.encoder.encode([(name, value, False) for name, value in fields], False))

    def headers(self, stream: int, fields: Fields, *, end: bool = True) -> bytes:
        flags = END_HEADERS | (END_STREAM if end else 0)
        return frame(HEADERS, flags, stream, self.block(fields))

    def request(self, stream: int, fields: Fields = GET, body: bytes | None = None) -> Answer:
        """Sends a whole request; what came back so far."""
        data = self.headers(stream, fields, end=body is None)
        if body is not None:
            data += frame(DATA, END_STREAM, stream, body)
        self.send(data)
        return self.answer(stream)

    def answer(self, stream: int) -> Answer:
        return self.answers.setdefault(stream, Answer())

    def take(self) -> None:
        """Reads what the gateway has sent."""
        self.world.run()
        for item in read_frames(self.transport.take()):
            self._take(item)

    def _take(self, item: Frame) -> None:
        answer = self.answer(item.stream) if item.stream else None
        if answer is None:
            self.control.append(item)
        elif item.kind == HEADERS:
            assert item.flags & END_HEADERS
            fields = [(field[0], field[1]) for field in self.decoder.decode(item.payload, True)]
            if answer.fields:
                assert item.flags & END_STREAM
                answer.trailers = fields
            elif dict(fields)[b":status"].startswith(b"1"):
                answer.interim.append(fields)
            else:
                answer.fields = fields
        elif item.kind == DATA:
            assert answer.fields, "DATA before HEADERS"
            assert not answer.ended
            answer.body += item.payload
        elif item.kind == WINDOW_UPDATE:
            self._updates.setdefault(item.stream, []).append(int.from_bytes(item.payload, "big"))
        elif item.kind == RST:
            answer.reset = int.from_bytes(item.payload, "big")
        if answer is not None and item.kind in {HEADERS, DATA} and item.flags & END_STREAM:
            answer.ended = True

    def updates(self, stream: int) -> list[int]:
        """The increments of the stream's window so far."""
        return self._updates.get(stream, [])

    def goaway(self) -> int | None:
        """The code of the last GOAWAY."""
        codes = [int.from_bytes(item.payload[4:8], "big") for item in self.control if item.kind == GOAWAY]
        return codes[-1] if codes else None

    def last_streams(self) -> list[int]:
        """The last stream that each GOAWAY named."""
        return [int.from_bytes(item.payload[:4], "big") for item in self.control if item.kind == GOAWAY]

    def call(
        self, stream: int, fields: Fields = GET, body: bytes | None = None, answer: bytes = b""
    ) -> tuple[bytes, Answer]:
        """One whole call: what the upstream got, and the caller."""
        self.request(stream, fields, body)
        sent = self.upstream_takes(answer or OK)
        self.take()
        return sent, self.answer(stream)

    def upstream_takes(self, answer: bytes) -> bytes:
        """The upstream reads what was sent and answers with these bytes."""
        world = self.world
        world.run()
        while world.pool.asked:
            world.pool.connect()
        world.run()
        sent = b""
        for transport in world.pool.made:
            if transport.written and not transport.closing:
                sent = transport.take()
                transport.deliver(answer)
        self.take()
        return sent


OK = b"HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 03:06:25 GMT\r\nContent-Length: 2\r\n\r\n{}"
PROTOCOL_ERROR, FLOW, STREAM_CLOSED, FRAME_SIZE, REFUSED, COMPRESSION, CALM = 1, 3, 5, 6, 7, 9, 11
SIZED = [*POST, (b"content-length", b"10")]


def ended(peer: Peer, code: int) -> None:
    """The connection was ended with this code, and everything it had begun with it."""
    assert peer.goaway() == code
    peer.world.run()
    assert peer.transport.ended or peer.transport.closing
    assert not peer.transport.protocol.streams  # type: ignore[attr-defined]
