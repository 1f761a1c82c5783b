"""Addresses a consumer may call from."""

import ipaddress

import pytest

from faregate.policies.address.step import ADDRESSES_MAX, build
from faregate.snapshot.call import Identity, ReadyConsumer
from tests.policies.jwt.material import call_with


def consumer(*networks: str) -> ReadyConsumer:
    return ReadyConsumer("acme", networks=tuple(ipaddress.ip_network(text) for text in networks) or None)


def passes(one: ReadyConsumer, *addresses: str) -> list[bool]:
    step = build([one, consumer("192.0.2.1")])
    verdicts = []
    for address in addresses:
        call = call_with(ip=address)
        call.identity = Identity(one, "c")
        verdict = step(call)
        assert verdict is None or (verdict.code, verdict.reason) == ("address_denied", "address_not_allowed")
        verdicts.append(verdict is None)
    return verdicts


@pytest.mark.parametrize(
    ("networks", "address", "expected"),
    [
        (["203.0.113.0/24"], "203.0.113.0", True),
        (["203.0.113.0/24"], "203.0.113.255", True),
        (["203.0.113.0/24"], "203.0.114.0", False),
        (["203.0.113.0/24"], "203.0.112.255", False),
        (["203.0.113.7"], "203.0.113.7", True),
        (["203.0.113.7"], "203.0.113.8", False),
        (["203.0.113.0/24"], "::ffff:203.0.113.7", True),
        (["203.0.113.0/24"], "::ffff:cb00:7107", True),
        (["::ffff:203.0.113.0/120"], "203.0.113.7", True),
        (["::ffff:203.0.113.0/120"], "203.0.114.7", False),
        (["2001:db8::/32"], "2001:db8::1", True),
        (["2001:db8::/32"], "2001:db9::1", False),
        (["fe80::/10"], "fe80::1%eth0", True),
        (["0.0.0.0/0"], "198.51.100.1", True),
        (["0.0.0.0/0"], "2001:db8::1", False),
        (["::/0"], "203.0.113.1", False),
        (["10.0.0.0/8", "203.0.113.0/24"], "203.0.113.9", True),
        (["10.0.0.0/8"], "", False),
        (["10.0.0.0/8"], "unix", False),
        (["10.0.0.0/8"], "010.0.0.1", False),
    ],
)
def test_only_listed_networks_pass(networks: list[str], address: str, expected: bool) -> None:
    assert passes(consumer(*networks), address, address) == [expected, expected]


def test_a_consumer_without_a_list_calls_from_anywhere() -> None:
    assert passes(consumer(), "198.51.100.1", "unix") == [True, True]


def test_a_call_without_identity_is_none_of_this_steps_business() -> None:
    assert build([consumer("10.0.0.0/8")])(call_with(ip="198.51.100.1")) is None


def test_no_list_at_all_is_no_step() -> None:
    assert build([consumer(), consumer()]) is None
    assert build([]) is None


def test_remembered_addresses_are_bounded() -> None:
    one = consumer("10.0.0.0/8")
    step = build([one])
    known = next(
        cell.cell_contents
        for cell in step.__closure__
        if isinstance(cell.cell_contents, dict) and one not in cell.cell_contents
    )
    for number in range(ADDRESSES_MAX + 10):
        call = call_with(ip=str(ipaddress.IPv4Address(number + (10 << 24))))
        call.identity = Identity(one, "c")
        assert step(call) is None
        assert len(known) <= ADDRESSES_MAX
