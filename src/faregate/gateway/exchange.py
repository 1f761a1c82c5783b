"""One call's life: decide, pick a target, send, relay, and end in exactly one outcome with one record.

Callbacks only: the listener's connection calls in when the caller's bytes come, the upstream's connection
when the answer's do, the wheel when a deadline has passed. A call whose steps answer at once costs no task
and no future; only a step that must wait is parked in one. Whatever happens, ``_finish`` runs once: it
frees the concurrency place, writes the record and lets the next request of the connection go on. The common
path (``begin``, ``_send_off``, ``_send``, ``answer_whole``, ``_finish``) is written for few calls and few
stores; benchmarks/micro_exchange.py times it.
"""

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from faregate.gateway import upgrading
from faregate.gateway.body import GRACE_S, RequestBody
from faregate.gateway.canary import Diverted
from faregate.gateway.outbound import (
    address_behind,
    continued_trace,
)
from faregate.gateway.phases import COLLECTING, DONE, SENDING, WAITING
from faregate.gateway.versioning import Versioning
from faregate.gateway.wheel import NEVER
from faregate.kernel.ids import accepts_request_id
from faregate.kernel.problems import Refusal
from faregate.snapshot.call import ReadyRoute, Step

if TYPE_CHECKING:
    from faregate.gateway.canary import Canary
    from faregate.gateway.http1.request import Fields, Line


class Exchange(Versioning):
    """One call: what is decided about it. What ``Ending``, ``Answering``, ``Dispatching``, ``Settling``,
    ``Claiming``, ``Checking`` and ``Versioning`` add is the same object.
    """

    def begin(self, line: "Line", fields: "Fields") -> None:
        """Starts with a parsed head. A body, if any, comes by ``begin_with_body``."""
        route = self._route(line, fields)
        if route is None:
            return
        call = self.call
        for step in route.steps:
            verdict = step(call)
            if verdict is not None:
                self._not_passed(verdict, route, step)
                return
        self._go(route)

    def begin_with_body(self, line: "Line", fields: "Fields", rest: bytes) -> bytes:
        """The same for a request with a body, which may begin in ``rest``; returns what belongs to the next
        request.
        """
        route = self._route(line, fields, rest)
        if route is None:
            return rest
        if fields.content_length > route.body_bytes:
            self._announce_unread(rest)
            self.refuse(Refusal("body_too_large", reason="content_length"))
            return rest
        self.body = body = self._new_body(fields, route)
        call = self.call
        for step in route.steps:
            verdict = step(call)
            if verdict is None:
                continue
            if isinstance(verdict, Refusal):
                body.expect = body.expect and not rest
                body.drop()
                self.refuse(verdict)
                return rest  # what is to be skipped of it was counted as not yet come
            rest = self._take_rest(rest)
            if self.phase != DONE:
                self._not_passed(verdict, route, step)
            return rest
        rest = self._take_rest(rest)
        if self.phase != DONE:
            self._go(route)
        return rest

    def _route(  # noqa: C901 - one after another, and no call between
        self, line: "Line", fields: "Fields", rest: bytes = b""
    ) -> ReadyRoute | None:
        """Takes the head's facts and finds the route; None when the call was refused for want of one."""
        self.fields = fields
        method, self.target, path, self.minor = line
        call = self.call
        client = self.client
        ids = self.plane.ids
        call.method = method
        call.path = path.decode("ascii")
        call.authorization = fields.authorization
        if fields.api_key is not None:
            call.api_key = fields.api_key
        own_id = fields.request_id
        call.request_id = (
            own_id if own_id is not None and accepts_request_id(own_id) else ids.request_id(call.wall)
        )
        if fields.traceparent is None:
            made = ids.trace_and_span()
            call.trace_id = made[:32]
            self.traceparent = b"00-%b-%b-01" % (made[:32], made[32:])
        else:
            call.trace_id, self.traceparent = continued_trace(fields.traceparent, ids)
        call.client_ip = client.peer_ip
        if client.trusted and client.vouches(self.runtime.trusted):
            call.client_ip = address_behind(fields.forwarded_for, client.peer_ip, self.runtime.trusted)
        if self.minor != b"0" and not fields.close:
            self._keep_alive = True
        if client.tls and self._is_misdirected(rest):
            return None
        endpoint = self.runtime.router.find(path)
        if endpoint is None:
            self._announce_unread(rest)
            self.refuse(Refusal("no_route", reason="no_route"))
            return None
        call.route = route = endpoint.methods.get(method)
        if route is None:
            return self._choose(endpoint, method, path, rest)
        if self.plane.in_flight > self.plane.calls_least:
            route = self._admitted(route, rest)
            if route is None:
                return None
        if fields.upgrade:
            upgrading.ask(self, route)
        return route

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
        if body.left == 0:
            if self.phase == SENDING:
                self._request_complete(now)
            elif self.phase == COLLECTING:
                self._collected()
        return rest

    def request_cut(self) -> None:
        """The caller ended its side inside the body (F25): never treated as complete."""
        self._keep_alive = False
        self.abandon(Refusal("malformed_request", reason="body_cut"))

    @property
    def request_written(self) -> bool:
        """Whether the whole request has been handed to the upstream's transport."""
        return self.phase >= WAITING and not self.wants_body

    def _new_body(self, fields: "Fields", route: ReadyRoute) -> RequestBody:
        limits = self.runtime.limits
        body = RequestBody(
            fields,
            route.body_bytes,
            (limits.header_bytes, limits.headers),
            capture=bool(route.data.log_request_body),
            now=self.now,
            collects=route.holds,
        )
        if self.minor == b"0":
            body.expect = False  # RFC 9110 section 10.1.1
        return body

    def _take_rest(self, rest: bytes) -> bytes:
        """The part of the body that came with the head; the rest of it streams in later."""
        if rest:
            rest = self.request_data(rest, self.now)
        if self.wants_body:
            self.client.arm(self.now + min(GRACE_S, self.plane.body_timeout), self.now)
        return rest

    # deciding

    def _not_passed(
        self, verdict: "Refusal | Awaitable[Refusal | None]", route: ReadyRoute, step: Step
    ) -> None:
        """A step refused, or must wait."""
        if isinstance(verdict, Refusal):
            self.refuse(verdict)
            return
        if isinstance(verdict, Diverted):
            self._begin_again(verdict.canary)
            return
        self.client.pause_reading()
        self.client.arm(NEVER, self.now)  # the step bounds its own wait
        following = route.steps[route.steps.index(step) + 1 :]
        self._task = self.plane.loop.create_task(self._parked(verdict, route, following))

    async def _parked(
        self, verdict: Awaitable[Refusal | None], route: ReadyRoute, following: tuple[Step, ...]
    ) -> None:
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
                self.client.arm(now + min(GRACE_S, self.plane.body_timeout), now)
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

    def _begin_again(self, canary: "Canary") -> None:
        """The call is the canary's: it begins anew there, nothing of it counted or sent so far."""
        call = self.call
        self.runtime = runtime = canary.runtime
        call.revision = canary.revision
        call.identity = None
        call.credential_used = b""
        call.upgrade = None
        path = call.path.encode("ascii")
        endpoint = runtime.router.find(path)
        if endpoint is None:
            self.refuse(Refusal("no_route", reason="no_route"))
            return
        call.route = route = endpoint.methods.get(call.method)
        if route is None:
            route = self._choose(endpoint, call.method, path, b"")
        if route is None or not self._takes_body(route):
            return
        if self.fields.upgrade:
            upgrading.ask(self, route)
        for step in route.steps:
            verdict = step(call)
            if verdict is not None:
                self._not_passed(verdict, route, step)
                return
        self._go(route)

    # sending

    def _go(self, route: ReadyRoute) -> None:
        """Every step has passed: the call may be sent, once it is known to be as its API has it, and not to
        have been sent before.
        """
        if route.holds:
            if route.deciding is not None:
                self._go_on(route)
                return
            if self._holds(route):
                return
        self._send_off(route)

    def _go_on(self, route: ReadyRoute) -> None:
        """Who calls is known, and so the version is: the call goes on with its own route."""
        settled = self._settled(route)
        if settled is None:
            return
        call = self.call
        call.route = settled
        if not self._takes_body(settled):
            return
        passed = self._passed
        for step in settled.steps:
            if step in passed:
                continue
            verdict = step(call)
            if verdict is not None:
                self._not_passed(verdict, settled, step)
                return
        self._go(settled)
