"""Plays a plan: callers that repeat, each attempt on a connection of its own, beside one fault a round.

It notes what callers were told and judges nothing. Where a gateway dies under a call, its caller asks again as real clients do.
"""

import asyncio
import hashlib
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from tests.ledger_proof.histories import (
    ACT_FIELD,
    ATTEMPT_FIELD,
    GATEWAY,
    KEY_FIELD,
    NO_VERDICT,
    NOT_RUN,
    Attempt,
    History,
    Scope,
    Window,
    grouped,
)
from tests.ledger_proof.plan import Errand, Plan, Round
from tests.support.client import Address, Answer, RawClient, request
from tests.support.configuration import key_line
from tests.support.wire import WireError

TIMEOUT_S: Final = 12.0
KEPT_FIELDS: Final = ("content-type", "location", "etag")
SETTLED_TRIES: Final = 20
TOGETHER: Final = 6
PART_MS: Final = 1
"""A caller that leaves so soon has not even sent all of its request."""


class Bench(Protocol):
    """What a plan is played on: the real gateway (``world``) or the stand-in."""

    history: History

    @property
    def address(self) -> Address: ...

    @property
    def faults(self) -> Mapping[str, "Deed"]: ...

    async def settle(self) -> None:
        """Mends everything, waits until nothing moves, and has an operator settle what is unknown."""


Deed = Callable[[random.Random, float], Awaitable[None]]
"""Breaks something, waits as long as it is told (seconds), mends it."""


@dataclass
class Driver:
    bench: Bench
    stopped_at: float = float("inf")
    """By the monotonic clock: rounds that would begin later are left out."""
    _turns: dict[int, int] = field(default_factory=dict)
    _errands: dict[int, Errand] = field(default_factory=dict)

    @property
    def history(self) -> History:
        return self.bench.history

    async def play(self, plan: Plan, *, asks_again: bool = True) -> None:
        """All rounds, then the settling, then every key once more where ``asks_again``."""
        for one in plan.rounds:
            if time.monotonic() > self.stopped_at:
                break
            await self._round(one)
        self.history.settled_at = time.monotonic()
        await self.bench.settle()
        if asks_again:
            await self._ask_again()

    async def _round(self, one: Round) -> None:
        async with asyncio.TaskGroup() as group:
            if one.fault:
                group.create_task(self._fault(one))
            for errand in one.errands:
                group.create_task(self._errand(errand))

    async def _fault(self, one: Round) -> None:
        deed = self.bench.faults.get(one.fault)
        if deed is None:
            return
        await asyncio.sleep(one.fault_ms / 1000)
        begin = time.monotonic()
        try:
            await deed(random.Random(one.seed), one.hold_ms / 1000)
        except AssertionError as error:
            self.history.complaints.append(f"{one.fault}: {error}")
        self.history.windows.append(Window(one.fault, begin, time.monotonic()))

    async def _errand(self, errand: Errand) -> None:
        await asyncio.sleep(errand.begins_ms / 1000)
        for turn in range(errand.tries):
            if turn:
                await asyncio.sleep(errand.pause_ms / 1000)
            attempt = await self.ask(errand, errand.leaves_ms if turn == 0 else 0)
            if attempt.told == "final" or attempt.status == 422:
                return

    async def ask(self, errand: Errand, leaves_ms: int = 0, *, last: bool = False) -> Attempt:
        """One attempt, on record whatever becomes of it."""
        turn = self._turns[errand.number] = self._turns.get(errand.number, 0) + 1
        self._errands.setdefault(errand.number, errand)
        scope = errand.scope
        attempt = Attempt(
            f"e{errand.number}.{turn}", errand.number, scope, errand.digest, time.monotonic(), last=last
        )
        self.history.attempts.append(attempt)
        data = request(
            "POST", f"/{scope.api}/v1/{scope.route}", f"{KEY_FIELD}: {scope.key}", f"{ATTEMPT_FIELD}: {attempt.name}",
            f"{ACT_FIELD}: {errand.act}", key_line(scope.consumer), "Content-Type: application/json",
            body=errand.body,
        )  # fmt: skip
        try:
            async with RawClient(self.bench.address, timeout_s=TIMEOUT_S) as client:
                part = leaves_ms == PART_MS
                await client.send(data[:-2] if part else data)
                if leaves_ms:
                    attempt.told = "part" if part else "left"
                    await asyncio.sleep(leaves_ms / 1000)
                    if leaves_ms % 2:
                        client.wire.reset_on_close()
                    return attempt
                answer = await client.answer("POST")
                if answer is not None:
                    read_answer(attempt, answer)
        except OSError:
            pass  # refused or reset: lost
        except TimeoutError:
            self.history.complaints.append(f"no answer in {TIMEOUT_S} s to {attempt.name} of {scope}")
        except WireError as error:
            attempt.told = "cut"
            if "cut" not in str(error) and "no line" not in str(error):
                self.history.complaints.append(f"{attempt.name}: {error}")
        finally:
            attempt.ended = time.monotonic()
        return attempt

    async def _ask_again(self) -> None:
        """Every key once more, with the body that it stands for; what is still on its way may take a few tries."""
        waiting = []
        for scope, (attempts, seen) in grouped(self.history).items():
            if not attempts:
                continue
            stands = next((line.digest for line in seen if line.what == "executed"), "")
            stands = stands or next((one.digest for one in attempts if one.told == "final"), "")
            chosen = next((one for one in attempts if one.digest == stands), attempts[0])
            errand = self._errands[chosen.errand]
            waiting.append(Errand(errand.number, scope, errand.body, "status=201", 0, 0, 1, 0))

        async def some() -> None:
            while waiting:
                await self._ask_last(waiting.pop())

        async with asyncio.TaskGroup() as group:
            for _ in range(TOGETHER):
                group.create_task(some())

    async def _ask_last(self, errand: Errand) -> None:
        for _ in range(SETTLED_TRIES):
            attempt = await self.ask(errand, last=True)
            if attempt.told == "final" or attempt.code not in {
                "idempotency_in_flight",
                "store_unavailable",
                "",
            }:
                return
            if attempt.outcome == "answered":
                return
            await asyncio.sleep(0.1)


def read_answer(attempt: Attempt, answer: Answer) -> None:
    """Notes what an answer says."""
    attempt.status = answer.status
    if not answer.body.complete:
        attempt.told = "cut"
        return
    kind = (answer.header("content-type") or "").split(";")[0]
    if kind == GATEWAY:
        said = answer.problem
        attempt.told = "refused"
        attempt.code = str(said["code"])
        attempt.outcome, attempt.retry = str(said.get("outcome", "")), str(said.get("retry", ""))
        attempt.retry_after = answer.header("retry-after") is not None
        return
    attempt.replayed = answer.header("idempotent-replayed") == "true"
    attempt.told = (
        "no_verdict" if attempt.status in NO_VERDICT else "not_run" if attempt.status in NOT_RUN else "final"
    )
    kept = [f"{name}: {answer.header(name)}" for name in KEPT_FIELDS]
    attempt.answer = hashlib.sha256(
        "\n".join([str(answer.status), *kept, ""]).encode() + answer.text
    ).hexdigest()[:16]
    said = json.loads(answer.text)
    attempt.said = {name: str(value) for name, value in said.items() if name != "filler"}


def scopes_of(plan: Plan) -> set[Scope]:
    return {errand.scope for one in plan.rounds for errand in one.errands}
