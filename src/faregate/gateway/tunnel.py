"""A WebSocket that both sides agreed to: bytes both ways, until either side, a bound or the gateway ends it.

A tunnel takes both transports away from their connections and gives them back at its end, so that closing,
counting and lingering stay where they are. Its ends are told apart only by what each may send. Whoever must
be told of an end gets a Close frame between two of the other side's frames, never inside one. It lives on
across reloads, but for callers whom the new configuration would no longer let in (``upgrading``).
"""

import asyncio
from typing import TYPE_CHECKING, Final

from faregate.gateway.tunnel_end import End
from faregate.gateway.websocket import (
    GOING_AWAY,
    POLICY,
    PROTOCOL_ERROR,
    has_extension,
)
from faregate.gateway.wheel import NEVER

if TYPE_CHECKING:
    from faregate.gateway.answering import Answering
    from faregate.gateway.caller import Caller
    from faregate.gateway.http1.response import ResponseHead
    from faregate.gateway.plane import Plane
    from faregate.gateway.upstream import UpstreamConnection
    from faregate.snapshot.data import Upgrade

CLOSE_S: Final = 5.0
"""How long the sides may take to answer a Close frame, or to end after the other has."""
JUDGED_EVERY_S: Final = 60.0
"""How often a tunnel is asked whether its caller may still be there: keys are withdrawn between reloads."""
WRITE_HIGH_BYTES: Final = 64 << 10
"""Unsent bytes towards one side, above which the other is not read."""


class Tunnel:
    """Both ends, and the one deadline that the wheel watches. ``settings``: those of its route, of the
    revision that last let it in. ``valid_until``: when its credential ends, in seconds since the epoch.
    ``judgements``: how often it was asked whether its caller may stay.
    """

    __slots__ = (
        "_closing",
        "_judged_at",
        "_opened_at",
        "_reason",
        "caller",
        "client",
        "connection",
        "deadline",
        "done",
        "exchange",
        "judgements",
        "last_at",
        "plane",
        "settings",
        "upstream",
        "valid_until",
        "wheel_at",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - one value per property
        self,
        exchange: "Answering",
        connection: "UpstreamConnection",
        transports: tuple[asyncio.Transport, asyncio.Transport],
        settings: "Upgrade",
        valid_until: float,
        now: float,
        *,
        extended: bool,
    ) -> None:
        self.exchange = exchange
        self.client: Caller = exchange.client
        self.connection = connection
        self.plane: Plane = exchange.plane
        self.settings = settings
        self.valid_until = valid_until
        self.last_at = now
        self.done = False
        self.judgements = 0
        self.deadline = NEVER
        self.wheel_at = NEVER
        self._opened_at = now
        self._judged_at = now
        self._closing = False
        self._reason = ""
        self.caller = End(self, transports[0], is_caller=True, extended=extended)
        self.upstream = End(self, transports[1], is_caller=False, extended=extended)

    # what the ends call

    def heard(self, end: End) -> None:
        """``end`` has said Close, or something that no endpoint may say."""
        fault = end.frames.fault
        if fault:
            self._pause(end)  # nothing of it is wanted any more
            if not self._closing:
                if end.is_caller:
                    self.close("client_" + fault, PROTOCOL_ERROR, GOING_AWAY)
                else:
                    self.close("upstream_" + fault, GOING_AWAY, PROTOCOL_ERROR)
        caller, upstream = self.caller, self.upstream
        if caller.told and upstream.told and self._has_said(caller) and self._has_said(upstream):
            self.end(self._reason or "closed")
        elif not self._closing and end.frames.said_close:
            self._reason = "client_closed" if end.is_caller else "upstream_closed"
            self._closing = True
            self._arm(self.last_at + CLOSE_S, self.last_at)

    def ended(self, end: End) -> None:
        """``end`` has sent the end of its stream."""
        if self.done:
            return
        now = self.plane.monotonic()
        other = self.upstream if end.is_caller else self.caller
        reason = self._reason or ("client_eof" if end.is_caller else "upstream_eof")
        if other.ended or end.frames.said_close or not other.transport.can_write_eof():
            self.end(reason)
            return
        if not other.due:
            other.transport.write_eof()  # no Close frame came: the other side sees that
        self._reason = reason
        if not self._closing:
            self._closing = True
            self._arm(now + CLOSE_S, now)

    def lost(self, end: End, error: Exception | None) -> None:
        """The transport of ``end`` is gone."""
        if not self.done:
            how = "reset" if error is not None else "lost"
            who = "client_" if end.is_caller else "upstream_"
            self.end(self._reason or who + how, cut=error is not None)
        if end.is_caller:
            self.client.connection_lost(error)  # type: ignore[attr-defined]  # only connections are handed over
        else:
            self.connection.connection_lost(error)

    def full(self, end: End) -> None:
        """``end`` does not keep up: the other is not read."""
        self._pause(self.upstream if end.is_caller else self.caller)
        now = self.plane.monotonic()
        self._arm(min(self.deadline, end.stuck_at(now)), now)

    def drained(self, end: End) -> None:
        if end.is_caller:
            self.connection.resume_reading()
        elif not self.caller.frames.fault:
            self.client.resume_reading()

    # what the worker calls

    def on_deadline(self, now: float) -> None:
        """What the wheel calls when ``deadline`` has passed: ends what is over, or looks when next."""
        self.deadline = NEVER
        settings = self.settings
        for end in (self.caller, self.upstream):
            if end.stuck_at(now) <= now:
                self.end("stalled_reader" if end.is_caller else "upstream_not_reading", cut=True)
                return
        if self._closing:
            self.end(self._reason, cut=True)
        elif now - self._opened_at >= settings.lifetime:
            self.close("lifetime")
        elif now + self.plane.wall_offset >= self.valid_until:
            self.close("credential_expired", POLICY, POLICY)
        elif now - self.last_at >= settings.idle:
            self.close("idle")
        else:
            if now - self._judged_at >= JUDGED_EVERY_S:
                self._judged_at = now  # also where nothing can be known now
                self.plane.tunnels.judge(self)
                if self.done or self._closing:
                    return
            self.watch(now)

    def watch(self, now: float) -> None:
        """Arms the nearest of all bounds."""
        settings = self.settings
        self._arm(
            min(
                self.last_at + settings.idle,
                self._opened_at + settings.lifetime,
                self.valid_until - self.plane.wall_offset,
                self._judged_at + JUDGED_EVERY_S,
                self.caller.stuck_at(now),
                self.upstream.stuck_at(now),
            ),
            now,
        )

    def admitted(self, settings: "Upgrade", valid_until: float) -> None:
        """The running configuration would still let the caller in."""
        self.settings = settings
        self.valid_until = valid_until
        self._judged_at = now = self.plane.monotonic()
        if not self._closing:
            self.watch(now)

    def close(self, reason: str, to_caller: int = GOING_AWAY, to_upstream: int = GOING_AWAY) -> None:
        """Tells both sides by a Close frame with these codes and grants them ``CLOSE_S`` to answer."""
        if self.done or self._closing:
            return
        self._closing = True
        self._reason = reason
        now = self.plane.monotonic()
        self._arm(now + CLOSE_S, now)
        caller, upstream = self.caller, self.upstream
        caller.tell(to_caller, reason, within_frame=upstream.frames.left > 0)
        upstream.tell(to_upstream, reason, within_frame=caller.frames.left > 0)

    def end(self, reason: str, *, cut: bool = False) -> None:
        """Gives both transports back, to be closed or, when ``cut``, broken off; the call ends with its
        record.
        """
        if self.done:
            return
        self.done = True
        self.deadline = NEVER
        self.plane.tunnels.open.discard(self)
        connection, client = self.connection, self.client
        connection.exchange = None
        if not self.upstream.lost:
            self.upstream.transport.set_protocol(connection)  # type: ignore[arg-type]  # by its methods
            if cut:
                connection.abort()
            else:
                connection.close()
        if self.caller.lost:
            client.lost = True
        else:
            client.write_paused = self.caller.full
            self.caller.transport.set_protocol(client)  # type: ignore[arg-type]  # by its methods
            if cut:
                client.break_off()
        self.caller.release()
        self.upstream.release()
        self.exchange.tunnel_ended(reason, self.caller.received_bytes, self.upstream.received_bytes)

    def drain(self) -> None:
        """The caller's connection is to end: with its listener or worker, or because the certificate that it
        began with is believed no more.
        """
        if self.exchange.call.certificate is not None and self.client.certificate is None:
            self.close("certificate_withdrawn", POLICY)
        else:
            self.close("draining")

    def stop(self) -> None:
        """The process stops: whoever is between two frames is told."""
        self.close("gateway_stopped")
        self.end(self._reason)

    def _has_said(self, end: End) -> bool:
        return end.frames.said_close or bool(end.frames.fault)

    def _pause(self, end: End) -> None:
        if end.is_caller:
            self.client.pause_reading()
        else:
            self.connection.pause_reading()

    def _arm(self, deadline: float, now: float) -> None:
        self.deadline = deadline
        if deadline < self.wheel_at:
            self.plane.wheel.watch(self, now)


def open_tunnel(
    exchange: "Answering",
    connection: "UpstreamConnection",
    head: "ResponseHead",
    settings: "Upgrade",
    valid_until: float,
) -> tuple[Tunnel, bytes] | None:
    """Takes both transports, and what the caller has sent ahead of the 101, which waited (W12); None when
    either is gone.
    """
    handed = exchange.client.hand_over()
    there = connection.transport
    if handed is None or there is None:
        return None
    here, held, ended = handed
    tunnel = Tunnel(
        exchange,
        connection,
        (here, there),
        settings,
        valid_until,
        exchange.now,
        extended=has_extension(head),
    )
    tunnel.caller.ended = ended
    for end in (tunnel.caller, tunnel.upstream):
        end.transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        end.transport.set_protocol(end)  # type: ignore[arg-type]  # a protocol by its methods
    return tunnel, held


def start(tunnel: Tunnel, held: bytes, rest: bytes) -> None:
    """Both sides' first bytes go on; from now on the bounds hold. ``rest``: what came behind the 101."""
    plane = tunnel.plane
    plane.tunnels.open.add(tunnel)
    tunnel.watch(tunnel.last_at)
    if rest:
        tunnel.upstream.data_received(rest)
    if held:
        tunnel.caller.data_received(held)
    if tunnel.caller.ended and not tunnel.done:
        tunnel.ended(tunnel.caller)
    if plane.draining:
        tunnel.close("draining")
