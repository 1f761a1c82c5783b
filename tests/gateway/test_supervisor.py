"""The supervisor's parts that need no child process: the data folder's lock, what it says of endings."""

import asyncio
import stat
from pathlib import Path

import pytest

from faregate.gateway import children
from faregate.gateway import supervisor as module
from faregate.gateway.children import StartError
from faregate.gateway.control import Message, decode, encode
from faregate.gateway.places import WorkerPlace
from faregate.gateway.supervisor import Supervisor
from faregate.gateway.voice import ending
from faregate.snapshot.data import FORMAT, Gateway, Listener, Outline


def outline(folder: Path, revision: int = 0) -> Outline:
    return Outline(FORMAT, revision, Gateway((Listener("127.0.0.1", 0),), None, 1, str(folder)), 0)


@pytest.fixture
def make(tmp_path: Path):
    made: list[Supervisor] = []

    def one() -> Supervisor:
        supervisor = Supervisor(tmp_path / "faregate.yaml")
        supervisor._data = tmp_path / "data"
        made.append(supervisor)
        return supervisor

    yield one
    for supervisor in made:
        supervisor._runtime.rmdir()
        if supervisor._lock is not None:
            supervisor._lock.close()


def test_two_gateways_never_share_a_data_folder(make) -> None:
    first, second = make(), make()
    first._take_data_folder()
    assert stat.S_IMODE(first._data.stat().st_mode) == 0o700
    with pytest.raises(StartError, match="another gateway"):
        second._take_data_folder()
    first._lock.close()
    make()._take_data_folder()


def test_a_data_folder_that_cannot_be_made_is_said_in_one_line(make, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StartError, match="data folder"):
        make()._take_data_folder()


def test_a_taken_address_is_said_in_one_line() -> None:
    with children.listen_or_say(Listener("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1:{port}"):
            children.listen_or_say(Listener("127.0.0.1", port))


@pytest.mark.parametrize(
    ("status", "text"), [(0, "status 0"), (3, "status 3"), (-9, "signal SIGKILL"), (-11, "signal SIGSEGV")]
)
def test_endings_in_words(status: int, text: str) -> None:
    assert ending(status) == text


def test_a_worker_hears_what_is_sent_and_a_gone_one_costs_nothing() -> None:
    written: list[bytes] = []

    class Writer:
        closing = False

        def is_closing(self) -> bool:
            return self.closing

        def write(self, data: bytes) -> None:
            written.append(data)

    worker = WorkerPlace(0)
    worker.send(Message("stop"))
    worker.writer = writer = Writer()  # type: ignore[assignment]
    worker.send(Message("drain", grace=1.5))
    writer.closing = True
    worker.send(Message("stop"))
    assert [decode(line) for line in written] == [Message("drain", grace=1.5)]


def test_what_a_worker_says_is_believed_until_its_line_ends(make, capsys: pytest.CaptureFixture[str]) -> None:
    """A worker that starts while a revision is offered is offered it too; a refusal ends the offer, and is told."""
    supervisor = make()
    supervisor._snapshot = outline(supervisor._data, 3)
    offer = Message("reload", snapshot="snapshot.offered", revision=4)
    supervisor._offered = offer
    worker = WorkerPlace(1)
    sent: list[Message] = []
    worker.send = sent.append  # type: ignore[method-assign]

    async def hear() -> None:
        reader = asyncio.StreamReader()
        for message in (
            Message("ready", revision=3),
            Message("reloaded", revision=4),
            Message("failed", revision=5, reason="why"),
        ):
            reader.feed_data(encode(message))
        reader.feed_eof()
        await supervisor._hear(worker, reader)

    asyncio.run(hear())
    assert (worker.revision, worker.was_ready, worker.ready.is_set()) == (4, True, True)
    assert sent == [offer]
    assert supervisor._offered is None
    assert "worker 1: why" in capsys.readouterr().err


def test_a_second_signal_stops_at_once(make) -> None:
    supervisor = make()
    worker = WorkerPlace(0)
    sent: list[Message] = []
    worker.send = sent.append  # type: ignore[method-assign]
    supervisor._workers = [worker]
    supervisor._stop(fast=False)
    assert sent == []
    supervisor._stop(fast=False)
    assert sent == [Message("stop")]


def test_a_missing_file_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert module.run(tmp_path / "absent.yaml") == 1
    assert "no such file" in capsys.readouterr().err
