"""What ``faregate doctor`` says of the manager's database."""

import asyncio
import socket
import threading
from pathlib import Path

import pytest

from faregate.cli.doctor_database import check_database
from faregate.cli.doctor_findings import Finding
from faregate.snapshot.data import FORMAT, Gateway, Listener, Snapshot
from faregate.snapshot.managing import Managing


def found(store: str, folder: Path, manager: bool = True) -> list[Finding]:
    address = Listener("127.0.0.1", 9) if manager else None
    gateway = Gateway((Listener("127.0.0.1", 0),), address, 1, str(folder), managing=Managing(store=store))
    return asyncio.run(check_database(Snapshot(FORMAT, 1, gateway, (), (), (), (), (), ())))


def test_where_there_is_none_of_its_own_nothing_is_said(tmp_path: Path) -> None:
    assert found("embedded", tmp_path) == []
    assert found("postgresql://h/db", tmp_path, manager=False) == []


def test_one_that_cannot_be_reached_is_a_problem_and_no_password_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    (one,) = found(f"postgresql://fare:hunter2@127.0.0.1:{port}/fare", tmp_path)
    assert (one.level, one.check) == ("problem", "database")
    assert one.message.startswith(f"the manager's database at 127.0.0.1:{port}/fare cannot be reached: ")
    assert "hunter2" not in str(one)
    assert "calls go on" in one.advice


@pytest.mark.parametrize("said", [b"", b"E\x00\x00\x00\x15SFATAL\x00Mhunter2\x00\x00\x00"])
def test_one_that_is_no_postgresql_is_a_problem(tmp_path: Path, said: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            while True:
                try:
                    caller, _ = listening.accept()
                except OSError:
                    return
                with caller:
                    caller.recv(1024)
                    caller.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        (one,) = found(f"postgresql://fare:hunter2@127.0.0.1:{listening.getsockname()[1]}/fare", tmp_path)
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert (one.level, "hunter2" in str(one)) == ("problem", False)
