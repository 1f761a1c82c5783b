"""One call's life: decide, pick a target, send, relay, and end in exactly one outcome with one record.

Callbacks only: the listener's connection calls in when the caller's bytes come, the upstream's connection when the
answer's do, the wheel when a deadline has passed. A call whose steps answer at once costs no task and no future; only a
step that must wait is parked in one. Whatever happens, ``_finish`` runs once: it frees the concurrency place, tells the
balancer, writes the record and lets the next request of the connection go on.
"""

import asyncio
import logging
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final

from faregate.gateway.http1.answers import CONTINUE, refusal_answer
from faregate.gateway.http1.chunked import ChunkDecoder, ChunkError, encode_chunk, encode_last
from faregate.gateway.wheel import NEVER
from faregate.gateway.outbound import address_behind, hash_key, request_head
from faregate.kernel.ids import accepts_request_id, parse_traceparent
from faregate.kernel.problems import Outcome, Refusal
from faregate.snapshot.call import Call, ReadyRoute

if TYPE_CHECKING:
    from faregate.gateway.assembly import Runtime
    from faregate.gateway.balancer import TargetState
    from faregate.gateway.http1.request import RequestHead
    from faregate.gateway.http1.response import ResponseHead
    from faregate.gateway.listener import ClientConnection
    from faregate.gateway.plane import Plane
    from faregate.gateway.upstream import UpstreamConnection

_log = logging.getLogger("faregate.gateway")

DECIDING, CONNECTING, SENDING, WAITING, RELAYING, DONE = range(6)
CAPTURE_BYTES_MAX: Final = (64 << 10) + 1
"""Of each body for the log; one byte over the masker's cap, so that it can tell a longer one."""
SKIPPED_BYTES_MAX: Final = 64 << 10
"""How much of a refused call's body is read and dropped so that the connection may go on."""
STALLED_READER_S: Final = 30.0
"""How long a caller may take no byte of its answer (http-rules.md section 3)."""
_FAILURE_STATUS: Final = frozenset({502, 503, 504})
"""Answers that count against a target's health, besides lost connections and timeouts."""


class Exchange:
    """The state of one call between a caller's connection and an upstream's. Never reused."""

    __slots__ = ("_body_left", "_chunked_answer", "_decoder", "_expect", "_head_sent", "_keep_alive", "_pending",
                 "_sent_at", "_task", "_total_deadline", "_tried", "_upstream_connection", "_upstream_state", "call", "client", "head",
                 "head_only", "now", "phase", "plane", "request_written", "runtime", "trace_flags")

    def __init__(self, client: "ClientConnection", plane: "Plane", runtime: "Runtime", call: Call) -> None:
        self.client = client
        self.plane = plane
        self.runtime = runtime
        self.call = call
        self.now = call.now
        self.phase = DECIDING
        self.head_only = False
        self.request_written = False
        self._body_left = 0
        self._expect = False
        self._head_sent = False
        self._keep_alive = False
        self._chunked_answer = False
        self._upstream_connection: UpstreamConnection | None = None
        self._upstream_state: TargetState | None = None
        self._task: asyncio.Task[None] | None = None
        self._pending: list[bytes] | None = None
        self._decoder: ChunkDecoder | None = None
        self._tried: tuple[TargetState, ...] = ()
        self._sent_at = 0.0
        self._total_deadline = 0.0
        plane.in_flight += 1

    # the request

    def begin(self, head: "RequestHead", rest: bytes) -> bytes:
        """Starts with a parsed head and the bytes behind it; returns those that belong to the next request."""
        self.head = head
        call = self.call
        call.method = method = head.method
        call.target = head.target
        call.path = head.path.decode("ascii")
        self._name(head)
        call.authorization = head.authorization
        call.api_key = head.api_key
        call.headers = head.lines
        call.request_content_type = head.content_type
        self._keep_alive = head.keep_alive
        self.head_only = method == b"HEAD"
        endpoint = self.runtime.router.find(head.path)
        if endpoint is None:
            return self._refuse_early(Refusal("no_route", reason="no_route"), rest)
        route = endpoint.methods.get(method)
        if route is None:
            return self._refuse_early(Refusal("method_not_allowed", reason="method_not_allowed",
                                              headers=b"Allow: %b\r\n" % endpoint.allow), rest)
        call.route = route
        if head.body:
            if head.content_length > route.data.body_bytes:
                return self._refuse_early(Refusal("body_too_large", reason="content_length"), rest)
            rest = self._start_body(head, rest)
        self._decide(route, 0)
        return rest

    def refuse_head(self, refusal: Refusal, peer_ip: str) -> None:
        """The head was refused: nothing of it is known but where it came from."""
        call = self.call
        call.client_ip = peer_ip
        call.request_id = self.plane.ids.request_id(call.wall)
        refusal.close = True
        self.refuse(refusal)

    def _name(self, head: "RequestHead") -> None:
        """The call's ids and its caller's address; every refusal from here on can be found by them."""
        call = self.call
        ids = self.plane.ids
        request_id = head.request_id
        call.request_id = request_id if request_id and accepts_request_id(request_id) else ids.request_id(call.wall)
        context = parse_traceparent(head.traceparent) if head.traceparent else None
        if context is None:
            call.trace_id = ids.trace_id()
            self.trace_flags = b"01"
            if head.traceparent is not None:  # a broken one takes its state with it (W3C Trace Context section 4.3)
                head.lines = [line for line in head.lines if not line.lower().startswith(b"tracestate:")]
        else:
            call.trace_id, self.trace_flags = context
        if self.client.trusted:
            call.client_ip = address_behind(head.forwarded_for, self.client.peer_ip, self.runtime.trusted)
        else:
            call.client_ip = self.client.peer_ip

    def _start_body(self, head: "RequestHead", rest: bytes) -> bytes:
        """Takes the part of the body that came with the head; the rest streams in later."""
        self._pending = []
        if head.chunked:
            self._body_left = -1
            limits = self.runtime.limits
            self._decoder = ChunkDecoder(trailer_bytes_max=limits.header_bytes, trailers_max=limits.headers)
        else:
            self._body_left = head.content_length
        self._expect = head.expect and not rest
        self.client.arm(self.now + self.runtime.limits.body_timeout, self.now)
        return self._take_body(rest) if rest else b""

    @property
    def wants_body(self) -> bool:
        """Whether bytes from the caller still belong to this request."""
        return self._body_left != 0

    def request_data(self, data: bytes, now: float) -> bytes:
        """More of the body; returns what belongs to the next request."""
        self.now = now
        rest = self._take_body(data)
        if self._body_left == 0 and self.phase == SENDING:
            self._request_complete()
        return rest

    def _take_body(self, data: bytes) -> bytes:
        call = self.call
        left = self._body_left
        if left > 0:
            rest = b""
            if len(data) > left:
                data, rest = data[:left], data[left:]
            self._body_left = left - len(data)
            call.request_bytes += len(data)
            self._forward(data)
            return rest
        decoder = self._decoder
        if decoder is None:
            return data
        try:
            pieces = decoder.feed(data)
        except ChunkError as error:
            self._body_left = 0
            self.abandon(Refusal("malformed_request", reason=str(error)))
            return b""
        for piece in pieces:
            call.request_bytes += len(piece)
            if call.request_bytes > self._body_bytes_max():
                self._body_left = 0
                self.abandon(Refusal("body_too_large", reason="chunked_body"))
                return b""
            self._forward(piece)
        if not decoder.done:
            return b""
        self._body_left = 0
        if self._upstream_connection is not None and self._upstream_connection.transport is not None:
            self._upstream_connection.transport.write(encode_last([]))
        return decoder.rest

    def _body_bytes_max(self) -> int:
        route = self.call.route
        return self.runtime.limits.body_bytes if route is None else route.data.body_bytes

    def _forward(self, data: bytes) -> None:
        """One piece of body to the upstream, or kept until there is a connection (reading is paused meanwhile)."""
        call = self.call
        route = call.route
        if route is not None and route.data.log_request_body:
            captured = call.request_body or b""
            if len(captured) < CAPTURE_BYTES_MAX:
                call.request_body = captured + data[:CAPTURE_BYTES_MAX - len(captured)]
        connection = self._upstream_connection
        if connection is None:
            if self._pending is not None and self.phase < SENDING:
                self._pending.append(data)
            return
        if connection.transport is not None:
            connection.transport.write(encode_chunk(data) if self._decoder is not None else data)

    def request_cut(self) -> None:
        """The caller ended its side inside the body (F25): never treated as complete."""
        self._body_left = 0
        self._keep_alive = False
        self.abandon(Refusal("malformed_request", reason="body_cut"))

    # deciding

    def _decide(self, route: ReadyRoute, first: int) -> None:
        call = self.call
        steps = route.steps
        for index in range(first, len(steps)):
            verdict = steps[index](call)
            if verdict is None:
                continue
            if isinstance(verdict, Refusal):
                self.refuse(verdict)
                return
            self.client.pause_reading()
            self.client.arm(NEVER, self.now)  # the step bounds its own wait
            self._task = self.plane.loop.create_task(self._parked(verdict, route, index + 1))
            return
        self._send_or_refuse(route)

    async def _parked(self, verdict: Awaitable[Refusal | None], route: ReadyRoute, following: int) -> None:
        """Waits for one step and goes on with the next."""
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
            if refusal is not None:
                self.refuse(refusal)
            else:
                self._decide(route, following)
        except Exception as error:  # noqa: BLE001 - one call's failure ends that call only
            self.internal_error(error)

    def _send_or_refuse(self, route: ReadyRoute) -> None:
        upstream = route.upstream
        self._total_deadline = self.now + upstream.data.total_timeout
        self.call.upstream = upstream.data.name
        if self._body_left and self._expect:
            self._expect = False
            self.client.write(CONTINUE)
        self._dispatch()

    # sending

    def _dispatch(self) -> None:
        """Lends an idle connection of a picked target, or opens one; tries each target that has no room once."""
        call = self.call
        upstream = call.route.upstream  # type: ignore[union-attr] - set before any step ran
        balancer = upstream.balancer
        key = hash_key(upstream.data.hash_on, call) if upstream.data.hash_on else b""
        full = False
        while True:
            target = balancer.pick(self.now, key, self._tried)
            if target is None:
                self._no_target(full=full)
                return
            pool = target.pool
            connection = pool.take(self.now)
            if connection is not None or pool.can_open():
                break
            balancer.released(target)
            full = True
            self._tried = (*self._tried, target)
        self._upstream_state = target
        call.target_name = target.name
        call.attempts += 1
        if connection is not None:
            self._send(connection)
            return
        self.phase = CONNECTING
        if self._body_left:
            self.client.pause_reading()
        self.client.arm(NEVER, self.now)  # the pool bounds the wait by connect_timeout
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
        upstream = self.call.route.upstream  # type: ignore[union-attr] - set before any step ran
        upstream.balancer.connect_failed(target, now)
        self._tried = (*self._tried, target)
        self.call.reason = reason
        if self.call.attempts > upstream.data.attempts or now >= self._total_deadline:
            self.refuse(Refusal("upstream_unreachable", reason=reason))
            return
        try:
            self._dispatch()
        except Exception as error:  # noqa: BLE001 - one call's failure ends that call only
            self.internal_error(error)

    def _send(self, connection: "UpstreamConnection") -> None:
        transport = connection.transport
        if transport is None:
            self.connect_failed("closed_before_use", self.now)
            return
        self.call.reason = ""
        self._upstream_connection = connection
        connection.lend(self)
        self._sent_at = now = self.now
        parts = request_head(self.head, self.call, self.client, self.plane, self.trace_flags)
        if self._pending is not None:
            if self._decoder is not None:
                parts.extend(encode_chunk(piece) for piece in self._pending)
                if self._body_left == 0:
                    parts.append(encode_last([]))
            else:
                parts.extend(self._pending)
            self._pending = None
        transport.write(b"".join(parts))
        if self._body_left == 0:
            self._request_complete()
            return
        self.phase = SENDING
        self.client.resume_reading()
        self.client.arm(min(self.call.now + self.runtime.limits.body_timeout, self._total_deadline), now)

    def _request_complete(self) -> None:
        self.request_written = True
        self.phase = WAITING
        upstream = self.call.route.upstream.data  # type: ignore[union-attr] - set before any step ran
        self.client.arm(min(self.now + upstream.first_byte_timeout, self._total_deadline), self.now)

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
        if self.head.minor == b"1":
            self.client.write(b"".join((*head.lines, b"\r\n")))

    def answer_whole(self, head: "ResponseHead", body: bytes, *, surplus: bool) -> None:
        """An answer that came in one piece, the common case: one write."""
        self._upstream_connection = None
        self._first_byte(head)
        call = self.call
        call.response_bytes = len(body)
        if surplus:
            call.reason = "surplus_after_answer"
        if body:
            self._capture_answer(body)
        if head.content_length >= 0 and head.status != 204:
            head.lines.append(b"Content-Length: %d\r\n" % head.content_length)
        elif not self.head_only and head.status not in {204, 304}:
            head.lines.append(b"Content-Length: 0\r\n")
        parts = self._answer_head(head)
        if body:
            parts.append(body)
        self.client.write(b"".join(parts))
        self._answered()

    def answer_head(self, head: "ResponseHead", length: int) -> None:
        """The head of an answer whose body follows; ``length`` -1 when its end is not known yet."""
        self._first_byte(head)
        if length >= 0:
            head.lines.append(b"Content-Length: %d\r\n" % length)
        elif self.head.minor == b"1":
            self._chunked_answer = True
            head.lines.append(b"Transfer-Encoding: chunked\r\n")
        else:
            self._keep_alive = False  # no chunks to a 1.0 caller: the body ends with the connection (W11)
        self._head_sent = True
        self.phase = RELAYING
        self.client.write(b"".join(self._answer_head(head)))
        self._arm_relaying()

    def answer_data(self, data: bytes) -> None:
        """One piece of the body, relayed as it comes."""
        self.call.response_bytes += len(data)
        self._capture_answer(data)
        self.client.write(encode_chunk(data) if self._chunked_answer else data)
        self._arm_relaying()

    def answer_trailers(self, trailers: list[tuple[bytes, bytes]]) -> None:
        """The last chunk, with trailers for a caller who asked for them."""
        if self._chunked_answer:
            self.client.write(encode_last(trailers if self.head.te_trailers else []))
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
        upstream = self.call.route.upstream.data  # type: ignore[union-attr] - set before any step ran
        patience = STALLED_READER_S if self.client.write_paused else upstream.idle_timeout
        self.client.arm(min(self.now + patience, self._total_deadline), self.now)

    def _first_byte(self, head: "ResponseHead") -> None:
        call = self.call
        call.status = head.status
        call.response_content_type = head.content_type
        self._told_balancer(failed=head.status in _FAILURE_STATUS)

    def _told_balancer(self, *, failed: bool) -> None:
        target = self._upstream_state
        if target is not None:
            self._upstream_state = None
            self.call.route.upstream.balancer.finished(target, self.now, self.now - self._sent_at, failed)  # type: ignore[union-attr]

    def _answer_head(self, head: "ResponseHead") -> list[bytes]:
        call = self.call
        route = call.route
        keep = self._keep_alive and self._body_left == 0 and not self.plane.draining
        self._keep_alive = keep
        return [
            *head.lines,
            call.limit_headers or head.limit_lines,
            route.answer_headers,  # type: ignore[union-attr] - set before any step ran
            b"Via: %b, " % head.via if head.via else b"Via: ",
            b"%b\r\nX-Request-Id: %b\r\n" % (self.plane.via, call.request_id),
            b"\r\n" if keep else b"Connection: close\r\n\r\n",
        ]

    def _capture_answer(self, data: bytes) -> None:
        call = self.call
        if call.route is not None and call.route.data.log_response_body:
            captured = call.response_body or b""
            if len(captured) < CAPTURE_BYTES_MAX:
                call.response_body = captured + data[:CAPTURE_BYTES_MAX - len(captured)]

    def _answered(self) -> None:
        call = self.call
        call.upstream_duration = self.now - self._sent_at
        self._finish(Outcome.CLIENT_GONE if self.client.lost else Outcome.ANSWERED)

    # ends that are not answers

    def deadline_passed(self, now: float) -> None:
        """The wheel says that the armed time is over."""
        self.now = now
        if self.phase == SENDING and self._body_left and now < self._total_deadline:
            self.abandon(Refusal("malformed_request", reason="body_timeout"))
        elif self.phase in {SENDING, WAITING}:
            self._failed_upstream(Refusal("upstream_timeout", reason="first_byte_timeout" if now < self._total_deadline else "total_timeout"))
        elif self.phase == RELAYING:
            self._failed_upstream(Refusal("upstream_timeout", reason="stalled_reader" if self.client.write_paused else "idle_timeout"))
        elif self._body_left:
            self.abandon(Refusal("malformed_request", reason="body_timeout"))

    def client_lost(self) -> None:
        """The caller's connection is gone. What was sent goes on to its own verdict unless it was only a read (W08)."""
        if self.phase == DONE:
            return
        self.now = self.plane.monotonic()
        if self._body_left or self.phase < SENDING or self.head.method in {b"GET", b"HEAD", b"OPTIONS"}:
            self._body_left = 0
            self._drop_upstream()
            self._finish(Outcome.CLIENT_GONE)
            return
        if self._upstream_connection is not None:
            self._upstream_connection.resume_reading()

    def abandon(self, refusal: Refusal) -> None:
        """Gives the call up because of the caller: the upstream's request is cut, never completed."""
        self._drop_upstream()
        refusal.close = True
        self.refuse(refusal)

    def internal_error(self, error: Exception) -> None:
        """Our own fault: counted, logged once with its trace, told without it."""
        if self.phase == DONE:
            _log.error("error after the end of call %s", self.call.request_id.decode("ascii", "replace"), exc_info=error)
            return
        _log.error("internal error in call %s", self.call.request_id.decode("ascii", "replace"), exc_info=error)
        sent = self.phase >= SENDING
        self._drop_upstream()
        self.refuse(Refusal("internal_error", reason=type(error).__name__), outcome=Outcome.UNKNOWN if sent else None)

    def _failed_upstream(self, refusal: Refusal) -> None:
        """The upstream failed after something was sent: 502 or 504, or a visible break when the head is out (W11)."""
        self._told_balancer(failed=True)
        self._drop_upstream()
        self.call.upstream_duration = self.now - self._sent_at
        if self._body_left:
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
            self.call.route.upstream.balancer.released(target)  # type: ignore[union-attr] - picked by it

    def refuse(self, refusal: Refusal, *, outcome: Outcome | None = None) -> None:
        """Answers in the upstream's place; if an answer is already on its way, breaks it off so that it shows."""
        call = self.call
        if self.phase == DONE:
            return
        call.refusal = refusal.code
        call.reason = refusal.reason
        call.parameter = refusal.parameter
        if self._head_sent:
            self.client.break_off()
            self._finish(Outcome.CLIENT_GONE if self.client.lost else Outcome.UNKNOWN)
            return
        call.status = refusal.problem.status
        keep = self._keep_alive and not (refusal.close or self.plane.draining or self._expect) and 0 <= self._body_left <= SKIPPED_BYTES_MAX
        self._keep_alive = keep
        extra = call.limit_headers + call.route.answer_headers if call.route is not None else b""
        answer = refusal_answer(refusal, call.request_id, call.wall + (self.now - call.now), close=not keep, head_only=self.head_only, extra=extra)
        call.response_bytes = len(answer) - answer.find(b"\r\n\r\n") - 4
        self.client.write(answer)
        self._finish(outcome or refusal.problem.outcome)

    def _refuse_early(self, refusal: Refusal, rest: bytes) -> bytes:
        """A refusal before the body was looked at: what came of the body is skipped."""
        if self.head.body:
            self._start_body(self.head, b"")
            self._pending = None
            if self._body_left > 0:
                taken = min(self._body_left, len(rest))
                self._body_left -= taken
                rest = rest[taken:]
            else:
                refusal.close = True
                rest = b""
        self.refuse(refusal)
        return rest

    def _finish(self, outcome: Outcome) -> None:
        call = self.call
        plane = self.plane
        self.phase = DONE
        plane.in_flight -= 1
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if call.release is not None:
            call.release()
        call.outcome = outcome.value
        call.duration = self.now - call.now + call.waited
        self._pending = self._decoder = None
        plane.recorder.record(call)
        self.client.exchange_done(keep_alive=self._keep_alive, skip=self._body_left, now=self.now)
