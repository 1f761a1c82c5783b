"""Who listens and who has a file open, held against this process."""

import os
import socket
from pathlib import Path

import pytest

from faregate.kernel.processes import listening_processes, processes_with, program_name


def test_whoever_listens_is_found_and_nobody_on_a_port_that_is_only_bound() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock, socket.socket() as bound:
        assert [pid for pid, _ in listening_processes(sock.getsockname()[1])] == [os.getpid()]
        bound.bind(("127.0.0.1", 0))
        assert listening_processes(bound.getsockname()[1]) == []


def test_whoever_has_a_file_open_is_found_until_it_is_closed(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with file.open("w"):
        assert [pid for pid, _ in processes_with({str(file)})] == [os.getpid()]
    assert processes_with({str(file)}) == []
    assert processes_with(()) == []


@pytest.mark.parametrize(
    ("command", "name"),
    [(b"/usr/sbin/nginx\0-g\0", "nginx"), (b"python\0", "python"), (b"\xff", "\ufffd"), (b"", "")],
)
def test_names_of_programs(command: bytes, name: str) -> None:
    assert program_name(command) == name
