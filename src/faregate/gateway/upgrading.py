"""Which calls become WebSockets: asked in the request's head, decided by steps, settled by a 101.

What a route needs for it is made once per snapshot (``Upgrading``). Its checks stand among the other steps:
the handshake and its origin after permission, room before anything is counted, the place after everything
was. All the steps before the counting can be asked again, which a reload does for every open tunnel.
"""

from asyncio import iscoroutine  # not inspect's, which knows none that mypyc has made
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Final

from faregate.gateway.http1.response import InvalidAnswer
from faregate.gateway.tunnel import Tunnel, open_tunnel
from faregate.gateway.websocket import POLICY, Handshake, read_handshake
from faregate.kernel.problems import Refusal
from faregate.snapshot import data
from faregate.snapshot.call import Call, ReadyRoute, Step
from faregate.stores.shared_counts import TUNNELS

if TYPE_CHECKING:
    import asyncio

    from faregate.gateway.answering import Answering
    from faregate.gateway.exchange import Exchange
    from faregate.gateway.http1.response import ResponseHead
    from faregate.snapshot.call import Verdict
    from faregate.stores.shared_counts import SharedCounts

_JUDGED_AT_ONCE: Final = 20
"""Tunnels asked about in one turn of the loop after a reload; a token may have to be verified anew: 1 ms."""
_FOREIGN_ORIGIN: Final = (
    "The page's origin (Origin) is not among those that this route takes WebSockets from."
)
_HEADERS: Final = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"


class Tunnels:
    """The tunnels of one worker, and the places that consumers hold for theirs, from the handshake on.

    ``most``: how many there may be in all, so that other calls keep room. ``shared``: what the other workers
    count; both bounds hold for all of them together.
    """

    __slots__ = ("_held", "_loop", "_places", "_unjudged", "_waiting", "most", "open", "shared")

    def __init__(self, loop: "asyncio.AbstractEventLoop") -> None:
        self._loop = loop
        self._held = 0
        self._places: dict[str, int] = {}
        self._unjudged: list[Tunnel] = []
        self._waiting: set[asyncio.Task[None]] = set()
        self.most = 0
        self.open: set[Tunnel] = set()
        self.shared: SharedCounts | None = None

    def room(self, owner: str, most: int, more: int = 1) -> Refusal | None:
        """Why ``owner`` may not have ``more``, if so; 0: what is there already is judged."""
        shared = self.shared
        places = self._places.get(owner, 0) + (0 if shared is None else shared.elsewhere(TUNNELS, owner))
        if places + more > most:
            return Refusal(
                "concurrency_exceeded", reason="upgrade_connections", parameter="upgrade.connections"
            )
        if (self._held if shared is None else shared.total(TUNNELS)) + more > self.most:
            return Refusal("overloaded", reason="tunnels")
        return None

    def take(self, owner: str, most: int) -> Refusal | None:
        """Takes a place, or says why there is none. It is counted first, so that of two workers who take the
        last one not both have it.
        """
        self._held += 1
        self._places[owner] = self._places.get(owner, 0) + 1
        if self.shared is not None:
            self.shared.add(TUNNELS, owner)
        refusal = self.room(owner, most, more=0)
        if refusal is not None:
            self.free(owner)
        return refusal

    def free(self, owner: str) -> None:
        if self.shared is not None:
            self.shared.remove(TUNNELS, owner)
        self._held -= 1
        left = self._places[owner] - 1
        if left:
            self._places[owner] = left
        else:
            del self._places[owner]

    def drain(self) -> None:
        """The worker is stopping: every tunnel is told."""
        for tunnel in list(self.open):
            tunnel.close("draining")

    def reloaded(self) -> None:
        """Another revision runs: each tunnel is asked about, a few in each turn of the loop."""
        idle = not self._unjudged
        self._unjudged = list(self.open)
        if idle and self._unjudged:
            self._loop.call_soon(self._judge_some)

    def judge(self, tunnel: Tunnel) -> None:
        """Ends ``tunnel`` if the running configuration would not let its caller in any more."""
        tunnel.judgements += 1
        exchange = tunnel.exchange
        runtime = exchange.plane.runtime
        call = exchange.call
        endpoint = runtime.router.find(call.path.encode("ascii"))
        route = endpoint.methods.get(call.method) if endpoint is not None else None
        ready = route.upgrade if route is not None else None
        if route is None or not isinstance(ready, Upgrading):
            tunnel.close("route_gone", POLICY)
            return
        plane = exchange.plane
        now = plane.monotonic()
        asked = call.again(now, now + plane.wall_offset)
        asked.route = route
        for step in ready.standing:
            verdict = step(asked)
            if verdict is None:
                continue
            if isinstance(verdict, Refusal):
                self._refused(tunnel, verdict)
            elif iscoroutine(verdict):
                task = self._loop.create_task(self._judged_later(tunnel, verdict, tunnel.judgements))
                self._waiting.add(task)
                task.add_done_callback(self._waiting.discard)
            return
        # From now on of this revision: an old one is not kept alive by what was opened in it.
        exchange.runtime = runtime
        exchange.upstream = route.upstream  # type: ignore[assignment]  # the gateway's own
        call.route = route
        call.identity = asked.identity
        tunnel.admitted(ready.settings, ready.valid_until(asked))

    def _judge_some(self) -> None:
        some, self._unjudged = self._unjudged[:_JUDGED_AT_ONCE], self._unjudged[_JUDGED_AT_ONCE:]
        for tunnel in some:
            if not tunnel.done:
                self.judge(tunnel)
        if self._unjudged:
            self._loop.call_soon(self._judge_some)

    async def _judged_later(
        self, tunnel: Tunnel, verdict: "Coroutine[None, None, Refusal | None]", judgement: int
    ) -> None:
        """A step had to wait, for keys: what it then says counts; that nothing can be known does not, nor
        what was asked before another judgement began.
        """
        refusal = await verdict
        if tunnel.done or tunnel.judgements != judgement:
            return
        if refusal is not None:
            self._refused(tunnel, refusal)
        else:
            self.judge(tunnel)  # by the steps behind it as well; what it waited for is there now

    @staticmethod
    def _refused(tunnel: Tunnel, refusal: Refusal) -> None:
        if refusal.problem.status < 500:
            tunnel.close(refusal.code, POLICY)


class Upgrading:
    """What one route needs. ``standing``: the steps that hold for as long as a tunnel is open.
    ``valid_until``: when the credential of a call ends, in seconds since the epoch.
    """

    __slots__ = ("settings", "standing", "valid_until")

    def __init__(
        self, settings: data.Upgrade, standing: tuple[Step, ...], valid_until: Callable[[Call], float]
    ) -> None:
        self.settings = settings
        self.standing = standing
        self.valid_until = valid_until


class Place:
    """A consumer's place among the tunnels, and with it what else the call holds."""

    __slots__ = ("_inner", "_owner", "_tunnels")

    def __init__(self, tunnels: Tunnels, owner: str, inner: Callable[[], None] | None) -> None:
        self._tunnels = tunnels
        self._owner = owner
        self._inner = inner

    def __call__(self) -> None:
        self._tunnels.free(self._owner)
        if self._inner is not None:
            self._inner()


def handshake_step(settings: data.Upgrade) -> Step:
    """Refuses a handshake that is none, and pages of other origins (http-rules.md W13)."""
    origins = frozenset(origin.encode() for origin in settings.origins)
    every = b"*" in origins

    def websocket_handshake(call: Call) -> "Verdict":
        handshake = call.upgrade
        if not isinstance(handshake, Handshake):
            return None
        if handshake.fault:
            wanted = b"Sec-WebSocket-Version: 13\r\n" if handshake.fault == "websocket_version" else b""
            return Refusal("malformed_request", reason=handshake.fault, headers=wanted)
        if handshake.origin and not every and handshake.origin.lower() not in origins:
            return Refusal(
                "permission_denied",
                reason="origin_not_allowed",
                parameter="upgrade.origins",
                detail=_FOREIGN_ORIGIN,
            )
        return None

    return websocket_handshake


def room_step(settings: data.Upgrade, tunnels: Tunnels) -> Step:
    """Refuses what there is no room for, before anything is counted."""
    most = settings.connections

    def websocket_room(call: Call) -> "Verdict":
        return None if call.upgrade is None else tunnels.room(_owner(call), most)

    return websocket_room


def place_step(settings: data.Upgrade, tunnels: Tunnels) -> Step:
    """Takes the place, once nothing can refuse the call any more."""
    most = settings.connections

    def websocket_place(call: Call) -> "Verdict":
        if call.upgrade is None:
            return None
        owner = _owner(call)
        refusal = tunnels.take(owner, most)
        if refusal is None:
            call.release = Place(tunnels, owner, call.release)
        return refusal

    return websocket_place


def _owner(call: Call) -> str:
    """Whose place it is: the consumer's, else the address's, which no name can be (it has a blank)."""
    return call.identity.consumer.name if call.identity is not None else "address " + call.client_ip


def ask(exchange: "Exchange", route: ReadyRoute) -> None:
    """The head has an ``Upgrade``: notes the handshake if it is for a WebSocket and the route takes them.

    Any other is ignored (F30), as is one in HTTP/1.0 (RFC 9110 section 7.8).
    """
    if not isinstance(route.upgrade, Upgrading) or exchange.minor != b"1":
        return
    fields = exchange.fields
    handshake = read_handshake(fields.raw)
    if handshake is None:
        return
    exchange.call.upgrade = handshake
    # Both fields are said anew, in facts of this call's own: those in memory are shared.
    own = fields.with_credential(fields.raw, None, None)
    ours = _HEADERS
    if fields.base is not None and fields.idempotency_key is not None:
        ours = b"Idempotency-Key: %b\r\n%b" % (fields.idempotency_key, _HEADERS)
    own.lines = [*fields.lines, ours]
    own.passed = fields.passed + ours
    own.te_trailers = False  # it would put a second Connection beside ours
    exchange.fields = own


def switch(exchange: "Answering", connection: object, head: "ResponseHead") -> tuple[Tunnel, bytes]:
    """The tunnel that a 101 opens, and what the caller has sent ahead of it. Raises ``InvalidAnswer``."""
    call = exchange.call
    handshake = call.upgrade
    route = call.route
    ready = route.upgrade if route is not None else None
    if not isinstance(handshake, Handshake) or handshake.fault or not isinstance(ready, Upgrading):
        raise InvalidAnswer("switching_not_asked")
    fault = handshake.refuses(head)
    if fault:
        raise InvalidAnswer(fault)
    opened = open_tunnel(exchange, connection, head, ready.settings, ready.valid_until(call))  # type: ignore[arg-type]
    if opened is None:
        raise InvalidAnswer("switched_too_late")
    return opened
