"""A reload step by step, with everything around it replaced: what is refused changes nothing."""

import asyncio
import socket
from pathlib import Path

import pytest
from msgspec import structs

from faregate.gateway import reloading
from faregate.gateway.commands import Request
from faregate.gateway.control import Message
from faregate.gateway.revisions import Compiled, CompileError, Report
from faregate.gateway.running import Options, Running
from faregate.snapshot import encoded
from faregate.snapshot.data import FORMAT, Gateway, GatewayLimits, Listener, Outline, Snapshot

FREE = Listener("127.0.0.1", 0)


def gateway(folder: Path, *listen: Listener, workers: int = 1) -> Gateway:
    return Gateway(listen or (FREE,), None, workers, str(folder))


def written(of: Gateway) -> bytes:
    return encoded.encode(Snapshot(FORMAT, 0, of, (), (), (), (), (), ()))


@pytest.fixture
def running(tmp_path: Path):
    made = Running(tmp_path / "faregate.yaml", Options(), lambda coroutine: None)
    made.enter_data_folder(tmp_path)
    made.snapshot = Outline(FORMAT, 7, gateway(tmp_path), 0)
    made.numbered = 7
    made.listening.settle([FREE], made.listening.open_missing([FREE]))
    yield made
    made.listening.close()
    made.runtime.rmdir()


def play(
    running: Running, monkeypatch: pytest.MonkeyPatch, compiled: bytes | CompileError, *, taken: bool = True
) -> tuple[reloading.Reloaded, list[Message]]:
    told: list[Message] = []

    async def compile_file(config: Path, out: Path) -> Compiled:
        if isinstance(compiled, CompileError):
            raise compiled
        return Compiled(compiled, Report(files={"a.yaml": None}))

    async def offer(message: Message) -> bool:
        told.append(message)
        return taken

    async def listen(keys: list[str], fresh: dict[str, socket.socket]) -> bool:
        told.append(Message("listen", listen=keys, fresh=list(fresh)))
        return True

    monkeypatch.setattr(reloading, "compile_file", compile_file)
    monkeypatch.setattr(reloading, "usable_cores", lambda: 0)
    monkeypatch.setattr(running.crew, "offer", offer)
    monkeypatch.setattr(running.crew, "listen", listen)
    monkeypatch.setattr(running.crew, "tell", told.append)

    async def resize(count: int, grace: float) -> None:
        told.append(Message("resize", workers=count))

    monkeypatch.setattr(running.crew, "resize", resize)
    return asyncio.run(reloading.reload(running)), told


def test_a_good_file_becomes_the_snapshot_that_workers_start_with(
    running: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    running.set_stale("broken before")
    result, told = play(running, monkeypatch, written(gateway(tmp_path)))
    assert (result.ok, result.revision, running.stale, list(running.files)) == (True, 8, "", ["a.yaml"])
    assert [message.what for message in told] == ["reload", "resize"]
    assert encoded.decode_outline((tmp_path / "snapshot").read_bytes()).revision == 8
    assert not (tmp_path / "snapshot.offered").exists()


def test_a_broken_file_stays_outside_and_is_remembered(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = CompileError("it has errors", Report([{"code": "x"}], "text", {"b.yaml": None}))
    result, told = play(running, monkeypatch, error)
    assert (result.ok, result.revision, result.diagnostics, result.text) == (
        False,
        7,
        [{"code": "x"}],
        "text",
    )
    assert (running.stale, list(running.files), told) == ("it has errors", ["b.yaml"], [])


def test_a_revision_that_a_worker_refuses_leaves_sockets_and_snapshot(
    running: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "snapshot").write_bytes(b"before")
    added = gateway(tmp_path, FREE, Listener("127.0.0.2", 0))
    result, told = play(running, monkeypatch, written(added), taken=False)
    assert not result.ok
    assert [(message.what, message.revision) for message in told] == [("reload", 8), ("reload", 7)]
    assert list(running.listening.sockets) == ["127.0.0.1:0"]
    assert (tmp_path / "snapshot").read_bytes() == b"before"


def test_listeners_follow_once_all_have_the_revision(
    running: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept = running.listening.sockets["127.0.0.1:0"]
    other = Listener("127.0.0.2", 0)
    _, told = play(running, monkeypatch, written(gateway(tmp_path, FREE, other)))
    assert told[1] == Message("listen", listen=["127.0.0.1:0", "127.0.0.2:0"], fresh=["127.0.0.2:0"])
    assert running.listening.sockets["127.0.0.1:0"] is kept
    _, told = play(running, monkeypatch, written(gateway(tmp_path, other)))
    assert told[1] == Message("listen", listen=["127.0.0.2:0"])
    assert kept.fileno() == -1


def test_an_address_that_is_taken_refuses_the_whole(
    running: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        busy = gateway(tmp_path, FREE, Listener("127.0.0.1", port))
        result, told = play(running, monkeypatch, written(busy))
    assert not result.ok
    assert f"cannot listen on 127.0.0.1:{port}" in result.message
    assert (told, list(running.listening.sockets)) == ([], ["127.0.0.1:0"])
    assert running.stale.startswith(f"cannot listen on 127.0.0.1:{port}"), "status repeats the true reason"


def test_a_gateway_that_is_ending_changes_nothing_any_more(
    running: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    running.over = "the gateway is stopping"
    result, told = play(running, monkeypatch, written(gateway(tmp_path)))
    assert (result.ok, result.revision, told) == (False, 7, [])
    assert result.message == "the gateway is stopping"


def test_the_data_folder_cannot_change(
    running: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    result, told = play(running, monkeypatch, written(gateway(tmp_path / "other")))
    assert "gateway.data cannot change" in result.message
    assert "gateway.data cannot change" in running.stale
    assert told == []


def test_a_snapshot_that_cannot_be_written_leaves_the_former_revision(
    running: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object) -> Outline:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reloading, "put_to_work", full)
    before = running.snapshot
    result, told = play(running, monkeypatch, written(gateway(tmp_path)))
    assert running.snapshot is before
    assert (result.ok, told) == (False, [])
    assert result.message.endswith("No space left on device; revision 7 stays")


def test_a_bound_of_memory_that_changed_is_said_again(
    running: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(**limits: int) -> bool:
        changed = structs.replace(gateway(tmp_path), limits=GatewayLimits(**limits))
        assert play(running, monkeypatch, written(changed))[0].ok
        return "memory: a worker keeps below" in capsys.readouterr().err

    assert said()
    assert not said()
    assert said(memory=512 << 20)
    assert not said(memory=512 << 20)


def published(
    running: Running, monkeypatch: pytest.MonkeyPatch, snapshot: bytes, revision: int, base: str | None = None
) -> tuple[reloading.Reloaded, list[Message]]:
    told: list[Message] = []

    async def offer(message: Message) -> bool:
        told.append(message)
        return True

    monkeypatch.setattr(running.crew, "offer", offer)
    monkeypatch.setattr(running.crew, "tell", told.append)
    path = running.data / "snapshot.publish"
    path.write_bytes(snapshot)
    request = Request(
        "publish", path=str(path), revision=revision, base=running.base_digest() if base is None else base
    )
    return asyncio.run(reloading.publish(running, request)), told


def test_what_the_manager_publishes_has_its_number_or_the_next(
    running: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    running.set_stale("a broken edit")
    assert running.snapshot is not None
    same = written(running.snapshot.gateway)
    result, told = published(running, monkeypatch, same, 40)
    assert (
        result.ok,
        result.revision,
        [message.revision for message in told if message.what == "reload"],
    ) == (True, 40, [40])
    assert encoded.decode_outline((tmp_path / "snapshot").read_bytes()).revision == 40
    assert running.stale == "a broken edit", "the file is still not what runs"
    result, _ = published(running, monkeypatch, same, 12)
    assert (result.ok, result.revision) == (True, 41)
    assert result.message == "revision 41 in all workers, as 12 is not beyond the last"


def test_what_was_compiled_with_another_file_is_not_taken(
    running: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert running.snapshot is not None
    same, before = written(running.snapshot.gateway), running.snapshot
    (tmp_path / "base").write_bytes(b"{}")
    running.lay_base(tmp_path / "base")
    assert ((tmp_path / "base.json").read_bytes(), (tmp_path / "base").exists()) == (b"{}", False)
    for snapshot, base in (
        (same, "other"),
        (same, "none"),
        (written(gateway(tmp_path, workers=3)), None),
        (b"x", None),
    ):
        result, told = published(running, monkeypatch, snapshot, 40, base)
        assert (result.ok, result.revision, told) == (False, 7, [])
        assert running.snapshot is before
    assert published(running, monkeypatch, same, 40)[0].ok


def test_the_manager_hears_what_runs_and_when_the_file_was_put_to_work(
    running: Running, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    heard: list[dict[str, object]] = []

    class Manager:
        def tell(self, **facts: object) -> None:
            heard.append(facts)

        def manage(self, managing: object) -> None:
            pass

    running.manager = Manager()  # type: ignore[assignment]
    assert running.snapshot is not None
    published(running, monkeypatch, written(running.snapshot.gateway), 40)
    assert heard[-1] == {"revision": 40, "file_loads": 0}
    play(running, monkeypatch, written(gateway(tmp_path)))
    assert {"revision": 41, "file_loads": 1} in heard
    running.manager = None
