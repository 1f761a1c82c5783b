"""The order of frames that a connection insists on, whichever end it is: SETTINGS first, and nothing within a
field block (RFC 9113 sections 3.4, 4.3, 6.10).

Field blocks are put together here, within the bounds of ``guards``; what they say is the connection's affair.
"""

from faregate.gateway.http2 import frames
from faregate.gateway.http2.frames import ConnectionFault, unpadded
from faregate.gateway.http2.guards import check_block


class FrameOrder:
    """One connection's. ``block``: what there is of a field block that has not ended. ``flags``, ``stream``:
    of the HEADERS that began the last one. ``settings_seen``: the peer's first frame has come.
    """

    __slots__ = ("_continuations", "block", "flags", "settings_seen", "stream")

    def __init__(self) -> None:
        self._continuations = 0
        self.block: bytearray | None = None
        self.flags = 0
        self.settings_seen = False
        self.stream = 0

    def check(self, kind: int, flags: int, stream_id: int) -> None:
        """Whether the frame may come now. Raises ``ConnectionFault``."""
        if self.block is not None and (kind != frames.CONTINUATION or stream_id != self.stream):
            raise ConnectionFault(frames.PROTOCOL_ERROR, "field_block_interrupted")
        if not self.settings_seen:
            if kind != frames.SETTINGS or flags & frames.ACK:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "settings_missing")
            self.settings_seen = True

    def headers(self, stream_id: int, flags: int, payload: bytes) -> bytes | None:
        """HEADERS: the field block, once it is whole. Raises ``ConnectionFault``."""
        if flags & (frames.PADDED | frames.HAS_PRIORITY):
            payload = unpadded(payload, flags)
        self.flags = flags
        self.stream = stream_id
        if flags & frames.END_HEADERS:
            return payload
        check_block(len(payload), 0)
        self.block = bytearray(payload)
        self._continuations = 0
        return None

    def continuation(self, flags: int, payload: bytes) -> bytes | None:
        """CONTINUATION: the same."""
        block = self.block
        if block is None:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "continuation")
        self._continuations += 1
        check_block(len(block) + len(payload), self._continuations)
        block += payload
        if not flags & frames.END_HEADERS:
            return None
        self.block = None
        return bytes(block)
