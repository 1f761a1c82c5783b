"""How hosts, ports and address ranges are written, and what they mean.

Only clear spellings are taken: an IPv6 address beside a port stands in brackets, a range has no bits beyond
its length. Messages never repeat the value.
"""

import re
from ipaddress import ip_address, ip_network
from typing import Annotated, Final, NamedTuple, TypeAlias

from faregate.model.values import reads, text_schema


class Address(NamedTuple):
    """The host stands without brackets."""

    host: str
    port: int

    @property
    def text(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


_HOST: Final = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
_HOST_PORT: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([^\[\]:/@?#\s]{1,253}))(?::([0-9]{1,5}))?")


def split_host_port(text: str, default_port: int | None = None) -> Address:
    """``127.0.0.1:8080``, ``[::1]:8080``, ``host.example:80``. Raises ValueError, whose text does not repeat
    the value.
    """
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        raise ValueError("not a host and port")
    bracketed, plain, port = match.groups()
    host = _checked_host(bracketed, plain)
    if port is None and default_port is None:
        raise ValueError("the port is missing")
    number = int(port) if port is not None else default_port
    assert number is not None
    if number > 65535:
        raise ValueError("a port ends at 65535")
    return Address(host, number)


def _checked_host(bracketed: str | None, plain: str | None) -> str:
    if bracketed is not None or (plain is not None and re.fullmatch(r"[0-9.]+", plain)):
        try:
            address = ip_address(bracketed or plain or "")
        except ValueError:
            raise ValueError("not an IP address") from None
        if (address.version == 6) != (bracketed is not None):
            raise ValueError("an IPv6 address stands in brackets, an IPv4 address does not")
        return str(address)
    if plain is None or not _HOST.fullmatch(plain):
        raise ValueError("not a host name")
    return plain.lower()


ListenAddress: TypeAlias = Annotated[
    Address,
    reads(split_host_port, "text: host:port, such as 127.0.0.1:8080 or [::1]:8080"),
    text_schema(r"\S+:[0-9]{1,5}", "host:port; port 0 takes a free one.", "127.0.0.1:8080", "[::1]:8080"),
]


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError:
        pass
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError("not an address range") from None
    raise ValueError(f"bits are set beyond the /{network.prefixlen}")


Network: TypeAlias = Annotated[
    str,
    reads(_network, "text: an address range such as 203.0.113.0/24 or 2001:db8::/32"),
    text_schema(r"[0-9A-Fa-f:.]+(/[0-9]{1,3})?", "An address range (CIDR).", "203.0.113.0/24"),
]
