"""HTTP/2 and WebSocket under fuzz: field blocks, whole connections of frames, and the frames of a tunnel."""

import struct
from collections import Counter
from typing import Final

from jh2.connection import Encoder

from faregate.gateway.http2.connection import Http2Connection
from faregate.gateway.http2.frames import HEADER_LIST_BYTES_MAX, ConnectionFault
from faregate.gateway.http2.hpack import FieldReader
from faregate.gateway.websocket import Frames
from tests.fuzz import oracle
from tests.fuzz.targets import cuts
from tests.gateway.fakes import OK, FakeTransport, World
from tests.gateway.http2.peer import PREFACE, settings

FIELDS_MAX: Final = 128
_PSEUDO_FIELDS: Final = 5


def hpack(data: bytes) -> None:
    """Field blocks in a row on one connection: bounded, or the connection's end; never anything else."""
    pieces, _ = cuts(data)
    reader = FieldReader()
    for block in pieces:
        try:
            fields = reader.read(block, FIELDS_MAX)
        except ConnectionFault:
            return  # the table is out of step: nothing is read any more
        assert len(fields) <= FIELDS_MAX + _PSEUDO_FIELDS
        assert sum(32 + len(field[0]) + len(field[1]) for field in fields) <= HEADER_LIST_BYTES_MAX


def request_frames(*fields: tuple[bytes, bytes], body: bytes = b"", stream: int = 1) -> bytes:
    """A whole request in frames, for seeds."""
    block = bytes(Encoder().encode([(name, value, False) for name, value in fields], False))
    head = struct.pack(">I", len(block))[1:] + struct.pack(">BBI", 1, 4 if body else 5, stream) + block
    if not body:
        return head
    return head + struct.pack(">I", len(body))[1:] + struct.pack(">BBI", 0, 1, stream) + body


def h2_stream(data: bytes) -> None:
    """A caller's frames: whole strict requests go upstream, or nothing; how the bytes are cut changes none of them.

    A frame on a stream that has ended costs the stream while our answer is not out, and the connection when it is (RFC 9113 section
    5.1): so a cut may change how many requests still come through, and nothing else.
    """
    pieces, whole = cuts(data)
    cut, at_once = Counter(_play_frames(pieces)), Counter(_play_frames([whole] * bool(whole)))
    assert cut <= at_once or at_once <= cut, "the cut changes what is sent"


def _play_frames(pieces: list[bytes]) -> list[tuple[bytes, bytes, bytes]]:
    with World() as world:
        caller = FakeTransport(world.loop, Http2Connection(world.plane))
        caller.deliver(PREFACE + settings())
        for piece in pieces:
            if caller.delivers:
                caller.deliver(piece)
        sent: list[tuple[bytes, bytes, bytes]] = []
        world.run()
        while world.pool.asked:
            world.pool.connect()
            world.run()
        for transport in list(world.pool.made):
            sent += _whole(bytes(transport.written))
            if transport.delivers and transport.written:
                transport.take()
                transport.deliver(OK)
        world.run()
        if caller.delivers:
            caller.end()
        world.pass_time(100, step=5)
        assert world.plane.in_flight == 0
        assert not [call for call in world.calls if call.refusal == "internal_error"]
        _check_frames(bytes(caller.written))
        return sorted(sent)


def _whole(wire: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """The only request on an upstream's wire, if it is whole; anything but HTTP there is a finding."""
    if not wire:
        return []
    try:
        message, rest = oracle.read_request(wire)
    except oracle.Cut:
        return []
    assert not rest, "something behind the request"
    return [(message.first[0], message.first[1], message.body)]


def _check_frames(wire: bytes) -> None:
    while wire:
        assert len(wire) >= 9, "a frame was cut"
        length = int.from_bytes(wire[:3], "big")
        assert length <= 16 << 10, "larger than the peer allows"
        assert len(wire) >= 9 + length, "a frame was cut"
        wire = wire[9 + length :]


def websocket(data: bytes) -> None:
    """A tunnel passes whole frames of the right kind, in their bytes, and nothing behind a fault or a Close."""
    pieces, whole = cuts(data)
    for masked in (True, False):
        one, other = Frames(masked=masked, extended=False), Frames(masked=masked, extended=False)
        passed = b"".join(one.feed(piece) for piece in pieces)
        assert passed == (other.feed(whole) if whole else b""), "the cut changes what passes"
        assert (one.fault, one.closed) == (other.fault, other.closed)
        assert whole.startswith(passed)
        _check_tunnel(passed, one, masked=masked)


def _check_tunnel(passed: bytes, frames: Frames, *, masked: bool) -> None:
    """``passed`` read frame by frame: it ends between two, or within a payload by as much as is said to be due."""
    at, fragmented, closed = 0, False, False
    while at < len(passed):
        assert not closed, "something passed behind Close"
        first, second = passed[at], passed[at + 1]
        opcode, length, head = first & 15, second & 127, 2
        assert not first & 0x70
        assert bool(second & 0x80) == masked
        assert opcode in {0, 1, 2, 8, 9, 10}
        if length > 125:
            size = 2 if length == 126 else 8
            length = int.from_bytes(passed[at + 2 : at + 2 + size], "big")
            assert length >= (126 if size == 2 else 65_536)
            head += size
        if opcode >= 8:
            assert first & 0x80
            assert length <= 125
            closed = opcode == 8
        else:
            assert (opcode == 0) == fragmented
            fragmented = not first & 0x80
        at += head + (4 if masked else 0) + length
    assert frames.fault or frames.closed or at - len(passed) == frames.left
