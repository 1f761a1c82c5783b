"""The sending side of a connection to a target: streams begun, requests sent as the windows allow, its end.

The base of ``Http2Upstream``, which reads what comes.
"""

from typing import TYPE_CHECKING, Final

from faregate.gateway.dispatching import NO_STREAM
from faregate.gateway.http2 import frames
from faregate.gateway.http2.frames import field_block, frame
from faregate.gateway.http2.guards import Guards
from faregate.gateway.http2.hpack import FieldReader, FieldWriter
from faregate.gateway.http2.order import FrameOrder
from faregate.gateway.http2.upstream_stream import H2UpstreamStream

if TYPE_CHECKING:
    import asyncio

    from faregate.gateway.dial import Address
    from faregate.gateway.http2.upstream_pool import Http2Pool

_CREDIT_STEP_BYTES: Final = frames.CONNECTION_WINDOW_BYTES // 2
_LAST_STREAM: Final = 2**31 - 1001
SILENT_S: Final = 5.0
"""When a call is given up and no byte of any has come for so long, the connection may be dead without
anybody having said so: the next calls get another.
"""


class UpstreamLink:
    """One connection to a target. ``leaving``: it takes no further streams; ``goaway``: because the server
    said so, as the exchange tells it apart. ``streams_max``: what the server takes at once.
    ``silent_since``: the first call begun since it last said anything, 0 for none.
    """

    __slots__ = (
        "_buffer",
        "_credit",
        "_guards",
        "_next",
        "_order",
        "_reader",
        "_receive_left",
        "address",
        "generation",
        "goaway",
        "headers_max",
        "idle_since",
        "leaving",
        "made",
        "peer_window",
        "pool",
        "secure",
        "silent_since",
        "streams",
        "streams_max",
        "transport",
        "window",
        "write_paused",
        "writer",
    )

    def __init__(self, pool: "Http2Pool", headers_max: int, *, secure: bool, generation: int) -> None:
        self.pool = pool
        self.headers_max = headers_max
        self.secure = secure
        self.generation = generation
        self.goaway = ""
        self.address: Address | None = None
        self.idle_since = 0.0
        self.silent_since = 0.0
        self.leaving = False
        self.made = False
        self.peer_window = frames.DEFAULT_WINDOW_BYTES
        self.streams: dict[int, H2UpstreamStream] = {}
        self.streams_max = frames.STREAMS_MAX
        self.transport: asyncio.Transport | None = None
        self.window = frames.DEFAULT_WINDOW_BYTES
        self.write_paused = False
        self.writer = FieldWriter()
        self._buffer = bytearray()
        self._credit = 0
        self._guards = Guards()
        self._next = 1
        self._order = FrameOrder()
        self._reader = FieldReader()
        self._receive_left = frames.CONNECTION_WINDOW_BYTES

    # what the pool and the streams call

    def has_room(self) -> bool:
        return not self.leaving and len(self.streams) < self.streams_max

    def new_stream(self) -> H2UpstreamStream:
        """A place for one call; its number comes with its first bytes."""
        return H2UpstreamStream(self, self.headers_max)

    def begin(self, stream: H2UpstreamStream) -> bool:
        """Gives the stream its number; False when the connection takes none any more."""
        if not self.has_room():
            return False
        if not self.silent_since:
            self.silent_since = self.pool.now()
        stream.id = self._next
        stream.window = self.peer_window
        self.streams[stream.id] = stream
        self._next += 2
        if self._next > _LAST_STREAM:
            self.leaving = True
        return True

    def why_not(self) -> str:
        """Why a stream could not begin, as the exchange tells it apart."""
        if self.goaway:
            return self.goaway
        return NO_STREAM if self.transport is not None else "closed_before_use"

    def speaks(self, protocol: str) -> bool:
        """Whether TLS has settled on ``protocol``."""
        secured = None if self.transport is None else self.transport.get_extra_info("ssl_object")
        return secured is not None and secured.selected_alpn_protocol() == protocol

    def push(self, stream: H2UpstreamStream) -> None:
        """Sends what of a request the windows allow."""
        transport = self.transport
        if transport is None:
            return
        out: list[bytes] = []
        fields = stream.fields
        if fields is not None:
            done = stream.request_ended and not stream.queue
            out.append(
                field_block(stream.id, self.writer.write(fields), frames.FRAME_BYTES_MAX, end_stream=done)
            )
            stream.fields = None
            stream.end_sent = done
        queue = stream.queue
        while queue and not self.write_paused:
            room = min(self.window, stream.window, frames.FRAME_BYTES_MAX)
            if room <= 0:
                break
            piece = bytes(queue[:room])
            del queue[: len(piece)]
            self.window -= len(piece)
            stream.window -= len(piece)
            done = stream.request_ended and not queue
            out.append(frame(frames.DATA, frames.END_STREAM if done else 0, stream.id, piece))
            stream.end_sent = done
        if stream.request_ended and not queue and not stream.end_sent:
            stream.end_sent = True
            out.append(frame(frames.DATA, frames.END_STREAM, stream.id, b""))
        if out:
            transport.write(b"".join(out))
        stream.pushed()

    def reset(self, stream: H2UpstreamStream, code: int) -> None:
        """The call wants no more of it."""
        if self.streams.get(stream.id) is stream:
            if self.transport is not None and stream.fields is None:  # else the server never heard of it
                self.transport.write(frames.rst_stream(stream.id, code))
            if self.silent_since and self.pool.now() - self.silent_since >= SILENT_S:
                self.leaving = True
                self.pool.ended(self)
            self.forget(stream)

    def forget(self, stream: H2UpstreamStream) -> None:
        self.streams.pop(stream.id, None)
        if not self.streams:
            self.idle_since = self.pool.now()
            if self.leaving:
                self.close()

    def give_back(self, size: int) -> None:
        self._credit += size
        if self._credit >= _CREDIT_STEP_BYTES and self.transport is not None:
            self.transport.write(frames.window_update(0, self._credit))
            self._receive_left += self._credit
            self._credit = 0

    def open_window(self, stream: H2UpstreamStream, size: int) -> None:
        if self.transport is not None:
            self.transport.write(frames.window_update(stream.id, size))

    def leave(self) -> None:
        """No further streams; the end comes with the last one."""
        self.leaving = True
        if not self.streams:
            self.close()

    def close(self) -> None:
        self.leaving = True
        transport = self.transport
        if transport is not None and not transport.is_closing():
            transport.write(frames.goaway(0, frames.NO_ERROR))
            transport.close()

    def _push_all(self) -> None:
        for stream in list(self.streams.values()):
            if stream.queue or stream.fields is not None:
                self.push(stream)
