"""The manager as the supervisor starts it: a real process on an inherited socket."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from faregate.records.frames import Count, Report, WorkerState, encode_frame


class Manager:
    def __init__(self, process: subprocess.Popen[bytes], port: int, feed: Path) -> None:
        self.process, self.port, self.feed = process, port, feed

    def ask(
        self, method: str, path: str, headers: dict[str, str] | None = None
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, headers=headers or {})
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()


def command(listening: socket.socket, feed: Path, *more: str) -> list[str]:
    options = ["--fd", str(listening.fileno()), "--feed", str(feed), "--workers", "1", *more]
    return [sys.executable, "-m", "faregate.manager", *options]


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Manager]:
    feed = tmp_path_factory.mktemp("manager") / "feed.sock"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        process = subprocess.Popen(command(listening, feed), pass_fds=[listening.fileno()])
        port = listening.getsockname()[1]
    try:
        yield Manager(process, port, feed)  # the kernel queues connections until it accepts
    finally:
        process.kill()
        process.wait()


def test_health_says_ok(manager: Manager) -> None:
    response, body = manager.ask("GET", "/healthz")
    assert (response.status, json.loads(body)) == (200, {"status": "ok"})
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["X-Request-Id"]
    assert len(response.headers.get_all("Date")) == 1
    assert "Server" not in response.headers


@pytest.mark.parametrize("path", ["/healthz", "/metrics"])
def test_head_is_get_without_a_body(manager: Manager, path: str) -> None:
    response, body = manager.ask("HEAD", path)
    assert (response.status, body) == (200, b"")
    assert int(response.headers["Content-Length"]) > 0


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "no_route"),
        ("GET", "/metrics/", 404, "no_route"),
        ("GET", "/Healthz", 404, "no_route"),
        ("POST", "/metrics", 405, "method_not_allowed"),
        ("OPTIONS", "/metrics", 405, "method_not_allowed"),
        ("TRACE", "/metrics", 405, "method_not_allowed"),
        ("DELETE", "/healthz", 405, "method_not_allowed"),
    ],
)
def test_anything_else_is_a_problem(manager: Manager, method: str, path: str, status: int, code: str) -> None:
    response, body = manager.ask(method, path, {"X-Request-Id": "mine-1", "Origin": "http://localhost:3000"})
    assert response.status == status
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["X-Request-Id"] == "mine-1"
    assert not [name for name in response.headers if name.lower().startswith("access-control")]
    problem = json.loads(body)
    assert (problem["code"], problem["status"], problem["request_id"]) == (code, status, "mine-1")
    assert (response.headers["Allow"] == "GET, HEAD") if status == 405 else ("Allow" not in response.headers)


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/nowhere"])
@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        (b"Host: rebound.evil.example\r\n", 421, "misdirected_request"),
        (b"Host: 10.0.0.7\r\n", 421, "misdirected_request"),
        (b"Host: 127.0.0.1\r\nHost: 127.0.0.1\r\n", 400, "malformed_request"),
        (b"", 400, "malformed_request"),
        (b"Host: localhost\r\nOrigin: https://evil.example\r\n", 403, "origin_denied"),
        (b"Host: localhost\r\nOrigin: null\r\n", 403, "origin_denied"),
    ],
)
def test_a_page_that_took_our_address_for_its_name_learns_nothing(
    manager: Manager, path: str, headers: bytes, status: int, code: str
) -> None:
    with socket.create_connection(("127.0.0.1", manager.port), timeout=10) as connection:
        connection.sendall(b"GET " + path.encode() + b" HTTP/1.1\r\n" + headers + b"\r\n")
        response = http.client.HTTPResponse(connection)
        response.begin()
        problem = json.loads(response.read())
        assert (response.status, problem["code"]) == (status, code)
        assert response.headers["Content-Type"] == "application/problem+json"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert not [name for name in response.headers if name.lower().startswith("access-control")]
        assert connection.recv(1) == b""


@pytest.mark.parametrize(
    "head", [b"GET /a b HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost : a\r\n", b"\x16\x03\x01\r\n"]
)
def test_bytes_that_are_no_request_get_a_problem_and_the_end(manager: Manager, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", manager.port), timeout=10) as connection:
        connection.sendall(head + b"\r\n")
        response = http.client.HTTPResponse(connection)
        response.begin()
        problem = json.loads(response.read())
        assert (response.status, problem["code"]) == (400, "malformed_request")
        assert response.headers["Content-Type"] == "application/problem+json"
        assert response.headers["X-Request-Id"] == problem["request_id"]
        assert response.headers["Connection"] == "close"
        assert len(response.headers.get_all("Date")) == 1
        assert connection.recv(1) == b""


def test_the_machines_token_lies_there_before_anybody_asked(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        asked = command(listening, tmp_path / "feed.sock", "--data", str(tmp_path))
        process = subprocess.Popen(asked, pass_fds=[listening.fileno()])
        started = Manager(process, listening.getsockname()[1], tmp_path / "feed.sock")
        try:
            assert started.ask("GET", "/healthz")[0].status == 200
            token = tmp_path / "manager.token"
            assert token.read_text().startswith("fgm_")
            assert token.stat().st_mode & 0o777 == 0o600
            assert not (tmp_path / "manager.db").exists()  # the door is still shut
        finally:
            process.kill()
            process.wait()


def test_what_it_says_begins_as_the_lines_of_the_others_do(tmp_path: Path) -> None:
    (tmp_path / "manager.db").write_bytes(b"no database" * 500)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        asked = command(listening, tmp_path / "feed.sock", "--data", str(tmp_path))
        with subprocess.Popen(asked, pass_fds=[listening.fileno()], stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            line = process.stderr.readline()
            process.kill()
    assert line.startswith(b"faregate: the admin API cannot be opened")


def test_a_probe_that_speaks_http_1_0_needs_no_host(manager: Manager) -> None:
    with socket.create_connection(("127.0.0.1", manager.port), timeout=10) as connection:
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert (response.status, response.read()) == (200, b'{"status":"ok"}')


def test_readiness_follows_the_workers_and_metrics_have_their_counts(manager: Manager) -> None:
    response, body = manager.ask("GET", "/readyz")
    assert response.status == 503
    assert response.headers["Retry-After"] == "1"
    assert json.loads(body)["detail"] == "0 of 1 workers report."
    with socket.socket(socket.AF_UNIX) as worker:
        worker.connect(str(manager.feed))
        state = WorkerState(ready=True, draining=False, revision=12)
        worker.sendall(
            encode_frame(Report(0, "life", 1, 0, state, [Count("faregate_log_lines_total", (), 5)], [], []))
        )
        assert worker.recv(64)
        response, body = manager.ask("GET", "/readyz")
        assert response.status == 200
        assert json.loads(body)["revision"] == 12
        worker.sendall(
            encode_frame(
                Report(0, "life", 2, 0, WorkerState(ready=True, draining=True, revision=12), [], [], [])
            )
        )
        assert worker.recv(64)
        response, body = manager.ask("GET", "/readyz")
        assert (response.status, json.loads(body)["detail"]) == (503, "1 draining.")
    response, body = manager.ask("GET", "/metrics")
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b"faregate_log_lines_total 5\n" in body
    assert b'faregate_build_info{version="' in body


def test_zz_sigterm_ends_it_at_once_with_status_zero(manager: Manager) -> None:
    idle = http.client.HTTPConnection("127.0.0.1", manager.port)
    idle.request("GET", "/healthz")
    idle.getresponse().read()  # a kept-alive connection must not hold it
    began = time.monotonic()
    manager.process.send_signal(signal.SIGTERM)
    assert manager.process.wait(timeout=10) == 0
    assert time.monotonic() - began < 2
    assert not manager.feed.exists()
    idle.close()


def test_it_ends_with_the_process_that_it_belongs_to(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        not_its_parent = str(os.getppid())  # as when the supervisor died before the manager could look
        asked = command(listening, tmp_path / "feed.sock", "--parent", not_its_parent)
        process = subprocess.Popen(asked, pass_fds=[listening.fileno()])
        try:
            assert process.wait(timeout=10) == 0
        finally:
            process.kill()
            process.wait()
