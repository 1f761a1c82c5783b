"""The bounded HTTPS call: what it takes, what it refuses, and when it gives up (http-rules.md K3, section
14).
"""

import asyncio
import time

import pytest
import uvloop

from faregate.gateway.side_call import BODY_BYTES_MAX, fetcher_for, is_refused_address, split_url
from faregate.stores.keysets import FetchError
from tests.stores.https_server import HttpsServer, answer, authority_and_chain, sending


def fetch_from(
    script, *, url: str | None = None, authority: bool = True, deadline_s: float = 5.0, tls: bool = True
) -> tuple[bytes | str, HttpsServer]:
    async def run() -> tuple[bytes | str, HttpsServer]:
        async with HttpsServer(script, tls=tls) as server:
            fetch = fetcher_for(str(authority_and_chain()[0]) if authority else None, deadline_s)
            try:
                return await fetch((url or "https://127.0.0.1:{port}/jwks").format(port=server.port)), server
            except FetchError as error:
                return str(error), server

    return asyncio.run(run())


@pytest.mark.parametrize(
    "data",
    [
        answer(b'{"keys":[]}'),
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n{"keys\r\n5\r\n":[]}\r\n0\r\n\r\n',
        b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"keys":[]}',
    ],
)
def test_a_whole_answer_is_taken_in_every_framing(data: bytes) -> None:
    body, server = fetch_from(sending(data))
    assert body == b'{"keys":[]}'
    assert server.heads[0].startswith(b"GET /jwks HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % server.port)
    assert b"uthorization" not in server.heads[0]


def test_localhost_and_the_query_are_taken_as_written() -> None:
    body, server = fetch_from(sending(answer(b"x")), url="https://localhost:{port}/a/b?c=d&e")
    assert body == b"x"
    assert server.heads[0].startswith(b"GET /a/b?c=d&e HTTP/1.1\r\nHost: localhost:%d\r\n" % server.port)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (answer(b"x" * 100, length=200), "answer_cut"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabc", "answer_cut"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "answer_cut"),
        (b"", "answer_cut"),
        (answer(b"", status=b"302 Found", fields=b"Location: https://127.0.0.1/\r\n"), "status_302"),
        (answer(b"", status=b"500 Oops"), "status_500"),
        (answer(b"{}", status=b"203 Other"), "status_203"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"{}"), "status_100"),
        (answer(b"x", fields=b"Content-Encoding: gzip\r\n"), "answer_encoded"),
        (answer(b"x" * (BODY_BYTES_MAX + 1)), "answer_too_large"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (BODY_BYTES_MAX + 1), "answer_too_large"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 5000, "head_too_large"),
        (b"SSH-2.0-x\r\n\r\n", "answer_malformed"),
        (answer(b"{}", fields=b"Transfer-Encoding: chunked\r\n"), "answer_malformed"),
    ],
)
def test_k3_a_bad_answer_is_refused_with_its_reason(data: bytes, reason: str) -> None:
    assert fetch_from(sending(data))[0] == reason


def test_an_answer_of_exactly_the_limit_is_taken() -> None:
    assert len(fetch_from(sending(answer(b"x" * BODY_BYTES_MAX)))[0]) == BODY_BYTES_MAX


def test_k3_a_slow_drip_ends_at_the_deadline() -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    began = time.monotonic()
    assert fetch_from(drip, deadline_s=0.3)[0] == "deadline"
    assert 0.25 < time.monotonic() - began < 2.0


def test_silence_ends_at_the_deadline() -> None:
    async def silent(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    assert fetch_from(silent, deadline_s=0.2)[0] == "deadline"


def test_reg_verify_flag_both_ways_only_the_named_authority_is_trusted() -> None:
    assert fetch_from(sending(answer(b"x")), authority=True)[0] == b"x"
    assert fetch_from(sending(answer(b"x")), authority=False)[0] == "tls_failed"
    assert fetch_from(sending(answer(b"x")), tls=False, deadline_s=0.3)[0] in {"deadline", "tls_failed"}


def test_the_certificate_must_name_the_host() -> None:
    assert fetch_from(sending(answer(b"x")), url="https://127.0.0.2:{port}/")[0] in {
        "tls_failed",
        "unreachable",
    }


def test_a_missing_authority_file_does_not_build() -> None:
    with pytest.raises(OSError):
        fetcher_for("/nonexistent/ca.pem")


def test_a_closed_port_is_unreachable() -> None:
    async def run() -> str:
        async with HttpsServer(sending(b"")) as server:
            url = server.url
        with pytest.raises(FetchError) as caught:
            await fetcher_for(str(authority_and_chain()[0]))(url)
        return str(caught.value)

    assert asyncio.run(run()) == "unreachable"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "ftp://x/",
        "https://",
        "https://user@x/",
        "https://u:p@x/",
        "https://x:99999/",
        "https://x y/",
        "https://x/a b",
        "https://x/\r\nA:b",
        "https://ex\u00e4mple/",
        "https://[::1",
        "https://a[::1]/",
        "https://x_y/",
        "https://x/\u00e4",
        "https://[v1.x]/",
        "file:///etc/passwd",
        "x",
        "https://x:0/",
        "https://x/#a",
        "https://[1.2.3.4]x/",
        "HTTPS://x/",
    ],
)
def test_a_url_that_is_not_plain_https_is_refused(url: str) -> None:
    with pytest.raises(FetchError, match="url_malformed"):
        split_url(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://id.example", ("id.example", 443, "/")),
        ("https://id.example:8443/a?b", ("id.example", 8443, "/a?b")),
        ("https://[::1]:1/x", ("::1", 1, "/x")),
    ],
)
def test_a_url_is_cut_into_host_port_and_target(url: str, expected: tuple[str, int, str]) -> None:
    assert split_url(url) == expected


@pytest.mark.parametrize(
    ("address", "refused"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("0.0.0.0", True),
        ("0.1.2.3", True),
        ("::", True),
        ("169.254.169.254", True),
        ("169.254.1.1", True),
        ("fe80::1%eth0", True),
        ("224.0.0.1", True),
        ("ff02::1", True),
        ("240.0.0.1", True),
        ("255.255.255.255", True),
        ("fd00:ec2::254", True),
        ("100.100.100.200", True),
        ("192.0.0.192", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:169.254.169.254", True),
        ("64:ff9b::7f00:1", True),
        ("64:ff9b::a9fe:a9fe", True),
        ("203.0.114.1", False),
        ("10.0.0.1", False),
        ("192.168.1.1", False),
        ("8.8.8.8", False),
        ("2606:4700::1111", False),
        ("fd12::1", False),
        ("::ffff:8.8.8.8", False),
        ("64:ff9b::808:808", False),
    ],
)
def test_a_name_may_not_lead_to_these_addresses(address: str, refused: bool) -> None:
    assert is_refused_address(address) is refused


@pytest.mark.parametrize(
    "host",
    ["inside.example", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "localhost.", "localhost.localdomain"],
)
def test_a_name_that_resolves_to_loopback_is_refused_before_any_connection(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> tuple[str, int]:
        async with HttpsServer(sending(answer(b"x"))) as server:
            loop = asyncio.get_running_loop()

            async def resolve(name: str, port: int, **_: object):
                assert name == host
                return [(2, 1, 6, "", ("203.0.114.9", port)), (2, 1, 6, "", ("127.0.0.1", port))]

            monkeypatch.setattr(loop, "getaddrinfo", resolve)
            with pytest.raises(FetchError) as caught:
                await fetcher_for(str(authority_and_chain()[0]))(f"https://{host}:{server.port}/")
            return str(caught.value), server.connections

    assert asyncio.run(run()) == ("address_refused", 0)


def test_the_loop_that_workers_use_gives_the_same_results() -> None:
    async def run() -> list[bytes | str]:
        found: list[bytes | str] = []
        fetch = fetcher_for(str(authority_and_chain()[0]), 0.5)
        async with HttpsServer(sending(answer(b"x"))) as server:
            for data in (answer(b"x"), answer(b"x", status=b"302 Found"), answer(b"x", length=5)):
                server.script = sending(data)
                try:
                    found.append(await fetch(server.url))
                except FetchError as error:
                    found.append(str(error))
            try:
                await fetcher_for()(server.url)
            except FetchError as error:
                found.append(str(error))
        return found

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(run()) == [b"x", "status_302", "answer_cut", "tls_failed"]
