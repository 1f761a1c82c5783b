"""Workers that hold others up are ended when they are stopped; who dies again and again is followed more slowly."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from faregate.gateway import crew as module
from faregate.gateway.children import is_stopped
from faregate.gateway.control import Message
from faregate.gateway.crew import Crew, restart_pause_s
from faregate.gateway.places import WorkerPlace
from faregate.stores.counters_head import CountersError, LockHeldError
from tests.support.gateway import until


class Running:
    """A process as a place knows it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.pid = process.pid
        self.returncode: int | None = None


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    made = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) for _ in range(2)]
    yield made
    for process in made:
        process.kill()
        process.wait()


@pytest.fixture
def crew(processes: list[subprocess.Popen[bytes]]) -> Crew:
    crew = Crew(lambda index, line: None, lambda coroutine: None)  # type: ignore[arg-type, return-value]
    for index, process in enumerate(processes):
        place = WorkerPlace(index)
        place.process = Running(process)  # type: ignore[assignment]
        crew.places.append(place)
    return crew


def stop(process: subprocess.Popen[bytes]) -> None:
    os.kill(process.pid, signal.SIGSTOP)
    until(lambda: is_stopped(process.pid), "the stop", 5)


def test_a_process_is_told_stopped_from_running_and_gone(processes: list[subprocess.Popen[bytes]]) -> None:
    assert not is_stopped(processes[0].pid)
    stop(processes[0])
    processes[0].kill()
    processes[0].wait()
    assert not is_stopped(processes[0].pid)


@pytest.mark.parametrize("drains", [False, True])
def test_who_is_stopped_when_others_are_stuck_is_ended(
    crew: Crew, processes: list[subprocess.Popen[bytes]], capsys: pytest.CaptureFixture[str], drains: bool
) -> None:
    stop(processes[0])
    if drains:
        crew.retired.append(crew.places.pop(0))
    crew.heard(crew.places[-1], Message("stuck"))
    assert processes[0].wait(5) == -signal.SIGKILL
    assert processes[1].poll() is None
    assert "worker 0 is stopped and holds a lock that others need" in capsys.readouterr().err


def test_nobody_is_ended_when_nobody_is_stopped(crew: Crew, processes: list[subprocess.Popen[bytes]]) -> None:
    crew.heard(crew.places[1], Message("stuck"))
    assert [process.poll() for process in processes] == [None, None]


@pytest.mark.parametrize(
    ("error", "ended"), [(LockHeldError("held"), True), (CountersError("a living process"), False)]
)
def test_a_dead_workers_places_that_cannot_be_freed_point_to_who_is_stopped(
    crew: Crew,
    processes: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    error: CountersError,
    ended: bool,
) -> None:
    def fails(memory: int, index: int) -> int:
        raise error

    monkeypatch.setattr(module, "clear_worker", fails)
    stop(processes[0])
    crew._free_places(1)
    if ended:
        assert processes[0].wait(5) == -signal.SIGKILL
    else:
        assert is_stopped(processes[0].pid)


@pytest.mark.parametrize(
    ("quick_deaths", "served", "pause"),
    [
        *[
            (0, True, 0),
            (1, True, 0),
            (10, True, 0),
            (11, True, 0),
            (12, True, 0.6),
            (13, True, 1.4),
            (99, True, 5),
        ],
        *[(1, False, 0), (2, False, 0.6), (3, False, 1.4), (9, False, 5), (9999, False, 5)],
    ],
)
def test_the_next_one_comes_at_once_until_it_is_plain_that_this_will_not_do(
    quick_deaths: int, served: bool, pause: float
) -> None:
    assert restart_pause_s(quick_deaths, served=served) == pytest.approx(pause)
