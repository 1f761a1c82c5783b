"""Behind a trusted proxy somebody is who it says, in the manager as in the gateway; nobody else is believed."""

import ipaddress

import pytest

from faregate.gateway import outbound
from faregate.manager.people.attempts import ADDRESS_MAX
from faregate.manager.people.callers import address_behind
from tests.manager.conftest import AtDesk
from tests.manager.desk import PASSWORD, Desk

TRUSTED = ("10.0.0.0/8", "2001:db8::/32")


@pytest.mark.parametrize("peer", ["10.0.0.1", "2001:db8::1", "192.0.2.1", "", "testclient"])
@pytest.mark.parametrize(
    ("told", "behind"),
    [
        ("", None),
        ("203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("10.9.9.9, 10.1.2.3", "10.9.9.9"),
        ("203.0.113.9, rubbish", None),
        ("203.0.113.9,", None),
        ("203.0.113.9:80", None),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1::7, 10.1.2.3", "2001:db8:1::7"),
        ("2001:DB9::7", "2001:db9::7"),
        ("fe80::1%eth0", None),
    ],
)
def test_the_manager_reads_it_as_the_gateway_does(peer: str, told: str, behind: str | None) -> None:
    believed = peer in {"10.0.0.1", "2001:db8::1"}
    assert address_behind(told, peer, TRUSTED) == (peer if behind is None or not believed else behind)
    assert address_behind(told, peer, ()) == peer
    if believed and told:
        networks = tuple(ipaddress.ip_network(one) for one in TRUSTED)
        assert address_behind(told, peer, TRUSTED) == outbound.address_behind(told.encode(), peer, networks)


@pytest.mark.parametrize(
    ("peer", "told", "behind"),
    [
        ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("::ffff:10.0.0.1", "", "10.0.0.1"),
        ("::ffff:192.0.2.1", "203.0.113.9", "192.0.2.1"),
    ],
)
def test_a_listener_for_both_families_knows_its_proxies(peer: str, told: str, behind: str) -> None:
    assert address_behind(told, peer, TRUSTED) == behind


def test_one_attacker_behind_a_proxy_locks_nobody_out(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await desk.user("ann")
        bob = await desk.user("bob", second=False)
        desk.management.trusted = lambda: ("127.0.0.0/8",)
        attacker, before = desk.browser(), len(desk.leaves.records)
        for at in range(ADDRESS_MAX):
            wrong = {"user": f"name{at}", "password": "wrong password"}
            told = await attacker.post("/sessions", json=wrong, headers={"X-Forwarded-For": "203.0.113.66"})
            assert told.status_code == 401
        assert {record[3]["from"] for record in desk.leaves.records[before:]} == {"203.0.113.66"}
        right = {"user": "bob", "password": PASSWORD}
        for address, status in (("203.0.113.66", 429), ("203.0.113.7", 201), ("203.0.113.66, 10.0.0.1", 201)):
            told = await desk.browser().post("/sessions", json=right, headers={"X-Forwarded-For": address})
            assert told.status_code == status, address
        # where the proxy is not trusted, all are one address: known browsers and who is signed in go on
        desk.management.trusted = tuple
        for at in range(ADDRESS_MAX):
            wrong = {"user": f"more{at}", "password": "wrong password"}
            headers = {"X-Forwarded-For": f"203.0.113.{at}"}  # believed by nobody
            assert (await attacker.post("/sessions", json=wrong, headers=headers)).status_code == 401
        assert (await desk.browser().post("/sessions", json=right)).status_code == 429
        assert (await bob.sign_in()).status_code == 201
        desk.pass_s(30)
        assert (await ann.post("/session/second-factor", {"code": ann.code()})).status_code == 200
        assert (await ann.sign_in("wrong password")).status_code == 401

    at_desk(test)


def test_the_cookie_of_a_known_browser_opens_nothing(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await desk.user("ann", second=False)
        kept = ann.client.cookies["__Host-faregate-device"]
        answer = await ann.sign_in()
        (line,) = [
            one for one in answer.headers.get_list("set-cookie") if one.startswith("__Host-faregate-device=")
        ]
        parts = {part.strip().lower() for part in line.split(";")[1:]}
        assert {"httponly", "secure", "samesite=strict", "path=/", "max-age=15552000"} <= parts
        stranger = desk.browser()
        for name in ("__Host-faregate", "__Host-faregate-device"):
            told = await stranger.get("/session", headers={"Cookie": f"{name}={kept}"})
            assert told.status_code == 401
        assert not desk.holds(kept)
        assert kept not in answer.text

    at_desk(test)
