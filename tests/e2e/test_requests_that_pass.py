"""http-rules.md section 2, the other half: what must pass, F31 (pipelining) and F32 (each request is judged afresh)."""

import asyncio

import pytest

from tests.conftest import Bench
from tests.e2e.framing_cases import CHUNKED_BODY, END, HOST, LINE, PASSES, Case
from tests.e2e.framing_checks import AT_ONCE, PROBE, report, spellings
from tests.support.client import RawClient, ask, attempt, request
from tests.support.configuration import key_line
from tests.support.script import Gate, head, raw, sized


def test_neighbours_of_the_refused_pass(bench: Bench) -> None:
    """Each is answered 200 in every spelling and arrives upstream exactly once, complete."""

    room = asyncio.Semaphore(AT_ONCE)
    work = [(case, pieces) for case in PASSES for pieces in spellings(case.data)]

    async def one(case: Case, pieces: tuple[bytes, ...]) -> str:
        async with room, RawClient(bench.address) as client:
            for piece in pieces:
                await client.send(piece)
                await asyncio.sleep(0)
            answer = await client.answer()
        return (
            ""
            if answer is not None and answer.status == 200
            else f"{case.name}: {answer and answer.head.raw + answer.text}"
        )

    async def every() -> list[str]:
        return await asyncio.gather(*(one(*item) for item in work))

    report([fault for fault in asyncio.run(every()) if fault])
    assert len(bench.upstream.requests) == len(work)
    assert all(seen.complete for seen in bench.upstream.requests)


def test_f24_f26_extensions_and_trailers_are_dropped(bench: Bench) -> None:
    data = (
        LINE
        + HOST
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + b"2;secret=ext\r\n{}\r\n0;more\r\nX-Trailed: 1\r\n\r\n"
    )
    assert asyncio.run(ask(bench.address, data)).status == 200
    (seen,) = bench.upstream.requests
    assert bytes(seen.body.data) == b"{}"
    assert seen.body.trailers == ()
    assert not {"x-trailed", "trailer"} & set(seen.head.names)
    received = bytes(bench.upstream.connections[-1].received)
    assert b"secret" not in received
    assert b"X-Trailed" not in received


def test_f29_expectation_is_ignored_on_1_0_and_never_forwarded(bench: Bench) -> None:
    data = request("POST", "/open/v1/expect", "Expect: 100-continue", body=b"{}", version="1.0")
    result = asyncio.run(attempt(bench.address, data))
    assert result.status == 200
    assert result.answers[0].interim == []
    assert bench.upstream.requests[0].header("expect") is None


def test_f31_pipelined_requests_run_one_at_a_time_in_order(bench: Bench) -> None:
    gates = [Gate() for _ in range(4)]
    for number, gate in enumerate(gates):
        body = b"answer %d" % number
        bench.upstream.script(
            f"/open/v1/p{number}", raw(gate, head(200, f"Content-Length: {len(body)}") + body)
        )

    async def play() -> None:
        async with RawClient(bench.address) as client:
            await client.send(
                b"".join(request("POST", f"/open/v1/p{number}", body=b"{}") for number in range(4))
            )
            for number, gate in enumerate(gates):
                await bench.upstream.awaits(
                    lambda n=number: len(bench.upstream.requests) > n, f"request {number}"
                )
                assert [seen.path for seen in bench.upstream.requests] == [
                    f"/open/v1/p{n}" for n in range(number + 1)
                ]
                gate.open()
                answer = await client.answer()
                assert answer is not None
                assert answer.text == b"answer %d" % number

    asyncio.run(play())


@pytest.mark.parametrize(
    ("first", "status"),
    [
        (LINE + HOST + b"Content-Length: +2\r\n\r\n{}", 400),
        (LINE + HOST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED_BODY, 400),
        (LINE + HOST + b"Expect: nothing\r\n" + END, 417),
        (b"TRACE /open/v1/t HTTP/1.1\r\n" + HOST + b"\r\n", 501),
        (LINE + HOST + b"Content-Length: 1048577\r\n\r\n", 413),
        (LINE + HOST + b"Connection: close\r\n" + END, 200),
        (b"GET /open/v1/t HTTP/1.0\r\n" + HOST + b"\r\n", 200),
    ],
    ids=["bad length", "both framings", "expectation", "method", "too large", "close asked", "1.0"],
)
def test_f31_nothing_is_processed_after_an_error_or_close(bench: Bench, first: bytes, status: int) -> None:
    smuggled = request("GET", "/open/v1/smuggled")
    result = asyncio.run(attempt(bench.address, first + smuggled * 3))
    assert [answer.status for answer in result.answers] == [status]
    assert result.closed
    assert asyncio.run(ask(bench.address, PROBE)).status == 200
    assert bench.upstream.of_path("/open/v1/smuggled") == []


def test_f31_a_hundred_pipelined_requests_are_all_answered(bench: Bench) -> None:
    for number in range(100):
        bench.upstream.script(f"/open/v1/n{number}", sized(b"%d" % number))

    async def play() -> list[bytes]:
        async with RawClient(bench.address) as client:
            await client.send(b"".join(request("GET", f"/open/v1/n{number}") for number in range(100)))
            return [answer.text for _ in range(100) if (answer := await client.answer()) is not None]

    assert asyncio.run(play()) == [b"%d" % number for number in range(100)]


@pytest.mark.parametrize(
    "targets",
    [("/nowhere",), ("/open/v1/t",), ("/open/v1/t", "/nowhere", "/nowhere")],
    ids=["refused", "answered", "mixed"],
)
def test_f31_a_long_pipeline_stays_in_order_whatever_the_reads_cut(
    bench: Bench, targets: tuple[str, ...]
) -> None:
    """Bytes that arrive while earlier ones are held must queue behind them: overtaking would be request smuggling."""
    count = 3000
    asked = [(targets[number % len(targets)], f"n{number}") for number in range(count)]
    data = b"".join(request("GET", target, f"X-Request-Id: {name}") for target, name in asked)

    async def play() -> list[tuple[int, str]]:
        async with RawClient(bench.address, timeout_s=30) as client:
            sending = asyncio.create_task(client.send(data, 1777))
            answers = []
            while len(answers) < count and (answer := await client.answer()) is not None:
                answers.append((answer.status, answer.request_id))
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            return answers

    answers = asyncio.run(play())
    expected = [(404 if target == "/nowhere" else 200, name) for target, name in asked]
    wrong = next(
        (number for number, pair in enumerate(zip(answers, expected, strict=False)) if pair[0] != pair[1]),
        None,
    )
    assert wrong is None, f"answer {wrong} is {answers[wrong]}, expected {expected[wrong]}"
    assert len(answers) == count


def test_f32_each_request_of_a_connection_proves_itself(bench: Bench) -> None:
    async def play() -> list[tuple[int, str | None]]:
        results = []
        async with RawClient(bench.address) as client:
            for lines in (
                [key_line("acme")],
                [],
                [key_line("reader")],
                [key_line("paused")],
                [key_line("acme")],
            ):
                answer = await client.ask(request("POST", "/v2/payments", *lines, body=b"{}"))
                results.append((answer.status, None if answer.status == 200 else answer.code))
        return results

    assert asyncio.run(play()) == [
        (200, None), (401, "credential_missing"), (403, "permission_denied"), (403, "consumer_suspended"), (200, None),
    ]  # fmt: skip
    assert [seen.header("x-consumer-id") for seen in bench.upstream.requests] == ["acme", "acme"]
