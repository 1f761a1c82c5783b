"""One call's life: decide, pick a target, send, relay, and end in exactly one outcome with one record.

Callbacks only: the listener's connection calls in when the caller's bytes come, the upstream's connection when the
answer's do, the wheel when a deadline has passed. A call whose steps answer at once costs no task and no future; only a
step that must wait is parked in one. Whatever happens, ``_finish`` runs once: it frees the concurrency place, writes the
record and lets the next request of the connection go on. The common path (``begin``, ``_dispatch``, ``_send``,
``answer_whole``, ``_finish``) is written for few calls and few stores; benchmarks/micro_exchange.py times it.
"""

import asyncio
import logging
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final

from faregate.gateway.body import CAPTURE_BYTES_MAX, RequestBody
from faregate.gateway.http1.answers import CONTINUE, date_line, refusal_answer
from faregate.gateway.http1.chunked import encode_chunk, encode_last
from faregate.gateway.outbound import address_behind, continued_trace, hash_key, request_head
from faregate.gateway.phases import CONNECTING, DECIDING, DONE, RELAYING, SENDING, WAITING
from faregate.gateway.wheel import NEVER
from faregate.kernel.ids import accepts_request_id
from faregate.kernel.problems import Outcome, Refusal
from faregate.snapshot.call import Call, ReadyRoute, Step

if TYPE_CHECKING:
    from faregate.gateway.assembly import ReadyUpstream, Runtime
    from faregate.gateway.balance import TargetState
    from faregate.gateway.http1.request import Fields
    from faregate.gateway.http1.response import ResponseHead
    from faregate.gateway.listener import ClientConnection
    from faregate.gateway.plane import Plane
    from faregate.gateway.upstream import UpstreamConnection

_log = logging.getLogger("faregate.gateway")

SKIPPED_BYTES_MAX: Final = 64 << 10
"""How much of a refused call's body is read and dropped so that the connection may go on."""
STALLED_READER_S: Final = 30.0
"""How long a caller may take no byte of its answer (http-rules.md section 3)."""
_FAILURE_STATUS: Final = frozenset({502, 503, 504})
"""Answers that count against a target's health, besides lost connections and timeouts."""
_READS: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_NO_LENGTH: Final = frozenset({204, 304})
# Enum members cost a look-up in a descriptor each time; these are read once per call.
_ANSWERED: Final = Outcome.ANSWERED.value
_CLIENT_GONE: Final = Outcome.CLIENT_GONE.value
_UNKNOWN: Final = Outcome.UNKNOWN.value


class Exchange:
    """The state of one call between a caller's connection and an upstream's. Never reused.

    ``now``: monotonic seconds of the event being handled. ``traceparent``: the field's value as sent upstream. What most calls
    never set stands at its class default.
    """

    body: RequestBody | None = None
    fields: "Fields"
    minor: bytes
    phase: int = DECIDING
    target: bytes
    traceparent: bytes
    upstream: "ReadyUpstream"
    _chunked_answer: bool = False
    _head_sent: bool = False
    _keep_alive: bool = False
    _sent_at: float
    _task: asyncio.Task[None] | None = None
    _total_deadline: float
    _tried: "tuple[TargetState, ...]" = ()
    _upstream_connection: "UpstreamConnection | None" = None
    _upstream_state: "TargetState | None" = None

    def __init__(self, client: "ClientConnection", plane: "Plane", now: float) -> None:
        self.client = client
        self.plane = plane
        self.now = now
        self.runtime = runtime = plane.runtime
        self.call = call = Call(now, now + plane.wall_offset)
        call.revision = runtime.revision
        plane.in_flight += 1

    # the request

    def begin(self, method: bytes, target: bytes, path: bytes, minor: bytes, fields: "Fields") -> None:
        """Starts with a parsed head; ``path`` is normalised. A body, if any, comes by ``begin_with_body``."""
        route = self._route(method, target, path, minor, fields)
        if route is None:
            return
        call = self.call
        for step in route.steps:
            verdict = step(call)
            if verdict is not None:
                self._not_passed(verdict, route, step)
                return
        self._go(route)

    def begin_with_body(self, method: bytes, target: bytes, path: bytes, minor: bytes, fields: "Fields", rest: bytes) -> bytes:  # noqa: PLR0913 - a head's parts
        """The same for a request with a body, which may begin in ``rest``; returns what belongs to the next request."""
        route = self._route(method, target, path, minor, fields, rest)
        if route is None:
            return rest
        if fields.content_length > route.body_bytes:
            self._announce_unread(rest)
            self.refuse(Refusal("body_too_large", reason="content_length"))
            return rest
        rest = self._start_body(fields, route, rest)
        if self.phase == DONE:
            return rest
        call = self.call
        for step in route.steps:
            verdict = step(call)
            if verdict is not None:
                self._not_passed(verdict, route, step)
                return rest
        self._go(route)
        return rest

    def _route(self, method: bytes, target: bytes, path: bytes, minor: bytes, fields: "Fields", rest: bytes = b"") -> ReadyRoute | None:  # noqa: PLR0913 - a head's parts
        """Takes the head's facts and finds the route; None when the call was refused for want of one."""
        self.fields = fields
        self.target = target
        self.minor = minor
        call = self.call
        client = self.client
        ids = self.plane.ids
        call.method = method
        call.path = path.decode("ascii")
        call.authorization = fields.authorization
        if fields.api_key is not None:
            call.api_key = fields.api_key
        own_id = fields.request_id
        call.request_id = own_id if own_id is not None and accepts_request_id(own_id) else ids.request_id(call.wall)
        if fields.traceparent is None:
            made = ids.trace_and_span()
            call.trace_id = made[:32]
            self.traceparent = b"00-%b-%b-01" % (made[:32], made[32:])
        else:
            call.trace_id, self.traceparent = continued_trace(fields.traceparent, ids)
        call.client_ip = client.peer_ip
        if client.trusted:
            call.client_ip = address_behind(fields.forwarded_for, client.peer_ip, self.runtime.trusted)
        if minor == b"1" and not fields.close:
            self._keep_alive = True
        endpoint = self.runtime.router.find(path)
        if endpoint is None:
            self._announce_unread(rest)
            self.refuse(Refusal("no_route", reason="no_route"))
            return None
        call.route = route = endpoint.methods.get(method)
        if route is None:
            self._announce_unread(rest)
            self.refuse(Refusal("method_not_allowed", reason="method_not_allowed", headers=b"Allow: %b\r\n" % endpoint.allow))
        return route

    @property
    def wants_body(self) -> bool:
        """Whether bytes from the caller still belong to this request."""
        return self.body is not None and self.body.left != 0

    def request_data(self, data: bytes, now: float) -> bytes:
        """More of the body; returns what belongs to the next request."""
        self.now = now
        body = self.body
        if body is None:
            return data
        try:
            send, rest = body.feed(data)
        except Refusal as refusal:
            body.left = 0
            self.abandon(refusal)
            return b""
        connection = self._upstream_connection
        if send and connection is not None and connection.transport is not None:
            connection.transport.write(send)
        if body.left == 0 and self.phase == SENDING:
            self._request_complete(now)
        return rest

    def request_cut(self) -> None:
        """The caller ended its side inside the body (F25): never treated as complete."""
        self._keep_alive = False
        self.abandon(Refusal("malformed_request", reason="body_cut"))

    @property
    def request_written(self) -> bool:
        """Whether the whole request has been handed to the upstream's transport."""
        return self.phase >= WAITING and not self.wants_body

    def _start_body(self, fields: "Fields", route: ReadyRoute, rest: bytes) -> bytes:
        """Takes the part of the body that came with the head; the rest streams in later."""
        limits = self.runtime.limits
        self.body = RequestBody(fields, route.body_bytes, (limits.header_bytes, limits.headers),
                                capture=bool(route.data.log_request_body), now=self.now)
        if self.minor == b"0":
            self.body.expect = False  # RFC 9110 section 10.1.1
        if rest:
            rest = self.request_data(rest, self.now)
        if self.body.left:
            self.client.arm(self.now + limits.body_timeout, self.now)
        return rest

    # deciding

    def _not_passed(self, verdict: "Refusal | Awaitable[Refusal | None]", route: ReadyRoute, step: Step) -> None:
        """A step refused, or must wait."""
        if isinstance(verdict, Refusal):
            self.refuse(verdict)
            return
        self.client.pause_reading()
        self.client.arm(NEVER, self.now)  # the step bounds its own wait
        following = route.steps[route.steps.index(step) + 1:]
        self._task = self.plane.loop.create_task(self._parked(verdict, route, following))

    async def _parked(self, verdict: Awaitable[Refusal | None], route: ReadyRoute, following: tuple[Step, ...]) -> None:
        """Waits for one step and goes on with those that follow."""
        try:
            refusal = await verdict
            self._task = None
            if self.phase == DONE:
                return
            call = self.call
            self.now = now = self.plane.monotonic()
            call.waited += now - call.now
            call.wall += now - call.now  # the steps that follow judge by the time it is now
            call.now = now
            self.client.resume_reading()
            if self.wants_body:
                self.client.arm(now + self.runtime.limits.body_timeout, now)
            if refusal is not None:
                self.refuse(refusal)
                return
            for step in following:
                again = step(call)
                if again is not None:
                    self._not_passed(again, route, step)
                    return
            self._go(route)
        except Exception as error:  # noqa: BLE001 - one call's failure ends that call only
            self.internal_error(error)

    # sending

    def _go(self, route: ReadyRoute) -> None:
        """Every step has passed: the call may be sent."""
        self.upstream = upstream = route.upstream
        self._total_deadline = self.now + upstream.total_timeout
        self.call.upstream = upstream.name
        body = self.body
        if body is not None and body.expect and body.left:
            body.expect = False
            self.client.write(CONTINUE)
        if upstream.hash_on:
            self._dispatch(upstream)
            return
        target = upstream.balancer.pick(self.now, b"", ())
        if target is not None:
            connection = target.pool.take(self.now)
            if connection is not None:  # the common case: a connection is at hand
                call = self.call
                self._upstream_state = target
                call.target_name = target.name
                call.attempts = 1
                self._send(connection)
                return
            upstream.balancer.released(target)
        self._dispatch(upstream)

    def _dispatch(self, upstream: "ReadyUpstream") -> None:
        """Lends an idle connection of a picked target, or opens one; a target without room is passed over."""
        call = self.call
        now = self.now
        key = hash_key(upstream.hash_on, call, self.fields) if upstream.hash_on else b""
        full = False
        while True:
            target = upstream.balancer.pick(now, key, self._tried)
            if target is None:
                self._no_target(full=full)
                return
            pool = target.pool
            connection = pool.take(now)
            if connection is not None or pool.can_open():
                break
            upstream.balancer.released(target)
            full = True
            self._tried = (*self._tried, target)
        self._upstream_state = target
        call.target_name = target.name
        call.attempts += 1
        if connection is not None:
            self._send(connection)
            return
        self.phase = CONNECTING
        if self.wants_body:
            self.client.pause_reading()
        self.client.arm(NEVER, now)  # the pool bounds the wait by connect_timeout
        pool.open(self)

    def _no_target(self, *, full: bool) -> None:
        if full:
            self.refuse(Refusal("overloaded", reason="upstream_connections"))
        elif self._tried:
            self.refuse(Refusal("upstream_unreachable", reason=self.call.reason or "connect_failed"))
        else:
            self.refuse(Refusal("no_healthy_target", reason="no_healthy_target"))

    def connected(self, connection: "UpstreamConnection", now: float) -> None:
        """The pool opened what we asked for."""
        self.now = now
        if self.phase == DONE:
            connection.pool.give_back(connection, now)
            return
        try:
            self._send(connection)
        except Exception as error:  # noqa: BLE001 - one call's failure ends that call only
            self.internal_error(error)

    def connect_failed(self, reason: str, now: float) -> None:
        """Nothing was sent: another target may be tried (W14)."""
        self.now = now
        target = self._upstream_state
        self._upstream_state = None
        if self.phase == DONE or target is None:
            return
        upstream = self.upstream
        upstream.balancer.connect_failed(target, now)
        self._tried = (*self._tried, target)
        self.call.reason = reason
        if self.call.attempts > upstream.data.attempts or now >= self._total_deadline:
            self.refuse(Refusal("upstream_unreachable", reason=reason))
            return
        try:
            self._dispatch(upstream)
        except Exception as error:  # noqa: BLE001 - one call's failure ends that call only
            self.internal_error(error)

    def _send(self, connection: "UpstreamConnection") -> None:
        transport = connection.transport
        if transport is None:
            self.connect_failed("closed_before_use", self.now)
            return
        if self.call.reason:
            self.call.reason = ""  # of an earlier target
        self._upstream_connection = connection
        connection.exchange = self
        body = self.body
        data = request_head(self) if body is None else b"".join((request_head(self), *body.release()))
        plane = self.plane
        self._sent_at = self.now = now = plane.monotonic()  # what came before is our own share
        transport.write(data)
        client = self.client
        if body is None or body.left == 0:
            self.phase = WAITING
            client.deadline = deadline = now + self.upstream.first_byte_timeout
        else:
            self.phase = SENDING
            client.resume_reading()
            client.deadline = deadline = body.started_at + self.runtime.limits.body_timeout
        if deadline > self._total_deadline:
            client.deadline = deadline = self._total_deadline
        if deadline < client.wheel_at:
            plane.wheel.watch(client, now)

    def _request_complete(self, now: float) -> None:
        """The last of the body has been handed on."""
        self.phase = WAITING
        self.client.arm(min(now + self.upstream.first_byte_timeout, self._total_deadline), now)

    def client_full(self) -> None:
        if self._upstream_connection is not None:
            self._upstream_connection.pause_reading()

    def client_drained(self, now: float) -> None:
        self.now = now
        if self._upstream_connection is not None:
            self._upstream_connection.resume_reading()
            if self.phase == RELAYING:
                self._arm_relaying()

    def upstream_full(self) -> None:
        self.client.pause_reading()

    def upstream_drained(self) -> None:
        self.client.resume_reading()

    # the answer, as the upstream's connection reads it

    def answer_interim(self, head: "ResponseHead") -> None:
        """A 1xx other than 100 goes on to a 1.1 caller (W10)."""
        if self.minor == b"1":
            self.client.write(head.passed + b"\r\n")

    def answer_whole(self, head: "ResponseHead", body: bytes) -> None:
        """An answer that came in one piece, the common case: one write, and the call ends."""
        self._upstream_connection = None
        call = self.call
        plane = self.plane
        client = self.client
        route: ReadyRoute = call.route  # type: ignore[assignment] - set before any step ran
        now = self.now
        sent_at = self._sent_at
        status = head.status
        target = self._upstream_state
        if target is not None:
            self._upstream_state = None
            self.upstream.balancer.finished(target, now, now - sent_at, status in _FAILURE_STATUS)
        call.status = status
        call.response_bytes = len(body)
        if route.logs_answer:
            call.response_body = body[:CAPTURE_BYTES_MAX]
            call.response_content_type = head.content_type
        transport = client.transport
        if transport is None:
            outcome = _CLIENT_GONE
        else:
            outcome = _ANSWERED
            if head.common and self._keep_alive and self.body is None and not plane.draining:
                transport.write(b"%b%b%bVia: %b\r\nX-Request-Id: %b\r\n\r\n%b" % (
                    head.passed, call.limit_headers or head.limit_lines, route.answer_headers, plane.via, call.request_id, body))
            else:
                transport.write(self._answer_head(head, b"") + body)
        call.upstream_duration = now - sent_at
        self.now = plane.monotonic()  # what came since the last byte is our own share
        self._finish(outcome)

    def answer_head(self, head: "ResponseHead", *, sized: bool) -> None:
        """The head of an answer whose body follows; ``sized`` by Content-Length, or its end is not known yet."""
        self._first_byte(head)
        framing = b""
        self._chunked_answer = False
        if not sized:
            if self.minor == b"1":
                self._chunked_answer = True
                framing = b"Transfer-Encoding: chunked\r\n"
            else:
                self._keep_alive = False  # no chunks to a 1.0 caller: the body ends with the connection (W11)
        if self.call.route.logs_answer:  # type: ignore[union-attr] - set before any step ran
            self.call.response_body = b""
            self.call.response_content_type = head.content_type
        lines = self._answer_head(head, framing)
        self._head_sent = True
        self.phase = max(self.phase, RELAYING) if not self.wants_body else self.phase
        self.client.write(lines)
        self._arm_relaying()

    def answer_data(self, data: bytes) -> None:
        """One piece of the body, relayed as it comes."""
        call = self.call
        call.response_bytes += len(data)
        captured = call.response_body
        if captured is not None and len(captured) < CAPTURE_BYTES_MAX:
            call.response_body = captured + data[:CAPTURE_BYTES_MAX - len(captured)]
        self.client.write(encode_chunk(data) if self._chunked_answer else data)
        self._arm_relaying()

    def answer_trailers(self, trailers: list[tuple[bytes, bytes]]) -> None:
        """The last chunk, with trailers for a caller who asked for them."""
        if self._chunked_answer:
            self.client.write(encode_last(trailers if self.fields.te_trailers else []))
            self._chunked_answer = False

    def answer_end(self) -> None:
        """The body is complete."""
        self._upstream_connection = None
        if self.phase == DONE:
            return
        if self._chunked_answer:
            self.client.write(encode_last([]))
        self._answered()

    def answer_invalid(self, reason: str) -> None:
        """The upstream's bytes are no valid answer, or its body broke off (W09)."""
        self._upstream_connection = None
        self._failed_upstream(Refusal("upstream_invalid_response", reason=reason))

    def upstream_lost(self, how: str) -> None:
        """The connection ended before the answer did."""
        self.now = self.plane.monotonic()
        self._upstream_connection = None
        self._failed_upstream(Refusal("upstream_invalid_response", reason="upstream_" + how))

    def _arm_relaying(self) -> None:
        patience = STALLED_READER_S if self.client.write_paused else self.upstream.idle_timeout
        self.client.arm(min(self.now + patience, self._total_deadline), self.now)

    def _first_byte(self, head: "ResponseHead") -> None:
        status = head.status
        self.call.status = status
        target = self._upstream_state
        if target is not None:
            self._upstream_state = None
            now = self.now
            self.upstream.balancer.finished(target, now, now - self._sent_at, status in _FAILURE_STATUS)

    def _answer_head(self, head: "ResponseHead", framing: bytes) -> bytes:
        """The head as the caller gets it, the empty line included; settles whether the connection goes on."""
        call = self.call
        plane = self.plane
        end = b"\r\n\r\n"
        if not self._keep_alive or plane.draining or self.wants_body:
            self._keep_alive = False
            end = b"\r\nConnection: close\r\n\r\n"
        if not head.dated:
            framing += date_line(call.wall + (self.now - call.now))  # RFC 9110 section 6.6.1
        via = b"%b, %b" % (head.via, plane.via) if head.via else plane.via
        return b"%b%b%b%bVia: %b\r\nX-Request-Id: %b%b" % (
            head.passed, framing, call.limit_headers or head.limit_lines,
            call.route.answer_headers,  # type: ignore[union-attr] - set before any step ran
            via, call.request_id, end)

    def _answered(self) -> None:
        now = self.now
        self.call.upstream_duration = now - self._sent_at
        self.now = self.plane.monotonic()  # what came since the last byte is our own share
        self._finish(_CLIENT_GONE if self.client.lost else _ANSWERED)

    # ends that are not answers

    def deadline_passed(self, now: float) -> None:
        """The wheel says that the armed time is over."""
        self.now = now
        if self._head_sent:
            self._failed_upstream(Refusal("upstream_timeout", reason="stalled_reader" if self.client.write_paused else "idle_timeout"))
        elif self.phase == WAITING or (self.phase == SENDING and now >= self._total_deadline):
            late = now >= self._total_deadline
            self._failed_upstream(Refusal("upstream_timeout", reason="total_timeout" if late else "first_byte_timeout"))
        elif self.wants_body and self.phase in {DECIDING, SENDING}:
            self.abandon(Refusal("malformed_request", reason="body_timeout"))

    def client_lost(self) -> None:
        """The caller's connection is gone. What was sent goes on to its own verdict unless it was only a read (W08)."""
        if self.phase == DONE:
            return
        self.now = self.plane.monotonic()
        if self.phase < SENDING or self.wants_body or self.call.method in _READS:
            self._drop_upstream()
            self._finish(_CLIENT_GONE)
        elif self._upstream_connection is not None:
            self._upstream_connection.resume_reading()

    def abandon(self, refusal: Refusal) -> None:
        """Gives the call up because of the caller: the upstream's request is cut, never completed."""
        self._drop_upstream()
        refusal.close = True
        self.refuse(refusal)

    def internal_error(self, error: Exception) -> None:
        """Our own fault: counted, logged once with its trace, told without it."""
        _log.error("internal error in call %s", self.call.request_id.decode("ascii", "replace"), exc_info=error)
        if self.phase == DONE:
            return
        sent = self.phase >= SENDING
        self._drop_upstream()
        self.refuse(Refusal("internal_error", reason=type(error).__name__), outcome=_UNKNOWN if sent else "")

    def _failed_upstream(self, refusal: Refusal) -> None:
        """The upstream failed after something was sent: 502 or 504, or a visible break when the head is out (W11)."""
        target = self._upstream_state
        if target is not None:
            self._upstream_state = None
            self.upstream.balancer.finished(target, self.now, self.now - self._sent_at, True)  # noqa: FBT003 - its contract
        self._drop_upstream()
        self.call.upstream_duration = self.now - self._sent_at
        if self.wants_body:
            refusal.close = True
        self.refuse(refusal)

    def _drop_upstream(self) -> None:
        connection = self._upstream_connection
        self._upstream_connection = None
        if connection is not None:
            connection.abort()
        target = self._upstream_state
        if target is not None:
            self._upstream_state = None
            self.upstream.balancer.released(target)

    def refuse(self, refusal: Refusal, *, outcome: str = "") -> None:
        """Answers in the upstream's place; if an answer is already on its way, breaks it off so that it shows."""
        call = self.call
        if self.phase == DONE:
            return
        self.now = self.plane.monotonic()
        call.refusal = refusal.code
        call.reason = refusal.reason
        call.parameter = refusal.parameter
        if self._head_sent:
            lost = self.client.lost
            self.client.break_off()
            self._finish(_CLIENT_GONE if lost else _UNKNOWN)
            return
        call.status = refusal.problem.status
        body = self.body
        left = 0 if body is None else body.left
        waits = body is not None and body.expect and left != 0  # it may never send what it announced
        self._keep_alive = (self._keep_alive and not (refusal.close or waits or self.plane.draining)
                            and 0 <= left <= SKIPPED_BYTES_MAX)
        extra = call.limit_headers + call.route.answer_headers if call.route is not None else b""
        answer = refusal_answer(refusal, call.request_id, call.wall + (self.now - call.now), close=not self._keep_alive,
                                head_only=call.method == b"HEAD", extra=extra)
        call.response_bytes = len(answer) - answer.find(b"\r\n\r\n") - 4
        self.client.write(answer)
        self._finish(outcome or refusal.problem.outcome.value)

    def refuse_head(self, refusal: Refusal, peer_ip: str) -> None:
        """The head was refused: nothing of it is known but where it came from."""
        call = self.call
        call.client_ip = peer_ip
        call.request_id = self.plane.ids.request_id(call.wall)
        refusal.close = True
        self.refuse(refusal)

    def _announce_unread(self, rest: bytes) -> None:
        """The call is about to be refused before its body was looked at: what comes of it, ``rest`` first, is to be skipped."""
        fields = self.fields
        if fields.framed:
            self.body = RequestBody(fields, 0, (0, 0), capture=False, now=self.now)
            self.body.drop()
            if rest:
                self.body.expect = False

    def _finish(self, outcome: str) -> None:
        call = self.call
        plane = self.plane
        self.phase = DONE
        plane.in_flight -= 1
        if self._task is not None:
            self._task.cancel()
            self._task = None
        release = call.release
        if release is not None:
            release()
        now = self.now
        call.outcome = outcome
        call.duration = now - call.now + call.waited
        body = self.body
        left = 0
        if body is not None:
            left = body.left if body.left > 0 else 0
            call.request_bytes = body.received_bytes
            if body.captured is not None:
                call.request_body = bytes(body.captured)
                call.request_content_type = self.fields.content_type
        plane.record(call)
        self.client.exchange_done(self._keep_alive, left, now)
