"""Callers that check that each call got exactly its own answer, for chaos runs against a ``LedgerUpstream``.

Four kinds at once: kept connections, a fresh connection a call, pipelines, and callers that leave. Each call has an id of its own,
a seeded body (sized or chunked) and one of several consumers; what the caller was told is kept in a few words. Judging it all together is
``tests.soak.invariants``' affair.
"""

import asyncio
import contextlib
import hashlib
import random
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from tests.support.client import Address, Answer, RawClient, chunked, request
from tests.support.ledger import ANSWER_BYTES, ID, expected_answer
from tests.support.wire import WireError

PIPELINE: Final = 4
TIMEOUT_S: Final = 20.0
_EMPTY: Final = hashlib.sha256().hexdigest()


@dataclass(slots=True)
class Told:
    """One call. ``outcome``: what its caller was told, ``cut`` (an answer that broke off), ``lost`` (the connection ended without
    one), ``left`` (the caller did not wait), ``unread`` (behind an answer that closed the connection, or given back by HTTP/2), ``reset`` (by HTTP/2, ``code`` its error code),
    ``grpc`` (refused in gRPC's words, ``code`` its status), ``unopened`` (no call: a connection that ended in its handshake).

    ``port``: the caller's end of the connection, 0 where nobody noted it. ``reused``: not the first call on it.
    """

    name: str
    sent: float
    ended: float = 0.0
    status: int = 0
    outcome: str = "lost"
    code: str = ""
    fault: str = ""
    port: int = 0
    opened: float = 0.0
    reused: bool = False


@dataclass(frozen=True)
class Caller:
    """A consumer as the upstream will see it, with the header line that proves it."""

    consumer: str
    credential: str
    path: str


@dataclass
class _Request:
    told: Told
    data: bytes
    method: str
    answer: bytes


@dataclass
class KeyedLoad:
    """About ``per_second`` calls from ``connections`` callers. ``told`` holds every call that was begun."""

    address: Address
    callers: tuple[Caller, ...]
    per_second: float
    connections: int
    seed: int
    label: str = "k"
    tls: ssl.SSLContext | None = None
    told: list[Told] = field(default_factory=list)
    _dice: random.Random = field(init=False)
    _stop: bool = False

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    async def run(self) -> None:
        """Calls until ``stop()``."""
        kinds = (self._kept, self._kept, self._kept, self._fresh, self._pipelined, self._leaving)
        async with asyncio.TaskGroup() as group:
            for number in range(self.connections):
                group.create_task(self._again(kinds[number % len(kinds)], number))

    def stop(self) -> None:
        self._stop = True

    async def _again(self, kind: object, number: int) -> None:
        caller = self.callers[number % len(self.callers)]
        await asyncio.sleep(self._dice.random() * self.connections / self.per_second)
        while not self._stop:
            try:
                await kind(caller)  # type: ignore[operator]  # one of the four above
            except WireError as error:
                self.told.append(blamed(f"wire: {error}"))
            except (OSError, TimeoutError):
                pass  # a connection that ends is judged by what its calls were told
            await self._pause()

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[RawClient]:
        """A connection; that it is refused, or ends in its handshake, is on record."""
        client = RawClient(self.address, timeout_s=TIMEOUT_S, tls=self.tls)
        began = time.monotonic()
        try:
            await client.__aenter__()
        except OSError as error:
            self.told.append(unopened(error, began, client.port))
            raise
        client.opened = began
        try:
            yield client
        finally:
            client.wire.close()

    async def _pause(self) -> None:
        await asyncio.sleep((0.5 + self._dice.random()) * self.connections / self.per_second)

    def _make(self, caller: Caller) -> _Request:
        dice = self._dice
        name = f"{self.label}-{len(self.told)}"
        told = Told(name, time.monotonic())
        self.told.append(told)
        size = dice.choice((0, 100, 2000, 30_000))
        lines = (f"{ID}: {name}", f"{ANSWER_BYTES}: {size}", *filter(None, (caller.credential,)))
        if dice.random() < 0.2:
            return _Request(told, request("GET", caller.path + "/g1", *lines), "GET",
                            expected_answer(name, caller.consumer, _EMPTY, size))  # fmt: skip
        body = dice.randbytes(dice.choice((1, 64, 1000, 20_000)))
        if dice.random() < 0.3:
            head = request("POST", caller.path, *lines, "Transfer-Encoding: chunked")
            head = head.replace(b"Content-Length: 0\r\n", b"", 1)
            half = len(body) // 2
            data = head + chunked(body[:half], body[half:])
        else:
            data = request("POST", caller.path, *lines, body=body)
        digest = hashlib.sha256(body).hexdigest()
        return _Request(told, data, "POST", expected_answer(name, caller.consumer, digest, size))

    async def _kept(self, caller: Caller) -> None:
        async with self._connected() as client:
            while not (self._stop or client.wire.over()):
                if await self._call(client, self._make(caller)):
                    return
                await self._pause()

    async def _fresh(self, caller: Caller) -> None:
        async with self._connected() as client:
            await self._call(client, self._make(caller))

    async def _pipelined(self, caller: Caller) -> None:
        async with self._connected() as client:
            while not (self._stop or client.wire.over()):
                calls = [self._on(client, self._make(caller)) for _ in range(PIPELINE)]
                sending = asyncio.create_task(client.send(b"".join(call.data for call in calls)))
                try:
                    for place, call in enumerate(calls):
                        if await self._read(client, call):
                            for behind in calls[place + 1 :]:
                                behind.told.outcome = "unread"
                            return
                finally:
                    sending.cancel()
                    await asyncio.gather(sending, return_exceptions=True)
                    for call in calls:
                        call.told.ended = call.told.ended or time.monotonic()
                for _ in range(PIPELINE):
                    await self._pause()

    async def _leaving(self, caller: Caller) -> None:
        """Sends a part or all of a request and goes, by FIN or RST."""
        async with self._connected() as client:
            call = self._on(client, self._make(caller))
            call.told.outcome = "left"
            part = len(call.data) if self._dice.random() < 0.5 else self._dice.randrange(1, len(call.data))
            try:
                await client.send(call.data[:part])
                await asyncio.sleep(self._dice.choice((0, 0.003, 0.05)))
            finally:
                call.told.ended = time.monotonic()
            if self._dice.random() < 0.5:
                client.wire.reset_on_close()

    @staticmethod
    def _on(client: RawClient, call: _Request) -> _Request:
        """Notes which connection the call goes on."""
        told = call.told
        told.port, told.opened, told.reused = client.port, client.opened, client.calls > 0
        client.calls += 1
        return call

    async def _call(self, client: RawClient, call: _Request) -> bool:
        self._on(client, call)
        sending = asyncio.create_task(client.send(call.data))
        try:
            return await self._read(client, call)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _read(self, client: RawClient, call: _Request) -> bool:
        """Reads the answer to ``call``; whether the connection has ended with it."""
        told = call.told
        try:
            answer = await client.answer(call.method)
        finally:
            told.ended = time.monotonic()
        if answer is None:
            return True
        told.status = answer.status
        if not answer.body.complete:
            told.outcome = "cut"
            return True
        judge(told, answer, call.answer)
        return answer.header("connection") == "close"


def judge(told: Told, answer: Answer, wanted: bytes) -> None:
    """Notes what an answer says, and whether it is this call's own."""
    if answer.header("x-request-id") != told.name:
        told.fault = f"answer says it is for {answer.header('x-request-id')}"
    if answer.status == 200:
        told.outcome = "answered"
        if answer.text != wanted:
            told.fault = f"body of another: {answer.text[:120]!r} in place of {wanted[:120]!r}"
        return
    problem(told, answer.problem)


def problem(told: Told, said: dict[str, object]) -> None:
    told.code = str(said["code"])
    told.outcome = str(said.get("outcome", "refused"))
    if said["request_id"] != told.name:
        told.fault = f"problem of {said['request_id']}"
    if told.outcome == "unknown" and said["retry"] != "after_query":
        told.fault = f"outcome unknown, and yet retry {said['retry']}"


def blamed(fault: str) -> Told:
    return Told("-", time.monotonic(), time.monotonic(), fault=fault)


def unopened(error: OSError, began: float, port: int) -> Told:
    """A connection that could not be had. Only a worker that is killed may end one, and only in its handshake."""
    now = time.monotonic()
    ended = isinstance(error, ConnectionResetError | BrokenPipeError | TimeoutError)
    return Told("-", began, now, outcome="unopened", fault="" if ended and port else f"connect: {error!r}",
                port=port, opened=began)  # fmt: skip
