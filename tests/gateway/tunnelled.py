"""A worker over fakes with one route that takes WebSockets, for the tests of tunnels."""

from math import inf

from faregate.gateway.upgrading import Tunnels, Upgrading, handshake_step, place_step, room_step
from faregate.kernel.problems import Refusal
from faregate.snapshot.call import Call, PeerCertificate, ReadyRoute
from faregate.snapshot.data import Upgrade
from tests.gateway.fakes import FakeTransport, World, make_route
from tests.support.websocket import ACCEPT, upgrade

PATH = "/v1/stream"
SWITCH = (
    f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
).encode()


class Tunnelled(World):
    """A worker with one route that takes WebSockets. ``bar``: what the route's first step says from now on."""

    def __init__(
        self, given_settings: Upgrade | None = None, valid_until: float = inf, most: int = 100
    ) -> None:
        super().__init__(self._make)
        self.settings = given_settings or Upgrade()
        self.valid_until = valid_until
        self.bar: Refusal | None = None
        self.runtime.tunnels.most = most
        self.equip(self.route, self.runtime.tunnels)

    def _make(self, upstream: object) -> list[ReadyRoute]:
        self.route = make_route("GET", PATH, upstream)
        return [self.route, make_route("GET", "/v1/payments/{id}", upstream)]

    def equip(self, route: ReadyRoute, tunnels: Tunnels) -> None:
        def bars(_: Call) -> Refusal | None:
            return self.bar

        standing = (bars, handshake_step(self.settings))
        route.steps = (*standing, room_step(self.settings, tunnels), place_step(self.settings, tunnels))
        route.upgrade = Upgrading(self.settings, standing, lambda _: self.valid_until)

    def open(self, certificate: PeerCertificate | None = None) -> tuple[FakeTransport, FakeTransport]:
        """The caller's and the upstream's transports of an open tunnel, nothing left to take."""
        caller = self.client()
        if certificate is not None:  # as a TLS listener does
            caller.protocol.certificate = certificate  # type: ignore[attr-defined]
            caller.protocol.tls = "TLSv1.3"  # type: ignore[attr-defined]
        caller.deliver(upgrade(PATH))
        self.run()
        there = self.pool.connect()
        there.take()
        there.deliver(SWITCH)
        self.run()
        assert caller.take().startswith(b"HTTP/1.1 101 ")
        return caller, there

    def assert_nothing_left(self) -> None:
        """Every end frees the places, the counts and the transports, and leaves one record."""
        tunnels = self.plane.tunnels
        assert (tunnels.open, tunnels._held, tunnels._places) == (set(), 0, {})
        assert self.plane.in_flight == 0
        assert self.plane.clients == set()
        assert self.pool.open_count == 0
        assert all(state.in_flight == 0 for state in self.balancer.states(self.time()))
