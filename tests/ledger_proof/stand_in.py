"""A gateway in a hundred lines that keeps the promise, or breaks it on purpose: what the judge is tried on.

One event loop, records in a dict; a worker that dies is its calls cancelled. ``Bug`` plants one of three mistakes that real gateways made:
claiming after sending, claims that a crash forgets, a sent call that its owner's death sets free.
"""

import asyncio
import json
import random
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final, Self

from tests.ledger_proof.driver import Deed
from tests.ledger_proof.histories import (
    ATTEMPT_FIELD,
    KEY_FIELD,
    NO_VERDICT,
    NOT_RUN,
    History,
    Scope,
    digest_of,
    read_seen,
)
from tests.ledger_proof.upstream_process import CONSUMER_FIELD, UpstreamProcess
from tests.support.client import Address, request
from tests.support.configuration import api_key
from tests.support.ports import free_ports
from tests.support.script import head
from tests.support.wire import Body, Head, Wire, WireError, no_delay

FORGOTTEN_S: Final = 0.4
"""How much the ledger that is not durable loses when it is killed."""


class Bug(Enum):
    NONE = "none"
    CLAIM_AFTER_SEND = "claim_after_send"
    CLAIM_NOT_DURABLE = "claim_not_durable"
    SENT_RECLAIMED = "sent_reclaimed"


@dataclass
class Record:
    digest: str
    state: str = "sent"
    answer: tuple[int, bytes] = (0, b"")
    made: float = field(default_factory=time.monotonic)


@dataclass
class StandIn:
    """Use with ``async with``; upstream and file lie in ``folder``."""

    folder: Path
    bug: Bug = Bug.NONE
    history: History = field(default_factory=History)
    records: dict[Scope, Record] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.upstream = UpstreamProcess(self.folder, free_ports(1)[0])
        self._consumers = {api_key(name): name for name in ("acme", "bravo", "carol")}
        self._calls: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.upstream.start)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._accepting.cancel()
        await self._worker_killed(random.Random(0), 0)
        await asyncio.gather(self._accepting, return_exceptions=True)
        self._listener.close()
        self.upstream.kill()

    @property
    def address(self) -> Address:
        host, port = self._listener.getsockname()
        return host, port

    @property
    def faults(self) -> Mapping[str, Deed]:
        return {
            "worker_killed": self._worker_killed,
            "ledger_killed": self._ledger_killed,
            "upstream_killed": self._upstream_killed,
        }

    def recorded(self) -> History:
        """Both histories as they are now."""
        self.history.seen = read_seen(self.upstream.file)
        return self.history

    async def settle(self) -> None:
        await asyncio.to_thread(self.upstream.wait_idle)
        while self._calls:
            await asyncio.wait(self._calls)
        executed = {line.scope for line in self.recorded().seen if line.what == "executed"}
        for scope, record in list(self.records.items()):
            if record.state == "unknown":
                self.history.verdicts[scope] = "completed" if scope in executed else "released"
                record.state = "completed"
                if scope not in executed:
                    del self.records[scope]

    # faults

    async def _worker_killed(self, _: random.Random, hold_s: float) -> None:
        calls = list(self._calls)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        for scope, record in list(self.records.items()):
            if record.state == "sent":
                record.state = "unknown"
                if self.bug is Bug.SENT_RECLAIMED:
                    del self.records[scope]
        await asyncio.sleep(hold_s)

    async def _ledger_killed(self, dice: random.Random, hold_s: float) -> None:
        """With the worker at its side, as a machine that stops takes both."""
        await self._worker_killed(dice, 0)
        if self.bug is Bug.CLAIM_NOT_DURABLE:
            young = time.monotonic() - FORGOTTEN_S
            self.records = {scope: record for scope, record in self.records.items() if record.made < young}
        await asyncio.sleep(hold_s)

    async def _upstream_killed(self, _: random.Random, hold_s: float) -> None:
        await asyncio.to_thread(self.upstream.kill)
        await asyncio.sleep(hold_s)
        await asyncio.to_thread(self.upstream.start)

    # calls

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(self._listener)
            wire = Wire(no_delay(sock))
            call = loop.create_task(self._serve(wire))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
            call.add_done_callback(lambda _, wire=wire: wire.close())  # type: ignore[misc] - also of one killed before it began

    async def _serve(self, wire: Wire) -> None:
        try:
            asked = await wire.request_head()
            if asked is not None:
                body = await wire.read_body(asked, Body(), close_ends=False)
                if body.complete:
                    await wire.send(await self._answer(asked, body))
        except (OSError, WireError):
            pass  # the caller is gone
        except asyncio.CancelledError:
            wire.reset_on_close()
            raise
        finally:
            wire.close()

    async def _answer(self, asked: Head, body: Body) -> bytes:
        _, api, _, route = asked.start[1].decode().split("/")
        consumer = self._consumers[(asked.one("x-api-key") or b"").decode()]
        scope = Scope(consumer, api, route, (asked.one(KEY_FIELD) or b"").decode())
        digest = digest_of(bytes(body.data))
        record = self.records.get(scope)
        if record is not None:
            return _standing(record, digest)
        if self.bug is not Bug.CLAIM_AFTER_SEND:
            record = self.records[scope] = Record(digest)
        sent, status, answer = await self._send(scope, asked, bytes(body.data))
        if record is None:
            record = self.records[scope] = Record(digest)
        if not sent:
            self.records.pop(scope, None)
            return _problem(502, "upstream_unreachable", "not_sent", "same_request")
        if status in NOT_RUN:
            self.records.pop(scope, None)
            return _json(status, answer)
        if not answer or status in NO_VERDICT:
            record.state = "unknown"
            return _problem(502, "upstream_invalid_response", "unknown", "after_query")
        record.state, record.answer = "completed", (status, answer)
        return _json(status, answer)

    async def _send(self, scope: Scope, asked: Head, body: bytes) -> tuple[bool, int, bytes]:
        """Whether a byte was sent; status and body of a whole answer."""
        wire = Wire(no_delay(socket.socket()))
        try:
            try:
                await asyncio.get_running_loop().sock_connect(wire.sock, self.upstream.address)
            except OSError:
                return False, 0, b""
            names = (KEY_FIELD, ATTEMPT_FIELD, "X-Act")
            lines = [f"{name}: {(asked.one(name) or b'').decode()}" for name in names]
            await wire.send(
                request(
                    "POST", asked.start[1].decode(), *lines, f"{CONSUMER_FIELD}: {scope.consumer}", body=body
                )
            )
            got = await wire.answer_head()
            if got is None:
                return True, 0, b""
            whole = await wire.read_body(got, Body(), close_ends=False)
            return True, int(got.start[1]), bytes(whole.data) if whole.complete else b""
        except (OSError, WireError):
            return True, 0, b""
        finally:
            wire.close()


def _standing(record: Record, digest: str) -> bytes:
    if record.digest != digest:
        return _problem(422, "idempotency_mismatch", "refused", "never")
    if record.state == "unknown":
        return _problem(409, "idempotency_in_flight", "unknown", "after_query")
    if record.state == "sent":
        return _problem(409, "idempotency_in_flight", "refused", "same_request")
    if not record.answer[0]:
        return _problem(409, "idempotency_in_flight", "answered", "after_query")
    return _json(*record.answer, "Idempotent-Replayed: true")


def _json(status: int, body: bytes, *more: str) -> bytes:
    return head(status, f"Content-Length: {len(body)}", "Content-Type: application/json", *more) + body


def _problem(status: int, code: str, outcome: str, retry: str) -> bytes:
    body = json.dumps({"code": code, "outcome": outcome, "retry": retry}).encode()
    lines = (f"Content-Length: {len(body)}", "Content-Type: application/problem+json", "Retry-After: 1")
    return head(status, *lines) + body
