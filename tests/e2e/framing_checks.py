"""How a table of bad requests is tried on the gateway: in every spelling, with the upstream, the answer and the log as witnesses."""

import asyncio
import json
from collections.abc import Iterator

from tests.conftest import Bench
from tests.e2e.framing_cases import BODIES, HEADS, Case
from tests.support.client import Answer, Attempt, ask, attempt, request

CODES = {
    400: "malformed_request", 413: "body_too_large", 414: "target_too_long", 417: "expectation_failed", 431: "headers_too_large",
    501: "method_not_implemented", 505: "version_not_supported",
}  # fmt: skip
AT_ONCE = 48
PROBE = request("POST", "/open/v1/probe", "X-Probe: after the refusals", body=b"probe body")


def spellings(data: bytes) -> Iterator[tuple[bytes, ...]]:
    """The ways in which the bytes travel: whole, byte by byte (longer ones in 97s), and cut in two at each CR and LF."""
    yield (data,)
    if len(data) > 1200:
        yield tuple(data[start : start + 997] for start in range(0, len(data), 997))
        return
    yield tuple(data[at : at + 1] for at in range(len(data)))
    for at in range(1, len(data)):
        if data[at - 1 : at] in {b"\r", b"\n"} or data[at : at + 1] == b"\r":
            yield data[:at], data[at:]


async def try_all(bench: Bench, cases: list[Case]) -> list[tuple[Case, int, Attempt]]:
    """Every spelling of every case; with each the number of writes it was sent in."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(case: Case, pieces: tuple[bytes, ...]) -> tuple[Case, int, Attempt]:
        async with room:
            return case, len(pieces), await attempt(bench.address, *pieces, finish=case.finish)

    return await asyncio.gather(*(one(case, pieces) for case in cases for pieces in spellings(case.data)))


def fault_of(case: Case, result: Attempt) -> str:
    """What is wrong with the gateway's reaction to a case; empty when all is well."""
    if result.error:
        return f"answer is not HTTP: {result.error}"
    if len(result.answers) > 1:
        return f"{len(result.answers)} answers"
    if result.status not in case.statuses:
        return f"status {result.status}, expected {case.statuses}"
    if not result.closed:
        return "connection stays open"
    if not result.answers:
        return ""
    return fault_of_refusal(result.answers[0], is_head=case.data.startswith(b"HEAD"))


def fault_of_refusal(answer: Answer, *, is_head: bool) -> str:
    if answer.header("connection") != "close":
        return "no Connection: close"
    if not is_head:
        body = json.loads(answer.text)
        if body["code"] != CODES[answer.status] or body["request_id"] != answer.request_id:
            return f"body {body}"
    return ""


def report(faults: list[str]) -> None:
    assert not faults, f"{len(faults)} faults:\n" + "\n".join(faults[:30])


def check_log(bench: Bench, answers: list[Answer]) -> None:
    """Each refusal left one line, with its reason and without the raw bytes."""
    wanted = {answer.request_id: answer for answer in answers}
    bench.gateway.log.wait(
        lambda lines: wanted.keys() <= {str(line["request_id"]) for line in lines}, "every refusal", 10
    )
    faults = []
    for line in bench.gateway.log.lines:
        answer = wanted.get(str(line["request_id"]))
        if answer is None:
            continue
        fit = (line["status"], line["outcome"], line["refusal"]) == (
            answer.status,
            "refused",
            CODES[answer.status],
        )
        if not fit or not str(line.get("reason", "")).replace("_", "").isalnum():
            faults.append(f"log line {line}")
    report(faults)


def refuse_heads(bench: Bench, row: str) -> None:
    """All of ``HEADS[row]`` is refused and the upstream receives nothing but the valid request sent afterwards."""
    upstream = bench.upstream
    before = upstream.received_bytes()
    results = asyncio.run(try_all(bench, HEADS[row]))
    faults = [
        f"{case.name} in {writes} writes: {fault}"
        for case, writes, done in results
        if (fault := fault_of(case, done))
    ]
    after = asyncio.run(ask(bench.address, PROBE))
    assert after.status == 200
    if [seen.path for seen in upstream.requests] != ["/open/v1/probe"]:
        faults.append(f"reached the upstream: {[seen.target for seen in upstream.requests[:-1]]}")
    probe = upstream.requests[-1]
    if upstream.received_bytes() - before != len(probe.head.raw) + len(b"probe body"):
        faults.append(
            f"stray bytes upstream: {[bytes(connection.received[-300:]) for connection in upstream.connections]}"
        )
    report(faults)
    check_log(bench, [answer for _, _, done in results for answer in done.answers])


def refuse_bodies(bench: Bench, row: str) -> None:
    """All of ``BODIES[row]`` is refused; what went upstream ahead of the fault is cut off there, never completed or reused."""
    upstream = bench.upstream
    results = asyncio.run(try_all(bench, BODIES[row]))
    faults = [
        f"{case.name} in {writes} writes: {fault}"
        for case, writes, done in results
        if (fault := fault_of(case, done))
    ]
    assert asyncio.run(ask(bench.address, PROBE)).status == 200
    broken = [seen for seen in upstream.requests if seen.path != "/open/v1/probe"]
    if any(seen.complete for seen in broken):
        faults.append(
            f"{sum(seen.complete for seen in broken)} of {len(broken)} requests were completed upstream"
        )
    used = {seen.connection for seen in broken}
    upstream.wait(
        lambda: not any(connection.open for connection in upstream.connections if connection.number in used),
        "the end of connections that carried half a request",
    )
    report(faults)
