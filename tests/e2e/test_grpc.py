"""gRPC through the gateway, HTTP/2 on both sides (http-rules.md W17): what passes, what is refused, what is sent again."""

import socket
import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from jh2.events import DataReceived, RequestReceived, StreamEnded

from tests.e2e.grpc_calls import CALL, GRPC, MESSAGE, OPEN, status_of
from tests.support.certificates import Authority, Issued
from tests.support.configuration import Tree, base, changed, key_line, with_payments
from tests.support.gateway import GatewayProcess, until
from tests.support.http2_client import Http2Caller
from tests.support.http2_upstream import Asked, Http2Upstream, Serving, unary
from tests.support.ports import closed_port
from tests.support.tls_client import TlsCaller

ACME = key_line("acme")

PAIR, PLAIN_PAIR = "/pair.Echo/Say", "/pair/x"
DEAD, OVER_TLS, NOT_H2 = "/dead.Echo/Say", "/tls.Echo/Say", "/old.Echo/Say"


@dataclass
class Place:
    """One gateway for the file. ``pay``, ``open`` and ``plain`` lead to ``first``, ``pair`` to ``first`` and ``second`` in turn."""

    gateway: GatewayProcess
    first: Http2Upstream
    second: Http2Upstream
    secret: Http2Upstream

    @property
    def port(self) -> int:
        return self.gateway.port


def _tls(issued: Issued, folder: Path, *protocols: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*issued.write(folder / "up", "up"))
    context.set_alpn_protocols(list(protocols))
    return context


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("grpc")
    authority = Authority()
    authority.issue("CN=api", dns=("api.test",), client=False).write(folder / "certs", "api")
    up = authority.issue("CN=up", dns=("localhost",), client=False)
    with ExitStack() as stack:
        first, second = (stack.enter_context(Http2Upstream(unary)) for _ in range(2))
        secret, old = (
            stack.enter_context(Http2Upstream(unary, _tls(up, folder, protocol)))
            for protocol in ("h2", "http/1.1")
        )
        closed = stack.enter_context(closed_port())
        targets: dict[str, list[str]] = {
            "main": [first.url],
            "pair": [first.url, second.url],
            "dead": [f"http://127.0.0.1:{closed}"],
            "tls": [secret.url],
            "old": [old.url],
        }
        echo, plain = ("POST /Say", {"body": "8MiB"}), ("GET /x", {})
        apis: list[tuple[str, str, list[str], str, tuple[str, Tree]]] = [
            ("pay", "main", ["api_key"], "/pay.Payments", ("POST /Capture", {"require": "payments:write"})),
            ("echo", "main", [], "/open.Echo", echo),
            ("plain", "main", [], "/plain", plain),
            ("pair", "pair", [], "/pair.Echo", echo),
            ("plain_pair", "pair", [], "/pair", plain),
            ("dead", "dead", [], "/dead.Echo", echo),
            ("tls", "tls", [], "/tls.Echo", echo),
            ("old", "old", [], "/old.Echo", echo),
        ]

        def make(port: int, manager_port: int) -> Tree:
            tree = with_payments(base(port, manager_port, first.url))
            tls = {"certificates": [{"chain": "certs/api.pem", "key": "certs/api.key"}]}
            tree["gateway"]["listen"] = [{"address": f"127.0.0.1:{port}", "tls": tls}]  # type: ignore[index,call-overload]
            for name, urls in targets.items():
                upstream: Tree = {
                    "targets": list(urls),
                    "protocol": "h2",
                    "balance": "round_robin",
                    "health": {"breaker": "off", "passive": "off"},
                }
                if urls[0].startswith("https:"):
                    upstream["tls"] = {"verify": False}
                tree = changed(tree, "upstreams", name, to=upstream)
            for name, upstream_name, authenticate, path, (match, more) in apis:
                api: Tree = {
                    "upstream": upstream_name,
                    "authenticate": list(authenticate),
                    "versions": {"v1": {"path": path}},
                    "routes": [{"match": match, **more}],
                }
                tree = changed(tree, "apis", name, to=api)
            return tree

        yield Place(stack.enter_context(GatewayProcess(folder, make)), first, second, secret)


@pytest.fixture
def place(shared: Place) -> Place:
    """The file's gateway, with targets that nobody has called yet."""
    for upstream in (shared.first, shared.second, shared.secret):
        upstream.renew(unary)
    return shared


def test_a_unary_call_passes_with_its_trailers_and_policies_and_line(place: Place) -> None:
    gateway, upstream = place.gateway, place.first
    with Http2Caller(gateway.port) as caller:
        for n in range(3):
            reply = caller.ask2(
                CALL, ACME, *GRPC, f"X-Request-Id: grpc-{n}", method="POST", body=MESSAGE, sized=False
            )
            assert (reply.body, status_of(reply), reply.ended) == (MESSAGE, (200, 0), True)
            assert reply.trailers == {b"grpc-status": b"0"}
    asked = upstream.asked[0]
    assert asked.fields[b":path"] == CALL.encode()
    assert asked.fields[b":authority"] == b"api.test"
    assert asked.fields[b":scheme"] == b"http"
    assert asked.fields[b"te"] == b"trailers"
    assert asked.fields[b"x-consumer-id"] == b"acme"
    assert b"connection" not in asked.fields
    assert upstream.connections == 1
    line = gateway.log.of("grpc-0")
    assert (line["status"], line["outcome"], line["consumer"]) == (200, "answered", "acme")
    assert line["request_bytes"] == len(MESSAGE)


def test_a_hundred_calls_share_one_connection_and_get_each_its_own_answer(place: Place) -> None:
    gateway, upstream = place.gateway, place.first
    with Http2Caller(gateway.port) as caller:
        streams = {
            caller.begin(OPEN, *GRPC, method="POST", body=b"%d" % n, sized=False): n for n in range(90)
        }
        for stream, n in streams.items():
            assert caller.finish(stream).body == b"%d" % n
    assert upstream.connections == 1


def test_messages_pass_both_ways_while_the_call_goes_on(place: Place) -> None:
    def echo_at_once(serving: Serving, asked: Asked, event: object) -> None:
        if isinstance(event, RequestReceived):
            serving.head(asked.stream, ("content-type", "application/grpc"))
        elif isinstance(event, DataReceived) and event.data:
            serving.engine.send_data(asked.stream, event.data)
        elif isinstance(event, StreamEnded):
            serving.engine.send_headers(asked.stream, [("grpc-status", "0")], end_stream=True)

    gateway, upstream = place.gateway, place.first
    upstream.renew(echo_at_once)
    with Http2Caller(gateway.port) as caller:
        stream = caller.begin(OPEN, *GRPC, method="POST", body=None, open_body=True)
        reply = caller.replies[stream]
        for n in range(5):
            caller.engine.send_data(stream, b"message %d" % n)
            caller.flush()
            while b"message %d" % n not in reply.body:
                caller.read()
        caller.engine.end_stream(stream)
        caller.flush()
        assert status_of(caller.finish(stream)) == (200, 0)


def test_large_messages_pass_unchanged_both_ways(place: Place) -> None:
    body = bytes(range(256)) * 8000
    with Http2Caller(place.port) as caller:
        reply = caller.ask2(OPEN, *GRPC, method="POST", body=body, sized=False)
        assert reply.body == body
        assert status_of(reply) == (200, 0)


def test_an_answer_of_trailers_alone_passes(place: Place) -> None:
    def refuse(serving: Serving, asked: Asked, event: object) -> None:
        if isinstance(event, StreamEnded):
            serving.head(asked.stream, ("grpc-status", "5"), ("grpc-message", "none"), end=True)

    gateway, upstream = place.gateway, place.first
    upstream.renew(refuse)
    with Http2Caller(gateway.port) as caller:
        reply = caller.ask2(OPEN, *GRPC, method="POST", body=MESSAGE, sized=False)
        assert (status_of(reply), reply.ended, reply.body) == ((200, 5), True, b"")


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (CALL, (), 16),
        (CALL, ("X-API-Key: fg_test_wrong",), 16),
        (CALL, (key_line("reader"),), 7),
        ("/nowhere", (), 12),
        (OPEN, ("grpc-timeout: soon",), 3),
    ],
)
def test_w17_a_refusal_of_ours_is_a_grpc_status(
    place: Place, path: str, headers: tuple[str, ...], status: int
) -> None:
    gateway, upstream = place.gateway, place.first
    with Http2Caller(gateway.port) as caller:
        reply = caller.ask2(path, *GRPC, *headers, method="POST", body=MESSAGE, sized=False)
        assert status_of(reply) == (200, status)
        assert reply.headers[b"content-type"] == b"application/grpc"
        assert reply.body == b""
        assert b"x-request-id" in reply.headers
    assert upstream.asked == []


def test_only_what_was_not_sent_ends_as_unavailable(place: Place) -> None:
    def cut(serving: Serving, asked: Asked, event: object) -> None:
        if isinstance(event, StreamEnded):
            serving.sock.shutdown(socket.SHUT_RDWR)

    place.first.renew(cut)
    with Http2Caller(place.port) as caller:
        reply = caller.ask2(OPEN, *GRPC, method="POST", body=MESSAGE, sized=False)
        assert status_of(reply) == (200, 2)
        assert len(place.first.asked) == 1
        reply = caller.ask2(DEAD, *GRPC, method="POST", body=MESSAGE, sized=False)
        assert status_of(reply) == (200, 14)


@pytest.mark.parametrize("how", ["refused", "goaway"])
def test_a_stream_that_a_target_did_not_take_goes_to_another_with_its_body(place: Place, how: str) -> None:
    def busy(serving: Serving, asked: Asked, event: object) -> None:
        if not isinstance(event, StreamEnded):
            return
        if how == "refused":
            serving.engine.reset_stream(asked.stream, 7)
        else:
            serving.sock.sendall(b"\0\0\x08\x07\0\0\0\0\0" + struct.pack(">II", 0, 0))

    place.first.renew(busy)
    with Http2Caller(place.port) as caller:
        for n in range(4):
            reply = caller.ask2(
                PAIR, *GRPC, f"X-Request-Id: {how}-{n}", method="POST", body=MESSAGE, sized=False
            )
            assert (reply.body, status_of(reply)) == (MESSAGE, (200, 0))
    assert place.first.asked
    assert len(place.second.asked) == 4
    tried = [place.gateway.log.of(f"{how}-{n}")["attempts"] for n in range(4)]
    moved = len(place.first.asked)
    assert sorted(tried) == [1] * (4 - moved) + [2] * moved


@pytest.mark.parametrize("status", ["103", "200"])
def test_a_stream_refused_after_an_answer_began_was_taken_and_is_not_sent_again(
    place: Place, status: str
) -> None:
    def play(serving: Serving, asked: Asked, event: object) -> None:
        if isinstance(event, StreamEnded):
            serving.head(asked.stream, ("x-a", "b"), status=status)
            serving.engine.reset_stream(asked.stream, 7)

    place.first.renew(play)
    place.second.renew(play)
    with Http2Caller(place.port) as caller:
        began = time.monotonic()
        reply = caller.ask2(PLAIN_PAIR, f"X-Request-Id: begun-{status}")
        assert time.monotonic() - began < 2
        assert reply.reset is not None if status == "200" else reply.status == 502
    line = place.gateway.log.of(f"begun-{status}")
    assert (line["outcome"], line["attempts"]) == ("unknown", 1)
    assert len(place.first.asked) + len(place.second.asked) == 1


def test_grpc_timeout_is_the_call_s_deadline(place: Place) -> None:
    gateway, upstream = place.gateway, place.first
    upstream.renew(lambda *_: None)
    with Http2Caller(gateway.port) as caller:
        began = time.monotonic()
        reply = caller.ask2(OPEN, *GRPC, "grpc-timeout: 300m", method="POST", body=MESSAGE, sized=False)
        assert status_of(reply) == (200, 4)
        assert 0.25 < time.monotonic() - began < 2
    assert upstream.asked[0].fields[b"grpc-timeout"] == b"300m"
    until(lambda: upstream.asked[0].reset == 8, "the stream's end")


def test_a_caller_s_cancellation_reaches_the_target(place: Place) -> None:
    gateway, upstream = place.gateway, place.first
    upstream.renew(lambda *_: None)
    with Http2Caller(gateway.port) as caller:
        stream = caller.begin(OPEN, *GRPC, "X-Request-Id: gone", method="POST", body=MESSAGE, sized=False)
        until(lambda: bool(upstream.asked and upstream.asked[0].ended), "the request")
        caller.engine.reset_stream(stream, 8)
        caller.flush()
        until(lambda: upstream.asked[0].reset == 8, "the cancellation")
    assert gateway.log.of("gone")["outcome"] == "client_gone"


def test_a_caller_of_http_1_1_may_use_the_same_upstream(place: Place) -> None:
    def hello(serving: Serving, asked: Asked, event: object) -> None:
        if isinstance(event, StreamEnded):
            serving.head(asked.stream, ("x-served", "h2"))
            serving.answer(asked.stream, b"hello")

    gateway, upstream = place.gateway, place.first
    upstream.renew(hello)
    with TlsCaller(gateway.port) as caller:
        for _ in range(2):
            reply = caller.ask("/plain/x")
            assert (reply.status, reply.body, reply.headers["x-served"]) == (200, b"hello", "h2")


def test_a_caller_of_http_1_1_sees_the_end_of_an_answer_that_is_a_head_alone(place: Place) -> None:
    def created(serving: Serving, asked: Asked, event: object) -> None:
        if isinstance(event, StreamEnded):
            serving.head(asked.stream, ("x-served", "h2"), status="201", end=True)

    gateway, upstream = place.gateway, place.first
    upstream.renew(created)
    with TlsCaller(gateway.port) as caller:
        caller.sock.settimeout(3)
        for _ in range(2):
            reply = caller.ask("/plain/x")
            assert (reply.status, reply.body, reply.headers["x-served"]) == (201, b"", "h2")


def test_over_tls_the_target_must_settle_on_h2(place: Place) -> None:
    with Http2Caller(place.port) as caller:
        reply = caller.ask2(OVER_TLS, *GRPC, method="POST", body=MESSAGE, sized=False)
        assert (reply.body, status_of(reply)) == (MESSAGE, (200, 0))
        assert place.secret.asked[0].fields[b":scheme"] == b"https"
        reply = caller.ask2(NOT_H2, *GRPC, "X-Request-Id: no-h2", method="POST", body=MESSAGE, sized=False)
        assert status_of(reply) == (200, 14)
    assert place.gateway.log.of("no-h2")["reason"] == "upstream_without_h2"


HOSTILE = {
    "frames of size 0": b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0\0\0",
    "a table of 4 GiB": b"\0\0\x06\x04\0\0\0\0\0\0\x01\xff\xff\xff\xff",
    "no settings": b"\0\0\x08\x06\0\0\0\0\0" + b"12345678",
    "HTTP/1.1": b"HTTP/1.1 400 Bad Request\r\n\r\n",
}


@pytest.mark.parametrize("first", HOSTILE)
def test_h06_a_hostile_target_costs_its_own_calls_and_nothing_else(place: Place, first: str) -> None:
    gateway, upstream = place.gateway, place.first
    upstream.renew(unary, first=HOSTILE[first])
    with Http2Caller(gateway.port) as caller:
        for _ in range(2):
            reply = caller.ask2(OPEN, *GRPC, method="POST", body=MESSAGE, sized=False)
            assert status_of(reply)[1] in {2, 14}
        assert caller.ask2("/nowhere").status == 404
