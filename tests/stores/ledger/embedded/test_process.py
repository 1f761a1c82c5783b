"""The ledger's process: killed, replaced, left alone, and what its workers and their records come to."""

import asyncio
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from faregate.stores.ledger.embedded import wire
from faregate.stores.ledger.embedded.offline import open_offline
from faregate.stores.ledger.embedded.places import folder_in, socket_in
from faregate.stores.ledger.protocol import (
    CLAIMED,
    COMPLETED,
    DONE,
    GRANTED,
    IN_FLIGHT,
    OPEN,
    RELEASED,
    REPLAY,
    SENT,
    UNKNOWN,
    LedgerError,
)
from tests.stores.ledger.embedded.program import (
    START_S,
    Program,
    claim,
    comes,
    connected,
    mark,
    new,
    settle,
    state_of,
    worker,
)

KILLS = 6
TOLD_MIN = 500


def test_killed_under_load_it_has_everything_that_it_told(tmp_path: Path) -> None:
    asyncio.run(_killed_under_load(tmp_path))


async def _killed_under_load(data: Path) -> None:
    chance = random.Random(7)
    done: dict[bytes, bytes] = {}  # key -> answer that is told as stored
    released: set[bytes] = set()
    stop = asyncio.Event()

    async def call() -> None:
        while not stop.is_set():
            key, attempt, answer = new(), new(), os.urandom(chance.randrange(2_000))
            told = await claim(ledger, key, attempt, sends=chance.random() < 0.5)
            if told.kind != GRANTED:
                assert told.reason == "ledger_away"
                continue
            if (await mark(ledger, key, attempt)).kind != DONE:
                continue
            state = chance.choice((COMPLETED, COMPLETED, RELEASED))
            while (told := await settle(ledger, key, attempt, state, answer)).kind != DONE:
                assert told.reason == "ledger_away", (told.kind, told.reason)
            if state == COMPLETED:
                done[key] = answer
            else:
                released.add(key)

    program = Program(data)
    ledger = await worker(data)
    calls = [asyncio.ensure_future(call()) for _ in range(32)]
    for turn in range(1, KILLS + 1):
        await asyncio.sleep(0.2 + 0.2 * chance.random())
        async with asyncio.timeout(20):
            while len(done) <= TOLD_MIN * turn / KILLS:  # noqa: ASYNC110 - so many as show something, however busy the machine
                await asyncio.sleep(0.01)
        with program:
            program.kill()
        program = Program(data)
    await connected(ledger)
    stop.set()
    await asyncio.gather(*calls)
    assert len(done) > TOLD_MIN
    for key, answer in done.items():
        told = await claim(ledger, key, new())
        assert (told.kind, told.answer) == (REPLAY, answer)
    for key in released:
        assert await state_of(ledger, key) == 0
    figures = await ledger.figures()
    assert (figures.in_flight, figures.unknown) == (0, 0), "whoever lived through it has lost nothing"
    await ledger.close()
    with program:
        program.tell(leave=True)
        assert program.ended() == 0


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Callable[[Path, Program], Awaitable[None]]], None]:
    """Runs a scene with a process on a folder of its own."""

    def run_scene(scene: Callable[[Path, Program], Awaitable[None]]) -> None:
        async def play() -> None:
            with Program(tmp_path) as program:
                await scene(tmp_path, program)

        uvloop.run(play())

    return run_scene


def test_a_worker_that_is_gone_leaves_what_it_claimed_free_and_what_it_sent_unknown_at_once(run) -> None:
    async def scene(data: Path, _: Program) -> None:
        one, two = await worker(data), await worker(data)
        claimed, sent, attempt = new(), new(), new()
        assert (await claim(one, claimed, new(), sends=False)).kind == GRANTED
        assert (await claim(one, sent, attempt)).kind == GRANTED
        assert (await claim(two, sent, new())).kind == IN_FLIGHT
        one.link._transport.abort()
        one._connecting.cancel()
        await comes(two, claimed, 0)
        await comes(two, sent, UNKNOWN)
        assert (await claim(two, sent, new())).kind == OPEN
        assert (await settle(two, sent, attempt, COMPLETED, b"late")).kind == DONE
        await one.close()
        await two.close()

    run(scene)


def test_a_worker_that_comes_back_to_a_new_process_keeps_what_it_holds(run) -> None:
    async def scene(data: Path, program: Program) -> None:
        ledger = await worker(data)
        claimed, sent, first, second = new(), new(), new(), new()
        assert (await claim(ledger, claimed, first, sends=False)).kind == GRANTED
        assert (await claim(ledger, sent, second)).kind == GRANTED
        program.kill()
        with Program(data) as another:
            await connected(ledger)
            assert await state_of(ledger, claimed) == CLAIMED
            assert (await mark(ledger, claimed, first)).kind == DONE
            assert (await settle(ledger, sent, second, COMPLETED, b"a")).kind == DONE
            assert (await ledger.figures()).unknown == 0
            await ledger.close()
            another.tell(leave=True)
            assert another.ended() == 0

    run(scene)


def test_a_connection_that_broke_is_no_reason_to_refuse_what_its_worker_repeats(run) -> None:
    async def scene(data: Path, _: Program) -> None:
        ledger = await worker(data)
        key, attempt = new(), new()
        assert (await claim(ledger, key, attempt)).kind == GRANTED
        ledger.link._transport.abort()
        await asyncio.sleep(0)
        assert (await claim(ledger, key, attempt)).kind == GRANTED, "the same attempt, asked again"
        await comes(ledger, key, SENT)
        assert (await settle(ledger, key, attempt, COMPLETED, b"a")).kind == DONE
        await ledger.close()

    run(scene)


def test_one_that_is_to_leave_is_followed_by_the_one_that_waits(run) -> None:
    async def scene(data: Path, program: Program) -> None:
        ledger = await worker(data)
        key, attempt = new(), new()
        assert (await claim(ledger, key, attempt)).kind == GRANTED
        with Program(data) as successor:
            await asyncio.sleep(0.3)
            assert successor.process.poll() is None, "it waits for the place"
            program.tell(leave=True)
            assert program.ended() == 0
            assert (await settle(ledger, key, attempt, COMPLETED, b"answer")).kind == DONE
            assert (await claim(ledger, key, new())).answer == b"answer"
            await ledger.close()
            successor.process.send_signal(signal.SIGTERM)
            assert successor.ended() == 0

    run(scene)


def test_one_that_waits_goes_when_its_supervisor_does(run) -> None:
    async def scene(data: Path, program: Program) -> None:
        await (await worker(data)).close()
        with Program(data) as waiting:
            waiting.process.stdin.close()
            assert waiting.ended() == 0
            assert program.process.poll() is None

    run(scene)


def test_without_a_supervisor_it_stays_for_as_long_as_a_worker_is_connected(run) -> None:
    async def scene(data: Path, program: Program) -> None:
        ledger = await worker(data)
        program.process.stdin.close()
        await asyncio.sleep(0.6)
        assert program.process.poll() is None
        assert (await claim(ledger, new(), new())).kind == GRANTED
        await ledger.close()
        assert program.ended() == 0

    run(scene)


def test_its_bound_follows_what_it_is_told(run) -> None:
    async def scene(data: Path, program: Program) -> None:
        ledger = await worker(data)
        assert (await ledger.figures()).bytes_max == 64 << 20
        program.tell(disk_bytes=1 << 30)
        deadline = time.monotonic() + START_S
        while (await ledger.figures()).bytes_max != 1 << 30:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        await ledger.close()

    run(scene)


def test_a_damaged_ledger_is_not_served_and_the_file_is_named(tmp_path: Path) -> None:
    with Program(tmp_path) as program:
        uvloop.run(_fill(tmp_path, 50))
        program.kill()
    path = min(folder_in(tmp_path).glob("*.log"))
    with path.open("r+b") as file:
        file.seek(1_000)
        file.write(b"\xff\xff\xff\xff")
    with Program(tmp_path) as program:
        assert program.ended() == 1
        assert f"{path.name} is damaged at byte" in program.said()
    with pytest.raises(LedgerError, match="damaged"):
        open_offline(tmp_path)


async def _fill(data: Path, count: int) -> None:
    ledger = await worker(data)
    for _ in range(count):
        key, attempt = new(), new()
        assert (await claim(ledger, key, attempt)).kind == GRANTED
        assert (await settle(ledger, key, attempt, UNKNOWN)).kind == DONE
    await ledger.close()


def test_a_command_reads_and_settles_while_no_gateway_runs_and_not_while_one_does(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no ledger"):
        open_offline(tmp_path)
    with Program(tmp_path) as program:
        uvloop.run(_fill(tmp_path, 120))
        with pytest.raises(LedgerError, match="in use"):
            open_offline(tmp_path)
        program.tell(leave=True)
        assert program.ended() == 0

    async def command() -> None:
        ledger = open_offline(tmp_path)
        found = await ledger.entries([UNKNOWN], b"", 1_000)
        assert len(found) == 120
        assert [entry.key for entry in found] == sorted(entry.key for entry in found)
        one = found[7]
        assert await ledger.decide(one.key, one.attempt, RELEASED, b"", "anna", "never ran")
        assert not await ledger.decide(one.key, one.attempt, RELEASED, b"", "anna", "never ran")
        await ledger.close()
        ledger = open_offline(tmp_path)
        assert await ledger.entry(one.key) is None
        assert (await ledger.figures()).unknown == 119
        await ledger.close()

    uvloop.run(command())


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(struct.pack("<IBI", 1 << 20, wire.CLAIM, 1), id="a frame that is too long"),
        pytest.param(struct.pack("<IBI", 3, wire.CLAIM, 1), id="one that is too short"),
        pytest.param(wire.SENT_HEAD.pack(wire.SENT_BYTES, wire.MARK_SENT, 1, bytes(16), bytes(16)), id="no greeting"),
        pytest.param(wire.HELLO_FRAME.pack(wire.HELLO_BYTES, wire.HELLO, 0, 99, bytes(8)), id="another version"),
        pytest.param(wire.hello(b"w" * 8) + wire.framed(wire.CLAIM, 1, b"short"), id="half a claim"),
        pytest.param(wire.hello(b"w" * 8) + wire.framed(99, 1, b""), id="an unknown frame"),
        pytest.param(wire.hello(b"w" * 8) + wire.framed(wire.ASK, 1, b"\xc1"), id="no MessagePack"),
    ],
)  # fmt: skip
def test_whoever_breaks_the_protocol_is_cut_off_and_nobody_else(tmp_path: Path, data: bytes) -> None:
    async def scene() -> None:
        ledger = await worker(tmp_path)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect(str(socket_in(tmp_path)))
            sock.sendall(data)
            assert await asyncio.to_thread(_ended, sock)
        assert (await claim(ledger, new(), new())).kind == GRANTED
        await ledger.close()

    with Program(tmp_path):
        uvloop.run(scene())


def _ended(sock: socket.socket) -> bool:
    try:
        return sock.recv(100) == b""
    except ConnectionResetError:
        return True


def test_who_does_not_read_his_answers_is_not_read_and_then_dropped(tmp_path: Path) -> None:
    """In a thread of this process, where patience can be made short."""

    async def scene() -> None:
        ledger = await worker(tmp_path)
        key, attempt = new(), new()
        assert (await claim(ledger, key, attempt)).kind == GRANTED
        assert (await settle(ledger, key, attempt, COMPLETED, bytes(64 << 10))).kind == DONE
        frame = wire.CLAIM_HEAD.pack(wire.CLAIM_BYTES, wire.CLAIM, 1, 1, 60, key, new(), b"f" * 32)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(20)
            sock.connect(str(socket_in(tmp_path)))
            sock.sendall(wire.hello(b"slow own") + 200 * frame)  # 13 MB of answers
            await asyncio.sleep(0.3)
            assert resident(program.process.pid) < 90 << 20
            answer = wire.FOUND_BYTES + (64 << 10)
            assert await asyncio.to_thread(_received, sock, 200 * answer) == 200 * answer, (
                "who reads late gets all"
            )
        assert (await claim(ledger, new(), new())).kind == GRANTED
        await ledger.close()

    with Program(tmp_path) as program:
        uvloop.run(scene())


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _received(sock: socket.socket, wanted: int) -> int:
    count = 0
    while count < wanted and (data := sock.recv(1 << 20)):
        count += len(data)
    return count


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_not_served(tmp_path: Path) -> None:
    code = (
        "import os, socket, sys\n"
        "sock = socket.socket(socket.AF_UNIX); os.chdir(sys.argv[1]); os.setuid(65534)\n"
        "sock.settimeout(5); sock.connect('socket'); print(sock.recv(10))"
    )
    with Program(tmp_path):
        uvloop.run(_fill(tmp_path, 1))
        folder = folder_in(tmp_path)
        assert folder.stat().st_mode & 0o777 == 0o700
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in folder.iterdir())
        socket_in(tmp_path).chmod(0o666)
        folder.chmod(0o711)
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False
        )
        assert done.stdout.strip() == "b''", done.stderr
