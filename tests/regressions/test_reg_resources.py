"""What one caller, or one side service, could make others spend, and the control plane that anybody reached."""

import asyncio
import http.client
import json
import os
from pathlib import Path

import pytest

from faregate.gateway.side_call import BODY_BYTES_MAX
from faregate.kernel.problems import Refusal
from faregate.snapshot.call import Call
from tests.conftest import Bench
from tests.gateway.fakes import OK, World, make_route
from tests.gateway.test_side_call import fetch_from
from tests.stores.https_server import answer, sending
from tests.support.client import RawClient, attempt, request
from tests.support.gateway import fetch

POST = b"POST /v1/payments HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"


@pytest.mark.parametrize("framing", [b"", b"Content-Length: 99999999\r\n"], ids=["until close", "sized"])
def test_reg_side_answer_bounded(framing: bytes) -> None:
    """Traefik CVE-2026-26998, Envoy CVE-2024-34364: an auth service's answer was read without end."""
    told, _ = fetch_from(
        sending(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n" + b"x" * (BODY_BYTES_MAX + (64 << 10)))
    )
    assert told == "answer_too_large"


def test_reg_side_call_fresh() -> None:
    """APISIX CVE-2024-32638: the side call took framing fields along. Ours is built from four constant lines."""
    body, server = fetch_from(sending(answer(b"{}")))
    assert body == b"{}"
    names = {line.partition(b":")[0].lower() for line in server.heads[0].split(b"\r\n")[1:] if line}
    assert names == {b"host", b"accept", b"accept-encoding", b"user-agent", b"connection"}


@pytest.mark.parametrize(
    "first",
    [
        b"P",
        b"PRI",
        b"PRI * HTTP/2.0",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"\x16",
        b"\x16\x03\x01\x02",
        b"PROXY TCP4 1.2.3.4",
    ],
)
def test_reg_sniffing_keeps_deadline(first: bytes) -> None:
    """Traefik CVE-2026-22045: while the protocol was guessed, no deadline ran."""
    with World() as world:
        client = world.client()
        client.deliver(first)
        world.pass_time(11.2, step=0.2)
        assert client.closing or client.ended, "still open 1 s after the head's deadline"
        assert not world.pool.asked


def test_reg_body_deadline_a_length_without_a_body_ends() -> None:
    """Traefik CVE-2024-28869: a Content-Length without a body hung for ever."""
    with World() as world:
        client = world.client()
        client.deliver(POST)
        world.pool.connect()
        world.pass_time(75, step=0.5)
        assert [call.outcome for call in world.calls] == ["refused"]
        assert world.plane.in_flight == 0
        assert client.closing or client.ended


@pytest.mark.parametrize(
    "body", [b"\x1f\x8b\x08" + b"\0" * 500, b"x\x9c" + b"\xff" * 500, b"(\xb5/\xfd" + b"\0" * 500]
)
@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd", "br", "gzip, gzip"])
def test_reg_decompress_capped_nothing_is_decompressed(bench: Bench, coding: str, body: bytes) -> None:
    """Envoy CVE-2024-32976: no cap on what a few bytes became. Bodies stay the bytes they are, broken or not."""
    data = request("POST", "/open/v1/t", f"Content-Encoding: {coding}", body=body)
    assert asyncio.run(attempt(bench.address, data, finish=True)).status == 200
    (seen,) = bench.upstream.requests
    assert bytes(seen.body.data) == body


@pytest.mark.parametrize("verdict", [None, "refused"])
def test_reg_reset_then_callback(verdict: str | None) -> None:
    """Envoy CVE-2026-26330: work went on, on freed memory there, after the caller had reset."""
    waiting: list[asyncio.Future[Refusal | None]] = []

    def routes(upstream: object) -> list[object]:
        def wait(_: Call) -> asyncio.Future[Refusal | None]:
            waiting.append(world.loop.create_future())
            return waiting[-1]

        return [make_route("POST", "/v1/payments", upstream, wait)]

    with World(routes) as world:  # type: ignore[arg-type]
        client = world.client()
        client.deliver(POST + b"abcd")
        world.run()
        client.lose(ConnectionResetError())
        if not waiting[0].done():
            waiting[0].set_result(Refusal("permission_denied", reason="late") if verdict else None)
        world.run()
        assert [call.outcome for call in world.calls] == ["client_gone"]
        assert not world.pool.asked, "a call that nobody waits for was sent"
        assert world.plane.in_flight == 0


def test_reg_reset_then_callback_a_late_connection_goes_to_the_pool() -> None:
    with World() as world:
        client = world.client()
        client.deliver(POST + b"abcd")
        client.lose(ConnectionResetError())
        server = world.pool.connect()
        world.run()
        assert server.take() == b"", "sent for a caller who had left before anything was"
        assert [call.outcome for call in world.calls] == ["client_gone"]
        _, told = world.exchange_bytes(POST + b"abcd", OK)
        assert told.startswith(b"HTTP/1.1 200 ")


def _spent_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_reg_no_cpu_spin(bench: Bench) -> None:
    """Traefik CVE-2023-47633: one odd connection kept a core at 100 %. Half-open, half-closed and half-read ones together."""
    (worker,) = bench.gateway.worker_pids()

    async def play() -> float:
        peers = [await RawClient(bench.address).__aenter__() for _ in range(40)]
        try:
            for number, peer in enumerate(peers):
                data = (
                    b"",
                    b"GET /o",
                    b"POST /open/v1/t HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",
                    request("GET", "/open/v1/t") * 20,
                )[number % 4]
                await peer.send(data)
                if number % 8 >= 4:
                    peer.wire.half_close()
            await asyncio.sleep(0.3)
            before = _spent_s(worker)
            await asyncio.sleep(1.0)
            return _spent_s(worker) - before
        finally:
            for peer in peers:
                peer.wire.close()

    assert asyncio.run(play()) < 0.3


ODD = [
    '"',
    "\\",
    "{}",
    "%s",
    "%(a)s",
    "${jndi:ldap://x}",
    "<script>",
    "\u2028".encode().decode("latin-1"),
    "x" * 7000,
    "'; DROP",
    "null",
]


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_reg_log_format_odd_input_and_html_and_log_escape(bench: Bench, odd: str) -> None:
    """Envoy CVE-2024-34363, CVE-2026-73546: the formatter crashed, or text became lines and markup."""
    target = "/open/v1/" + "".join(
        letter if letter.isalnum() else f"%{ord(letter):02X}" for letter in odd if ord(letter) < 128
    )
    result = asyncio.run(
        attempt(bench.address, request("GET", target, f"User-Agent: {odd}", f"Referer: {odd}"), finish=True)
    )
    (told,) = result.answers
    line = bench.gateway.log.of(told.request_id)
    assert line["status"] == told.status
    assert bench.gateway.stderr.count("Traceback") == 0
    refused = asyncio.run(
        attempt(bench.address, request("GET", "/nowhere", f"X-Request-Id: {odd[:100]}"), finish=True)
    ).answers[0]
    assert refused.status == 400 or json.loads(refused.text)["code"] == "no_route"
    assert (refused.header("content-type"), refused.header("x-content-type-options")) == (
        "application/problem+json",
        "nosniff",
    )


def _manager(bench: Bench, method: str, path: str, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", bench.gateway.manager_port, timeout=5)
    try:
        connection.request(method, path, body=b"{}" if method in {"POST", "PUT"} else None, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/", "/config", "/load", "/metrics", "/healthz", "/admin", "/apis"])
def test_reg_metrics_port_no_admin(bench: Bench, method: str, path: str) -> None:
    """Envoy Gateway CVE-2025-24030, Kong's open admin ports: whoever reached the metrics could write. Here the admin API is on the
    same port, and takes nothing from who proves nothing.
    """
    before = bench.gateway.revision()
    assert _manager(bench, method, path, **{"Content-Type": "application/json"}) in {401, 404, 405}
    assert bench.gateway.revision() == before


@pytest.mark.parametrize(
    "path",
    [
        "/metrics/",
        "/metrics/x",
        "/Metrics",
        "//metrics",
        "/./metrics",
        "/metrics%2f",
        "/metrics;x",
        "/x/../metrics",
        "/metricsx",
    ],
)
def test_reg_admin_match_exact(bench: Bench, path: str) -> None:
    """Caddy GO-2026-5408: access by prefix."""
    assert _manager(bench, "GET", path) in {400, 404}


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}]
)
def test_reg_admin_cross_origin(bench: Bench, headers: dict[str, str]) -> None:
    """Caddy CVE-2026-27589: a web page on the same machine talked to localhost."""
    assert _manager(bench, "GET", "/metrics", **headers) in {403, 421}
    assert fetch(bench.gateway.manager_port, "/metrics")[0] == 200
