"""Targets spoken to by HTTP/2 (``protocol: h2``): one connection to each, shared by its calls.

For gRPC above all. To the exchange a stream is an ``UpstreamConnection`` that it borrows for one call: what
it writes as HTTP/1.1 becomes HEADERS and DATA, and what comes back is judged as an HTTP/1.1 head like any
other (W09). So whatever holds for calls holds here too. A stream that the server did not take
(REFUSED_STREAM, or behind the last one of its GOAWAY) was not sent, and may go elsewhere.
"""

import asyncio
import logging
from typing import Final, cast

from faregate.gateway.dispatching import GOAWAY, STREAM_REFUSED
from faregate.gateway.http2 import frames
from faregate.gateway.http2.frames import ConnectionFault, frame, read_settings, unpadded
from faregate.gateway.http2.guards import (
    EMPTY_DATA,
    EMPTY_UPDATES,
    IDLE_FRAMES,
    PINGS,
    SETTINGS,
)
from faregate.gateway.http2.upstream_link import UpstreamLink
from faregate.gateway.http2.upstream_stream import H2UpstreamStream

_log = logging.getLogger("faregate.gateway")

WRITE_HIGH_BYTES: Final = 256 << 10


class Http2Upstream(UpstreamLink):
    """One connection to a target. A protocol to asyncio by its methods."""

    __slots__ = ()

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made = True
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        self.transport.write(frames.CLIENT_START)

    def data_received(self, data: bytes) -> None:
        self.silent_since = 0.0
        buffer = self._buffer
        if buffer:
            buffer += data
            data = bytes(buffer)
            buffer.clear()
        try:
            at = 0
            while len(data) - at >= frames.HEAD_BYTES:
                length = (data[at] << 16) | (data[at + 1] << 8) | data[at + 2]
                if length > frames.FRAME_BYTES_MAX:
                    raise ConnectionFault(frames.FRAME_SIZE_ERROR, "frame_too_long")  # noqa: TRY301 - told below
                begin = at + frames.HEAD_BYTES
                if len(data) < begin + length:
                    break
                stream_id = int.from_bytes(data[at + 5 : begin], "big") & frames.WINDOW_MAX
                at = begin + length
                self._take(data[begin - 6], data[begin - 5], stream_id, data[begin:at])
            if at < len(data):
                buffer += data[at:]
        except ConnectionFault as fault:
            self._fail(fault)
        except Exception:  # noqa: BLE001 - told to the peer, logged once
            _log.exception("internal error in an HTTP/2 connection to a target")
            self._fail(ConnectionFault(frames.INTERNAL_ERROR, "internal_error"))

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        self.leaving = True
        self.pool.gone()
        self.pool.ended(self)
        for stream in list(self.streams.values()):
            stream.lost("reset" if error is not None else "closed")
        self.streams.clear()

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        self._push_all()

    # frames

    def _fail(self, fault: ConnectionFault) -> None:
        self.leaving = True
        self.pool.ended(self)
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.write(frames.goaway(0, fault.code))
            transport.close()
        for stream in list(self.streams.values()):
            stream.invalid("http2_" + fault.reason)
        self.streams.clear()

    def _take(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:  # noqa: C901 - one table
        now = self.pool.now()
        order = self._order
        order.check(kind, flags, stream_id)
        if kind == frames.DATA:
            self._take_data(stream_id, flags, payload, now)
        elif kind == frames.HEADERS:
            self._take_block(order.headers(stream_id, flags, payload))
        elif kind == frames.CONTINUATION:
            self._take_block(order.continuation(flags, payload))
        elif kind == frames.WINDOW_UPDATE:
            self._take_window_update(stream_id, payload, now)
        elif kind == frames.RST_STREAM:
            self._take_reset(stream_id, payload)
        elif kind == frames.SETTINGS:
            self._take_settings(stream_id, flags, payload, now)
        elif kind == frames.PING:
            self._guards.count(PINGS, now)
            if len(payload) != 8 or stream_id:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "ping")
            if not flags & frames.ACK and self.transport is not None:
                self.transport.write(frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.GOAWAY:
            self._take_goaway(payload)
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "push_promise")
        else:
            self._guards.count(IDLE_FRAMES, now)

    def _stream(self, stream_id: int) -> H2UpstreamStream | None:
        """None for a stream that has ended; frames for it may still be on their way."""
        if not stream_id & 1 or stream_id >= self._next:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "stream_id")
        return self.streams.get(stream_id)

    def _take_block(self, block: bytes | None) -> None:
        """A field block of the stream whose HEADERS began it, if it is whole."""
        if block is None:
            return
        fields = self._reader.read(block, self.headers_max)
        stream = self._stream(self._order.stream)
        if stream is not None:
            stream.take_fields(fields, end=bool(self._order.flags & frames.END_STREAM))

    def _take_data(self, stream_id: int, flags: int, payload: bytes, now: float) -> None:
        length = len(payload)
        self._receive_left -= length
        if self._receive_left < 0:
            raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "connection_window")
        if flags & frames.PADDED:
            payload = unpadded(payload, flags & frames.PADDED)
        end = bool(flags & frames.END_STREAM)
        if not payload and not end:
            self._guards.count(EMPTY_DATA, now)
        self.give_back(length)
        stream = self._stream(stream_id)
        if stream is not None:
            stream.take_data(payload, length, end=end)

    def _take_window_update(self, stream_id: int, payload: bytes, now: float) -> None:
        if len(payload) != 4:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "window_update_length")
        increment = int.from_bytes(payload, "big") & frames.WINDOW_MAX
        if not increment:
            self._guards.count(EMPTY_UPDATES, now)
        if not stream_id:
            self.window += increment
            if self.window > frames.WINDOW_MAX or not increment:
                raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "window")
            self._push_all()
            return
        stream = self._stream(stream_id)
        if stream is not None:
            stream.window += increment
            if stream.window > frames.WINDOW_MAX or not increment:
                stream.invalid("http2_window")
            else:
                self.push(stream)

    def _take_reset(self, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "reset_length")
        stream = self._stream(stream_id)
        if stream is None:
            return
        if int.from_bytes(payload, "big") == frames.REFUSED_STREAM:
            stream.not_taken(STREAM_REFUSED)
        else:
            stream.lost("reset")

    def _take_settings(self, stream_id: int, flags: int, payload: bytes, now: float) -> None:
        self._guards.count(SETTINGS, now)
        if stream_id or (flags & frames.ACK and payload):
            raise ConnectionFault(frames.PROTOCOL_ERROR, "settings")
        if flags & frames.ACK:
            return
        for key, value in read_settings(payload):
            if key == frames.INITIAL_WINDOW_SIZE:
                more = value - self.peer_window
                self.peer_window = value
                for stream in self.streams.values():
                    stream.window += more
                    if stream.window > frames.WINDOW_MAX:
                        raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "settings_window")
            elif key == frames.HEADER_TABLE_SIZE:
                self.writer.limit_table(value)
            elif key == frames.MAX_CONCURRENT_STREAMS:
                self.streams_max = min(value, frames.STREAMS_MAX)
        if self.transport is not None:
            self.transport.write(frames.SETTINGS_ACK)
        self._push_all()

    def _take_goaway(self, payload: bytes) -> None:
        if len(payload) < 8:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "goaway")
        last = int.from_bytes(payload[:4], "big") & frames.WINDOW_MAX
        self.leaving = True
        in_order = int.from_bytes(payload[4:8], "big") == frames.NO_ERROR
        self.goaway = GOAWAY if in_order else "goaway_error"
        self.pool.ended(self)
        for stream in list(self.streams.values()):
            if stream.id > last:
                stream.not_taken(self.goaway)
        if not self.streams:
            self.close()
