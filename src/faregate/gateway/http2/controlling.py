"""Frames that concern windows, settings and ends, each judged by its length, its stream and its rate.

Between ``Sending`` and ``Http2Connection``: what a peer says about the connection rather than in a call. What
is wrong with one stream resets that stream; what is wrong with the connection, or too much of it, ends it
(RFC 9113 section 5.4).
"""

from faregate.gateway.http2 import frames
from faregate.gateway.http2.frames import ConnectionFault, frame, read_settings
from faregate.gateway.http2.guards import EMPTY_UPDATES, IDLE_FRAMES, PINGS, SETTINGS
from faregate.gateway.http2.sending import GOAWAY_PING, LEAVING, Sending


class Controlling(Sending):
    """Takes every frame but HEADERS, CONTINUATION and DATA."""

    __slots__ = ()

    def _take_control(self, kind: int, flags: int, stream_id: int, payload: bytes, now: float) -> None:
        if kind == frames.WINDOW_UPDATE:
            self._take_window_update(stream_id, payload, now)
        elif kind == frames.RST_STREAM:
            self._take_reset(stream_id, payload, now)
        elif kind == frames.SETTINGS:
            self._take_settings(stream_id, flags, payload, now)
        elif kind == frames.PING:
            self._take_ping(stream_id, flags, payload, now)
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "push_promise")
        elif kind == frames.GOAWAY:
            if stream_id or len(payload) < 8:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "goaway")
            self._guards.count(IDLE_FRAMES, now)
        else:
            self._take_idle(kind, stream_id, payload, now)

    def _take_window_update(self, stream_id: int, payload: bytes, now: float) -> None:
        if len(payload) != 4:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "window_update_length")
        increment = int.from_bytes(payload, "big") & frames.WINDOW_MAX
        if not increment:
            self._guards.count(EMPTY_UPDATES, now)
        if not stream_id:
            self.window += increment
            if not increment or self.window > frames.WINDOW_MAX:
                raise ConnectionFault(
                    frames.FLOW_CONTROL_ERROR if increment else frames.PROTOCOL_ERROR, "window"
                )
            self.resume_all()
            return
        stream = self.streams.get(stream_id)
        if stream is None or stream.lost:
            if stream_id > self._highest:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "update_on_idle_stream")
            return
        stream.window += increment
        if not increment or stream.window > frames.WINDOW_MAX:
            self.reset(stream, frames.FLOW_CONTROL_ERROR if increment else frames.PROTOCOL_ERROR, ours=True)
        elif stream.queue:
            self.ready(stream)

    def _take_reset(self, stream_id: int, payload: bytes, now: float) -> None:
        if len(payload) != 4:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "reset_length")
        if not stream_id or stream_id > self._highest:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "reset_on_idle_stream")
        stream = self.streams.get(stream_id)
        self._guards.stream_reset(now, answered=stream is None or stream.answered)
        if stream is not None and not stream.lost:
            stream.reset_by_peer()
            if stream.exchange is None:
                self.forget_stream(stream, now)

    def _take_settings(self, stream_id: int, flags: int, payload: bytes, now: float) -> None:
        if stream_id:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "settings_on_stream")
        self._guards.count(SETTINGS, now)
        if flags & frames.ACK:
            if payload:
                raise ConnectionFault(frames.FRAME_SIZE_ERROR, "settings_ack")
            return
        for key, value in read_settings(payload):
            if key == frames.INITIAL_WINDOW_SIZE:
                self.change_windows(value)
            elif key == frames.HEADER_TABLE_SIZE:
                self.writer.limit_table(value)
        self.out.append(frames.SETTINGS_ACK)

    def _take_ping(self, stream_id: int, flags: int, payload: bytes, now: float) -> None:
        if stream_id:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "ping_on_stream")
        if len(payload) != 8:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "ping_length")
        self._guards.count(PINGS, now)
        if not flags & frames.ACK:
            self.out.append(frame(frames.PING, frames.ACK, 0, payload))
        elif payload == GOAWAY_PING and self._goaway == LEAVING:
            self._leave()

    def _take_idle(self, kind: int, stream_id: int, payload: bytes, now: float) -> None:
        """PRIORITY, which we do not follow (RFC 9113 section 5.3.2), and frames of unknown types."""
        self._guards.count(IDLE_FRAMES, now)
        if kind != frames.PRIORITY:
            return
        if not stream_id:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "priority")
        if len(payload) != 5:
            stream = self.streams.get(stream_id)
            if stream is None or stream.lost:
                raise ConnectionFault(frames.FRAME_SIZE_ERROR, "priority_length")
            self.reset(stream, frames.FRAME_SIZE_ERROR, ours=True)
