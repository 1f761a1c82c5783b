"""Seeded mutations of valid requests and answers: whatever comes in, what goes out is strict HTTP, and nothing breaks inside.

The reading side here is strict (tests/support/wire.py), so a byte that the gateway let through in a bad place is an error at the
upstream or at the caller. Every failure can be repeated from its seed; one that was found becomes a case in framing_cases.py.
"""

import asyncio
import os
import random

import pytest

from tests.conftest import Bench
from tests.support.client import Attempt, RawClient, ask, attempt, chunked, request
from tests.support.script import Cut, Script, head, raw

SEED = 7
CASES = 20_000 if os.environ.get("FAREGATE_PROOF") == "long" else 1500
AT_ONCE = 64
SPICE = (
    b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b":", b";", b",", b"_", b"%", b"%2f", b"..", b"//", b"\x80", b"\xff", b"0", b"1", b"-", b"+",
    b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: x\r\n", b"HTTP/1.1", b"chunked", b"0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
)  # fmt: skip
REQUESTS = (
    request("GET", "/open/v1/t?a=b", "Accept: */*", "X-A: 1"),
    request("POST", "/open/v1/t", "Content-Type: application/json", body=b'{"amount":1}'),
    b"POST /open/v1/t HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n"
    + chunked(b"abc", b"defgh", trailers=b"X-T: 1\r\n"),
    request("DELETE", "/open/v1/t/%41", "Connection: keep-alive, X-Hop", "X-Hop: 1", "Via: 1.0 x"),
)
ANSWERS = (
    head(200, "Content-Length: 5", "X-A: 1") + b"hello",
    head(200, "Transfer-Encoding: chunked") + chunked(b"abc", b"defgh", trailers=b"X-T: 1\r\n"),
    head(103, "Link: </a>") + head(404, "Content-Length: 2") + b"no",
    head(204, "X-A: 1"),
)


def mutated(dice: random.Random, data: bytes) -> bytes:
    """``data`` with one to three small changes."""
    for _ in range(dice.randint(1, 3)):
        at, to = sorted(dice.randrange(len(data) + 1) for _ in range(2))
        match dice.randrange(5):
            case 0:
                data = data[:at] + bytes([dice.randrange(256)]) + data[at + 1 :]
            case 1:
                data = data[:at] + dice.choice(SPICE) + data[at:]
            case 2:
                data = data[:at] + data[min(to, at + 8) :]
            case 3:
                data = data[:to] + data[at:to] + data[to:]
            case _:
                data = data[:at] + dice.choice(SPICE) + data[at + 1 :]
    return data


def test_mutated_requests_never_reach_the_upstream_malformed_and_never_break_the_gateway(
    bench: Bench,
) -> None:
    dice = random.Random(SEED)
    cases = [mutated(dice, dice.choice(REQUESTS)) for _ in range(CASES)]
    errors_before = bench.gateway.stderr.count("Traceback")
    room = asyncio.Semaphore(AT_ONCE)

    async def one(data: bytes) -> Attempt:
        async with room:
            return await attempt(
                bench.address, data[: len(data) // 2], data[len(data) // 2 :], finish=True, timeout_s=6
            )

    async def every() -> list[Attempt]:
        return await asyncio.gather(*(one(data) for data in cases))

    results = asyncio.run(every())
    faults = []
    for data, result in zip(cases, results, strict=True):
        statuses = [answer.status for answer in result.answers]
        if (
            result.error
            or not result.closed
            or 500 in statuses
            or any(not 200 <= status < 600 for status in statuses)
        ):
            faults.append(f"{data!r}: {statuses} closed {result.closed} {result.error}")
    assert not faults, f"{len(faults)} faults:\n" + "\n".join(faults[:10])
    assert [connection.error for connection in bench.upstream.connections if connection.error] == []
    passed = sum(answer.status == 200 for result in results for answer in result.answers)
    complete = sum(seen.complete for seen in bench.upstream.requests)
    print(f"{CASES} mutated requests: {passed} passed, {complete} complete upstream")
    assert CASES / 100 < passed < CASES, "mutations too wild or too tame to prove anything"
    assert complete >= passed
    assert bench.gateway.stderr.count("Traceback") == errors_before
    assert asyncio.run(ask(bench.address, request("GET", "/open/v1/t"))).status == 200


def test_mutated_answers_are_502_or_strict_http(bench: Bench) -> None:
    dice = random.Random(SEED)
    for number in range(CASES):
        bench.upstream.script(f"/open/v1/m{number}", Script((mutated(dice, dice.choice(ANSWERS)), Cut())))
    errors_before = bench.gateway.stderr.count("Traceback")
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> Attempt:
        async with room:
            return await attempt(
                bench.address, request("GET", f"/open/v1/m{number}"), finish=True, timeout_s=6
            )

    async def every() -> list[Attempt]:
        return await asyncio.gather(*(one(number) for number in range(CASES)))

    results = asyncio.run(every())
    faults = [
        f"m{number}: {[answer.status for answer in result.answers]} closed {result.closed} {result.error}"
        for number, result in enumerate(results)
        if result.error or not result.closed or len(result.answers) != 1 or result.status == 500
    ]
    assert not faults, f"{len(faults)} faults:\n" + "\n".join(faults[:10])
    invalid = sum(result.status == 502 for result in results)
    print(f"{CASES} mutated answers: {invalid} became 502")
    assert CASES / 10 < invalid < CASES
    assert bench.gateway.stderr.count("Traceback") == errors_before


@pytest.mark.parametrize("reading", [False, True], ids=["never reads", "reads at the end"])
def test_a_flood_of_pipelined_requests_costs_little_memory(bench: Bench, reading: bool) -> None:
    """8 MiB of requests on one connection whose caller does not read: the gateway stops reading too, and loses none."""
    bench.upstream.script("/open/v1/t", raw(head(200, "Content-Length: 20000") + b"x" * 20_000))
    one = request("GET", "/open/v1/t")
    count = (8 << 20) // len(one) if not reading else 500
    before = bench.gateway.rss_bytes()

    async def play() -> int:
        async with RawClient(bench.address, timeout_s=30) as client:
            sending = asyncio.create_task(client.send(one * count))
            grown = 0
            for _ in range(10):
                await asyncio.sleep(0.05)
                grown = max(grown, bench.gateway.rss_bytes() - before)
            if reading:
                for _ in range(count):
                    answer = await client.answer()
                    assert answer is not None
                    assert (answer.status, answer.body.length) == (200, 20_000)
            else:
                assert not sending.done(), "8 MiB of requests were taken in although no answer was read"
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            return grown

    grown = asyncio.run(play())
    assert grown < 8 << 20, f"{grown >> 20} MiB held for one caller"
