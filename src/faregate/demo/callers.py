"""Who calls in the demo: three shops that behave, and three callers that the gateway must put in their place.

Each caller has a rate and a few connections; what it does next is drawn from a seeded generator, so two
runs do alike. A caller remembers the payments it made, bounded, and takes one out before it captures or
refunds it: an honest caller is never refused by its own doing. Payments and refunds carry a key; what got no
good answer is sent again with the same key and body, and now and then one that did, as callers do whose own
network failed. Whether a call succeeded is for ``figures`` to count.
"""

import asyncio
import itertools
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Final

import msgspec

from faregate.demo.folder import Credentials
from faregate.demo.http_client import Answer, Connection, NoAnswerError, Request

_REMEMBERED_MAX: Final = 256
_AGAIN_MAX: Final = 3
"""How often a call is sent again."""
_AGAIN_ANYWAY: Final = 0.04
"""Share of the payments that are sent again although they were answered."""
_CARDS: Final = (
    {"number": "4242424242424242"},
    {"number": "5555555555554444"},
    {"token": "tok_visa"},
    {"token": "tok_mastercard"},
    {"token": "tok_declined"},
)
_CARD_WEIGHTS: Final = (30, 20, 30, 15, 5)


class _Payment(msgspec.Struct):
    """The part of the service's answer that a caller goes on with."""

    id: str
    amount_minor: int
    status: str = ""


@dataclass(frozen=True, slots=True)
class Planned:
    """A request, and what to do with its answer."""

    request: Request
    learn: Callable[[Answer], None] = field(default=lambda _answer: None)
    lost: Callable[[], None] = field(default=lambda: None)
    """What to do when no usable answer came."""


@dataclass(frozen=True, slots=True)
class Caller:
    """``rate`` calls per second over ``connections``; ``plan`` yields what to do next, for ever."""

    name: str
    rate: float
    connections: int
    plan: Iterator[Planned]


class Shop:
    """A merchant: authorises payments, looks at them, captures most, refunds some."""

    def __init__(self, path: str, headers: bytes, random: Random, *, refunds: bool = True) -> None:
        self._path = path
        self._headers = headers
        self._random = random
        self._refunds = refunds
        self._number = itertools.count(1)
        self._run = secrets.token_hex(4)  # keys of another run are other keys
        self._again: deque[tuple[Request, Callable[[Answer], None], int]] = deque(maxlen=_REMEMBERED_MAX)
        self._seen: deque[str] = deque(maxlen=_REMEMBERED_MAX)
        self._authorized: deque[str] = deque(maxlen=_REMEMBERED_MAX)
        self._captured: deque[tuple[str, int]] = deque(maxlen=_REMEMBERED_MAX)

    def plan(self) -> Iterator[Planned]:
        while True:
            lot = self._random.random()
            if self._again and lot < 0.25:
                yield self._keyed(*self._again.popleft())
            elif lot < 0.25 or not self._seen:
                yield self._create()
            elif lot < 0.40 and self._authorized:
                yield self._capture(self._authorized.popleft())
            elif lot < 0.47 and self._captured and self._refunds:
                yield self._refund(*self._captured.popleft())
            elif lot < 0.52:
                yield Planned(self._request("GET", "?limit=10"))
            else:
                yield Planned(self._request("GET", "/" + self._random.choice(self._seen)))

    def _request(self, method: str, rest: str, body: bytes = b"", *, keyed: bool = False) -> Request:
        headers = self._headers
        if keyed:
            headers += b"Idempotency-Key: %b-%d\r\n" % (self._run.encode(), next(self._number))
        return Request(method, f"{self._path}/payments{rest}", headers, body)

    def _keyed(self, request: Request, learn: Callable[[Answer], None], again: int = 0) -> Planned:
        """A call with a key, to be sent again when its answer is missing or says that it is not known."""

        def repeat() -> None:
            if again < _AGAIN_MAX:
                self._again.append((request, learn, again + 1))

        def learned(answer: Answer) -> None:
            if answer.status >= 500 or answer.status == 409:
                repeat()
                return
            learn(answer)
            if not again and request.path.endswith("/payments") and self._random.random() < _AGAIN_ANYWAY:
                self._again.append((request, lambda _answer: None, _AGAIN_MAX))

        return Planned(request, learned, repeat)

    def _create(self) -> Planned:
        body = {
            "amount_minor": self._random.randrange(100, 20_000),
            "currency": self._random.choice(("EUR", "NOK", "GBP")),
            "reference": f"order {next(self._number)}",
            "card": self._random.choices(_CARDS, _CARD_WEIGHTS)[0],
        }
        return self._keyed(self._request("POST", "", msgspec.json.encode(body), keyed=True), self._created)

    def _created(self, answer: Answer) -> None:
        if answer.status == 201:
            payment = msgspec.json.decode(answer.body, type=_Payment)
            self._seen.append(payment.id)
            if payment.status == "authorized":
                self._authorized.append(payment.id)

    def _capture(self, payment_id: str) -> Planned:
        return Planned(self._request("POST", f"/{payment_id}/capture"), self._was_captured)

    def _was_captured(self, answer: Answer) -> None:
        if answer.status == 200:
            payment = msgspec.json.decode(answer.body, type=_Payment)
            self._captured.append((payment.id, payment.amount_minor))

    def _refund(self, payment_id: str, amount_minor: int) -> Planned:
        body = msgspec.json.encode({"amount_minor": self._random.randint(1, amount_minor)})
        refund = self._request("POST", f"/{payment_id}/refunds", body, keyed=True)
        return self._keyed(refund, lambda _answer: None)


def _repeated(*requests: Request) -> Iterator[Planned]:
    return itertools.cycle([Planned(request) for request in requests])


def cast(credentials: Credentials, seed: int = 7) -> list[Caller]:
    """The six callers of the demo, about 200 calls a second together."""
    random = Random(seed)  # noqa: S311 - a script, no secret
    tokens, keys = credentials.tokens, credentials.api_keys
    shop = Shop("/v2", _bearer(tokens["acme-shop"]), random)
    northwind = Shop("/v1", _bearer(tokens["northwind"]), random)
    kiosk = Shop("/v2", _api_key(keys["corner-kiosk"]), random, refunds=False)
    refund = msgspec.json.encode({"amount_minor": 100})
    ledger = _api_key(keys["ledger-report"])
    listed = Request("GET", "/v2/payments?limit=5", ledger)
    not_allowed = Request(
        "POST", "/v2/payments/pay_1/refunds", ledger + b"Idempotency-Key: not-allowed\r\n", refund
    )
    return [
        Caller("acme-shop", 90, 12, shop.plan()),
        Caller("northwind", 50, 8, northwind.plan()),
        Caller("corner-kiosk", 36, 6, kiosk.plan()),
        Caller("ledger-report", 6, 2, _repeated(listed, listed, not_allowed)),
        Caller("hasty-bot", 14, 2, _repeated(Request("GET", "/v2/payments", _bearer(tokens["hasty-bot"])))),
        Caller(
            "stranger",
            4,
            1,
            _repeated(
                Request("GET", "/v2/payments", _bearer(credentials.forged)),
                Request("GET", "/v2/payments", _bearer(credentials.expired)),
                Request("GET", "/v2/payments"),
            ),
        ),
    ]


class Traffic:
    """Callers at work. ``report`` gets each answer, or None when no usable one came, exactly once a call."""

    def __init__(self, port: int, report: Callable[[Answer | None], None]) -> None:
        self._port = port
        self._report = report
        self._ending = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    def start(self, callers: Iterable[Caller]) -> None:
        """Lets ``callers`` call, a task for each of their connections, until ``end``."""
        for caller in callers:
            for number in range(caller.connections):
                self.tasks.append(asyncio.create_task(self._keep_calling(caller, number)))

    async def end(self, within_s: float) -> None:
        """No more calls: those on their way have ``within_s`` seconds to finish, then they are given up."""
        self._ending.set()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=within_s)
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _keep_calling(self, caller: Caller, number: int) -> None:
        loop = asyncio.get_running_loop()
        interval = caller.connections / caller.rate
        due = loop.time() + interval * number / caller.connections
        connection = Connection(self._port)
        try:
            while not await self._ended_before(due):
                await self._one_call(connection, next(caller.plan))
                # A call that outlasted its turn delays the next ones; it does not make them come in a burst.
                due = max(due + interval, loop.time())
        finally:
            connection.close()

    async def _ended_before(self, due: float) -> bool:
        try:
            async with asyncio.timeout_at(due):
                await self._ending.wait()
        except TimeoutError:
            return False
        return True

    async def _one_call(self, connection: Connection, planned: Planned) -> None:
        answer: Answer | None = None
        try:
            answer = await connection.call(planned.request)
            planned.learn(answer)
        except NoAnswerError:
            planned.lost()
        except msgspec.MsgspecError:
            answer = None
        finally:
            self._report(answer)


def _bearer(token: str) -> bytes:
    return f"Authorization: Bearer {token}\r\n".encode("ascii")


def _api_key(key: str) -> bytes:
    return f"X-API-Key: {key}\r\n".encode("ascii")
