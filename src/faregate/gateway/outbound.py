"""What goes upstream in place of what came: the rebuilt head (W01-W04, SPEC section 3 "Headers to the
upstream").
"""

import ipaddress
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from faregate.kernel.ids import IdSource, parse_traceparent
from faregate.snapshot.call import Call, ReadyRoute

if TYPE_CHECKING:
    from faregate.gateway.caller import Caller
    from faregate.gateway.exchange import Exchange
    from faregate.gateway.http1.request import Fields

Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"


class Prepared:
    """The parts of a request's head that depend only on its fields, the identity and the route: made once
    per change.

    Kept with the fields, which several connections may share: nothing of a connection may enter here.
    """

    __slots__ = ("after", "before", "deadline", "host", "identity", "route")

    def __init__(self, exchange: "Exchange", fields: "Fields", route: ReadyRoute, via: bytes) -> None:
        identity = exchange.call.identity
        self.identity = identity
        self.route = route
        self.host = b"X-Forwarded-Host: %b\r\n" % fields.host
        # A WebSocket has no end that could be told ahead.
        self.deadline = (
            deadline_line(exchange.upstream.total_timeout) if exchange.call.upgrade is None else b""
        )
        self.before = fields.passed
        dropped = _not_for_upstream(exchange, fields, route)
        if dropped:
            kept = [line for line in fields.lines if not line.lower().startswith(dropped)]
            self.before = b"Host: %b\r\n%b" % (fields.host, b"".join(kept))
        if fields.content_length >= 0:
            framing = b"Content-Length: %d\r\n" % fields.content_length
        else:
            framing = b"Transfer-Encoding: chunked\r\n" if fields.chunked else b""
        self.after = b"".join(
            (
                _credentials(fields, exchange.call.credential_used, forward=route.data.forward_credential),
                identity.headers if identity is not None else b"",
                route.upstream_headers,
                b"Via: %b, %b\r\n" % (fields.via, via) if fields.via else b"Via: %b\r\n" % via,
                b"TE: trailers\r\nConnection: TE\r\n" if fields.te_trailers else b"",
                framing,
            )
        )


def _not_for_upstream(exchange: "Exchange", fields: "Fields", route: ReadyRoute) -> tuple[bytes, ...]:
    """How the lines begin, in lower case, that this upstream is not sent."""
    dropped: tuple[bytes, ...] = ()
    if fields.tracestate and parse_traceparent(fields.traceparent or b"") is None:
        # Without a valid traceparent a tracestate belongs to no trace (W3C Trace Context section 4.3).
        dropped = (b"tracestate:",)
    if not exchange.upstream.data.forward_idempotency_key:
        kept = route.data.idempotency
        dropped = (*dropped, (kept.header if kept is not None and kept.header else b"idempotency-key") + b":")
    return dropped


def request_head(exchange: "Exchange") -> bytes:
    """The upstream request's head, the empty line included."""
    call = exchange.call
    fields = exchange.fields
    key_line = b""
    if fields.base is not None:  # its idempotency key was told apart from the rest, which comes again
        if exchange.upstream.data.forward_idempotency_key:
            key_line = b"Idempotency-Key: %b\r\n" % (fields.idempotency_key or b"")
        fields = fields.base
    prepared = fields.prepared
    if (
        not isinstance(prepared, Prepared)
        or prepared.identity is not call.identity
        or prepared.route is not call.route
    ):
        assert call.route is not None
        prepared = fields.prepared = Prepared(exchange, fields, call.route, exchange.plane.via)
    client = exchange.client
    forwarded, host = client.forwarded_lines, prepared.host
    if client.trusted:
        forwarded = forwarded_lines(fields, client)
        if fields.forwarded_host:
            host = b"X-Forwarded-Host: %b\r\n" % fields.forwarded_host
    return b"".join(
        (
            call.method,
            b" ",
            exchange.target,
            b" HTTP/1.1\r\n",
            prepared.before,
            key_line,
            b"X-Request-Id: ",
            call.request_id,
            b"\r\ntraceparent: ",
            exchange.traceparent,
            b"\r\n",
            forwarded,
            host,
            exchange.deadline_line or prepared.deadline,
            prepared.after,
            b"\r\n",
        )
    )


def deadline_line(left_s: float) -> bytes:
    """``X-Request-Deadline``: how many milliseconds the upstream has, from now; at least 1.

    A span and no time of day, so that nobody's clock need be right; and one line serves all calls of an
    upstream that are sent at once.
    """
    return b"X-Request-Deadline: %d\r\n" % max(1, int(left_s * 1000.0 + 0.5))


def continued_trace(traceparent: bytes, ids: IdSource) -> tuple[bytes, bytes]:
    """The trace id and our ``traceparent`` for a caller who sent one; a broken one begins a new trace."""
    made = ids.trace_and_span()
    context = parse_traceparent(traceparent)
    if context is None:
        return made[:32], b"00-%b-%b-01" % (made[:32], made[32:])
    trace_id, flags = context
    return trace_id, b"00-%b-%b-%b" % (trace_id, made[32:], flags)


def _credentials(fields: "Fields", used: bytes, *, forward: bool) -> bytes:
    """A credential that was ours to read stays here; one that was not (another scheme, a public route)
    passes.
    """
    lines = b""
    authorization, api_key = fields.authorization, fields.api_key
    if authorization is not None and (
        forward or (used != b"authorization" and not authorization.startswith(b"fg_", 7))
    ):
        lines += b"Authorization: %b\r\n" % authorization
    if api_key is not None and (forward or (used != b"x-api-key" and api_key[:3] != b"fg_")):
        lines += b"X-API-Key: %b\r\n" % api_key
    return lines


def forwarded_lines(fields: "Fields", client: "Caller") -> bytes:
    """The X-Forwarded lines behind a trusted proxy: its list goes on, with the proxy's own address behind."""
    before = b"%b, " % fields.forwarded_for if fields.forwarded_for else b""
    proto = fields.forwarded_proto if fields.forwarded_proto in {b"http", b"https"} else client.proto
    return b"X-Forwarded-For: %b%b\r\nX-Forwarded-Proto: %b\r\n" % (before, client.peer_ip.encode(), proto)


def address_behind(forwarded_for: bytes | None, peer: str, trusted: Sequence[Network]) -> str:
    """The nearest address that is no trusted proxy, reading ``X-Forwarded-For`` from its right end.

    What does not parse ends the search: the last address known for certain is the answer (http-rules.md W03).
    """
    client = peer
    for entry in reversed((forwarded_for or b"").split(b",")):
        try:
            address = ipaddress.ip_address(plain_address(entry.strip().decode("ascii")))
        except (ValueError, UnicodeDecodeError):
            break
        if b"%" in entry:
            break  # a scope is free text, and means nothing on another machine
        client = str(address)
        if not is_trusted(client, trusted):
            break
    return client


def is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in trusted)


def hash_key(hash_on: str, call: Call, fields: "Fields") -> bytes:
    """What ``balance: hash:<...>`` hashes: the consumer (else the address), the address, or a header's
    value.
    """
    if hash_on == "consumer" and call.identity is not None:
        return call.identity.consumer.key
    if hash_on not in {"consumer", "ip"}:
        wanted = hash_on.lower().encode()
        if wanted == b"idempotency-key":
            return fields.idempotency_key or b""
        for line in fields.lines:
            name, _, value = line.partition(b":")
            if name.lower() == wanted:
                return value.strip()
    return call.client_ip.encode()


def plain_address(address: str) -> str:
    """IPv4 in plain form even when it came through an IPv6 socket."""
    if address.startswith("::ffff:"):
        mapped = ipaddress.IPv6Address(address).ipv4_mapped
        if mapped is not None:
            return str(mapped)
    return address
