"""Refusals of SPEC section 3 that depend on what went before: limits, quotas, places, full upstreams, a locked store."""

import asyncio
import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pytest

from tests.e2e.refusals import Place, Row, check, known, pay
from tests.support.client import Answer, RawClient, ask, request
from tests.support.configuration import (
    bearer,
    key_line,
)
from tests.support.gateway import until
from tests.support.script import Gate, head, raw

RATE_HEADERS = (
    "RateLimit-Policy",
    "RateLimit",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
)


def test_rate_limited(place: Place) -> None:
    async def play() -> list[Answer]:
        return [await ask(place.gateway.address, pay(key_line("hasty"))) for _ in range(3)]

    first, second, third = asyncio.run(play())
    assert (first.status, second.status) == (200, 200)
    for left, answer in ((1, first), (0, second), (0, third)):
        assert all(answer.header(name) for name in RATE_HEADERS), answer.head.raw
        assert answer.header("x-ratelimit-limit") == "2"
        assert answer.header("x-ratelimit-remaining") == str(left)
        assert 0 <= int(answer.header("x-ratelimit-reset") or "-1") <= 61
    check(place, third, Row("rate_limited", 429, b"", retry="after", log=known("hasty")))
    assert "two_a_minute" in str(third.problem["parameter"])
    assert 1 <= int(third.header("retry-after") or "0") <= 62


def test_quota_exhausted(place: Place) -> None:
    async def play() -> list[Answer]:
        return [await ask(place.gateway.address, pay(bearer("spent"))) for _ in range(3)]

    *passed, refused = asyncio.run(play())
    assert [answer.status for answer in passed] == [200, 200]
    check(
        place,
        refused,
        Row("quota_exhausted", 429, b"", retry="after", log=known("spent", "jwt:acme-id:spent")),
    )
    assert refused.problem["parameter"] == "quota.two_a_month"
    assert int(refused.header("retry-after") or "0") <= 31 * 86_400


def test_concurrency_exceeded_and_its_place_is_freed(place: Place) -> None:
    gate = Gate()
    place.upstream.script("/v2/payments/held", raw(gate, head(200, "Content-Length: 2") + b"ok"))
    held = request("GET", "/v2/payments/held", key_line("single"))

    async def play() -> tuple[Answer, Answer | None, Answer]:
        async with RawClient(place.gateway.address) as client:
            await client.send(held)
            await place.upstream.awaits(
                lambda: bool(place.upstream.of_path("/v2/payments/held")), "the held call"
            )
            refused = await ask(place.gateway.address, pay(key_line("single")))
            gate.open()
            answered = await client.answer()
        return refused, answered, await ask(place.gateway.address, pay(key_line("single")))

    refused, answered, after = asyncio.run(play())
    check(place, refused, Row("concurrency_exceeded", 429, b"", retry="after", log=known("single")))
    assert refused.problem["parameter"] == "concurrency.one_at_once"
    assert answered is not None
    assert (answered.status, after.status) == (200, 200)


@pytest.mark.parametrize("how", ["fin", "reset"])
def test_concurrency_place_is_freed_when_the_caller_vanishes(place: Place, how: str) -> None:
    gate = Gate()
    path = f"/v2/payments/vanish-{how}"
    place.upstream.script(path, raw(gate, head(200, "Content-Length: 2") + b"ok"))

    async def play() -> None:
        async with RawClient(place.gateway.address) as client:
            await client.send(request("GET", path, key_line("single")))
            await place.upstream.awaits(lambda: bool(place.upstream.of_path(path)), "the call")
            if how == "reset":
                client.wire.reset_on_close()
        gate.open()

    asyncio.run(play())
    until(
        lambda: asyncio.run(ask(place.gateway.address, pay(key_line("single")))).status == 200,
        "the place to be free",
    )


def test_overloaded_when_the_upstream_takes_no_more_connections(place: Place) -> None:
    gate = Gate()
    place.upstream.script("/pinch/v1/held", raw(gate, head(200, "Content-Length: 2") + b"ok"))

    async def play() -> list[Answer]:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(ask(place.gateway.address, request("GET", "/pinch/v1/held")))
                for _ in range(20)
            ]
            # one call per worker is held; every other one must be refused while they are
            done: set[asyncio.Task[Answer]] = set()
            async with asyncio.timeout(5):
                while len(done) < 18:
                    done, _ = await asyncio.wait(tasks, timeout=0.05)
            gate.open()
        return [task.result() for task in tasks]

    answers = asyncio.run(play())
    refused = [answer for answer in answers if answer.status != 200]
    assert 18 <= len(refused) < 20
    for answer in refused:
        check(
            place,
            answer,
            Row("overloaded", 503, b"", "not_sent", "after", log={"api": "pinch", "upstream": "pinch"}),
        )


WORKERS_OWN = 1 << 41
"""From this byte on, each worker holds one of the counters for as long as it lives; those below are taken call by call."""


@contextmanager
def counters_locked(place: Place) -> Iterator[None]:
    """Holds the locks of all counters, as a process that is stopped inside its critical section would."""
    with place.gateway.counters().open("r+b") as file:
        until(lambda: took_lock(file), "the locks of the counters")
        yield


def took_lock(file: BinaryIO) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, WORKERS_OWN, 0)
    except OSError:
        return False
    return True


def test_store_unavailable_when_the_counters_cannot_be_locked(place: Place) -> None:
    with counters_locked(place):
        begun = time.monotonic()
        answer = asyncio.run(ask(place.gateway.address, pay(key_line("acme"))))
        assert time.monotonic() - begun < 2
    check(place, answer, Row("store_unavailable", 503, b"", "not_sent", "after", log={"consumer": "acme"}))
    assert asyncio.run(ask(place.gateway.address, pay(key_line("acme")))).status == 200
