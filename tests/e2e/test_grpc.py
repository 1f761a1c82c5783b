"""gRPC through the gateway, HTTP/2 on both sides (http-rules.md W17): what passes, what is refused, what is sent again."""

import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from jh2.events import DataReceived, RequestReceived, StreamEnded

from tests.support.certificates import Authority
from tests.support.configuration import Tree, base, changed, key_line, with_payments
from tests.support.gateway import GatewayProcess, until
from tests.support.http2_client import Http2Caller
from tests.support.http2_upstream import Asked, Http2Upstream, Serving, unary
from tests.support.ports import closed_port
from tests.support.tls_client import TlsCaller

GRPC = ("Content-Type: application/grpc", "TE: trailers")
ACME = key_line("acme")
MESSAGE = b"\0\0\0\0\x05hello"
CALL = "/pay.Payments/Capture"
OPEN = "/open.Echo/Say"

Start = Callable[..., GatewayProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a gateway whose upstream ``main`` has these targets and speaks HTTP/2 to them."""
    with ExitStack() as stack:

        def begin(*targets: str, **settings: object) -> GatewayProcess:
            issued = Authority().issue("CN=api", dns=("api.test",), client=False)
            issued.write(tmp_path / "certs", "api")

            def make(port: int, manager_port: int) -> Tree:
                tree = with_payments(base(port, manager_port, targets[0]))
                tls = {"certificates": [{"chain": "certs/api.pem", "key": "certs/api.key"}]}
                tree["gateway"]["listen"] = [{"address": f"127.0.0.1:{port}", "tls": tls}]  # type: ignore[index,call-overload]
                main = {
                    "targets": list(targets),
                    "protocol": "h2",
                    "balance": "round_robin",
                    "health": {"breaker": "off", "passive": "off"},
                    **settings,
                }
                tree = changed(tree, "upstreams", "main", to=main)  # type: ignore[arg-type]
                routes = {
                    "pay": (["api_key"], "/pay.Payments", "POST /Capture", {"require": "payments:write"}),
                    "echo": ([], "/open.Echo", "POST /Say", {"body": "8MiB"}),
                    "plain": ([], "/plain", "GET /x", {}),
                }
                for name, (authenticate, path, match, more) in routes.items():
                    api = {
                        "upstream": "main",
                        "authenticate": authenticate,
                        "versions": {"v1": {"path": path}},
                        "routes": [{"match": match, **more}],
                    }
                    tree = changed(tree, "apis", name, to=api)  # type: ignore[arg-type]
                return tree

            return stack.enter_context(GatewayProcess(tmp_path, make))

        yield begin


def status_of(reply: object) -> tuple[int, int]:
    """HTTP's status and gRPC's, wherever that stands."""
    fields = {**reply.headers, **reply.trailers}  # type: ignore[attr-defined]
    return reply.status, int(fields[b"grpc-status"])  # type: ignore[attr-defined]


def test_a_unary_call_passes_with_its_trailers_and_policies_and_line(start: Start) -> None:
    with Http2Upstream(unary) as upstream:
        gateway = start(upstream.url)
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


def test_a_hundred_calls_share_one_connection_and_get_each_its_own_answer(start: Start) -> None:
    with Http2Upstream(unary) as upstream:
        gateway = start(upstream.url)
        with Http2Caller(gateway.port) as caller:
            streams = {
                caller.begin(OPEN, *GRPC, method="POST", body=b"%d" % n, sized=False): n for n in range(90)
            }
            for stream, n in streams.items():
                assert caller.finish(stream).body == b"%d" % n
        assert upstream.connections == 1


def test_messages_pass_both_ways_while_the_call_goes_on(start: Start) -> None:
    def echo_at_once(serving: Serving, asked: Asked, event: object) -> None:
        if isinstance(event, RequestReceived):
            serving.head(asked.stream, ("content-type", "application/grpc"))
        elif isinstance(event, DataReceived) and event.data:
            serving.engine.send_data(asked.stream, event.data)
        elif isinstance(event, StreamEnded):
            serving.engine.send_headers(asked.stream, [("grpc-status", "0")], end_stream=True)

    with Http2Upstream(echo_at_once) as upstream:
        gateway = start(upstream.url)
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


def test_large_messages_pass_unchanged_both_ways(start: Start) -> None:
    body = bytes(range(256)) * 8000
    with Http2Upstream(unary) as upstream:
        gateway = start(upstream.url)
        with Http2Caller(gateway.port) as caller:
            reply = caller.ask2(OPEN, *GRPC, method="POST", body=body, sized=False)
            assert reply.body == body
            assert status_of(reply) == (200, 0)


def test_an_answer_of_trailers_alone_passes(start: Start) -> None:
    def refuse(serving: Serving, asked: Asked, event: object) -> None:
        if isinstance(event, StreamEnded):
            serving.head(asked.stream, ("grpc-status", "5"), ("grpc-message", "none"), end=True)

    with Http2Upstream(refuse) as upstream:
        gateway = start(upstream.url)
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
    start: Start, path: str, headers: tuple[str, ...], status: int
) -> None:
    with Http2Upstream(unary) as upstream:
        gateway = start(upstream.url)
        with Http2Caller(gateway.port) as caller:
            reply = caller.ask2(path, *GRPC, *headers, method="POST", body=MESSAGE, sized=False)
            assert status_of(reply) == (200, status)
            assert reply.headers[b"content-type"] == b"application/grpc"
            assert reply.body == b""
            assert b"x-request-id" in reply.headers
        assert upstream.asked == []


def test_only_what_was_not_sent_ends_as_unavailable(start: Start) -> None:
    def cut(serving: Serving, asked: Asked, event: object) -> None:
        if isinstance(event, StreamEnded):
            serving.sock.shutdown(socket.SHUT_RDWR)

    with Http2Upstream(cut) as upstream, closed_port() as closed:
        gateway = start(upstream.url)
        with Http2Caller(gateway.port) as caller:
            reply = caller.ask2(OPEN, *GRPC, method="POST", body=MESSAGE, sized=False)
            assert status_of(reply) == (200, 2)
        dead = f"http://127.0.0.1:{closed}"
        assert len(upstream.asked) == 1
        tree = changed(gateway.tree, "upstreams", "main", "targets", to=[dead])
        gateway.reload_and_wait(tree)
        with Http2Caller(gateway.port) as caller:
            reply = caller.ask2(OPEN, *GRPC, method="POST", body=MESSAGE, sized=False)
            assert status_of(reply) == (200, 14)


@pytest.mark.parametrize("how", ["refused", "goaway"])
def test_a_stream_that_a_target_did_not_take_goes_to_another_with_its_body(start: Start, how: str) -> None:
    def busy(serving: Serving, asked: Asked, event: object) -> None:
        if not isinstance(event, StreamEnded):
            return
        if how == "refused":
            serving.engine.reset_stream(asked.stream, 7)
        else:
            serving.sock.sendall(b"\0\0\x08\x07\0\0\0\0\0" + struct.pack(">II", 0, 0))

    with Http2Upstream(busy) as first, Http2Upstream(unary) as second:
        gateway = start(first.url, second.url)
        with Http2Caller(gateway.port) as caller:
            for n in range(4):
                reply = caller.ask2(
                    OPEN, *GRPC, f"X-Request-Id: moved-{n}", method="POST", body=MESSAGE, sized=False
                )
                assert (reply.body, status_of(reply)) == (MESSAGE, (200, 0))
        assert first.asked
        assert len(second.asked) == 4
        assert {gateway.log.of(f"moved-{n}")["attempts"] for n in range(4)} == {1, 2}


@pytest.mark.parametrize("status", ["103", "200"])
def test_a_stream_refused_after_an_answer_began_was_taken_and_is_not_sent_again(
    start: Start, status: str
) -> None:
    def play(serving: Serving, asked: Asked, event: object) -> None:
        if isinstance(event, StreamEnded):
            serving.head(asked.stream, ("x-a", "b"), status=status)
            serving.engine.reset_stream(asked.stream, 7)

    with Http2Upstream(play) as first, Http2Upstream(play) as second:
        gateway = start(first.url, second.url)
        with Http2Caller(gateway.port) as caller:
            began = time.monotonic()
            reply = caller.ask2("/plain/x", "X-Request-Id: begun")
            assert time.monotonic() - began < 2
            assert reply.reset is not None if status == "200" else reply.status == 502
        line = gateway.log.of("begun")
        assert (line["outcome"], line["attempts"]) == ("unknown", 1)
        assert len(first.asked) + len(second.asked) == 1


def test_grpc_timeout_is_the_call_s_deadline(start: Start) -> None:
    with Http2Upstream(lambda *_: None) as upstream:
        gateway = start(upstream.url)
        with Http2Caller(gateway.port) as caller:
            began = time.monotonic()
            reply = caller.ask2(OPEN, *GRPC, "grpc-timeout: 300m", method="POST", body=MESSAGE, sized=False)
            assert status_of(reply) == (200, 4)
            assert 0.25 < time.monotonic() - began < 2
        assert upstream.asked[0].fields[b"grpc-timeout"] == b"300m"
        until(lambda: upstream.asked[0].reset == 8, "the stream's end")


def test_a_caller_s_cancellation_reaches_the_target(start: Start) -> None:
    with Http2Upstream(lambda *_: None) as upstream:
        gateway = start(upstream.url)
        with Http2Caller(gateway.port) as caller:
            stream = caller.begin(OPEN, *GRPC, "X-Request-Id: gone", method="POST", body=MESSAGE, sized=False)
            until(lambda: bool(upstream.asked and upstream.asked[0].ended), "the request")
            caller.engine.reset_stream(stream, 8)
            caller.flush()
            until(lambda: upstream.asked[0].reset == 8, "the cancellation")
        assert gateway.log.of("gone")["outcome"] == "client_gone"


def test_a_caller_of_http_1_1_may_use_the_same_upstream(start: Start) -> None:
    def hello(serving: Serving, asked: Asked, event: object) -> None:
        if isinstance(event, StreamEnded):
            serving.head(asked.stream, ("x-served", "h2"))
            serving.answer(asked.stream, b"hello")

    with Http2Upstream(hello) as upstream:
        gateway = start(upstream.url)
        with TlsCaller(gateway.port) as caller:
            for _ in range(2):
                reply = caller.ask("/plain/x")
                assert (reply.status, reply.body, reply.headers["x-served"]) == (200, b"hello", "h2")


def test_a_caller_of_http_1_1_sees_the_end_of_an_answer_that_is_a_head_alone(start: Start) -> None:
    def created(serving: Serving, asked: Asked, event: object) -> None:
        if isinstance(event, StreamEnded):
            serving.head(asked.stream, ("x-served", "h2"), status="201", end=True)

    with Http2Upstream(created) as upstream:
        gateway = start(upstream.url)
        with TlsCaller(gateway.port) as caller:
            caller.sock.settimeout(3)
            for _ in range(2):
                reply = caller.ask("/plain/x")
                assert (reply.status, reply.body, reply.headers["x-served"]) == (201, b"", "h2")


def test_over_tls_the_target_must_settle_on_h2(start: Start, tmp_path: Path) -> None:
    authority = Authority()
    chain, key = authority.issue("CN=up", dns=("localhost",), client=False).write(tmp_path / "up", "up")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    context.set_alpn_protocols(["h2"])
    with Http2Upstream(unary, context) as upstream:
        gateway = start(upstream.url, tls={"verify": False})
        with Http2Caller(gateway.port) as caller:
            reply = caller.ask2(OPEN, *GRPC, method="POST", body=MESSAGE, sized=False)
            assert (reply.body, status_of(reply)) == (MESSAGE, (200, 0))
        assert upstream.asked[0].fields[b":scheme"] == b"https"
        context.set_alpn_protocols(["http/1.1"])
        with Http2Upstream(unary, context) as other:
            gateway.reload_and_wait(changed(gateway.tree, "upstreams", "main", "targets", to=[other.url]))
            with Http2Caller(gateway.port) as caller:
                reply = caller.ask2(
                    OPEN, *GRPC, "X-Request-Id: no-h2", method="POST", body=MESSAGE, sized=False
                )
                assert status_of(reply) == (200, 14)
            assert gateway.log.of("no-h2")["reason"] == "upstream_without_h2"


HOSTILE = {
    "frames of size 0": b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0\0\0",
    "a table of 4 GiB": b"\0\0\x06\x04\0\0\0\0\0\0\x01\xff\xff\xff\xff",
    "no settings": b"\0\0\x08\x06\0\0\0\0\0" + b"12345678",
    "HTTP/1.1": b"HTTP/1.1 400 Bad Request\r\n\r\n",
}


@pytest.mark.parametrize("first", HOSTILE)
def test_h06_a_hostile_target_costs_its_own_calls_and_nothing_else(start: Start, first: str) -> None:
    with Http2Upstream(unary, first=HOSTILE[first]) as upstream:
        gateway = start(upstream.url)
        with Http2Caller(gateway.port) as caller:
            for _ in range(2):
                reply = caller.ask2(OPEN, *GRPC, method="POST", body=MESSAGE, sized=False)
                assert status_of(reply)[1] in {2, 14}
            assert caller.ask2("/nowhere").status == 404
