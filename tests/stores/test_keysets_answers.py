"""K3 of http-rules.md: an answer that must not be used leaves the former set in use, on disk too."""

import asyncio
import inspect
from pathlib import Path

import pytest

from faregate.gateway.side_call import fetcher_for
from faregate.kernel.problems import Refusal
from faregate.stores.keyset_files import KeySetFile
from faregate.stores.keysets import (
    LIFETIME_S,
    STALE_S,
    KeySets,
)
from tests.policies.jwt.material import (
    FrozenClock,
    authenticators,
    call_with,
    issuer,
    jwk,
    key_for,
    key_set,
    private_key,
    route,
    token,
)
from tests.stores.https_server import HttpsServer, answer, authority_and_chain, sending
from tests.stores.world import BOTH, FIRST, LONG_TOKEN, NEW_TOKEN, OLD_TOKEN, URL, World, living

BAD_ANSWERS = {
    "empty set": b'{"keys":[]}',
    "a page": b"<html>down for maintenance</html>",
    "nothing": b"",
    "another object": b'{"error":"x"}',
    "private key": key_set(jwk(private_key("ES256", 2), kid="k2", d="AQ")),
    "kid twice": key_set(jwk(key_for("ES256"), kid="k1"), jwk(private_key("ES256", 2), kid="k1")),
    "key against algorithm": key_set(jwk(key_for("ES256"), kid="k1", alg="RS256")),
    "member twice": b'{"keys":[],"keys":[]}',
    "only encryption": key_set(jwk(key_for("ES256"), kid="k1", use="enc")),
    "over 1 MiB": FIRST + b" " * (1 << 20),
}


def contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.iterdir()]


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_k3_a_bad_set_changes_nothing(name: str, tmp_path: Path) -> None:
    async def run() -> None:
        world = World(tmp_path)
        assert await world() == "accepted"
        kept, on_disk = world.source.current, contents(tmp_path)
        world.provider.text = BAD_ANSWERS[name]
        await world.pass_time(LIFETIME_S)
        assert len(world.provider.fetched) == 2
        assert world.source.last_error
        assert world.source.current is kept
        assert kept.live
        assert await world() == "accepted"
        assert contents(tmp_path) == on_disk
        await world.keysets.close()

    asyncio.run(run())


@living
async def test_an_error_nobody_thought_of_changes_nothing_either(world: World) -> None:
    assert await world() == "accepted"
    world.provider.text = 5  # type: ignore[assignment]
    await world.pass_time(LIFETIME_S)
    assert world.source.last_error == "TypeError"
    assert await world() == "accepted"


@living
async def test_a_restarted_worker_serves_from_disk_while_the_provider_is_down(world: World) -> None:
    assert await world(LONG_TOKEN) == "accepted"
    await world.settle()
    await world.keysets.close()
    world.provider.text = None
    world.clock.now += STALE_S - 10
    world.restart()
    assert not inspect.isawaitable(world.start(LONG_TOKEN)[1])
    assert await world(LONG_TOKEN) == "accepted"
    await world.pass_time(11)
    assert await world(LONG_TOKEN) == "store_unavailable", "the age counts over restarts"


@living
async def test_a_set_on_disk_that_is_too_old_or_damaged_is_not_used(world: World) -> None:
    assert await world() == "accepted"
    await world.settle()
    await world.keysets.close()
    file = next(world.folder.iterdir())
    good = file.read_bytes()
    world.provider.text = None
    for damaged in (
        b"",
        b"\n",
        b"x\n" + FIRST,
        good[:-5],
        b"9" * 40 + b"\n" + FIRST,
        good.partition(b"\n")[0] + b"\n" + key_set(jwk(key_for("ES256"), kid="k1", d="AQ")),
    ):
        file.write_bytes(damaged)
        world.restart()
        assert world.source.current is None
    file.write_bytes(good)
    world.clock.now += STALE_S + 1
    world.restart()
    assert world.source.current is None


@living
async def test_files_are_private_and_one_per_issuer_and_url(world: World) -> None:
    assert await world() == "accepted"
    await world.settle()
    file = next(world.folder.iterdir())
    assert file.stat().st_mode & 0o777 == 0o600
    names = {
        KeySetFile(world.folder, name, url)._path
        for name, url in (("a", "bc"), ("ab", "c"), ("a", "bd"), ("a", "bc"))
    }
    assert len(names) == 3


@living
async def test_an_unwritable_folder_is_no_reason_to_refuse_calls(world: World) -> None:
    world.folder.write_text("a file where the folder should be")
    assert await world() == "accepted"
    await world.settle()
    assert world.source.last_error == ""


@living
async def test_a_reload_keeps_the_sets_and_a_changed_url_does_not(world: World) -> None:
    assert await world() == "accepted"
    before = world.source
    world.load()
    await world.keysets.retain([world.issuer])
    assert world.source is before
    assert not inspect.isawaitable(world.start()[1])
    moved = issuer(jwks_url="https://elsewhere.example/jwks")
    authenticators(moved, keysets=world.keysets)
    await world.keysets.retain([moved])
    assert [source.url for source in world.keysets.remote()] == ["https://elsewhere.example/jwks"]


@living
async def test_the_timer_runs_on_the_loop_and_close_ends_it(world: World) -> None:
    world.keysets.start()
    await world.settle()
    assert world.provider.fetched == [URL]
    assert await world() == "accepted"
    await world.keysets.close()
    assert world.keysets.remote() == ()


REAL_BAD = {
    "redirect": answer(b"", status=b"302 Found", fields=b"Location: https://127.0.0.1:1/\r\n"),
    "error": answer(FIRST, status=b"503 Down"),
    "cut": answer(FIRST, length=len(FIRST) + 1),
    "too large": answer(FIRST + b" " * (1 << 20)),
    "page": answer(b"<html></html>"),
    "empty set": answer(b'{"keys":[]}'),
    "private": answer(BAD_ANSWERS["private key"]),
    "twice": answer(BAD_ANSWERS["kid twice"]),
}


def test_k3_over_real_tls_a_bad_answer_leaves_the_former_set_in_use(tmp_path: Path) -> None:
    async def run() -> None:
        async with HttpsServer(sending(answer(FIRST))) as server:
            clock = FrozenClock()
            keysets = KeySets(lambda ca: fetcher_for(ca, 0.5), clock, tmp_path)
            own = issuer(jwks_url=server.url, jwks_ca=str(authority_and_chain()[0]))
            step = authenticators(own, keysets=keysets).step_for(route("jwt"))
            verdict = step(call_with(b"Bearer " + OLD_TOKEN))
            assert await verdict is None
            source = keysets.remote()[0]
            kept = source.current

            async def drip(writer: asyncio.StreamWriter) -> None:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while True:
                    writer.write(b" ")
                    await writer.drain()
                    await asyncio.sleep(0.01)

            for name, script in [*((name, sending(data)) for name, data in REAL_BAD.items()), ("drip", drip)]:
                server.script = script
                clock.now += LIFETIME_S
                keysets.tick(clock.now)
                while source._task is not None:
                    await asyncio.wait((source._task,))
                assert source.last_error, name
                assert source.current is kept, name
                assert step(call_with(b"Bearer " + OLD_TOKEN)) is None, name
            server.script = sending(answer(BOTH))
            clock.now += LIFETIME_S
            keysets.tick(clock.now)
            while source._task is not None:
                await asyncio.wait((source._task,))
            assert step(call_with(b"Bearer " + NEW_TOKEN)) is None
            assert server.connections == len(REAL_BAD) + 3
            await keysets.close()

    asyncio.run(run())


def test_j04_a_header_that_names_an_address_opens_no_connection(tmp_path: Path) -> None:
    async def run() -> int:
        async with HttpsServer(sending(answer(FIRST))) as server:
            keysets = KeySets(fetcher_for, FrozenClock(), tmp_path)
            step = authenticators(
                issuer(jwks_url=server.url, jwks_ca=str(authority_and_chain()[0])), keysets=keysets
            ).step_for(route("jwt"))
            for member in ("jku", "x5u"):
                verdict = step(call_with(b"Bearer " + token(header={member: server.url})))
                assert isinstance(verdict, Refusal)
            await keysets.close()
            return server.connections

    assert asyncio.run(run()) == 0
