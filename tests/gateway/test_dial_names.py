"""A target's name: asked for off the path, once for all, kept while the resolver fails, and let go when it has moved."""

import asyncio
import socket

import pytest

from faregate.gateway.dial import ADDRESSES_MAX, FRESH_S, WANTED_S, DialError, is_unfit
from faregate.gateway.pool import Pool
from faregate.snapshot.data import Target, Upstream
from tests.gateway.fakes import Time
from tests.gateway.test_dial import V4, Resolver, Server, addresses_of, living
from tests.gateway.test_pool import opened, settle


@living
async def test_literal_addresses_are_never_asked_for() -> None:
    resolver = Resolver()
    for host, expected in (("127.0.0.1", V4), ("::1", socket.AF_INET6), ("[::1]", socket.AF_INET6)):
        addresses = addresses_of(Time(), host)
        assert [each[0] for each in await addresses.wanted()] == [expected]
    assert resolver.asked == 0


@living
async def test_all_who_wait_for_a_name_share_one_question() -> None:
    resolver = Resolver(("192.0.2.1", 80))
    resolver.gate = asyncio.Event()
    addresses = addresses_of(Time())
    waiting = [asyncio.ensure_future(addresses.wanted()) for _ in range(20)]
    await asyncio.sleep(0.01)
    resolver.gate.set()
    assert {tuple(each) for each in await asyncio.gather(*waiting)} == {((V4, ("192.0.2.1", 80)),)}
    assert resolver.asked == 1


@living
async def test_a_name_is_asked_for_again_off_the_path_ahead_of_its_end() -> None:
    now = Time()
    resolver = Resolver(("192.0.2.1", 80))
    addresses = addresses_of(now)
    await addresses.wanted()
    now.now += FRESH_S * 0.89
    addresses.keep_fresh(now.now)
    await settle()
    assert resolver.asked == 1, "not yet"
    now.now += FRESH_S * 0.11
    resolver.answer = [("192.0.2.2", 80)]
    addresses.keep_fresh(now.now)
    await settle()
    assert await addresses.wanted() == [(V4, ("192.0.2.2", 80))]
    assert resolver.asked == 2


@living
async def test_a_dial_uses_the_last_answer_while_the_next_is_on_its_way() -> None:
    now = Time()
    resolver = Resolver(("192.0.2.1", 80))
    addresses = addresses_of(now)
    await addresses.wanted()
    resolver.gate = asyncio.Event()
    now.now += FRESH_S + 1.0
    assert await asyncio.wait_for(addresses.wanted(), 0.1) == [(V4, ("192.0.2.1", 80))]
    resolver.gate.set()
    await settle()
    assert resolver.asked == 2


@pytest.mark.parametrize("error", [socket.gaierror(-3, "down"), UnicodeError(), OSError()])
def test_the_last_good_answer_is_kept_while_the_resolver_fails(error: Exception) -> None:
    @living
    async def play() -> None:
        now = Time()
        resolver = Resolver(("192.0.2.1", 80))
        addresses = addresses_of(now)
        await addresses.wanted()
        resolver.answer = error
        for _ in range(20):
            now.now += WANTED_S
            assert await addresses.wanted() == [(V4, ("192.0.2.1", 80))]
            await settle()
        assert addresses.failures >= 10

    play()


@living
async def test_a_name_that_nobody_dials_is_left_alone() -> None:
    now = Time()
    resolver = Resolver(("192.0.2.1", 80))
    addresses = addresses_of(now)
    addresses.keep_fresh(now.now)
    await addresses.wanted()
    now.now += WANTED_S + 1.0
    for _ in range(5):
        now.now += FRESH_S
        addresses.keep_fresh(now.now)
        await settle()
    assert resolver.asked == 1


@living
async def test_an_unknown_name_is_told_as_such_and_asked_for_at_the_next_call() -> None:
    resolver = Resolver()
    resolver.answer = socket.gaierror(-2, "unknown")
    addresses = addresses_of(Time())
    for asked in (1, 2):
        with pytest.raises(DialError, match="name_not_resolved"):
            await addresses.wanted()
        assert resolver.asked == asked


@living
async def test_x9_a_thousand_addresses_are_cut_to_the_first() -> None:
    Resolver(*[(f"192.0.{number // 250}.{number % 250 + 1}", 80) for number in range(1000)])
    addresses = addresses_of(Time())
    assert len(await addresses.wanted()) == ADDRESSES_MAX
    assert addresses.knows((V4, ("192.0.3.200", 80))), "one beyond the cut is no reason to let go"


@living
async def test_dials_take_turns_among_the_addresses_and_families_alternate() -> None:
    Resolver(("192.0.2.1", 80), ("192.0.2.2", 80), ("2001:db8::1", 80))
    addresses = addresses_of(Time())
    orders = [[each[1][0] for each in await addresses.wanted()] for _ in range(4)]
    assert {order[0] for order in orders} == {"192.0.2.1", "192.0.2.2"}
    assert {order[1] for order in orders} == {"2001:db8::1"}


@living
async def test_an_address_that_failed_comes_last_until_the_name_is_resolved_again() -> None:
    now = Time()
    Resolver(("192.0.2.1", 80), ("192.0.2.2", 80))
    addresses = addresses_of(now)
    await addresses.wanted()
    addresses.tell((V4, ("192.0.2.1", 80)), connected=False)
    assert {(await addresses.wanted())[0][1][0] for _ in range(4)} == {"192.0.2.2"}
    now.now += FRESH_S
    addresses.keep_fresh(now.now)
    await settle()
    assert {(await addresses.wanted())[0][1][0] for _ in range(4)} == {"192.0.2.1", "192.0.2.2"}


@living
async def test_x9_a_moved_name_lets_idle_connections_go_after_two_answers_without_them() -> None:
    async with Server() as server:
        now = Time()
        resolver = Resolver(("127.0.0.1", server.port))
        pool = Pool(Target("t", "bank.test", server.port), Upstream("u", ()), asyncio.get_running_loop(), now)
        pool.give_back(await opened(pool), now.now)
        resolver.answer = [("127.0.0.9", server.port)]
        kept = []
        for _ in range(2):
            now.now += FRESH_S
            pool.reap(now.now)
            await settle()
            pool.reap(now.now)
            kept.append(pool.idle_count)
        await settle()
        assert (kept, pool.open_count) == ([1, 0], 0)
        pool.close()


@pytest.mark.parametrize(
    ("address", "unfit"),
    [
        ("169.254.169.254", True), ("fe80::1", True), ("fe80::1%eth0", True), ("224.0.0.1", True), ("0.0.0.0", True), ("::", True),
        ("::ffff:169.254.169.254", True), ("127.0.0.1", False), ("10.0.0.1", False), ("fd00::1", False), ("203.0.113.7", False),
    ],
)  # fmt: skip
def test_section_14_addresses_that_no_name_may_lead_to(address: str, unfit: bool) -> None:
    assert is_unfit(address) is unfit


@living
async def test_section_14_one_bad_address_condemns_the_answer_and_the_former_one_stays() -> None:
    now = Time()
    resolver = Resolver(("192.0.2.1", 80), ("169.254.169.254", 80))
    addresses = addresses_of(now)
    with pytest.raises(DialError, match="address_refused"):
        await addresses.wanted()
    resolver.answer = [("192.0.2.1", 80)]
    await addresses.wanted()
    resolver.answer = [("169.254.169.254", 80)]
    now.now += FRESH_S
    addresses.keep_fresh(now.now)
    await settle()
    assert await addresses.wanted() == [(V4, ("192.0.2.1", 80))]
