"""Who calls is what was proven, on every path: no header, no memory of an earlier request and no neighbour's connection changes it."""

import asyncio
import random
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import pytest

from tests.conftest import Bench
from tests.support.client import RawClient, request
from tests.support.configuration import Tree, base, bearer, changed, key_line, with_payments
from tests.support.gateway import GatewayProcess
from tests.support.upstream import RecordedRequest, RecordingUpstream
from tests.support.wire import Wire, no_delay

IDENTITY: Final = ("X-Consumer-Id", "X-Consumer-Plan", "X-Consumer-Anything", "X-Credential-Id", "X-Credential-Other", "X-Api-Version",
                   "X-Anonymous-Consumer", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-User",
                   "X-Forwarded-Client-Cert", "X-Real-IP", "Forwarded", "X-Client-Cert", "X-SSL-Client-Cert")  # fmt: skip
SPELLINGS: Final = (str, str.lower, str.upper, str.swapcase, lambda name: "".join(
    letter.upper() if place % 2 else letter.lower() for place, letter in enumerate(name)))  # fmt: skip
ADDRESSES: Final = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


async def connect(address: tuple[str, int], source: str) -> RawClient:
    """A client that calls from ``source``; all of 127/8 is this machine."""
    client = RawClient(address)
    sock = no_delay(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    client.wire = Wire(sock)
    sock.bind((source, 0))
    await asyncio.get_running_loop().sock_connect(sock, address)
    return client


def lies() -> list[str]:
    return [f"{spell(name)}: spoofed" for name in IDENTITY for spell in SPELLINGS]


@pytest.mark.parametrize(
    ("target", "credential", "consumer"),
    [
        ("/open/v1/t", "", None),
        ("/v2/payments/p1", key_line("acme"), "acme"),
        ("/v2/payments/p1", bearer("reader"), "reader"),
    ],
    ids=["public", "api key", "token"],
)
def test_reg_strip_identity_everywhere(
    bench: Bench, target: str, credential: str, consumer: str | None
) -> None:
    """Every identity field in five spellings, once new and once from memory: nothing of the caller's survives."""

    async def play() -> None:
        async with RawClient(bench.address) as client:
            for part in (lies()[0::2], lies()[1::2]):
                for _ in range(3):
                    answer = await client.ask(
                        request("GET", target, *part, *([credential] if credential else []))
                    )
                    assert answer.status == 200, answer.text

    asyncio.run(play())
    assert len(bench.upstream.requests) == 6
    for seen in bench.upstream.requests:
        assert b"spoofed" not in seen.head.raw
        assert seen.header("x-consumer-id") == consumer
        assert seen.header("x-forwarded-for") == "127.0.0.1"


@pytest.mark.parametrize("name", IDENTITY)
@pytest.mark.parametrize("change", ["_", " ", "\t", "\x00", "\x0b", "\xad", "\r"])
def test_reg_lookalike_names(bench: Bench, name: str, change: str) -> None:
    """A name that some server behind might read as an identity field is refused, not passed: in the middle and at the end."""

    spellings = {name.replace("-", change, 1), name.replace("-", change), name + change, change + name} - {
        name
    }

    async def play() -> list[int]:
        statuses = []
        for spelt in spellings:
            async with RawClient(bench.address) as client:
                statuses.append((await client.ask(request("GET", "/open/v1/t", f"{spelt}: spoofed"))).status)
        return statuses

    assert set(asyncio.run(play())) == {400}
    assert bench.upstream.requests == []


def test_refusals_tell_the_upstream_nothing_and_reflect_nothing(bench: Bench) -> None:
    """reg_error_page_no_credentials: on 401, 403, 404, 405, 413 and 429 the same lies reach no one."""
    cases = {
        request("GET", "/v2/payments/1", *lies()[:90]): 401,
        request("POST", "/v2/payments", *lies()[:90], key_line("reader"), body=b"{}"): 403,
        request("GET", "/nowhere", *lies()[:90]): 404,
        request("DELETE", "/v2/payments", *lies()[:90], key_line("acme")): 405,
        request("POST", "/narrow/v1/t", *lies()[:90], body=b"x" * 2000): 413,
    }

    async def play() -> None:
        for data, status in cases.items():
            async with RawClient(bench.address) as client:
                answer = await client.ask(data)
                assert answer.status == status
                assert b"spoofed" not in answer.head.raw + answer.text
                assert bench.gateway.log.of(answer.request_id)["client_ip"] == "127.0.0.1"

    asyncio.run(play())
    assert bench.upstream.requests == []


@pytest.mark.parametrize("target", [
    "/v2/payments/1?api_key={}", "/v2/payments/1?X-API-Key={}", "/v2/payments/1?access_token={}", "/v2/payments/1?authorization=Bearer%20{}",
])  # fmt: skip
def test_a_credential_in_the_query_is_none(bench: Bench, target: str) -> None:
    for line in (key_line("acme"), bearer("acme")):
        answer = asyncio.run(_ask(bench, request("GET", target.format(line.rsplit(" ", 1)[1]))))
        assert answer == (401, "credential_missing")
    assert bench.upstream.requests == []


async def _ask(bench: Bench, data: bytes) -> tuple[int, str]:
    async with RawClient(bench.address) as client:
        answer = await client.ask(data)
        return answer.status, answer.code


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GatewayProcess, RecordingUpstream]]:
    """A gateway that trusts 127.0.0.3 as a proxy and no other address."""
    with ExitStack() as stack:
        upstream = stack.enter_context(RecordingUpstream())

        def make(port: int, manager_port: int) -> Tree:
            tree = with_payments(base(port, manager_port, upstream.url))
            return changed(tree, "gateway", "trusted_proxies", to=["127.0.0.3/32"])

        yield stack.enter_context(GatewayProcess(tmp_path_factory.mktemp("identity"), make)), upstream


def test_no_memory_mixes_callers_up(proxied: tuple[GatewayProcess, RecordingUpstream]) -> None:
    """What is remembered of field lines and sections belongs to their bytes alone (F32): 600 requests in seeded disorder over
    nine connections from three addresses, one of them a trusted proxy; the same sections come from all of them."""
    gateway, upstream = proxied
    choice = random.Random(20_261_123)
    credentials = {
        "acme": (key_line("acme"), bearer("acme")), "reader": (key_line("reader"), bearer("reader")), "bare": (key_line("bare"),),
        None: ("X-Plain: 1", "X-API-Key: fg_test_" + "0" * 32, bearer("nobody")),
    }  # fmt: skip
    sections = [
        (who, [credential, *more])
        for who, lines in credentials.items()
        for credential in lines
        for more in (
            [],
            ["X-Forwarded-For: 198.51.100.9"],
            ["X-Forwarded-For: 203.0.113.5", "X-Forwarded-Host: elsewhere.test"],
        )
    ]
    expected: dict[str, tuple[str | None, str, str]] = {}

    async def play() -> None:
        clients = [(source, await connect(gateway.address, source)) for source in ADDRESSES * 3]
        try:
            for number in range(600):
                source, client = choice.choice(clients)
                who, lines = choice.choice(sections)
                target = f"/v2/payments/{number}"
                answer = await client.ask(request("GET", target, *lines))
                assert answer.status == (401 if who is None else 200), (number, lines)
                if who is not None:
                    told = dict(line.split(": ", 1) for line in lines)
                    trusted = source == "127.0.0.3"
                    given = told.get("X-Forwarded-For") if trusted else None
                    host = told.get("X-Forwarded-Host", "api.test") if trusted else "api.test"
                    expected[target] = (who, f"{given}, {source}" if given else source, host)
        finally:
            for _, client in clients:
                client.wire.close()

    asyncio.run(play())
    got = {seen.target: _identity(seen) for seen in upstream.requests}
    assert got == expected
    assert len(expected) > 200


def _identity(seen: RecordedRequest) -> tuple[str | None, str | None, str | None]:
    assert re.fullmatch(
        rf"(key_|jwt:acme-id:){seen.header('x-consumer-id')}", seen.header("x-credential-id") or ""
    )
    return seen.header("x-consumer-id"), seen.header("x-forwarded-for"), seen.header("x-forwarded-host")
