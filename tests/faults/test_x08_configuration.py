"""X8: a configuration ten times the size, empty, invalid, looping, written by two at once, and read a hundred times a minute.

The last good one stays, no request fails, memory stays flat.
"""

import asyncio
import os
import threading
import time
from pathlib import Path

import pytest

from tests.faults.conftest import Rig
from tests.support.client import RawClient
from tests.support.configuration import Tree, changed, public_api, write
from tests.support.gateway import until

ROUTES = 200
RELOADS = 100 if os.environ.get("FAREGATE_PROOF") == "long" else 12
"""Each as soon as the one before it serves: two or three a second on an idle machine."""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("empty", ""),
        ("no mapping", "- just\n- a list\n"),
        ("not yaml", "{ not: [yaml"),
        ("binary", "\x00\x01\x02"),
        ("include loop", "include: [faregate.yaml]\n"),
        ("alias bomb", "a: &a [x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c]\n"),
        ("deep", "a: " + "[" * 5000),
    ],
)  # fmt: skip
def test_x8_a_file_that_is_none_leaves_the_last_good_configuration(rig: Rig, name: str, text: str) -> None:
    before, told = rig.gateway.revision(), len(rig.gateway.stderr)
    rig.gateway.file.write_text(text)
    rig.gateway.reload()
    until(lambda: f"revision {before} stays" in rig.gateway.stderr[told:], f"the refusal of {name}", 15)
    assert rig.post(f"x8-{name.replace(' ', '-')}").status == 200
    assert rig.gateway.revision() == before
    assert "Traceback" not in rig.gateway.stderr
    write(rig.gateway.folder, rig.gateway.tree)


def test_x8_ten_times_the_routes_are_taken_and_given_back(rig: Rig) -> None:
    small = rig.gateway.tree
    big = small
    for number in range(ROUTES // 7):
        big = changed(big, "apis", f"many{number}", to=public_api("main", f"/many{number}/v1"))
    rig.gateway.reload_and_wait(big)
    assert rig.post("x8-big", f"/many{ROUTES // 7 - 1}/v1/x").status == 200
    rig.gateway.reload_and_wait(small)
    assert rig.post("x8-small", "/many0/v1/x").status == 404


def test_x8_two_writers_at_once_end_with_one_of_their_files_whole(rig: Rig) -> None:
    """Each writes and asks for a reload; what serves in the end is one writer's file, never a mixture, never nothing."""
    good = rig.gateway.tree
    trees: dict[str, Tree] = {
        name: changed(good, "apis", name, to=public_api("main", f"/{name}/v1")) for name in ("left", "right")
    }
    places = {name: Path(rig.gateway.folder, f"writer-{name}") for name in trees}

    def writer(name: str) -> None:
        for _ in range(6):
            file = write(places[name], trees[name])
            file.replace(rig.gateway.file)  # as an editor or a deployment does it
            rig.gateway.reload()
            time.sleep(0.03)

    threads = [threading.Thread(target=writer, args=(name,)) for name in trees]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = "left" if "/left/v1" in rig.gateway.file.read_text() else "right"
    other = "right" if last == "left" else "left"

    def settled() -> bool:
        mine = rig.post(f"x8-{last}-{time.monotonic_ns()}", f"/{last}/v1/x").status
        theirs = rig.post(f"x8-{other}-{time.monotonic_ns()}", f"/{other}/v1/x").status
        return (mine, theirs) == (200, 404)

    until(settled, "the file that was written last", 10)
    rig.gateway.reload_and_wait(good)


def test_x8_a_hundred_reloads_a_minute_fail_no_request_and_keep_memory_flat(rig: Rig) -> None:
    statuses: set[int] = set()
    good = rig.gateway.tree

    async def play() -> None:
        stop = False

        async def calls(caller: int) -> None:
            number = 0
            async with RawClient(rig.gateway.address) as client:
                while not stop:
                    number += 1
                    answer = await client.ask(rig.call(f"x8-{caller}-{number}", "/direct/v1/pay"), "POST")
                    statuses.add(answer.status)
                    assert answer.header("connection") != "close", "a reload ended a connection"
                    await asyncio.sleep(0.01)

        callers = [asyncio.create_task(calls(caller)) for caller in range(4)]
        for number in range(RELOADS):
            turned = changed(good, "apis", "turn", to=public_api("main", f"/turn{number % 5}/v1"))
            await asyncio.to_thread(rig.gateway.reload_and_wait, turned)
        stop = True
        await asyncio.gather(*callers)

    rig.gateway.reload_and_wait(changed(good, "apis", "turn", to=public_api("main", "/turn/v1")))
    before, first = rig.gateway.rss_bytes(), rig.gateway.revision()
    asyncio.run(play())
    assert rig.gateway.revision() >= first + RELOADS
    assert statuses == {200}
    grown = rig.gateway.rss_bytes() - before
    assert grown < 6 << 20, f"{grown >> 10} KiB after {RELOADS} reloads"
    rig.gateway.reload_and_wait(good)
