"""The supervisor's parts that need no child process: the data folder's lock, what it says of endings."""

import asyncio
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from faregate.gateway import children, voice
from faregate.gateway import supervisor as module
from faregate.gateway.children import StartError
from faregate.gateway.control import Message
from faregate.gateway.handover import HandoverError
from faregate.gateway.places import WorkerPlace
from faregate.gateway.running import Options, Running
from faregate.gateway.starting import take_data_folder
from faregate.gateway.supervisor import Supervisor
from faregate.gateway.voice import ending
from faregate.snapshot.data import Listener


@pytest.fixture
def make(tmp_path: Path):
    made: list[Running] = []

    def one() -> Running:
        running = Running(tmp_path / "faregate.yaml", Options(), lambda coroutine: None)
        made.append(running)
        return running

    yield one
    for running in made:
        running.runtime.rmdir()
        if running.lock is not None:
            running.lock.close()


def test_two_gateways_never_share_a_data_folder(make, tmp_path: Path) -> None:
    first, second = make(), make()
    take_data_folder(first, tmp_path / "data")
    assert stat.S_IMODE(first.data.stat().st_mode) == 0o700
    held = (
        f"another gateway is using the data folder {tmp_path / 'data'}$"  # only this process, as far as seen
    )
    with pytest.raises(StartError, match=held):
        take_data_folder(second, tmp_path / "data")
    first.lock.close()
    take_data_folder(make(), tmp_path / "data")


def test_a_data_folder_that_cannot_be_made_is_said_in_one_line(make, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StartError, match="data folder"):
        take_data_folder(make(), tmp_path / "data")


def test_a_taken_address_is_said_in_one_line() -> None:
    with children.listen_or_say(Listener("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        match = f"cannot listen on 127.0.0.1:{port}: Address already in use, by this gateway"
        with pytest.raises(StartError, match=match):
            children.listen_or_say(Listener("127.0.0.1", port))


@pytest.mark.parametrize(
    ("status", "text"), [(0, "status 0"), (3, "status 3"), (-9, "signal SIGKILL"), (-11, "signal SIGSEGV")]
)
def test_endings_in_words(status: int, text: str) -> None:
    assert ending(status) == text


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path / "faregate.yaml")
    stopped: list[bool] = []
    supervisor._running.crew.stop = lambda: stopped.append(True)  # type: ignore[method-assign]
    supervisor._stop(fast=False)
    assert stopped == []
    supervisor._stop(fast=False)
    assert stopped == [True]
    supervisor._running.runtime.rmdir()


def test_a_missing_file_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert module.run(tmp_path / "absent.yaml") == 1
    assert f"no such file: {tmp_path / 'absent.yaml'}" in capsys.readouterr().err


def test_the_other_holder_of_a_data_folder_or_an_address_is_named(make, tmp_path: Path) -> None:
    program = (
        "import fcntl, socket, sys\n"
        "lock = open(sys.argv[1], 'ab')\n"
        "fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "sock = socket.create_server(('127.0.0.1', 0))\n"
        "print(sock.getsockname()[1], flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        with pytest.raises(StartError, match=f"{tmp_path}: process {other.pid}$"):
            take_data_folder(make(), tmp_path)
        with pytest.raises(StartError, match=rf"already in use, by process {other.pid} \(python"):
            children.listen_or_say(Listener("127.0.0.1", port))
        other.communicate()


def test_only_programs_hear_the_end_and_whose_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    voice.stopped(0)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(voice.Voice, "events", True)
    voice.stopped(0)
    told = json.loads(capsys.readouterr().out)
    assert (told["event"], told["pid"], told["status"]) == ("stopped", os.getpid(), 0)


@pytest.mark.parametrize("answers", [True, False])
def test_a_failed_upgrade_leaves_the_number_of_sharers_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answers: bool
) -> None:
    told: list[int] = []
    handed: list[int] = []
    supervisor = Supervisor(tmp_path / "faregate.yaml")
    running = supervisor._running
    running.runtime.rmdir()
    crew = running.crew
    crew.places.append(WorkerPlace(0))
    crew.retired.append(WorkerPlace(1))  # it drains, and counts
    crew.sharers = 2

    async def ask(message: Message, answer: str) -> bool:
        told.append(message.workers)
        return answers

    async def fails(running: Running, program: str, sharers: int) -> None:
        handed.append(sharers)
        raise HandoverError("no")

    monkeypatch.setattr(crew, "_ask", ask)
    monkeypatch.setattr(crew, "is_free", lambda index: index not in {0, 1})
    monkeypatch.setattr(module.Successor, "start", fails)

    async def play() -> None:
        answered = await supervisor._upgrade(sys.executable)
        assert not answered["ok"]
        await asyncio.gather(*supervisor._tasks)

    asyncio.run(play())
    assert (told, handed) == ([3, 2], [2] if answers else [])
    assert crew.held() == {0, 1}
    assert ("goes on" in capsys.readouterr().err) is answers


@pytest.mark.parametrize(("sharers", "told"), [(1, 2), (5, 5)])
def test_a_worker_starts_with_locks(make, sharers: int, told: int) -> None:
    running = make()
    gateway = type("Gateway", (), {"listen": []})()
    running.snapshot = type("Outline", (), {"gateway": gateway})()
    running.crew.sharers = sharers
    assert running._settings(0, 9).sharers == told
