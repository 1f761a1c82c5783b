"""A worker's end of the line to the ledger's process: what is asked, what is waited for, what is asked again.

Frames of one turn of the event loop go out in one write, and answers are read in one pass. What was asked
stays here until it is answered: on a new connection all of it is asked again, for a move that is repeated
by the same attempt changes nothing. A claim or a move to sent that is not answered in time is withdrawn,
since the call goes on without; a settlement is kept until it is stored. What connects is ``client``; this
part is what each call runs through.
"""

import asyncio
import time
from typing import Final

from faregate.stores.ledger.embedded import wire
from faregate.stores.ledger.moves import (
    DONE,
    GRANTED,
    LOST,
    RELEASED,
    UNAVAILABLE,
    UNKNOWN,
    Claim,
    Standing,
    Teller,
)
from faregate.stores.ledger.protocol import LedgerError

WAIT_S: Final = 2.0
"""How long a call waits for the ledger."""
KEPT_MAX: Final = 10_000
KEPT_BYTES_MAX: Final = 64 << 20
"""Settlements that are kept with their answers while the ledger is away; further ones are kept as UNKNOWN."""
AWAY: Final = "ledger_away"
_LOOK_S: Final = 0.25
_RETRY_S: Final = 1.0
_ANSWER_BYTES_MAX: Final = 16 << 20
_NUMBERS: Final = 0xFFFFFFFF

_GRANTED: Final = Standing(GRANTED)
_DONE: Final = Standing(DONE)
_LOST: Final = Standing(LOST)


class Waiting:
    """One question. ``written``: it went out at least once. ``settles``: it is kept until it is stored."""

    __slots__ = ("attempt", "frame", "future", "key", "settles", "since", "teller", "written")

    def __init__(self, frame: bytes, teller: Teller | None, settles: bool, since: float) -> None:  # noqa: FBT001
        self.frame = frame
        self.teller = teller
        self.settles = settles
        self.since = since
        self.written = False
        self.key = b""
        self.attempt = b""
        self.future: asyncio.Future[bytes] | None = None


class Link:
    """The protocol of the connection, of whichever is open now. ``on_lost``: called when one has ended.

    ``degraded``: settlements of which only UNKNOWN could be kept.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: bytes) -> None:
        self.owner = owner
        self.degraded = 0
        self.lost: asyncio.Event | None = None
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._waiting: dict[int, Waiting] = {}
        self._number = 0
        self._out: list[bytes] = []
        self._flushing = False
        self._looking = False
        self._closed = False
        self._rest = b""
        self._kept = 0
        self._kept_bytes = 0

    @property
    def connected(self) -> bool:
        return self._transport is not None

    @property
    def unsettled(self) -> int:
        """Settlements that are not known to be stored."""
        return self._kept

    @property
    def waits_for_storing(self) -> bool:
        """Whether settlements may yet be stored soon."""
        return self._transport is not None and self._kept > 0

    # what is asked

    def claim(self, claim: Claim, teller: Teller) -> None:
        number = self._next()
        about = claim.about
        flags = (wire.SENDS if claim.sends else 0) | (wire.RESOLVES if claim.resolves else 0)
        frame = (
            wire.CLAIM_HEAD.pack(
                wire.CLAIM_BYTES + len(about),
                wire.CLAIM,
                number,
                flags,
                claim.keep_s,
                claim.key,
                claim.attempt,
                claim.fingerprint,
            )
            + about
        )
        self._ask(number, Waiting(frame, teller, False, time.monotonic()), claim.key, claim.attempt)  # noqa: FBT003

    def mark_sent(self, key: bytes, attempt: bytes, teller: Teller) -> None:
        number = self._next()
        frame = wire.SENT_HEAD.pack(wire.SENT_BYTES, wire.MARK_SENT, number, key, attempt)
        self._ask(number, Waiting(frame, teller, False, time.monotonic()), key, attempt)  # noqa: FBT003

    def settle(self, key: bytes, attempt: bytes, state: int, answer: bytes, teller: Teller | None) -> None:
        much = self._kept >= KEPT_MAX or self._kept_bytes + len(answer) > KEPT_BYTES_MAX
        if much and state != RELEASED:
            state, answer = UNKNOWN, b""
            self.degraded += 1
        number = self._next()
        length = wire.SETTLE_BYTES + len(answer)
        frame = wire.SETTLE_HEAD.pack(length, wire.SETTLE, number, state, key, attempt) + answer
        self._kept += 1
        self._kept_bytes += len(frame)
        self._ask(number, Waiting(frame, teller, True, time.monotonic()), key, attempt)  # noqa: FBT003

    def ask(self, payload: bytes) -> "asyncio.Future[bytes]":
        """The answer, MessagePack; it may end with ``LedgerError``."""
        number = self._next()
        waiting = Waiting(wire.framed(wire.ASK, number, payload), None, False, time.monotonic())  # noqa: FBT003
        waiting.future = future = self._loop.create_future()
        self._ask(number, waiting, b"", b"")
        return future

    def _next(self) -> int:
        self._number = self._number + 1 if self._number < _NUMBERS else 1
        return self._number

    def _ask(self, number: int, waiting: Waiting, key: bytes, attempt: bytes) -> None:
        waiting.key = key
        waiting.attempt = attempt
        self._waiting[number] = waiting
        if self._transport is not None:
            waiting.written = True
            self._out.append(waiting.frame)
            if not self._flushing:
                self._flushing = True
                self._loop.call_soon(self._flush)
        if not self._looking:
            self._looking = True
            self._loop.call_later(_LOOK_S, self._look)

    def _flush(self) -> None:
        self._flushing = False
        transport = self._transport
        if self._out:
            data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            self._out = []
            if transport is not None:
                transport.write(data)

    # time

    def _look(self) -> None:
        """Tells those who have waited long enough."""
        self._looking = False
        if self._closed:
            return
        late = time.monotonic() - WAIT_S
        for number, waiting in list(self._waiting.items()):
            if waiting.since > late:
                break
            self._give_up(number, waiting)
        if self._waiting and not self._looking:
            self._looking = True
            self._loop.call_later(_LOOK_S, self._look)

    def _give_up(self, number: int, waiting: Waiting) -> None:
        teller, waiting.teller = waiting.teller, None
        if not waiting.settles:
            del self._waiting[number]
            future = waiting.future
            if future is not None:
                if not future.done():
                    future.set_exception(LedgerError(AWAY))
            elif waiting.written:  # it may have been stored, and nothing of it is sent
                self.settle(waiting.key, waiting.attempt, RELEASED, b"", None)
        if teller is not None:
            teller.ledger_told(Standing(UNAVAILABLE, b"", b"", 0.0, AWAY))

    def _again(self, number: int) -> None:
        """Asks once more for a settlement that could not be stored."""
        waiting = self._waiting.get(number)
        if waiting is not None and self._transport is not None:
            self._out.append(waiting.frame)
            if not self._flushing:
                self._flushing = True
                self._loop.call_soon(self._flush)

    # the connection

    def connection_made(self, transport: asyncio.Transport) -> None:
        if self._closed:
            transport.abort()
            return
        self._transport = transport
        self._rest = b""
        self._out = []
        parts = [wire.hello(self.owner)]
        for waiting in self._waiting.values():
            waiting.written = True
            parts.append(waiting.frame)
        transport.write(b"".join(parts))

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        self._out = []
        if self.lost is not None:
            self.lost.set()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        """What waits is bounded by the calls in flight, and by what is kept."""

    def resume_writing(self) -> None:
        """Likewise."""

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
            self._rest = b""
        at = 0
        size = len(data)
        while size - at >= wire.HEAD_BYTES:
            length, what, number = wire.HEAD.unpack_from(data, at)
            if length < wire.HEAD_BYTES or length > _ANSWER_BYTES_MAX:
                self._abort()
                return
            end = at + length
            if end > size:
                break
            self._hear(what, number, data, at, end)
            at = end
        if at < size:
            self._rest = data[at:]

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _hear(self, what: int, number: int, data: bytes, at: int, end: int) -> None:
        waiting = self._waiting.get(number)
        if waiting is None:
            return  # it was withdrawn
        if what != wire.TOLD:
            del self._waiting[number]
            future = waiting.future
            if future is not None and not future.done():
                begin = at + wire.HEAD_BYTES
                payload = data[begin:end] if begin < end else b""
                if what == wire.ANSWER:
                    future.set_result(payload)
                else:
                    future.set_exception(LedgerError(payload.decode("ascii", "replace")))
            return
        kind = data[at + wire.HEAD_BYTES]
        if waiting.settles:
            if kind == UNAVAILABLE:
                self._loop.call_later(_RETRY_S, self._again, number)
                return
            self._kept -= 1
            self._kept_bytes -= len(waiting.frame)
        del self._waiting[number]
        teller = waiting.teller
        if teller is not None:
            teller.ledger_told(_standing(kind, data, at, end))

    # the end

    def close(self) -> None:
        """Lets go; whoever still waits is told."""
        waiting, self._waiting = self._waiting, {}
        self._closed = True
        transport = self._transport
        if transport is not None:
            if self._out:
                self._flush()
            transport.close()
        for one in waiting.values():
            if one.future is not None and not one.future.done():
                one.future.set_exception(LedgerError(AWAY))
            if one.teller is not None:
                one.teller.ledger_told(Standing(UNAVAILABLE, b"", b"", 0.0, AWAY))


def _standing(kind: int, data: bytes, at: int, end: int) -> Standing:
    if kind == GRANTED:
        return _GRANTED
    if kind == DONE:
        return _DONE
    if kind == LOST:
        return _LOST
    if kind == UNAVAILABLE:
        begin = at + wire.TOLD_BYTES
        reason = data[begin:end] if begin < end else b""
        return Standing(kind, b"", b"", 0.0, reason.decode("ascii", "replace"))
    _, _, _, _, age_ms, attempt = wire.FOUND_HEAD.unpack_from(data, at)
    begin = at + wire.FOUND_BYTES
    return Standing(kind, attempt, data[begin:end] if begin < end else b"", age_ms / 1000.0, "")
