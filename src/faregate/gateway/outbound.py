"""What goes upstream in place of what came: the rebuilt head (W01-W04, SPEC section 3 "Headers to the upstream")."""

import ipaddress
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from faregate.snapshot.call import Call

if TYPE_CHECKING:
    from faregate.gateway.http1.request import RequestHead
    from faregate.gateway.listener import ClientConnection
    from faregate.gateway.plane import Plane

Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"


def request_head(head: "RequestHead", call: Call, client: "ClientConnection", plane: "Plane", trace_flags: bytes) -> list[bytes]:
    """The parts of the upstream request's head, in order, the empty line included."""
    route = call.route
    if route is None:
        raise ValueError("a call without a route is never sent")
    parts = [b"%b %b HTTP/1.1\r\nHost: %b\r\n" % (head.method, head.target, head.host), *head.lines]
    if head.authorization is not None or head.api_key is not None:
        _credentials(parts, head, call.credential_used, forward=route.data.forward_credential)
    identity = call.identity
    parts.append(b"X-Request-Id: %b\r\ntraceparent: 00-%b-%b-%b\r\n%bX-Forwarded-Host: %b\r\n%b%bVia: %b%b\r\n" % (
        call.request_id,
        call.trace_id, plane.ids.span_id(), trace_flags,
        forwarded_lines(head, client) if client.trusted else client.forwarded_lines,
        head.forwarded_host if client.trusted and head.forwarded_host else head.host,
        identity.headers if identity is not None else b"",
        route.upstream_headers,
        b"%b, " % head.via if head.via else b"", plane.via,
    ))
    if head.te_trailers:
        parts.append(b"TE: trailers\r\nConnection: TE\r\n")
    if head.chunked:
        parts.append(b"Transfer-Encoding: chunked\r\n\r\n")
    elif head.content_length >= 0:
        parts.append(b"Content-Length: %d\r\n\r\n" % head.content_length)
    else:
        parts.append(b"\r\n")
    return parts


def _credentials(parts: list[bytes], head: "RequestHead", used: bytes, *, forward: bool) -> None:
    """A credential that was ours to read stays here; one that was not (another scheme, a public route) passes."""
    authorization, api_key = head.authorization, head.api_key
    if authorization is not None and (forward or (used != b"authorization" and authorization[7:10] != b"fg_")):
        parts.append(b"Authorization: %b\r\n" % authorization)
    if api_key is not None and (forward or (used != b"x-api-key" and api_key[:3] != b"fg_")):
        parts.append(b"X-API-Key: %b\r\n" % api_key)


def forwarded_lines(head: "RequestHead", client: "ClientConnection") -> bytes:
    """The X-Forwarded lines behind a trusted proxy: its list goes on, with the proxy's own address behind."""
    before = b"%b, " % head.forwarded_for if head.forwarded_for else b""
    proto = head.forwarded_proto if head.forwarded_proto in {b"http", b"https"} else client.proto
    return b"X-Forwarded-For: %b%b\r\nX-Forwarded-Proto: %b\r\n" % (before, client.peer_ip.encode(), proto)


def address_behind(forwarded_for: bytes | None, peer: str, trusted: Sequence[Network]) -> str:
    """The nearest address that is no trusted proxy, reading ``X-Forwarded-For`` from its right end.

    What does not parse ends the search: the last address known for certain is the answer (http-rules.md W03).
    """
    client = peer
    for entry in reversed((forwarded_for or b"").split(b",")):
        try:
            address = ipaddress.ip_address(entry.strip().decode("ascii"))
        except (ValueError, UnicodeDecodeError):
            break
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


def hash_key(hash_on: str, call: Call) -> bytes:
    """What ``balance: hash:<...>`` hashes: the consumer (else the address), the address, or a header's value."""
    if hash_on == "consumer" and call.identity is not None:
        return call.identity.consumer.key
    if hash_on not in {"consumer", "ip"}:
        wanted = hash_on.lower().encode()
        for line in call.headers:
            name, _, value = line.partition(b":")
            if name.lower() == wanted:
                return value.strip()
    return call.client_ip.encode()
