"""A bounded HTTPS GET for what the gateway itself needs (key sets), apart from callers' traffic.

Everything has an end: 5 s for the whole call, 16 KiB of head, 1 MiB of body, no redirect followed, one
connection per call. A name is resolved, every address checked, and the connection goes to an address that was
checked (http-rules.md section 14); an address that the operator wrote out, or ``localhost``, may be anything.
The certificate is always verified. httptools parses; a framing that is cut short is an error.
"""

import asyncio
import ipaddress
import re
import socket
import ssl
from typing import Final

import httptools

from faregate.stores.keysets import Fetch, FetchError

DEADLINE_S: Final = 5.0
HEAD_BYTES_MAX: Final = 16 << 10
BODY_BYTES_MAX: Final = 1 << 20
ADDRESSES_MAX: Final = 4

# matched by hand: the library's urlsplit drops line breaks and tabs in silence
_URL: Final = re.compile(
    r"https://(?:(?P<name>[A-Za-z0-9.-]{1,253})|\[(?P<literal>[0-9A-Fa-f:.]{2,45})\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<target>(?:[/?][!-\"$-~]*)?)"
)
_METADATA: Final = frozenset(
    ipaddress.ip_address(text)
    for text in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "192.0.0.192")
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


def is_refused_address(text: str) -> bool:
    """Whether a DNS name that resolves to this address is refused: loopback, link-local, multicast,
    unspecified, reserved, a cloud's metadata service, or an IPv6 form of one of them.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif address in _NAT64:
            address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address.is_reserved
        or address in _METADATA
        or int(address) >> 24 == 0
    )


def fetcher_for(authority: str | None = None, deadline_s: float = DEADLINE_S) -> Fetch:
    """A ``Fetch`` whose servers must prove themselves to ``authority`` (path of a PEM file), or to the
    system's store.

    Raises ``OSError`` or ``ssl.SSLError`` when the file cannot be used. The TLS context is made once, here:
    reading the system's store takes tens of milliseconds.
    """
    context = ssl.create_default_context(cafile=authority)
    context.minimum_version = ssl.TLSVersion.TLSv1_2

    async def fetch(url: str) -> bytes:
        try:
            async with asyncio.timeout(deadline_s):
                return await _get(url, context)
        except TimeoutError:
            raise FetchError("deadline") from None
        except ssl.SSLError:
            raise FetchError("tls_failed") from None
        except OSError:
            raise FetchError("unreachable") from None

    return fetch


async def _get(url: str, context: ssl.SSLContext) -> bytes:
    host, port, target = split_url(url)
    reader, writer = await _connect(host, port, context)
    try:
        field = f"[{host}]" if ":" in host else host
        writer.write(
            f"GET {target} HTTP/1.1\r\nHost: {field}{'' if port == 443 else f':{port}'}\r\n"
            "Accept: application/jwk-set+json, application/json\r\nAccept-Encoding: identity\r\n"
            "User-Agent: faregate\r\nConnection: close\r\n\r\n".encode("ascii")
        )
        answer = _Answer()
        while not answer.complete:
            data = await reader.read(16 << 10)
            if not data:
                return answer.ended()
            answer.feed(data)
        return bytes(answer.body)
    finally:
        # not closed politely: a server that never answers close_notify must not hold the deadline
        writer.transport.abort()


def split_url(url: str) -> tuple[str, int, str]:
    """Host, port and request target of an https:// URL. Raises ``FetchError`` on any other, or one with
    userinfo.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise FetchError("url_malformed")
    host, port, target = match["name"] or match["literal"], int(match["port"] or 443), match["target"]
    if port > 65535 or not port or (match["literal"] and not is_literal(host)):
        raise FetchError("url_malformed")
    return host, port, target if target.startswith("/") else f"/{target}"


def is_literal(host: str) -> bool:
    """Whether ``host`` is an IP address in its standard form (``0x7f.1`` and ``2130706433`` are not)."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def _connect(
    host: str, port: int, context: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    addresses = await _resolve(host, port)
    for address in addresses[:-1]:
        try:
            return await asyncio.open_connection(address, port, ssl=context, server_hostname=host)
        except ssl.SSLError:
            raise  # a server that cannot prove itself is no reason to try another
        except OSError:
            continue
    return await asyncio.open_connection(addresses[-1], port, ssl=context, server_hostname=host)


async def _resolve(host: str, port: int) -> list[str]:
    """1 to ``ADDRESSES_MAX`` addresses to try in turn, all checked. Raises ``FetchError``, ``OSError``."""
    if is_literal(host):
        return [host]
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses:
        raise FetchError("unreachable")
    # one bad address condemns the name: which of several answers is used must not be left to chance
    if host != "localhost" and any(is_refused_address(address) for address in addresses):
        raise FetchError("address_refused")
    return addresses[:ADDRESSES_MAX]


class _Answer:
    """httptools' callbacks: collects one 200 answer within the bounds, raises ``FetchError`` on anything
    else.
    """

    def __init__(self) -> None:
        self.body = bytearray()
        self.complete = False
        self._framed = self._head_done = False
        self._head_bytes = 0
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        if not self._head_done:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            # what a callback raises arrives wrapped
            cause = error.__context__
            raise cause if isinstance(cause, FetchError) else FetchError("answer_malformed") from None
        if not self._head_done and self._head_bytes > HEAD_BYTES_MAX:
            raise FetchError("head_too_large")

    def ended(self) -> bytes:
        """The body when the end of the connection ends it too (RFC 9112 section 6.3 rule 8)."""
        if not self._head_done or self._framed:
            raise FetchError("answer_cut")
        return bytes(self.body)

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if lower in (b"content-length", b"transfer-encoding"):
            self._framed = True
        elif lower == b"content-encoding" and value.strip().lower() != b"identity":
            raise FetchError("answer_encoded")  # nothing here unpacks: a small answer stays small

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status != 200:
            raise FetchError(f"status_{status}")
        self._head_done = True

    def on_body(self, data: bytes) -> None:
        if len(self.body) + len(data) > BODY_BYTES_MAX:
            raise FetchError("answer_too_large")
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True
