"""The line between supervisor and workers, and the sockets they share."""

import socket

import msgspec
import pytest

from faregate.gateway import control
from faregate.gateway.control import LINE_BYTES_MAX, Message, WorkerSettings


@pytest.mark.parametrize(
    "message",
    [
        Message("ready", revision=7),
        Message("reload", snapshot="/var/lib/faregate/snapshot", revision=8),
        Message("drain", grace=30.0),
        Message("failed", revision=9, reason="a\nreason: \u00e9 \x00"),
    ],
)
def test_a_message_is_one_line_and_reads_back(message: Message) -> None:
    line = control.encode(message)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert len(line) <= LINE_BYTES_MAX
    assert control.decode(line) == message


@pytest.mark.parametrize(
    "line", [b"", b"\n", b"[]\n", b'{"revision":1}\n', b'{"what":1}\n', b"\xff\n", b'{"what":"ready"']
)
def test_anything_else_is_an_error(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        control.decode(line)


def test_worker_settings_survive_the_command_line() -> None:
    settings = WorkerSettings(0, 2, [5, 6], 7, 8, 9, "/data/snapshot", "1.1 faregate-ab", "/run/feed")
    assert msgspec.json.decode(msgspec.json.encode(settings).decode(), type=WorkerSettings) == settings


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "[::1]"])
def test_a_listening_socket_accepts_and_does_not_block(host: str) -> None:
    try:
        sock = control.listening_socket(host, 0)
    except OSError:
        assert ":" in host, "no IPv4 on this machine?"
        return
    with sock:
        assert not sock.getblocking()
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        with socket.create_connection(sock.getsockname()[:2]):
            pass


def test_a_taken_port_is_an_error_that_leaves_nothing_open() -> None:
    with control.listening_socket("127.0.0.1", 0) as sock, pytest.raises(OSError):
        control.listening_socket("127.0.0.1", sock.getsockname()[1])
