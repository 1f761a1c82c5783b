"""The caller's side of one exchange: what an exchange asks of it, whatever protocol it speaks.

An HTTP/1.1 connection is a caller; an HTTP/2 connection has one for each stream. The exchange writes an
answer as HTTP/1.1 would have it, heads and bodies in turn; a caller that speaks otherwise says it in its own
way (``minor`` b"2" on the request's line keeps chunks out of it).
"""

from typing import TYPE_CHECKING

from faregate.gateway.wheel import NEVER

if TYPE_CHECKING:
    from faregate.gateway.plane import Plane


class Caller:
    """``deadline`` and ``wheel_at`` are what the wheel watches. ``lost``: nothing can be written any more.
    ``peer_ip``: the address of the connection's other end; ``trusted``: a proxy whose word about the caller
    is believed. ``forwarded_lines``: ``X-Forwarded-For`` and ``-Proto`` for the upstream when it is not.
    ``tls``: version and cipher for the log, empty in clear. ``server_name``: the name the TLS handshake
    asked for, in lower case.
    """

    __slots__ = (
        "deadline",
        "forwarded_lines",
        "lost",
        "peer_ip",
        "plane",
        "proto",
        "server_name",
        "tls",
        "trusted",
        "wheel_at",
        "write_paused",
    )

    def __init__(self, plane: "Plane") -> None:
        self.plane = plane
        self.deadline = NEVER
        self.wheel_at = NEVER
        self.lost = False
        self.write_paused = False
        self.trusted = False
        self.peer_ip = ""
        self.proto = b"http"
        self.forwarded_lines = b""
        self.tls = ""
        self.server_name = ""

    def on_deadline(self, now: float) -> None:
        """What the wheel calls when ``deadline`` has passed."""
        raise NotImplementedError

    def arm(self, deadline: float, now: float) -> None:
        """Moves the caller's one deadline."""
        self.deadline = deadline
        if deadline < self.wheel_at:
            self.plane.wheel.watch(self, now)

    def write(self, data: bytes) -> None:
        """Sends part of an answer."""
        raise NotImplementedError

    def pause_reading(self) -> None:
        """Takes no more of the request's body for now."""
        raise NotImplementedError

    def resume_reading(self) -> None:
        raise NotImplementedError

    def break_off(self) -> None:
        """Ends so that a truncated answer cannot pass for a whole one."""
        raise NotImplementedError

    def exchange_done(self, keep_alive: bool, skip: int, now: float) -> None:  # noqa: FBT001 - one caller, once a call
        """The call has ended; ``skip`` bytes of its body have not come yet (0 when none are due)."""
        raise NotImplementedError
