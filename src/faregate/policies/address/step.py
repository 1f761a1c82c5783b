"""The addresses that a consumer may call from (SPEC section 2 ``allow_ips``).

Networks are prepared once as ranges of numbers; an address is read once per spelling and remembered in a
bounded map. An IPv4 address written as IPv6 (``::ffff:203.0.113.7``) is the IPv4 one. Which address is the
caller's (trusted proxies) is decided by the gateway before.
"""

import ipaddress
from collections.abc import Iterable
from typing import Final, TypeAlias

from faregate.kernel.problems import Refusal
from faregate.snapshot.call import Call, ReadyConsumer, Step, Verdict

Range: TypeAlias = "tuple[int, int, int]"
"""IP version, first and last address as numbers."""

ADDRESSES_MAX: Final = 10_000
CONSUMERS_MAX: Final = 10_000
_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")


def prepare_ranges(networks: Iterable[object]) -> tuple[Range, ...]:
    """The ranges of ``ReadyConsumer.networks``. Raises ``TypeError`` on anything but networks of
    ``ipaddress``.
    """
    ranges = []
    for network in networks:
        if not isinstance(network, ipaddress.IPv4Network | ipaddress.IPv6Network):
            raise TypeError("not a network")
        version, first, last = network.version, int(network[0]), int(network[-1])
        if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
            version, first, last = 4, first & 0xFFFFFFFF, last & 0xFFFFFFFF
        ranges.append((version, first, last))
    return tuple(ranges)


def read_address(text: str) -> tuple[int, int] | None:
    """``(IP version, number)`` of an address, IPv4-mapped ones folded; None for text that is none (a unix
    socket).
    """
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.version, int(address)


def build(consumers: Iterable[ReadyConsumer]) -> "Step | None":
    """A step that refuses a consumer calling from outside its networks; None when no consumer has any."""
    fenced = any(one.networks is not None for one in consumers)
    if not fenced:
        return None
    ranges: dict[ReadyConsumer, tuple[Range, ...]] = {}  # of consumers seen: most of 100,000 are idle
    known: dict[str, tuple[int, int] | None] = {}

    def check_address(call: Call) -> Verdict:
        identity = call.identity
        if identity is None or identity.consumer.networks is None:
            return None
        text = call.client_ip
        address = known.get(text)
        if address is None:
            address = read_address(text)
            if len(known) >= ADDRESSES_MAX:
                known.clear()
            known[text] = address
        if address is not None:
            version, number = address
            allowed = ranges.get(identity.consumer)
            if allowed is None:
                allowed = _kept(ranges, identity.consumer)
            for wanted, first, last in allowed:
                if wanted == version and first <= number <= last:
                    return None
        return Refusal("address_denied", reason="address_not_allowed")

    return check_address


def _kept(ranges: dict[ReadyConsumer, tuple[Range, ...]], consumer: ReadyConsumer) -> tuple[Range, ...]:
    """Those of ``consumer``, from now on in ``ranges``; some there may be of former revisions."""
    if len(ranges) >= CONSUMERS_MAX:
        ranges.clear()
    made = ranges[consumer] = prepare_ranges(consumer.networks or ())
    return made
