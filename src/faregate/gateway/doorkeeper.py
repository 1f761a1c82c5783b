"""Who may connect: so many connections in all, so many of one address, and fewer when memory runs out.

The first and cheapest place where load is shed (http-rules.md section 7): a connection too many is accepted
and closed at once, before a byte of it is read. The caps hold for all workers together: which of them accepts
is chance, so a share for each would turn callers away while others have room. What descriptors and memory
allow is each worker's own. Trusted proxies stand for many callers and are not counted by address.
"""

import resource
from typing import TYPE_CHECKING, Final

from faregate.stores.shared_counts import CONNECTIONS

if TYPE_CHECKING:
    from faregate.snapshot.data import GatewayLimits
    from faregate.stores.shared_counts import SharedCounts

_DESCRIPTORS_OWN: Final = 64
_CLIENTS_MIN: Final = 16


def descriptors_allow() -> int:
    """How many callers' connections a worker can take: less than half its descriptors, so that each may need
    one to its upstream and the log and the stores keep theirs.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(_CLIENTS_MIN, (soft - _DESCRIPTORS_OWN) // 2)


class Doorkeeper:
    """Counts the connections of each address; one entry an address that is connected now.

    ``refused``: connections turned away, by the cap that did it. ``narrow``: memory is short, and only
    ``_CLIENTS_MIN`` connections at a time are taken, so that it can tell when there is room again.
    ``shared``: what the other workers count; None for a worker that is alone.
    """

    __slots__ = ("_by_address", "_max", "_max_of_all", "_max_per_address", "narrow", "refused", "shared")

    def __init__(self, limits: "GatewayLimits", descriptors: int) -> None:
        self._by_address: dict[str, int] = {}
        self.narrow = False
        self.refused = {"connections": 0, "connections_per_address": 0, "memory": 0}
        self.shared: SharedCounts | None = None
        self._max = 0
        self._max_of_all = 0
        self._max_per_address = 0
        self.take(limits, descriptors)

    def take(self, limits: "GatewayLimits", descriptors: int) -> None:
        """The caps of a new revision; connections beyond them stay until they end."""
        self._max = min(limits.connections, descriptors)
        self._max_of_all = limits.connections
        self._max_per_address = limits.connections_per_address

    def admits(self, address: str, connected: int, *, trusted: bool) -> bool:
        """Whether a connection of ``address`` may stay; if so it is counted, and ``left`` is due for it."""
        by_address = self._by_address
        count = by_address.get(address, 0)
        if connected >= self._max:
            cap = "connections"
        elif self.narrow and connected >= _CLIENTS_MIN:
            cap = "memory"
        elif count >= self._max_per_address and not trusted:
            cap = "connections_per_address"
        else:
            shared = self.shared
            cap = "" if shared is None else self._beyond(shared, address, 0 if trusted else count + 1)
        if cap:
            self.refused[cap] += 1
            return False
        by_address[address] = count + 1
        return True

    def _beyond(self, shared: "SharedCounts", address: str, count: int) -> str:
        """Counts a connection for all to see; the cap that it breaks, and then it is counted no more.
        ``count``: this worker's of the address, 0 where that does not matter.
        """
        shared.add(CONNECTIONS, address)
        if shared.total(CONNECTIONS) > self._max_of_all:
            cap = "connections"
        elif count and count + shared.elsewhere(CONNECTIONS, address) > self._max_per_address:
            cap = "connections_per_address"
        else:
            return ""
        shared.remove(CONNECTIONS, address)
        return cap

    def left(self, address: str) -> None:
        """A connection that was admitted has ended."""
        if self.shared is not None:
            self.shared.remove(CONNECTIONS, address)
        count = self._by_address.get(address, 0) - 1
        if count > 0:
            self._by_address[address] = count
        else:
            self._by_address.pop(address, None)
