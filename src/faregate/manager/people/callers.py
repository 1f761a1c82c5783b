"""Where a request to the admin API comes from: its peer, or whom trusted proxies say that they ask for.

The manager speaks no TLS, so that people reach it through a proxy; without this all of them would be one
address in the audit tree and in the limits of sign-in. Who is believed is ``gateway.trusted_proxies``, read
as the gateway reads it for calls: a test holds both to the same answers.
"""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def address_behind(forwarded_for: str, peer: str, trusted: tuple[str, ...]) -> str:
    """The nearest address that is no trusted proxy. What does not parse ends the search."""
    networks = _networks(trusted)
    peer = _plain(peer)
    if not networks or not _is_trusted(peer, networks):
        return peer
    client = peer
    for entry in reversed(forwarded_for.split(",")):
        text = entry.strip()
        try:
            ipaddress.ip_address(text)
        except ValueError:
            break
        if "%" in text:
            break  # a scope is free text, and means nothing on another machine
        client = _plain(text)
        if not _is_trusted(client, networks):
            break
    return client


def _plain(text: str) -> str:
    """An address as it is written; an IPv4 address that a listener for both families maps, as itself."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


@lru_cache(4)
def _networks(trusted: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(one) for one in trusted)


def _is_trusted(address: str, networks: Sequence[Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)
