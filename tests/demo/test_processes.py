"""The demo's children: started, stopped, killed, and gone when the demo is, however it ends."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from faregate.demo.processes import Child, free_port, port_is_free, stop_all

FOREVER = [sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\nwhile 1: signal.pause()",
]
WITH_GRANDCHILD = [
    sys.executable,
    "-c",
    "import subprocess, signal; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); signal.pause()",
]


def until(condition, seconds=5.0):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "did not happen in time"
        time.sleep(0.01)  # another process: there is nothing to wait on but the clock


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.fixture
def child(tmp_path):
    children = []

    def make(command):
        made = Child("child", command, tmp_path / "child.log", {})
        children.append(made)
        made.start()
        return made

    yield make
    for made in children:
        made.kill()


def test_a_child_runs_in_its_own_session_so_that_ctrl_c_passes_it_by(child):
    made = child(FOREVER)
    assert os.getsid(made._process.pid) == made._process.pid != os.getsid(0)


def test_a_child_that_is_asked_ends_by_itself(child):
    made = child(FOREVER)
    until(made.log_tail)
    assert asyncio.run(stop_all([made], within_s=5)) is True
    assert not made.running


def test_a_child_that_will_not_end_is_killed_in_time(child):
    made = child(STUBBORN)
    until(made.log_tail)
    began = time.monotonic()
    assert asyncio.run(stop_all([made], within_s=0.2)) is False
    assert time.monotonic() - began < 1
    assert not made.running


def test_killing_a_child_takes_its_own_children_along(child):
    made = child(WITH_GRANDCHILD)
    until(made.log_tail)
    grandchild = int(made.log_tail())
    made.kill()
    until(lambda: not alive(grandchild))


def test_a_grandchild_that_outlives_its_parent_is_killed_in_the_end(child):
    made = child([*WITH_GRANDCHILD[:2], WITH_GRANDCHILD[2].replace("signal.pause()", "")])
    until(lambda: made.log_tail() and not made.running)
    grandchild = int(made.log_tail())
    assert alive(grandchild)
    asyncio.run(stop_all([made], within_s=1))
    until(lambda: not alive(grandchild))


def test_a_killed_child_can_be_started_again(child):
    made = child(FOREVER)
    made.kill()
    assert not made.running
    made.start()
    assert made.running


def test_stopping_what_never_started_or_was_killed_is_fine(tmp_path, child):
    never = Child("never", FOREVER, tmp_path / "never.log", {})
    killed = child(FOREVER)
    killed.kill()
    assert asyncio.run(stop_all([never, killed], within_s=1)) is True


def test_children_die_when_the_demo_is_killed(tmp_path):
    program = (
        "import pathlib, signal, sys; from faregate.demo.processes import Child;"
        f"child = Child('c', {FOREVER!r}, pathlib.Path({str(tmp_path / 'c.log')!r}), {{}}); child.start();"
        "print(child._process.pid, flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as demo:
        pid = int(demo.stdout.readline())
        assert alive(pid)
        demo.send_signal(signal.SIGKILL)
        demo.wait()
        until(lambda: not alive(pid))


def test_the_end_of_what_a_child_printed_is_kept_short(child):
    made = child([sys.executable, "-c", "for n in range(5000): print(n)"])
    until(lambda: not made.running)
    assert made.log_tail().splitlines() == [str(number) for number in range(4980, 5000)]


def test_a_taken_port_is_replaced_by_a_free_one_and_none_is_given_twice():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken_port = listener.getsockname()[1]
        assert not port_is_free(taken_port)
        taken = set()
        first = free_port(taken_port, taken)
        second = free_port(first, taken)
    assert len({taken_port, first, second}) == 3
    assert taken == {first, second}
