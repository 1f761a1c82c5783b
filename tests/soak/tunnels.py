"""WebSockets of the soak: callers that say numbers and insist on hearing each once and in order, and their upstream.

Each tunnel is a call like others (``Told``: its 101, its log line, its visit at the upstream) and a ``Talk``: how it went on and how it
ended. Whether an end may be is judged in ``judge_talks``: on a path without faults only a drain (1001) or a killed worker
may end one.
"""

import asyncio
import contextlib
import random
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.support.client import Address
from tests.support.ledger import ID, Entry, note_fragment
from tests.support.load_keyed import Caller, Told, blamed, problem, unopened
from tests.support.websocket import ACCEPT, CLOSE, EchoServer, Visit, WsClient, closing, said, upgrade
from tests.support.wire import Wire, WireError

GOING_AWAY: Final = 1001
_HEAR_S: Final = 15.0


class _Noted(list[Visit]):
    """Counts visits into the accounts, and keeps none of them."""

    def __init__(self, entries: dict[str, Entry]) -> None:
        self._entries = entries

    def append(self, visit: Visit) -> None:
        visit.frames = _Forgetful()
        entry = self._entries.setdefault((visit.head.one(ID) or b"").decode("latin-1"), Entry())
        entry.heads += 1
        entry.complete += 1


class _Forgetful(list):  # type: ignore[type-arg]
    """The frames of a long talk, which nobody reads."""

    def append(self, frame: object) -> None:
        pass


class EchoLedger(EchoServer):
    """Echoes for hours; ``entries`` has a whole request for each WebSocket that was opened."""

    def __init__(self, entries: dict[str, Entry]) -> None:
        super().__init__()
        self.visits = _Noted(entries)
        self._entries = entries

    async def _serve(self, wire: Wire) -> None:
        try:
            await super()._serve(wire)
        except WireError:
            note_fragment(self._entries, bytes(wire.buffer))

    @property
    def address(self) -> Address:
        return "127.0.0.1", self.port


@dataclass
class Talk:
    """How a tunnel went on. ``end``: ``parted`` (we closed it), ``closed CODE``, ``broke`` (no Close frame)."""

    told: Told
    rough: bool
    echoed: int = 0
    end: str = ""
    fault: str = ""


@dataclass
class Tunnels:
    """``size`` callers, half of them by TLS. Every second one goes by the rough path, whose upstream lies behind faults."""

    addresses: tuple[Address, Address]
    """Without and with TLS."""
    tls: ssl.SSLContext
    paths: tuple[Caller, Caller]
    """Direct and rough."""
    size: int
    seed: int
    label: str
    told: list[Told] = field(default_factory=list)
    talks: list[Talk] = field(default_factory=list)
    _dice: random.Random = field(init=False)
    _stop: bool = False

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self.size):
                group.create_task(self._again(rough=number % 2 == 1, tls=number % 4 > 1))

    def stop(self) -> None:
        self._stop = True

    async def _again(self, *, rough: bool, tls: bool) -> None:
        while not self._stop:
            await self._one(rough=rough, tls=tls)
            await asyncio.sleep(0.1 + self._dice.random() * 0.3)

    async def _one(self, *, rough: bool, tls: bool) -> None:
        caller = self.paths[rough]
        began = time.monotonic()
        client = WsClient(self.addresses[tls], timeout_s=_HEAR_S, tls=self.tls if tls else None)
        try:
            await client.__aenter__()
        except OSError as error:
            self.told.append(unopened(error, began, client.port))
            return
        told = Told(f"{self.label}-{len(self.told)}", time.monotonic(), port=client.port, opened=began)
        self.told.append(told)
        try:
            await self._open(client, told, caller, rough=rough)
        except WireError as error:
            self.told.append(blamed(f"wire: {error}"))
        except OSError:
            pass  # told stays lost
        finally:
            told.ended = time.monotonic()
            client.wire.close()

    async def _open(self, client: WsClient, told: Told, caller: Caller, *, rough: bool) -> None:
        await client.send(upgrade(caller.path, f"{ID}: {told.name}", *filter(None, (caller.credential,))))
        answer = await client.answer()
        if answer is None:
            return
        told.status = answer.status
        if not answer.body.complete:
            told.outcome = "cut"
        elif answer.status != 101:
            problem(told, answer.problem)
        else:
            told.outcome = "answered"
            if answer.header("sec-websocket-accept") != ACCEPT:
                told.fault = "the handshake of another"
            talk = Talk(told, rough)
            self.talks.append(talk)
            await self._talk(client, talk)

    async def _talk(self, client: WsClient, talk: Talk) -> None:
        until = time.monotonic() + self._dice.choice((0.5, 3, 10, 60))
        talk.end = "broke"
        with contextlib.suppress(ConnectionError):
            while not self._stop and time.monotonic() < until:
                wanted = f"{talk.told.name} {talk.echoed} ".encode() * self._dice.choice((1, 1, 1, 200))
                await client.say(wanted)
                try:
                    heard = await client.hear(_HEAR_S)
                except TimeoutError:
                    talk.fault = f"no echo in {_HEAR_S} s"
                    return
                if heard is None:
                    return
                if heard.opcode == CLOSE:
                    talk.end = f"closed {heard.code}"
                    await client.send(said(CLOSE, heard.payload[:2]))
                    return
                if heard.payload != wanted:
                    talk.fault = f"heard {heard.payload[:60]!r} for {wanted[:60]!r}"
                    return
                talk.echoed += 1
                await asyncio.sleep(0.2)
            if self._dice.random() < 0.3:
                talk.end = "parted"
                if self._dice.random() < 0.5:
                    client.wire.reset_on_close()
                return
            await client.send(said(CLOSE, closing(1000)))
            while (heard := await client.hear(_HEAR_S)) is not None:
                if heard.opcode == CLOSE:
                    talk.end = "parted"
                    return


def judge_talks(
    talks: Sequence[Talk], killed: Callable[[Told], bool], during: Callable[[Told], set[str]]
) -> list[str]:
    """Violations. ``killed``: whether a killed worker explains an end; ``during``: harmful faults, and ``upgraded``,
    that touch the tunnel's last moments.
    """
    found = []
    for talk in talks:
        around = during(talk.told)
        harmed = talk.rough and around - {"upgraded"}
        if talk.fault and not (harmed and talk.fault.startswith("no echo")):
            found.append(f"tunnel {talk.told.name}: {talk.fault}")
        elif talk.end == f"closed {GOING_AWAY}" and "upgraded" not in around:
            found.append(f"tunnel {talk.told.name} was told to go away in no upgrade")
        elif (
            talk.end not in {"parted", f"closed {GOING_AWAY}"}
            and not talk.fault
            and not harmed
            and not killed(talk.told)
        ):
            found.append(f"tunnel {talk.told.name}, {'rough' if talk.rough else 'direct'}: {talk.end}")
    return found
