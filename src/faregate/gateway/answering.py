"""The answer's way back: whole, in pieces or in chunks, from the upstream's connection to the caller's.

Between ``Ending`` and ``Exchange``: it knows what the caller is told of an answer; its framing was judged
by the upstream's connection. ``answer_whole`` is the common case and costs one write.
"""

from typing import TYPE_CHECKING, Final

from faregate.gateway import upgrading
from faregate.gateway.body import CAPTURE_BYTES_MAX
from faregate.gateway.ending import ANSWERED, CLIENT_GONE, Ending
from faregate.gateway.http1.answers import date_line
from faregate.gateway.http1.chunked import encode_chunk, encode_last
from faregate.gateway.phases import DONE, RELAYING
from faregate.gateway.tunnel import start
from faregate.gateway.wheel import NEVER
from faregate.kernel.problems import Refusal

if TYPE_CHECKING:
    from faregate.gateway.http1.response import ResponseHead
    from faregate.gateway.upstream import UpstreamConnection
    from faregate.snapshot.call import ReadyRoute

_FAILURE_STATUS: Final = frozenset({502, 503, 504})
"""Answers that count against a target's health, besides lost connections and timeouts."""


class Answering(Ending):
    """What the upstream's connection calls, and the back pressure between the two sides."""

    def answer_interim(self, head: "ResponseHead") -> None:
        """A 1xx other than 100 goes on, but not to a 1.0 caller (W10)."""
        if self.minor != b"0":
            self.client.write(head.passed + b"\r\n")

    def answer_switch(self, connection: "UpstreamConnection", head: "ResponseHead", rest: bytes) -> None:
        """A 101: from here on a tunnel, if it is the one asked for (W12). Raises ``InvalidAnswer``."""
        tunnel, held = upgrading.switch(self, connection, head)
        self.tunnel = tunnel
        self.plane.in_flight -= 1  # counted as a tunnel now
        self._first_byte(head)
        self._head_sent = True
        self._keep_alive = False
        self.phase = RELAYING
        self.client.arm(NEVER, self.now)  # the tunnel watches its own bounds
        upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
        self.client.write(self._relayed_head(head, upgrade, b"\r\n\r\n"))
        start(tunnel, held, rest)

    def tunnel_ended(self, reason: str, request_bytes: int, response_bytes: int) -> None:
        """The tunnel is over, whoever ended it: the call was answered by its 101."""
        call = self.call
        self.now = now = self.plane.monotonic()
        self.tunnel = None
        self._upstream_connection = None
        self.plane.in_flight += 1
        call.reason = reason
        call.request_bytes = request_bytes
        call.response_bytes = response_bytes
        call.upstream_duration = now - self._sent_at
        self._finish(ANSWERED)

    def answer_whole(self, head: "ResponseHead", body: bytes) -> None:
        """An answer that came in one piece, the common case: one write, and the call ends."""
        self._upstream_connection = None
        call = self.call
        plane = self.plane
        client = self.client
        route: ReadyRoute = call.route  # type: ignore[assignment]  # set before any step ran
        now = self.now
        sent_at = self._sent_at
        status = head.status
        target = self._upstream_state
        if target is not None:
            self._upstream_state = None
            failed = status in _FAILURE_STATUS
            self.upstream.balancer.finished(target, now, now - sent_at, failed)
            gate = target.gate
            if gate is not None and now >= gate.quiet_until and not failed:
                gate.answered(now, now - sent_at, target.in_flight + 1)
        call.status = status
        call.response_bytes = len(body)
        if route.logs_answer:
            call.response_body = body[:CAPTURE_BYTES_MAX]
            call.response_content_type = head.content_type
        if client.lost:
            outcome = CLIENT_GONE
        else:
            outcome = self._answered_as
            request_body = self.body
            if (
                head.common
                and self._keep_alive
                and (request_body is None or not request_body.left)
                and not plane.closes
            ):
                # join costs half of what formatting does
                client.write_last(
                    b"".join(
                        (
                            head.passed,
                            call.limit_headers or head.limit_lines,
                            route.answer_headers,
                            plane.via_line,
                            call.request_id,
                            b"\r\n\r\n",
                            body,
                        )
                    )
                )
            else:
                client.write_last(self._answer_head(head, b"") + body)
        call.upstream_duration = now - sent_at
        self.now = plane.monotonic()  # what came since the last byte is our own share
        self._finish(outcome)

    def answer_head(self, head: "ResponseHead", *, sized: bool) -> None:
        """The head of an answer whose body follows; ``sized`` by Content-Length, or its end is not known
        yet.
        """
        self._first_byte(head)
        framing = b""
        self._chunked_answer = False
        if head.content_type[:17].lower() == b"text/event-stream":
            self._streams = True
            if not self._hurried:  # else the caller's own deadline holds
                self._total_deadline = self.now + self.upstream.stream_total_timeout
        if not sized:
            if self.minor == b"1":
                self._chunked_answer = True
                framing = b"Transfer-Encoding: chunked\r\n"
            else:
                self._keep_alive = False  # no chunks to a 1.0 caller: the body ends with the connection (W11)
        if self.call.route.logs_answer:  # type: ignore[union-attr]  # set before any step ran
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
            call.response_body = captured + data[: CAPTURE_BYTES_MAX - len(captured)]
        self.client.write(encode_chunk(data) if self._chunked_answer else data)
        self._arm_relaying()

    def answer_trailers(self, trailers: list[tuple[bytes, bytes]]) -> None:
        """The last chunk, with trailers for a caller who asked for them."""
        if self._chunked_answer:
            self.client.write(encode_last(trailers if self.fields.te_trailers else []))
            self._chunked_answer = False
        elif trailers and self.minor == b"2" and self.fields.te_trailers:
            self.client.write_trailers(trailers)

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
        upstream = self.upstream
        patience = upstream.stream_idle_timeout if self._streams else upstream.idle_timeout
        if self.client.write_paused:
            patience = self.client.look_s
        self.client.arm(min(self.now + patience, self._total_deadline), self.now)

    def _first_byte(self, head: "ResponseHead") -> None:
        status = head.status
        self.call.status = status
        target = self._upstream_state
        if target is not None:
            self._upstream_state = None
            now = self.now
            failed = status in _FAILURE_STATUS
            self.upstream.balancer.finished(target, now, now - self._sent_at, failed)
            gate = target.gate
            if gate is not None and not failed:
                gate.answered(now, now - self._sent_at, target.in_flight + 1)

    def _answer_head(self, head: "ResponseHead", framing: bytes) -> bytes:
        """The head as the caller gets it, the empty line included; settles whether the connection goes on."""
        call = self.call
        plane = self.plane
        end = b"\r\n\r\n"
        if not self._keep_alive or plane.closes or self.wants_body:
            self._keep_alive = False
            end = b"\r\nConnection: close\r\n\r\n"
        if not head.dated:
            framing += date_line(call.wall + (self.now - call.now))  # RFC 9110 section 6.6.1
        return self._relayed_head(head, framing, end)

    def _relayed_head(self, head: "ResponseHead", framing: bytes, end: bytes) -> bytes:
        call = self.call
        plane = self.plane
        via = b"%b, %b" % (head.via, plane.via) if head.via else plane.via
        return b"%b%b%b%bVia: %b\r\nX-Request-Id: %b%b" % (
            head.passed,
            framing,
            call.limit_headers or head.limit_lines,
            call.route.answer_headers,  # type: ignore[union-attr]  # set before any step ran
            via,
            call.request_id,
            end,
        )

    def _answered(self) -> None:
        now = self.now
        self.call.upstream_duration = now - self._sent_at
        self.now = self.plane.monotonic()  # what came since the last byte is our own share
        self._finish(CLIENT_GONE if self.client.lost else self._answered_as)

    def client_full(self) -> None:
        if self._upstream_connection is not None:
            self._upstream_connection.pause_reading()
            if self._head_sent:
                self.now = self.plane.monotonic()
                self._arm_relaying()

    def client_drained(self, now: float) -> None:
        self.now = now
        if self._upstream_connection is not None:
            self._upstream_connection.resume_reading()
            if self.phase == RELAYING:
                self._arm_relaying()

    def upstream_full(self) -> None:
        self.client.pause_reading()

    def upstream_drained(self) -> None:
        if self.body is not None:
            self.body.pardon(self.plane.monotonic())
        self.client.resume_reading()
