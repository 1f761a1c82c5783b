"""Places of WebSockets are counted over the machine: what other workers have leaves less for this one."""

import os

from faregate.snapshot.data import Upgrade
from faregate.stores.shared_counts import TUNNELS, SharedCounts, create
from tests.gateway.tunnelled import PATH, Tunnelled
from tests.support.websocket import upgrade


def test_places_are_those_of_all_workers_together() -> None:
    memory = create()
    counts = [SharedCounts(memory, index) for index in range(2)]
    with Tunnelled(Upgrade(connections=2), most=3) as world:
        tunnels = world.plane.tunnels
        tunnels.shared = counts[0]
        world.open()
        (owner,) = tunnels._places
        counts[1].add(TUNNELS, owner)

        def refused() -> tuple[bytes, str]:
            caller = world.client()
            caller.deliver(upgrade(PATH))
            return caller.take()[9:12], world.calls[-1].reason

        assert refused() == (b"429", "upgrade_connections")
        counts[1].remove(TUNNELS, owner)
        for _ in range(2):
            counts[1].add(TUNNELS, "globex")
        assert refused() == (b"503", "tunnels")
        assert counts[1].total(TUNNELS) == 3, "a place that was refused is not held"
    for counted in counts:
        counted.close()
    os.close(memory)
