"""Which names the manager answers to, and which web pages may ask it.

Without this, any page that somebody on this machine opens could read the manager: the page's own name is made
to resolve to the manager's address (DNS rebinding), and the browser then takes both for one site. Such an
attack needs a name that a stranger can own. So an address is always good, and a name only if no stranger can
own it: one of this machine, one without a dot, or one in a domain that is never given out. An ``Origin`` must
be such a name too (http-rules.md section 12).
"""

import re
import socket
from collections.abc import Callable, Collection
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

PRIVATE_DOMAINS: Final = ("internal", "local", "localhost", "svc")
"""Set apart for private use (RFC 6761, RFC 6762, ICANN 2024), Kubernetes' own: nobody buys names there."""

_AUTHORITY: Final = re.compile(
    rb"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9_])?))(?::[0-9]{1,5})?"
)
_ORIGIN: Final = re.compile(rb"https?://(.+)")
_ONCE: Final = (b"host", b"authorization", b"content-length", b"idempotency-key")
"""Fields that would mean two things if they came twice (http-rules.md F17)."""


class Names:
    """The names that lead here. ``bound``: the address of the listening socket; ``configured``: the host as
    configured; ``machine``: this machine's name; ``public``: where the configuration has browsers come
    back to from a sign-in elsewhere, so by a proxy; empty for nowhere.
    """

    def __init__(
        self,
        bound: str,
        configured: str = "",
        machine: str | None = None,
        public: Callable[[], str] = lambda: "",
    ) -> None:
        self._public = public
        self._only_local = ip_address(bound).is_loopback
        machine = socket.gethostname() if machine is None else machine
        self._names = {"localhost", configured.lower()}
        if not self._only_local:
            self._names.add(machine.lower())

    def accepts(self, authority: bytes) -> bool:
        """Whether ``authority``, a host with or without a port, is one of ours. The port may be another:
        behind a forwarded port it is.
        """
        match = _AUTHORITY.fullmatch(authority)
        if match is None:
            return False
        name = (match[1] or match[2]).decode("ascii").lower()
        address = _address(name)
        if address is not None:
            return address.is_loopback if self._only_local else True
        if match[1] is not None:
            return False
        if name in self._names or name == self._public():
            return True
        return not self._only_local and ("." not in name or name.rpartition(".")[2] in PRIVATE_DOMAINS)


def judge(names: Names, headers: Collection[tuple[bytes, bytes]], http_version: str) -> str:
    """Empty when the request may be answered, else why not: ``malformed_request``, ``misdirected_request`` or
    ``origin_denied``. Header names are in lower case.
    """
    given = [name for name, _ in headers]
    if any(given.count(name) > 1 for name in _ONCE):
        return "malformed_request"
    hosts = [value for name, value in headers if name == b"host"]
    if not hosts and http_version != "1.0":
        return "malformed_request"  # RFC 9112 section 3.2
    if hosts and not names.accepts(hosts[0].strip()):
        return "misdirected_request"
    for name, value in headers:
        if name == b"origin":
            origin = _ORIGIN.fullmatch(value.strip())
            if origin is None or not names.accepts(origin[1]):
                return "origin_denied"
    return ""


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
