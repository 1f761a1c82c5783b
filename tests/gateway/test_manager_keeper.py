"""What the manager is told while it runs, and for what another takes its place."""

import asyncio
import socket
from pathlib import Path

import msgspec
import pytest

from faregate.gateway import manager_keeper, voice
from faregate.gateway.manager_keeper import ManagerKeeper
from faregate.snapshot.managing import Managing


class Process:
    """A manager that notes what it is told."""

    returncode = None

    def __init__(self) -> None:
        self.stdin = self
        self.told: list[bytes] = []
        self.terminated = 0

    def write(self, line: bytes) -> None:
        self.told.append(line)

    def terminate(self) -> None:
        self.terminated += 1


@pytest.mark.parametrize(
    ("after", "told", "ended"),
    [
        (Managing(), 0, 0),
        (Managing(trusted_proxies=("10.0.0.0/8",)), 1, 0),
        (Managing(approval="all"), 0, 1),
        (Managing(approval="all", trusted_proxies=("10.0.0.0/8",)), 0, 1),
        (Managing(store="postgresql://h/x"), 0, 1),
    ],
)
def test_trusted_proxies_are_told_and_anything_else_takes_a_new_manager(
    after: Managing, told: int, ended: int, tmp_path: Path
) -> None:
    with socket.socket() as sock:
        keeper = ManagerKeeper(sock, "127.0.0.1", tmp_path / "feed", tmp_path, Managing())
        process = Process()
        keeper._process = process  # type: ignore[assignment]
        keeper.manage(after)
    assert (len(process.told), process.terminated) == (told, ended)
    if told:
        assert msgspec.json.decode(process.told[0])["managing"]["trusted_proxies"] == ["10.0.0.0/8"]


@pytest.mark.parametrize(("after", "said"), [(Managing(approval="all"), "renewed"), (Managing(), "ended")])
def test_one_that_ends_for_its_new_settings_is_not_told_as_lost(
    after: Managing, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first manager ends; while the second runs, the keeper is ended."""
    heard: list[str] = []
    monkeypatch.setattr(voice, "manager_ended", lambda _: heard.append("ended"))
    monkeypatch.setattr(voice, "manager_renewed", lambda: heard.append("renewed"))
    monkeypatch.setattr(manager_keeper, "_QUICK_DEATH_S", 0)
    begun: list[Process] = []

    class Ending(Process):
        async def wait(self) -> int:
            begun.append(self)
            if len(begun) == 1:
                keeper.manage(after)
                assert self.terminated == (after != Managing())
            else:
                keeper._ending.set()
            return 0

    async def start(*_: object) -> Ending:
        return Ending()

    monkeypatch.setattr(manager_keeper, "start_manager", start)
    with socket.socket() as sock:
        keeper = ManagerKeeper(sock, "127.0.0.1", tmp_path / "feed", tmp_path, Managing())
        asyncio.run(keeper.run())
    assert (len(begun), heard) == (2, [said])
