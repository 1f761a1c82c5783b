"""A worker's end of the line: what is told while the ledger is away, what is taken back, what is kept and repeated."""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from faregate.stores.ledger.embedded import link, wire
from faregate.stores.ledger.embedded.client import EmbeddedLedger
from faregate.stores.ledger.embedded.places import folder_in, short_name, socket_in
from faregate.stores.ledger.moves import (
    CLAIMED,
    COMPLETED,
    DONE,
    GRANTED,
    IN_FLIGHT,
    LOST,
    RELEASED,
    REPLAY,
    SENT,
    UNAVAILABLE,
    UNKNOWN,
    Standing,
)
from faregate.stores.ledger.protocol import LedgerError
from tests.stores.ledger.embedded.program import Told, claim, connected, mark, new, settle

WAIT_S = 0.15


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "WAIT_S", WAIT_S)
    monkeypatch.setattr(link, "_LOOK_S", 0.02)
    monkeypatch.setattr(link, "_RETRY_S", 0.02)


class Peer:
    """Listens where the ledger's process would; ``heard``: kind, number and payload of every frame."""

    def __init__(self, data: Path) -> None:
        self.path = socket_in(data)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.heard: list[tuple[int, int, bytes]] = []
        self.answers: Callable[[int, int, bytes], bytes] = lambda _what, _number, _payload: b""
        self.writers: list[asyncio.StreamWriter] = []
        self.server: asyncio.Server | None = None

    async def open(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        self.server = await asyncio.start_unix_server(self._serve, str(self.path))

    async def cut(self) -> None:
        """Goes away, with every connection."""
        if self.server is not None:
            self.server.close()
            self.server = None
        for writer in self.writers:
            writer.transport.abort()
        self.writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readexactly(wire.HEAD_BYTES)
                length, what, number = wire.HEAD.unpack(head)
                payload = await reader.readexactly(length - wire.HEAD_BYTES)
                self.heard.append((what, number, payload))
                answer = self.answers(what, number, payload)
                if answer:
                    writer.write(answer)

    async def hears(self, count: int) -> list[int]:
        """What kinds came, once there are so many."""
        for _ in range(500):
            if len(self.heard) >= count:
                break
            await asyncio.sleep(0.01)
        return [what for what, _, _ in self.heard]


Scene = Callable[[EmbeddedLedger, Peer], Awaitable[None]]


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Scene], None]:
    def run_scene(scene: Scene) -> None:
        async def play() -> None:
            peer, ledger = Peer(tmp_path), EmbeddedLedger(tmp_path)
            try:
                await scene(ledger, peer)
            finally:
                await peer.cut()
                await ledger.close()

        uvloop.run(play())

    return run_scene


def done(_what: int, number: int, _payload: bytes) -> bytes:
    if _what == wire.HELLO:
        return b""
    return wire.told(number, GRANTED if _what == wire.CLAIM else DONE)


def states(peer: Peer) -> list[int]:
    return [payload[0] for what, _, payload in peer.heard if what == wire.SETTLE]


def test_while_nobody_listens_calls_are_told_in_time_and_leave_nothing_behind(run) -> None:
    async def scene(ledger: EmbeddedLedger, peer: Peer) -> None:
        await ledger.start()
        began = asyncio.get_running_loop().time()
        told = await asyncio.gather(claim(ledger, new(), new()), mark(ledger, new(), new()))
        assert {(each.kind, each.reason) for each in told} == {(UNAVAILABLE, "ledger_away")}
        assert WAIT_S <= asyncio.get_running_loop().time() - began < 1.0
        with pytest.raises(LedgerError, match="ledger_away"):
            await ledger.figures()
        await peer.open()
        await connected(ledger)
        assert await peer.hears(1) == [wire.HELLO], "what was never written needs no taking back"

    run(scene)


def test_what_was_asked_shortly_before_it_came_back_is_answered(run) -> None:
    async def scene(ledger: EmbeddedLedger, peer: Peer) -> None:
        peer.answers = done
        await ledger.start()
        asked = asyncio.ensure_future(claim(ledger, new(), new()))
        await asyncio.sleep(0)
        await peer.open()
        assert (await asked).kind == GRANTED

    run(scene)


def test_what_was_on_the_wire_is_asked_again_in_its_order_on_the_next_connection(run) -> None:
    async def scene(ledger: EmbeddedLedger, peer: Peer) -> None:
        await peer.open()
        await ledger.start()
        key, attempt = new(), new()
        asked = [
            asyncio.ensure_future(each)
            for each in (
                claim(ledger, key, attempt),
                mark(ledger, key, attempt),
                settle(ledger, key, attempt, RELEASED),
            )
        ]
        assert await peer.hears(4) == [wire.HELLO, wire.CLAIM, wire.MARK_SENT, wire.SETTLE]
        first = list(peer.heard)
        await peer.cut()
        peer.heard.clear()
        peer.answers = done
        await peer.open()
        assert [(await each).kind for each in asked] == [GRANTED, DONE, DONE]
        assert peer.heard == first, "the same frames, the same owner, the same attempts"

    run(scene)


@pytest.mark.parametrize("asks", [claim, mark])
def test_what_was_given_up_after_it_was_written_is_taken_back_until_that_is_stored(run, asks) -> None:
    async def scene(ledger: EmbeddedLedger, peer: Peer) -> None:
        await peer.open()
        await ledger.start()
        key, attempt = new(), new()
        assert (await asks(ledger, key, attempt)).kind == UNAVAILABLE
        assert (await peer.hears(3))[2] == wire.SETTLE, "at once, where the line is only slow"
        await peer.cut()
        peer.heard.clear()
        peer.answers = done
        await peer.open()
        assert await peer.hears(2) == [wire.HELLO, wire.SETTLE], "and again where it broke; the claim is not"
        assert states(peer) == [RELEASED]
        assert peer.heard[1][2][1:] == key + attempt
        await asyncio.sleep(0.05)
        assert ledger.link.unsettled == 0

    run(scene)


def test_an_answer_that_comes_after_its_call_was_told_is_passed_over(run) -> None:
    async def scene(ledger: EmbeddedLedger, peer: Peer) -> None:
        await peer.open()
        await ledger.start()
        told = Told()
        told.future.add_done_callback(lambda _: None)
        assert (await claim(ledger, new(), new())).kind == UNAVAILABLE
        number = next(number for what, number, _ in peer.heard if what == wire.CLAIM)
        peer.writers[0].write(wire.told(number, GRANTED))
        peer.answers = done
        assert (await claim(ledger, new(), new())).kind == GRANTED

    run(scene)


def test_a_settlement_is_kept_after_its_call_was_told_and_stored_late(run) -> None:
    async def scene(ledger: EmbeddedLedger, peer: Peer) -> None:
        await ledger.start()
        assert (await settle(ledger, new(), new(), COMPLETED, b"answer")).kind == UNAVAILABLE
        assert ledger.link.unsettled == 1
        peer.answers = done
        await peer.open()
        await peer.hears(2)
        await asyncio.sleep(0.05)
        assert peer.heard[1][2].endswith(b"answer")
        assert ledger.link.unsettled == 0

    run(scene)


def test_a_settlement_that_finds_no_room_is_asked_again(run) -> None:
    async def scene(ledger: EmbeddedLedger, peer: Peer) -> None:
        turns = itertools.count()

        def full_twice(what: int, number: int, payload: bytes) -> bytes:
            if what == wire.SETTLE and next(turns) < 2:
                return wire.refused(number, UNAVAILABLE, "ledger_full")
            return done(what, number, payload)

        peer.answers = full_twice
        await peer.open()
        await ledger.start()
        assert (await settle(ledger, new(), new(), COMPLETED, b"answer")).kind == DONE
        assert len(states(peer)) == 3
        peer.answers = lambda what, number, _: (
            wire.refused(number, UNAVAILABLE, "ledger_full") if what != wire.HELLO else b""
        )
        told = await claim(ledger, new(), new())
        assert (told.kind, told.reason) == (UNAVAILABLE, "ledger_full"), "a claim is told at once"

    run(scene)


def test_what_is_kept_is_bounded_and_what_is_too_much_becomes_unknown(
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "KEPT_BYTES_MAX", 50_000)

    async def scene(ledger: EmbeddedLedger, peer: Peer) -> None:
        for _ in range(10):
            ledger.settle(new(), new(), COMPLETED, bytes(10_000), None)
        ledger.settle(new(), new(), RELEASED, b"", None)
        assert ledger.link.degraded == 6
        peer.answers = done
        await peer.open()
        await ledger.start()
        await peer.hears(12)
        assert states(peer) == [COMPLETED] * 4 + [UNKNOWN] * 6 + [RELEASED]
        assert ledger.link._kept_bytes < 50_000

    run(scene)


def test_every_answer_means_what_the_ledger_said_however_it_is_cut(run) -> None:
    attempt = new()
    table = [
        (wire.told(0, GRANTED), Standing(GRANTED)),
        (wire.told(0, LOST), Standing(LOST)),
        (wire.found(0, IN_FLIGHT, 1_500, attempt, b""), Standing(IN_FLIGHT, attempt, b"", 1.5)),
        (
            wire.found(0, REPLAY, 1 << 40, attempt, b"answer"),
            Standing(REPLAY, attempt, b"answer", 0xFFFFFFFF / 1000),
        ),
        (wire.refused(0, UNAVAILABLE, "ledger_failed"), Standing(UNAVAILABLE, reason="ledger_failed")),
    ]

    async def scene(ledger: EmbeddedLedger, peer: Peer) -> None:
        line = ledger.link
        line.connection_made(Nowhere())  # type: ignore[arg-type]
        for step in (1, 5, 14, 1_000):
            asked = [asyncio.ensure_future(claim(ledger, new(), new())) for _ in table]
            await asyncio.sleep(0)
            numbers = list(line._waiting)[-len(table) :]
            data = b"".join(
                frame[:5] + number.to_bytes(4, "little") + frame[9:]
                for (frame, _), number in zip(table, numbers, strict=True)
            )
            for at in range(0, len(data), step):
                line.data_received(data[at : at + step])
            for each, (_, expected) in zip(asked, table, strict=True):
                told = await each
                for name in Standing.__slots__:
                    assert getattr(told, name) == getattr(expected, name), (step, name)
        line.connection_lost(None)

    run(scene)


class Nowhere:
    """A transport that takes everything."""

    def write(self, data: bytes) -> None:
        """It is gone."""

    def abort(self) -> None:
        """Likewise."""

    def close(self) -> None:
        """Likewise."""


def test_closing_tells_whoever_waits(run) -> None:
    async def scene(ledger: EmbeddedLedger, _: Peer) -> None:
        await ledger.start()
        asked = asyncio.ensure_future(claim(ledger, new(), new()))
        entry = asyncio.ensure_future(ledger.entry(new()))
        await asyncio.sleep(0)
        await ledger.close()
        assert (await asked).kind == UNAVAILABLE
        with pytest.raises(LedgerError):
            await entry

    run(scene)


def test_a_ledger_that_was_never_used_is_closed_like_any_other(run) -> None:
    async def scene(ledger: EmbeddedLedger, _: Peer) -> None:
        assert not ledger.link.connected

    run(scene)


def test_a_socket_in_a_folder_with_a_long_name_is_reached(tmp_path: Path) -> None:
    data = tmp_path / ("long " * 20) / ("name " * 20)
    folder_in(data).mkdir(parents=True)
    assert len(str(socket_in(data))) > 200
    with short_name(socket_in(data)) as name:
        assert len(name) < 108
        (folder_in(data) / "socket").write_text("here")
        assert Path(name).read_text() == "here"
    with short_name(Path("/short/name")) as name:
        assert name == "/short/name"


def test_states_are_what_the_wire_says() -> None:
    assert (CLAIMED, SENT, COMPLETED, RELEASED, UNKNOWN) == (1, 2, 3, 4, 5), "they are stored: never changed"
