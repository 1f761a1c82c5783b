"""The control socket: who may ask, what is answered, where it lies."""

import asyncio
import contextlib
import os
import socket
import stat
from pathlib import Path

import pytest

from faregate.gateway import commands
from faregate.gateway.commands import NAME, CommandServer, Request, ask


async def answer(request: Request) -> object:
    return {"ok": True, "heard": request.command, "program": request.program}


def play(folder: Path, scenario) -> None:
    async def run() -> None:
        server = CommandServer(folder, answer)
        await server.start()
        try:
            await scenario(server)
        finally:
            await server.close()

    asyncio.run(run())
    assert not (folder / NAME).exists()


def test_a_command_is_answered_on_a_socket_that_only_we_may_open(tmp_path: Path) -> None:
    async def scenario(server: CommandServer) -> None:
        assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600
        told = await asyncio.to_thread(ask, tmp_path, Request("upgrade", "/bin/x"), 5)
        assert told == {"ok": True, "heard": "upgrade", "program": "/bin/x"}

    play(tmp_path, scenario)


def test_folders_may_lie_deeper_than_a_sockets_path_may_be_long(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)

    async def scenario(server: CommandServer) -> None:
        assert (await asyncio.to_thread(ask, deep, Request("status"), 5))["heard"] == "status"

    play(deep, scenario)


def test_a_socket_that_a_dead_gateway_left_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / NAME)) if len(str(tmp_path)) < 90 else (tmp_path / NAME).touch()
    with pytest.raises(OSError):
        ask(tmp_path, Request("status"), 1)

    async def scenario(server: CommandServer) -> None:
        assert (await asyncio.to_thread(ask, tmp_path, Request("status"), 5))["ok"] is True

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    "data", [b"\n", b"[]\n", b"x" * (commands.REQUEST_BYTES_MAX + 1), b'{"command": 1}\n']
)
def test_nonsense_gets_no_answer_and_harms_nobody(tmp_path: Path, data: bytes) -> None:
    async def scenario(server: CommandServer) -> None:
        with commands._short(tmp_path) as folder:
            reader, writer = await asyncio.open_unix_connection(f"{folder}/{NAME}")
        writer.write(data)
        with contextlib.suppress(ConnectionResetError):  # it did not read to the end
            assert await reader.read() == b""
        writer.close()
        assert (await asyncio.to_thread(ask, tmp_path, Request("status"), 5))["ok"] is True

    play(tmp_path, scenario)


def test_another_users_word_is_not_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_is_ours", lambda sock: False)

    async def scenario(server: CommandServer) -> None:
        with pytest.raises(OSError):
            await asyncio.to_thread(ask, tmp_path, Request("status"), 5)

    play(tmp_path, scenario)


def test_peers_are_known_by_the_kernels_word(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert commands._is_ours(ours)
        user = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: user + 1)
        assert commands._is_ours(ours) == (user == 0)
