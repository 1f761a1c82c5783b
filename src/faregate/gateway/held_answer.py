"""An answer that waits for its record to be settled, and a stored one as it is said again."""

from typing import TYPE_CHECKING

from faregate.gateway.http1.answers import REASONS

if TYPE_CHECKING:
    from faregate.gateway.http1.response import ResponseHead


class HeldAnswer:
    """An upstream's answer on its way to the ledger and then to the caller. ``whole``: the body of one that
    came in one piece. ``size``: bytes of its body so far. ``passing``: it streams, or is too long to be held:
    all but its last piece was relayed.
    """

    __slots__ = ("head", "passing", "pieces", "size", "sized", "trailers", "whole")

    def __init__(self, head: "ResponseHead", whole: bytes | None = None, *, sized: bool = True) -> None:
        self.head = head
        self.passing = False
        self.pieces: list[bytes] = []
        self.size = 0
        self.sized = sized
        self.trailers: list[tuple[bytes, bytes]] | None = None
        self.whole = whole


def said_again(status: int, lines: bytes, body: bytes) -> bytes:
    """Status line and fields of a stored answer, without those of the call that asks for it."""
    length = b"" if status == 204 else b"Content-Length: %d\r\n" % len(body)
    return b"HTTP/1.1 %d %b\r\n%b%bIdempotent-Replayed: true\r\n" % (
        status,
        REASONS.get(status, b""),
        lines,
        length,
    )
