"""One question to a target: asked once, answered within bounds, or refused with a reason."""

import asyncio
import ssl
import time
from pathlib import Path

import pytest

from faregate.gateway.dial import Dialler
from faregate.gateway.query import BODY_BYTES_MAX, HEAD_BYTES_MAX, Answer, QueryError, ask, request_head
from faregate.gateway.upstream_tls import TlsClient
from faregate.snapshot.data import Target, UpstreamTls
from tests.gateway.test_health import Handler, answers, serving
from tests.support.certificates import Authority

GENEROUS_S = 20.0


async def asked(target: Target, tls: TlsClient | None = None, deadline_s: float = GENEROUS_S) -> Answer:
    dialler = Dialler(target, tls, asyncio.get_running_loop(), time.monotonic)
    request = request_head("GET", b"/payments?key=1", target, b"X: y\r\n", b"")
    return await ask(dialler, request, GENEROUS_S, deadline_s)


async def once(handler: Handler, deadline_s: float = GENEROUS_S) -> Answer:
    async with serving(handler) as target:
        return await asked(target, deadline_s=deadline_s)


def in_pieces(answer: bytes) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in answer:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)

    return handle


@pytest.mark.parametrize("pieces", [False, True])
@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, b"{}"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", 200, b"{}"),
        (b"HTTP/1.1 404 No\r\n\r\nuntil the end", 404, b"until the end"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}{}", 200, b"{}"),
        (b"HTTP/1.1 204 \r\n\r\n", 204, b""),
        (b"HTTP/1.1 100 \r\n\r\nHTTP/1.1 103 \r\nLink: a\r\n\r\nHTTP/1.0 200 OK\r\n\r\n[]", 200, b"[]"),
    ],
)
def test_answers_are_read_however_they_are_framed(
    answer: bytes, status: int, body: bytes, pieces: bool
) -> None:
    found = asyncio.run(once(in_pieces(answer) if pieces else answers(answer)))
    assert (found.status, found.body) == (status, body)


def test_the_fields_of_the_answer_are_kept_and_the_connection_is_not() -> None:
    answer = b"HTTP/1.1 200 OK\r\nETag: 1\r\nContent-Type: a/b\r\nContent-Length: 2\r\n\r\n{}"
    found = asyncio.run(once(answers(answer, keep_open=True)))
    assert {b"ETag: 1\r\n", b"Content-Type: a/b\r\n"} <= set(found.lines)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "cut"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}", "cut"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{", "cut"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "answer_chunk_size"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
            "answer_content_length_doubled",
        ),
        (b"SSH-2.0-x\r\n\r\n", "answer_status_line"),
        (b"HTTP/1.1 101 \r\n\r\n", "answer_interim"),
        (b"HTTP/1.1 103 \r\n\r\n" * 9, "answer_interim"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES_MAX + 1), "answer_too_large"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (BODY_BYTES_MAX + 1), "answer_too_large"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10001\r\n", "answer_chunked_body"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * HEAD_BYTES_MAX, "answer_head_too_large"),
    ],
)
def test_what_is_no_whole_answer_within_the_bounds_has_a_reason(answer: bytes, reason: str) -> None:
    with pytest.raises(QueryError) as caught:
        asyncio.run(once(answers(answer)))
    assert (caught.value.reason, caught.value.sent) == (reason, True)


def test_a_target_that_is_silent_is_given_up_at_the_deadline() -> None:
    with pytest.raises(QueryError) as caught:
        asyncio.run(once(answers(b"HTTP/1.1 200 OK\r\nContent-Le", keep_open=True), deadline_s=0.2))
    assert (caught.value.reason, caught.value.sent) == ("deadline", True)


def test_a_target_that_does_not_listen_has_had_nothing() -> None:
    async def run() -> None:
        async with serving(answers(b"")) as target:
            pass
        await asked(target)

    with pytest.raises(QueryError) as caught:
        asyncio.run(run())
    assert (caught.value.reason, caught.value.sent) == ("connect_refused", False)


@pytest.mark.parametrize("trusted", [True, False])
def test_tls_is_the_upstreams(tmp_path: Path, trusted: bool) -> None:
    authority = Authority()
    chain, key = authority.issue("CN=localhost", dns=("localhost",)).write(tmp_path, "server")
    ca = tmp_path / "ca.pem"
    ca.write_bytes((authority if trusted else Authority("CN=another")).pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answers(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")(reader, writer)
        writer.close()

    async def run() -> Answer:
        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        tls = TlsClient(UpstreamTls(ca=str(ca), server_name="localhost"))
        try:
            return await asked(Target("t", "127.0.0.1", port, tls=True), tls)
        finally:
            server.close()
            await server.wait_closed()

    if trusted:
        assert asyncio.run(run()).body == b"{}"
    else:
        with pytest.raises(QueryError) as caught:
            asyncio.run(run())
        assert (caught.value.reason, caught.value.sent) == ("upstream_tls_untrusted", False)


def test_the_request_is_whole() -> None:
    target = Target("t", "::1", 8080)
    assert request_head("GET", b"/a?b=c", target, b"A: 1\r\n", b"") == (
        b"GET /a?b=c HTTP/1.1\r\nHost: [::1]:8080\r\nUser-Agent: faregate\r\nConnection: close\r\nA: 1\r\n\r\n"
    )
    assert request_head("POST", b"/", target, b"", b"").endswith(b"Content-Length: 0\r\n\r\n")
    assert request_head("POST", b"/", target, b"", b"{}").endswith(b"Content-Length: 2\r\n\r\n{}")
