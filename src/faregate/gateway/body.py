"""The body of one request on its way through: counted or decoded, held until there is a connection, never
changed.

Made only for requests that have one. It knows where the body ends and what was learned about it; sockets
are the exchange's affair. Memory: what came with the head, plus at most one read, since reading pauses
until there is a connection.
"""

from typing import Final

from faregate.gateway.http1.chunked import BodyTooLarge, ChunkDecoder, ChunkError, encode_chunk, encode_last
from faregate.gateway.http1.request import Fields
from faregate.kernel.problems import Refusal

CAPTURE_BYTES_MAX: Final = (64 << 10) + 1
"""Of each body for the log; one byte over the masker's cap, so that it can tell a longer one."""


GRACE_S: Final = 5.0
RATE_BYTES_PER_S: Final = 1024
"""A body comes at least this fast, on the whole and once the grace is over (http-rules.md section 3)."""


class RequestBody:
    """``left``: bytes still to come, -1 while a chunked body goes on, 0 once it is complete.

    ``collects``: the whole of it is wanted before anything is sent (``content``).
    """

    __slots__ = (
        "_decoder",
        "_held",
        "_plain",
        "captured",
        "expect",
        "left",
        "paced_from",
        "received_bytes",
        "started_at",
    )

    def __init__(  # noqa: PLR0913 - one value per property
        self,
        fields: Fields,
        bytes_max: int,
        trailer_limits: tuple[int, int],
        *,
        capture: bool,
        now: float,
        collects: bool = False,
    ) -> None:
        self._decoder: ChunkDecoder | None = None
        self._held: list[bytes] | None = []
        self._plain: bytearray | None = bytearray() if collects and fields.chunked else None
        self.captured: bytearray | None = bytearray() if capture else None
        self.expect = fields.expect
        self.left = fields.content_length
        self.received_bytes = 0
        self.started_at = self.paced_from = now
        if fields.chunked:
            self.left = -1
            self._decoder = ChunkDecoder(
                trailer_bytes_max=trailer_limits[0], trailers_max=trailer_limits[1], body_bytes_max=bytes_max
            )

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """What to send for ``data``, framed anew (W01), and the bytes behind the body's end. Raises
        ``Refusal``.

        While nothing is connected the first is empty and the data is held for ``release``.
        """
        self.expect = False  # a caller who sends waits for nothing
        if self._decoder is not None:
            return self._feed_chunked(self._decoder, data)
        rest = b""
        if len(data) > self.left:
            data, rest = data[: self.left], data[self.left :]
        self.left -= len(data)
        self.received_bytes += len(data)
        self._capture(data)
        return self._send_or_hold(data), rest

    def late_at(self) -> float:
        """When the body is too slow if no more of it comes."""
        return self.paced_from + GRACE_S + self.received_bytes / RATE_BYTES_PER_S

    def pardon(self, now: float) -> None:
        """The body was kept waiting: its grace begins anew."""
        self.paced_from = max(self.paced_from, now - self.received_bytes / RATE_BYTES_PER_S)

    def content(self) -> bytes:
        """The whole body, decoded; for one that ``collects``, once nothing is left and before ``release``."""
        plain = self._plain
        if plain is not None:
            return bytes(plain)
        return b"" if self._held is None else b"".join(self._held)

    def release(self) -> list[bytes]:
        """What was held, ready to be sent; from now on ``feed`` hands everything on."""
        held = self._held or []
        plain, self._plain = self._plain, None
        self._held = None
        if plain is not None:  # in one chunk: chunks of two bytes would be four times as long
            held = [encode_chunk(bytes(plain))] if plain else []
            if self.left == 0:
                held.append(encode_last([]))
        return held

    def replace(self, content: bytes) -> None:
        """``content`` goes out in place of the body, which is whole; before ``release``."""
        self._plain = None
        self._held = [content] if content else []

    def settle(self, bytes_max: int, *, capture: bool) -> None:
        """The bounds of the route that was settled while the body came."""
        if self._decoder is not None:
            self._decoder.body_bytes_max = bytes_max
        if not capture:
            self.captured = None

    def hold_again(self, sent: list[bytes]) -> None:
        """What was handed on went nowhere: it is held for another connection."""
        self._held = sent

    def drop(self) -> None:
        """The body will go nowhere."""
        self._held = []
        self._plain = None
        self._decoder = None

    def _feed_chunked(self, decoder: ChunkDecoder, data: bytes) -> tuple[bytes, bytes]:
        try:
            pieces = decoder.feed(data)
        except BodyTooLarge as too_large:
            raise Refusal("body_too_large", reason=str(too_large)) from None
        except ChunkError as error:
            raise Refusal("malformed_request", reason=str(error)) from None
        framed = []
        plain = self._plain
        for piece in pieces:
            self.received_bytes += len(piece)
            self._capture(piece)
            if plain is not None:
                plain += piece
            else:
                framed.append(encode_chunk(piece))
        rest = b""
        if decoder.done:
            self.left = 0
            if plain is None:
                framed.append(encode_last([]))
            rest = decoder.rest
        return self._send_or_hold(b"".join(framed)), rest

    def _capture(self, data: bytes) -> None:
        captured = self.captured
        if captured is not None and len(captured) < CAPTURE_BYTES_MAX:
            captured += data[: CAPTURE_BYTES_MAX - len(captured)]

    def _send_or_hold(self, data: bytes) -> bytes:
        if self._held is None:
            return data
        if data:
            self._held.append(data)
        return b""
