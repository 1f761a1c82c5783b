"""The caller's side of one exchange: what an exchange asks of it, whatever protocol it speaks.

An HTTP/1.1 connection is a caller; an HTTP/2 connection has one for each stream. The exchange writes an
answer as HTTP/1.1 would have it, heads and bodies in turn; a caller that speaks otherwise says it in its own
way (``minor`` b"2" on the request's line keeps chunks out of it).
"""

from typing import TYPE_CHECKING, Final

from faregate.gateway.outbound import is_trusted
from faregate.gateway.wheel import NEVER

if TYPE_CHECKING:
    import asyncio

    from faregate.gateway.outbound import Network
    from faregate.gateway.plane import Plane
    from faregate.snapshot.call import PeerCertificate


STALLED_READER_S: Final = 30.0
"""How long a caller may take no byte of its answer (http-rules.md section 3)."""


class Caller:
    """``deadline`` and ``wheel_at`` are what the wheel watches. ``lost``: nothing can be written any more.
    ``peer_ip``: the address of the connection's other end; ``trusted``: the networks of proxies that it is
    one of, so that its word about the caller is believed, else none. ``forwarded_lines``:
    ``X-Forwarded-For`` and ``-Proto`` for the upstream when it is not. ``look_s``: how often, in
    seconds, a caller who takes nothing of its answer is looked at. ``tls``: version and cipher for the log,
    empty in clear. ``server_name``: the name the TLS handshake asked for, in lower case. ``certificate``:
    the caller's own, where the handshake proved one.
    """

    __slots__ = (
        "_host_served",
        "certificate",
        "deadline",
        "forwarded_lines",
        "look_s",
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
        self.look_s = STALLED_READER_S
        self.lost = False
        self.write_paused = False
        self.trusted: tuple[Network, ...] = ()
        self.peer_ip = ""
        self.proto = b"http"
        self.forwarded_lines = b""
        self.tls = ""
        self.server_name = ""
        self.certificate: PeerCertificate | None = None
        self._host_served = b""

    def serves(self, host: bytes) -> bool:
        """Whether a request for ``host`` may come on this connection: the name asked for in the handshake
        chose its settings, and holds for all of it (F10).
        """
        if host == self._host_served or not self.server_name:
            return True
        name, colon, port = host.rpartition(b":")
        bare = name if colon and port.isdigit() else host
        if bare.lower() != self.server_name.encode():
            return False
        self._host_served = host
        return True

    def judge(self, networks: "tuple[Network, ...]") -> None:
        """Whether the peer is a trusted proxy, one of ``networks``."""
        self.trusted = networks if networks and is_trusted(self.peer_ip, networks) else ()

    def vouches(self, networks: "tuple[Network, ...]") -> bool:
        """Whether a peer found trusted still is: it may have been judged by a former revision's networks."""
        if self.trusted is not networks:
            self.judge(networks)
        return bool(self.trusted)

    def on_deadline(self, now: float) -> None:
        """What the wheel calls when ``deadline`` has passed."""
        raise NotImplementedError

    def arm(self, deadline: float, now: float) -> None:
        """Moves the caller's one deadline."""
        self.deadline = deadline
        if deadline < self.wheel_at:
            self.plane.wheel.watch(self, now)

    def has_stalled(self, now: float) -> bool:  # noqa: ARG002 - for callers who can tell more
        """Whether the caller, whose answer has stood for ``look_s`` seconds, is to be given up."""
        return True

    def write(self, data: bytes) -> None:
        """Sends part of an answer."""
        raise NotImplementedError

    def write_last(self, data: bytes) -> None:
        """Sends the rest of an answer, or all of it: ``exchange_done`` follows at once."""
        raise NotImplementedError

    def write_trailers(self, trailers: list[tuple[bytes, bytes]]) -> None:
        """Fields behind the answer's body, which ends now; for callers whose ``minor`` is b"2"."""
        raise NotImplementedError

    def pause_reading(self) -> None:
        """Takes no more of the request's body for now."""
        raise NotImplementedError

    def resume_reading(self) -> None:
        raise NotImplementedError

    def hand_over(self) -> "tuple[asyncio.Transport, bytes, bool] | None":
        """For a tunnel: the transport, what came behind the request, and whether the caller has ended its
        side. None where there is nothing to hand over.
        """
        return None

    def break_off(self) -> None:
        """Ends so that a truncated answer cannot pass for a whole one."""
        raise NotImplementedError

    def exchange_done(self, keep_alive: bool, skip: int, now: float) -> None:  # noqa: FBT001 - one caller, once a call
        """The call has ended; ``skip`` bytes of its body have not come yet (0 when none are due)."""
        raise NotImplementedError
