"""Key sets over time: kept, refreshed, refetched, never lost to a bad answer (http-rules.md K1-K3). Time is
injected.
"""

import asyncio
import inspect

from faregate.stores.keysets import (
    COOL_DOWN_S,
    LIFETIME_S,
    REFRESH_AT,
    RETRY_MAX_S,
    STALE_S,
    UNKNOWN_KID_S,
    UNKNOWN_KIDS_MAX,
    WAITERS_MAX,
)
from tests.policies.jwt.material import (
    OTHER_ISSUER,
    authenticators,
    call_with,
    claims,
    issuer,
    route,
    token,
)
from tests.stores.world import BOTH, FIRST, LONG_TOKEN, NEW_TOKEN, OLD_TOKEN, ROTATED, URL, World, living


@living
async def test_the_first_call_waits_for_the_first_fetch(world: World) -> None:
    call, verdict = world.start()
    assert inspect.isawaitable(verdict)
    assert await verdict is None
    assert call.identity.consumer.name == "acme"
    assert world.provider.fetched == [URL]
    assert not inspect.isawaitable(world.start()[1])


@living
async def test_many_first_calls_wait_for_one_fetch(world: World) -> None:
    world.provider.gate = asyncio.Event()
    waiting = [asyncio.ensure_future(world()) for _ in range(200)]
    await asyncio.sleep(0)
    world.provider.gate.set()
    assert set(await asyncio.gather(*waiting)) == {"accepted"}
    assert len(world.provider.fetched) == 1


@living
async def test_waiting_calls_are_bounded(world: World) -> None:
    world.provider.gate = asyncio.Event()
    waiting = [asyncio.ensure_future(world()) for _ in range(WAITERS_MAX + 5)]
    await asyncio.sleep(0)
    assert sorted(task.result() for task in waiting if task.done()) == ["overloaded"] * 5
    world.provider.gate.set()
    assert (await asyncio.gather(*waiting)).count("accepted") == WAITERS_MAX
    world.provider.gate = None
    assert await world(NEW_TOKEN) == "unknown_key"
    assert world.source._waiting == 0


@living
async def test_a_caller_that_leaves_cancels_nobody_elses_fetch(world: World) -> None:
    world.provider.gate = asyncio.Event()
    leaving, staying = asyncio.ensure_future(world()), asyncio.ensure_future(world())
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert world.source._waiting == 1
    world.provider.gate.set()
    assert await staying == "accepted"
    assert len(world.provider.fetched) == 1


@living
async def test_a_closed_source_lets_its_waiters_go(world: World) -> None:
    world.provider.gate = asyncio.Event()
    waiting = asyncio.ensure_future(world())
    await asyncio.sleep(0)
    await world.keysets.retain(())
    assert await waiting == "store_unavailable"


@living
async def test_with_no_set_at_all_the_answer_is_503_with_retry_after_not_401(world: World) -> None:
    world.provider.text = None
    _, verdict = world.start()
    verdict = await verdict
    assert (verdict.code, verdict.reason, verdict.retry_after) == (
        "store_unavailable",
        "keys_unavailable",
        10,
    )
    assert not inspect.isawaitable(world.start()[1]), "no second fetch within the cool-down"
    assert await world(b"garbage") == "malformed_token"


@living
async def test_k1_an_unknown_kid_causes_one_refetch_that_brings_the_new_key(world: World) -> None:
    assert await world() == "accepted"
    world.clock.now += COOL_DOWN_S
    world.provider.text = ROTATED
    assert await world(NEW_TOKEN) == "accepted"
    assert len(world.provider.fetched) == 2


@living
async def test_k1_a_thousand_random_kids_a_second_cause_one_fetch_in_a_cool_down(world: World) -> None:
    assert await world() == "accepted"
    for second in range(30):
        world.clock.now += 1.0
        for number in range(30):
            assert await world(token(header={"kid": f"r{second}-{number}"})) == "unknown_key"
        assert await world() == "accepted", "good keys stay"
    assert len(world.provider.fetched) <= 1 + 30 / COOL_DOWN_S
    assert len(world.source._unknown) <= UNKNOWN_KIDS_MAX


@living
async def test_k1_concurrent_unknown_kids_share_one_fetch(world: World) -> None:
    assert await world() == "accepted"
    world.clock.now += COOL_DOWN_S
    world.provider.gate = asyncio.Event()
    waiting = [asyncio.ensure_future(world(token(header={"kid": f"r{n}"}))) for n in range(50)]
    await asyncio.sleep(0)
    assert await world() == "accepted", "known keys do not wait"
    world.provider.gate.set()
    assert set(await asyncio.gather(*waiting)) == {"unknown_key"}
    assert len(world.provider.fetched) == 2


@living
async def test_k1_a_kid_found_unknown_causes_no_other_fetch_for_a_while(world: World) -> None:
    assert await world() == "accepted"
    unknown = token(header={"kid": "k9"})
    for _ in range(int(UNKNOWN_KID_S) + 1):
        world.clock.now += 1.0
        assert await world(unknown) == "unknown_key"
    assert len(world.provider.fetched) == 2
    world.clock.now += COOL_DOWN_S
    assert await world(unknown) == "unknown_key"
    assert len(world.provider.fetched) == 3


@living
async def test_k1_unknown_kids_remembered_are_bounded(world: World) -> None:
    assert await world() == "accepted"
    for number in range(UNKNOWN_KIDS_MAX + 100):
        world.source.note_absent(f"r{number}", world.clock.now)
        assert len(world.source._unknown) <= UNKNOWN_KIDS_MAX
    world.source.note_absent("k1", world.clock.now)
    assert "k1" not in world.source._unknown


@living
async def test_k1_other_issuers_are_unaffected(world: World) -> None:
    other = issuer(name="globex-id", issuer=OTHER_ISSUER, jwks_url="https://id.globex.example/jwks")
    step = authenticators(world.issuer, other, keysets=world.keysets).step_for(route("jwt"))
    first = step(call_with(b"Bearer " + OLD_TOKEN))
    assert await first is None
    theirs = call_with(b"Bearer " + token(claims(iss=OTHER_ISSUER, sub="globex-server")))
    assert await step(theirs) is None
    assert sorted(world.provider.fetched) == sorted([URL, "https://id.globex.example/jwks"])


@living
async def test_k2_down_provider_the_last_good_set_serves_up_to_a_stated_age(world: World) -> None:
    assert await world(LONG_TOKEN) == "accepted"
    world.provider.text = None
    for _ in range(24):
        assert await world(LONG_TOKEN) == "accepted"
        await world.pass_time(3600)
    assert world.source.last_error == "unreachable"
    await world.pass_time(1)
    assert world.source.current is None
    assert await world(LONG_TOKEN) == "store_unavailable"
    assert STALE_S == 24 * 3600
    world.provider.text = FIRST
    await world.pass_time(RETRY_MAX_S)
    assert await world(LONG_TOKEN) == "accepted"


@living
async def test_k2_a_removed_key_is_refused_within_the_lifetime_although_cached(world: World) -> None:
    world.provider.text = BOTH
    assert await world() == "accepted"
    world.provider.text = ROTATED
    world.keysets.tick(world.clock.now)
    await world.settle()
    for _ in range(int(LIFETIME_S)):
        await world.pass_time(1.0)
    assert await world() == "unknown_key"
    assert await world(NEW_TOKEN) == "accepted"


@living
async def test_k2_refresh_happens_ahead_of_the_end_and_off_the_calls_path(world: World) -> None:
    assert await world() == "accepted"
    before = world.source.current
    await world.pass_time(LIFETIME_S * REFRESH_AT - 1)
    assert len(world.provider.fetched) == 1
    world.provider.gate = asyncio.Event()
    world.clock.now += 1
    world.keysets.tick(world.clock.now)
    assert not inspect.isawaitable(world.start()[1]), "no call waits for a refresh"
    world.provider.gate.set()
    await world.settle()
    assert len(world.provider.fetched) == 2
    assert world.source.current is before, "an unchanged set keeps its cached tokens"
    assert before.live


@living
async def test_k2_a_down_provider_is_asked_ever_less_often(world: World) -> None:
    world.provider.text = None
    for _ in range(1200):
        await world.pass_time(1.0)
    assert 8 <= len(world.provider.fetched) <= 16
