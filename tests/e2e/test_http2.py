"""HTTP/2 callers of a running gateway: the same policies, refusals and lines as over HTTP/1.1, over real TLS."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.certificates import Authority
from tests.support.configuration import Tree, base, key_line, with_payments
from tests.support.gateway import GatewayProcess
from tests.support.http2_client import Http2Caller
from tests.support.script import Cut, Gate, head, in_chunks, raw, sized
from tests.support.tls_client import TlsCaller
from tests.support.upstream import RecordingUpstream

ACME = key_line("acme")


class Place(NamedTuple):
    gateway: GatewayProcess
    upstream: RecordingUpstream

    @property
    def port(self) -> int:
        return self.gateway.port


def place_in(folder: Path, upstream: RecordingUpstream) -> GatewayProcess:
    issued = Authority().issue("CN=api", dns=("api.test",), client=False)
    issued.write(folder / "certs", "api")

    def make(port: int, manager_port: int) -> Tree:
        tree = with_payments(base(port, manager_port, upstream.url, workers=1))
        tls = {"certificates": [{"chain": "certs/api.pem", "key": "certs/api.key"}]}
        tree["gateway"]["listen"] = [{"address": f"127.0.0.1:{port}", "tls": tls}]  # type: ignore[index,call-overload]
        return tree

    return GatewayProcess(folder, make)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with RecordingUpstream() as upstream, place_in(tmp_path_factory.mktemp("h2"), upstream) as gateway:
        yield Place(gateway, upstream)


@pytest.fixture(autouse=True)
def forgotten(place: Place) -> None:
    place.upstream.clear()


@pytest.mark.parametrize(
    ("path", "headers", "method", "status", "code"),
    [
        ("/v2/payments/p1", (), "GET", 401, "credential_missing"),
        ("/v2/payments/p1", ("X-API-Key: fg_test_wrong",), "GET", 401, "credential_invalid"),
        ("/v2/payments", (key_line("reader"),), "POST", 403, "permission_denied"),
        ("/v2/payments/p1", (key_line("paused"),), "GET", 403, "consumer_suspended"),
        ("/v0/payments/p1", (ACME,), "GET", 410, "version_retired"),
        ("/nowhere", (ACME,), "GET", 404, "no_route"),
        ("/v2/payments/p1", (ACME,), "DELETE", 405, "method_not_allowed"),
        ("/v2/payments/%2fp", (ACME,), "GET", 400, "malformed_request"),
        ("/v2/payments/p1", (ACME, "x_consumer_id: root"), "GET", 400, "malformed_request"),
    ],
)
def test_a_refusal_is_the_same_over_either_protocol(
    place: Place, path: str, headers: tuple[str, ...], method: str, status: int, code: str
) -> None:
    with Http2Caller(place.port) as new, TlsCaller(place.port) as old:
        one = new.ask2(path, *headers, method=method, body=b"{}" if method == "POST" else None)
        other = old.ask(path, *headers, method=method, body=b"{}" if method == "POST" else b"")
        assert (one.status, one.code) == (other.status, other.code) == (status, code)
        mine, theirs = json.loads(one.body), json.loads(other.body)
        assert {**mine, "request_id": ""} == {**theirs, "request_id": ""}
        names = {name.decode() for name in one.headers if not name.startswith(b":")}
        assert names == {name.lower() for name in other.headers} - {"connection"}


def test_a_call_s_line_is_the_same_over_either_protocol(place: Place) -> None:
    with Http2Caller(place.port) as new, TlsCaller(place.port) as old:
        assert new.ask2("/v2/payments/p1", ACME, "X-Request-Id: line-h2").status == 200
        assert old.ask("/v2/payments/p1", ACME, "X-Request-Id: line-h1").status == 200
    one, other = place.gateway.log.of("line-h2"), place.gateway.log.of("line-h1")
    vary = {"time", "request_id", "trace_id", "duration_us", "upstream_us", "gateway_us", "response_bytes"}
    assert {k: v for k, v in one.items() if k not in vary} == {
        k: v for k, v in other.items() if k not in vary
    }
    assert one["tls"].startswith("TLSv1.")
    assert one["consumer"] == "acme"


def test_what_reaches_the_upstream_is_the_same_over_either_protocol(place: Place) -> None:
    body = b'{"amount":1}'
    with Http2Caller(place.port) as new, TlsCaller(place.port) as old:
        new.ask2("/v2/payments?x=%41", ACME, "Accept: a/b", method="POST", body=body)
        old.ask("/v2/payments?x=%41", ACME, "Accept: a/b", method="POST", body=body)
    one, other = place.upstream.requests
    vary = {b"x-request-id", b"traceparent"}
    seen = [
        sorted((name.lower(), value) for name, value in request.head.fields if name.lower() not in vary)
        for request in (one, other)
    ]
    assert seen[0] == seen[1]
    assert one.head.start == other.head.start
    assert one.body.data == other.body.data == body
    assert ("x-forwarded-proto", "https") in {(n.decode(), v.decode()) for n, v in seen[0]}


def test_a_hundred_calls_at_once_get_each_its_own_answer(place: Place) -> None:
    with Http2Caller(place.port) as caller:
        streams = {caller.begin(f"/open/v1/item/{n}", f"X-Request-Id: many-{n}"): n for n in range(100)}
        for stream, n in streams.items():
            reply = caller.finish(stream)
            assert reply.status == 200
            assert reply.headers[b"x-request-id"] == f"many-{n}".encode()
            assert f'/item/{n}"' in reply.body.decode()


@pytest.mark.parametrize("sized_body", [True, False], ids=["sized", "of unknown length"])
def test_a_large_body_and_a_large_answer_pass_unchanged(place: Place, sized_body: bool) -> None:
    body = os.urandom(900_000)
    answer = os.urandom(1_500_000)
    place.upstream.script("/open/v1/large", sized(answer))
    with Http2Caller(place.port) as caller:
        reply = caller.ask2("/open/v1/large", method="POST", body=body, sized=sized_body)
    assert reply.body == answer
    assert place.upstream.requests[-1].body.data == body


def test_trailers_and_interim_answers_pass(place: Place) -> None:
    place.upstream.script("/open/v1/trailers", in_chunks(b"abc", b"def", trailers=b"X-Sum: 7\r\n"))
    place.upstream.script(
        "/open/v1/early", raw(head(103, "Link: </a>") + head(200, "Content-Length: 2") + b"{}")
    )
    with Http2Caller(place.port) as caller:
        with_trailers = caller.ask2("/open/v1/trailers", "TE: trailers")
        assert (with_trailers.body, with_trailers.trailers) == (b"abcdef", {b"x-sum": b"7"})
        early = caller.ask2("/open/v1/early")
        assert [fields[b":status"] for fields in early.interim] == [b"103"]
        assert early.status == 200


def test_an_answer_cut_upstream_is_seen_to_be_cut(place: Place) -> None:
    place.upstream.script("/open/v1/cut", raw(head(200, "Content-Length: 100") + b"abc", Cut()))
    with Http2Caller(place.port) as caller:
        reply = caller.ask2("/open/v1/cut")
        assert (reply.ended, reply.reset) == (False, 2)
        assert caller.ask2("/open/v1/after").status == 200


def test_h09_the_name_of_the_handshake_binds_every_request(place: Place) -> None:
    with Http2Caller(place.port, "api.test") as caller:
        assert caller.ask2("/open/v1/x", host="other.test").status == 421
        assert caller.ask2("/open/v1/x").status == 200


def test_limits_are_counted_over_both_protocols_together(place: Place) -> None:
    hasty = key_line("hasty")
    with Http2Caller(place.port) as new, TlsCaller(place.port) as old:
        assert new.ask2("/v2/payments/p1", hasty).status == 200
        assert old.ask("/v2/payments/p1", hasty).status == 200
        refused = new.ask2("/v2/payments/p1", hasty)
        assert (refused.status, refused.code) == (429, "rate_limited")
        assert b"retry-after" in refused.headers


def test_a_flood_loses_its_own_connection_and_harms_no_other(place: Place) -> None:
    ping = b"\0\0\x08\x06\0\0\0\0\0" + b"12345678"
    with Http2Caller(place.port) as good, Http2Caller(place.port) as bad:
        bad.sock.sendall(ping * 500)
        while not bad.over:
            bad.read()
        assert bad.goaways == [(0, 11)]
        assert good.ask2("/open/v1/x").status == 200


def test_the_first_bytes_have_a_deadline_of_their_own(place: Place) -> None:
    caller = TlsCaller(place.port, alpn=("h2",))
    with caller:
        caller.sock.settimeout(15)
        began = time.monotonic()
        caller.sock.sendall(b"PRI * HTTP/2.0\r\n")
        while caller.sock.recv(4096):
            pass
        assert 9 <= time.monotonic() - began <= 13


def test_in_clear_there_is_no_http_2(tmp_path: Path, place: Place) -> None:
    def make(port: int, manager_port: int) -> Tree:
        return base(port, manager_port, place.upstream.url)

    with (
        GatewayProcess(tmp_path, make) as gateway,
        socket.create_connection(gateway.address, 5) as sock,
    ):
        sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert sock.recv(4096).startswith((b"HTTP/1.1 505 ", b"HTTP/1.1 501 "))


def test_a_drain_finishes_what_is_in_progress_and_says_goaway_twice(tmp_path: Path, place: Place) -> None:
    gate = Gate()
    place.upstream.script("/open/v1/held", raw(gate, head(200, "Content-Length: 2") + b"{}"))
    with ExitStack() as stack:
        gateway = place_in(tmp_path, place.upstream)
        stack.callback(gateway.kill)
        gateway.launch()
        gateway.wait_ready()
        caller = stack.enter_context(Http2Caller(gateway.port))
        stream = caller.begin("/open/v1/held")
        place.upstream.wait(lambda: bool(place.upstream.requests), "the call")
        os.kill(gateway.pid, signal.SIGTERM)
        lasts, body = caller.see_out(stream, gate.open)
        assert body == b"{}"
        assert lasts == [2**31 - 1, stream]
        assert gateway.wait_exit() == 0
