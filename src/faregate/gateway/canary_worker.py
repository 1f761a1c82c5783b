"""How a worker takes a canary and lets it go: a second runtime beside the one that runs.

Nothing of the running revision is changed by it. What both have is shared: counters, key sets, the ledger,
upstreams that are the same in both. Whatever else the canary needs is its own and is freed after it, as a
former revision is. A canary that cannot be built is refused, and the running revision has all calls, as
before.
"""

import logging
import time
from typing import TYPE_CHECKING

import msgspec

from faregate.gateway.balance import Balancer, make_balancer
from faregate.gateway.canary import Canary
from faregate.gateway.slices import in_slices, quiet_gc

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from faregate.gateway.assembly import ReadyUpstream, Runtime
    from faregate.gateway.control import Message
    from faregate.gateway.plane import Plane
    from faregate.records.frames import ArmCounts
    from faregate.snapshot.data import Snapshot, Upstream

_log = logging.getLogger("faregate.worker")


def apart(
    running: "Mapping[str, ReadyUpstream]",
    snapshot: "Snapshot",
    make: "Callable[[Upstream, Balancer], ReadyUpstream]",
) -> "dict[str, ReadyUpstream]":
    """The upstreams of ``snapshot``: those of ``running`` where they are the same. One that is not has
    balancing, connections and health of its own, told under a name of its own: what the canary has wrong
    takes no target from the others.
    """
    priorities = frozenset(route.priority for route in snapshot.routes)
    upstreams = {}
    for data in snapshot.upstreams:
        there = running.get(data.name)
        if there is None or there.data != data:
            now = time.monotonic()
            named = msgspec.structs.replace(data, name=f"{data.name} (canary)")
            there = make(data, make_balancer(named, None, now))
            there.bound(priorities, now)
        upstreams[data.name] = there
    return upstreams


async def begin(
    plane: "Plane", message: "Message", make: "Callable[[str], Generator[None, None, Runtime]]"
) -> str:
    """Builds the revision in slices between calls, and gives it its part of them. Returns why not, empty when
    it runs.
    """
    try:
        with quiet_gc():
            runtime = await in_slices(make(message.snapshot))
    except Exception as error:  # noqa: BLE001 - a canary that cannot run must not end what does
        if not isinstance(error, (OSError, ValueError)):  # else the reason says it all
            _log.exception("canary %d cannot be put to work", message.revision)
        return f"canary {message.revision} was not taken: {error}"
    running = plane.runtime.upstreams.values()
    own = tuple(one for one in runtime.upstreams.values() if all(one is not other for other in running))
    canary = Canary(
        runtime,
        plane.recorder.record,
        percent=message.percent,
        consumers=frozenset(message.consumers),
        own=own,
    )
    plane.divide(canary)
    return ""


def end(plane: "Plane") -> "Runtime | None":
    """Gives all calls to the running revision, but those that have begun. Returns what is to be freed."""
    canary = plane.canary
    if canary is None:
        return None
    plane.divide(None)
    plane.tunnels.reloaded()  # a WebSocket is kept by the running revision, or closed
    canary.end()
    for upstream in canary.own:
        for pool in upstream.pools:
            pool.close()
    return canary.runtime


def counts(plane: "Plane") -> "list[ArmCounts]":
    """What the manager is told of it."""
    return [] if plane.canary is None else plane.canary.counts()


def upstreams(plane: "Plane") -> "list[ReadyUpstream]":
    """All that are in use."""
    own = () if plane.canary is None else plane.canary.own
    return [*plane.runtime.upstreams.values(), *own]


def balancers(plane: "Plane") -> dict[str, Balancer]:
    """Of all upstreams in use, by the names under which their health is told."""
    return {one.balancer.upstream.name: one.balancer for one in upstreams(plane)}
