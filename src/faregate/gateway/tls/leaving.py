"""Callers who are connected to a listener that would not admit them any more, told to end.

After a change of a listener (in clear -> TLS, certificates required, an authority or a certificate withdrawn)
a connection from before would go on as it came. It loses its caller at once and ends with the call that it is
in; HTTP/2 is told by GOAWAY, a tunnel by a Close frame. What is left after a minute is broken off.
"""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from faregate.gateway.listener import ClientConnection
    from faregate.gateway.plane import Plane
    from faregate.gateway.tls.profile import Profile
    from faregate.snapshot.call import PeerCertificate

END_S: Final = 60.0
"""What a call may take on a connection that would not be admitted any more."""


class Leaving:
    """Those of one listener, which came in at ``place``."""

    __slots__ = ("_admits", "_ending", "_place", "_plane")

    def __init__(self, plane: "Plane", place: str) -> None:
        self._plane = plane
        self._place = place
        self._admits: Callable[[ClientConnection], bool] | None = None
        self._ending: dict[ClientConnection, float] = {}

    def judge(self, admits: "Callable[[ClientConnection], bool]", now: float) -> None:
        """Judges everybody who is connected; and at the next look again, for who is just coming in."""
        self._admits = admits
        self._judge(admits, now)

    def _judge(self, admits: "Callable[[ClientConnection], bool]", now: float) -> None:
        for client in list(self._plane.clients):
            if client.place == self._place and client not in self._ending and not admits(client):
                client.certificate = None  # nobody calls by it any more
                self._ending[client] = now + END_S
                client.leave()

    def look(self, now: float) -> None:
        """The regular work: ends what is to end as soon as its call is over."""
        if self._admits is not None:
            admits, self._admits = self._admits, None
            self._judge(admits, now)
        for client, until in list(self._ending.items()):
            if client.lost:
                del self._ending[client]
            elif now >= until:
                client.break_off()
            else:
                client.leave()


def still_trusted(profile: "Profile | None", peer: "PeerCertificate") -> bool:
    """Whether a caller's certificate, proven earlier, would be believed now."""
    if profile is None or peer.anchor not in profile.authorities:
        return False
    revocations = profile.revocations
    return revocations is None or (peer.issuer, peer.serial) not in revocations.serials
