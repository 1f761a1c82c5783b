"""One run from start to end, with real payment servers and a stand-in for the gateway."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from faregate.demo import run
from faregate.demo.folder import Ports
from faregate.demo.processes import Child
from faregate.demo.run import DemoError, Options, choose_ports, run_demo

STAND_IN = Path(__file__).with_name("stand_in_gateway.py")


class NotingView:
    """Keeps what it is shown; ``when`` runs on each board."""

    def __init__(self, when=None):
        self.welcomed = None
        self.boards = []
        self.closed = 0
        self.summed = None
        self._when = when

    def welcome(self, welcome):
        self.welcomed = welcome

    def show(self, board):
        self.boards.append(board)
        if self._when:
            self._when(self)

    def close(self):
        self.closed += 1

    def summary(self, summary):
        self.summed = summary


@pytest.fixture
def children(monkeypatch):
    """The stand-in in the gateway's place, free ports, and a list of every child that was started."""
    started = []
    start = Child.start

    def noting(child):
        start(child)
        started.append(child._process.pid)

    def gateway(config):
        return Child(
            "gateway", [sys.executable, str(STAND_IN), str(config)], config.parent / "gateway.log", {}
        )

    def ports(_wanted):
        taken = {0}
        return Ports(*(run.free_port(0, taken) for _ in range(4))), ()

    monkeypatch.setattr(Child, "start", noting)
    monkeypatch.setattr(run, "gateway", gateway)
    monkeypatch.setattr(run, "choose_ports", ports)
    return started


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_run_shows_traffic_sums_up_and_leaves_nothing_behind(children):
    view = NotingView()
    asyncio.run(run_demo(Options(duration_s=2.5), view))
    assert view.closed == 1
    assert view.boards[-1].calls_per_second > 50
    assert [row.status for row in view.boards[-1].targets] == ["up", "down"]
    assert view.summed.calls_made == view.summed.calls_logged > 100
    assert view.summed.refusals["credential_missing"] > 0
    assert view.summed.stopped_by_themselves
    assert not view.welcomed.folder.path.exists()
    assert len(children) == 3
    assert all(gone(pid) for pid in children)


def test_the_welcome_says_where_everything_is_and_how_to_call_it(children, tmp_path):
    view = NotingView(when=lambda _view: os.kill(os.getpid(), signal.SIGTERM))
    asyncio.run(run_demo(Options(duration_s=60, directory=tmp_path / "demo"), view))
    text = "\n".join(view.welcomed.lines())
    ports, credentials = view.welcomed.ports, view.welcomed.credentials
    for part in (
        f"http://127.0.0.1:{ports.gateway}",
        f"http://127.0.0.1:{ports.manager}/metrics",
        credentials.tokens["you"],
        credentials.api_keys["you"],
        "development",
        str(tmp_path / "demo"),
    ):
        assert part in text
    assert (tmp_path / "demo" / "faregate.yaml").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_with_a_summary_in_under_three_seconds(children, number):
    sent = []

    def when(_view):
        if not sent:
            sent.append(time.monotonic())
            os.kill(os.getpid(), number)

    view = NotingView(when)
    asyncio.run(run_demo(Options(duration_s=60), view))
    assert time.monotonic() - sent[0] < 3
    assert view.summed is not None
    assert all(gone(pid) for pid in children)


def test_without_traffic_nobody_calls(children):
    view = NotingView()
    asyncio.run(run_demo(Options(duration_s=1, traffic=False), view))
    assert view.summed.calls_made == view.summed.calls_logged == 0


def test_a_gateway_that_dies_ends_the_demo_with_its_last_words(children):
    def when(_view):
        with contextlib.suppress(ProcessLookupError):
            os.kill(children[0], signal.SIGKILL)

    with pytest.raises(DemoError, match="the gateway ended"):
        asyncio.run(run_demo(Options(duration_s=60), NotingView(when)))
    assert all(gone(pid) for pid in children)


def test_a_gateway_that_cannot_start_is_reported_with_what_it_printed(children, monkeypatch):
    def broken(config):
        command = [sys.executable, "-c", "raise SystemExit('faregate.yaml:1:1: unknown_key')"]
        return Child("gateway", command, config.parent / "gateway.log", {})

    monkeypatch.setattr(run, "gateway", broken)
    view = NotingView()
    with pytest.raises(DemoError, match=r"ended at once; it printed:\nfaregate.yaml:1:1: unknown_key"):
        asyncio.run(run_demo(Options(duration_s=60), view))
    assert view.welcomed is None
    assert all(gone(pid) for pid in children)


def test_a_view_that_fails_still_leaves_nothing_behind(children):
    def when(_view):
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        asyncio.run(run_demo(Options(duration_s=60), NotingView(when)))
    assert all(gone(pid) for pid in children)


def test_a_port_asked_for_and_taken_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(DemoError, match="is taken"):
        choose_ports(listener.getsockname()[1])


def test_a_usual_port_that_is_taken_is_replaced_and_noted(monkeypatch):
    monkeypatch.setattr(run, "free_port", lambda wanted, _taken: 18080 if wanted == 8080 else wanted)
    ports, notes = choose_ports(None)
    assert ports == Ports(gateway=18080)
    assert notes == ("port 8080 is taken; the gateway listens on 18080",)
