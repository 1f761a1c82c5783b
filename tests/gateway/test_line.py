"""The line: whole messages whatever the pieces, sockets with the message they belong to, one end."""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from faregate.gateway import control
from faregate.gateway import line as module
from faregate.gateway.control import Message
from faregate.gateway.line import Line


class End:
    def __init__(self, sock: socket.socket) -> None:
        self.heard: list[tuple[Message, list[socket.socket]]] = []
        self.ended = 0
        self.line = Line(sock, asyncio.get_running_loop(), self.hear, self.end)

    def hear(self, message: Message, sockets: list[socket.socket]) -> None:
        self.heard.append((message, sockets))

    def end(self) -> None:
        self.ended += 1


def play(scenario: Callable[[End, socket.socket], Awaitable[None]]) -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            end = End(ours)
            await scenario(end, theirs)
            end.line.close()

    asyncio.run(run())


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what the other end does
            await asyncio.sleep(0.001)


def test_messages_come_whole_from_any_pieces() -> None:
    async def scenario(end: End, peer: socket.socket) -> None:
        data = control.encode(Message("reload", revision=7)) + control.encode(Message("stop"))
        for at in range(len(data)):
            peer.send(data[at : at + 1])
        await until(lambda: len(end.heard) == 2)
        assert [message for message, _ in end.heard] == [Message("reload", revision=7), Message("stop")]

    play(scenario)


def test_sockets_come_with_the_message_that_names_them() -> None:
    async def scenario(end: End, peer: socket.socket) -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as first,
            socket.create_server(("127.0.0.1", 0)) as second,
        ):
            plain, two = Message("share", workers=2), Message("listen", fresh=["a", "b"])
            socket.send_fds(
                peer, [control.encode(plain) + control.encode(two)], [first.fileno(), second.fileno()]
            )
            await until(lambda: len(end.heard) == 2)
            assert end.heard[0] == (plain, [])
            got = end.heard[1][1]
            assert [sock.getsockname() for sock in got] == [first.getsockname(), second.getsockname()]
            for sock in got:
                sock.close()

    play(scenario)


def test_what_is_sent_arrives_in_order_even_when_the_other_end_is_slow() -> None:
    async def scenario(end: End, peer: socket.socket) -> None:
        peer.setblocking(False)
        count = 3000
        for number in range(count):
            assert end.line.send(Message("reloaded", revision=number))
        data = bytearray()

        def read() -> bool:
            with contextlib.suppress(BlockingIOError):
                data.extend(peer.recv(1 << 16))
            return data.count(b"\n") == count

        await until(read)
        assert [control.decode(one).revision for one in data.splitlines()] == list(range(count))

    play(scenario)


def test_an_end_that_takes_nothing_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNSENT_BYTES_MAX", 1000)

    async def scenario(end: End, peer: socket.socket) -> None:
        while end.line.send(Message("reloaded", reason="x" * 1000)):
            pass
        assert end.ended == 1
        assert end.line.closed

    play(scenario)


@pytest.mark.parametrize("last", [b"", b"no message\n", b"x" * (control.LINE_BYTES_MAX + 2)])
def test_the_end_and_nonsense_end_it_once(last: bytes) -> None:
    async def scenario(end: End, peer: socket.socket) -> None:
        if last:
            peer.send(last)
        else:
            peer.close()
        await until(lambda: end.ended == 1)
        assert end.heard == []
        assert not end.line.send(Message("stop"))

    play(scenario)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_sockets_nobody_asked_for_are_closed_with_the_line() -> None:
    async def scenario(end: End, peer: socket.socket) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            before = descriptors()
            socket.send_fds(peer, [control.encode(Message("stop"))], [listening.fileno()])
            await until(lambda: len(end.heard) == 1)
            assert descriptors() == before + 1
            end.line.close()
            assert descriptors() == before - 1

    play(scenario)
