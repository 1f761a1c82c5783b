"""A worker over fakes whose one route keeps records in the model of a ledger, for the tests of claiming and settling."""

import json

from faregate.gateway.keeping import Keeping, Recordkeeping
from faregate.kernel.problems import Refusal
from faregate.snapshot.call import Call, Identity, ReadyConsumer, ReadyRoute
from faregate.snapshot.data import Version
from faregate.snapshot.idempotency import Idempotency
from faregate.stores.ledger.secrets import Secrets
from tests.gateway.fakes import FakeTransport, World, make_route
from tests.support.model_ledger import ModelBook, ModelLedger

BODY = b'{"amount":100}'
PAID = b'HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 13\r\nLocation: /v1/payments/p1\r\nX-Other: 1\r\n\r\n{"id": "p1"}\n'


def request(key: str | None = "k1", body: bytes = BODY, more: str = "", who: str = "acme") -> bytes:
    line = f"Idempotency-Key: {key}\r\n" if key is not None else ""
    head = f"POST /v1/payments HTTP/1.1\r\nHost: a\r\nX-Who: {who}\r\n{line}{more}Content-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


class Claimed(World):
    """A worker with one route that keeps records. ``settings``: of its idempotency."""

    def __init__(
        self, settings: Idempotency | None = None, book: ModelBook | None = None, **upstream: object
    ) -> None:
        self.settings = settings or Idempotency()
        self.consumers = {name: Identity(ReadyConsumer(name), f"key_{name}") for name in ("acme", "other")}
        super().__init__(self._routes, **upstream)
        self.ledger = ModelLedger(book or ModelBook(self.time))
        self.keeper = Recordkeeping(self.ledger, Secrets(b"l" * 32, [(b"key1", b"s" * 32)]))
        self.route.keeping = Keeping(self.settings, self.route.data, Version("v1", "/v1"), self.keeper)
        self.route.holds = True

    def _routes(self, upstream: object) -> list[ReadyRoute]:
        self.route = make_route(
            "POST", "/v1/payments", upstream, self._identify, idempotency=self.settings, body_bytes=1 << 16
        )
        return [self.route]

    def _identify(self, call: Call) -> Refusal | None:
        call.identity = self.consumers["other" if call.api_key == b"other" else "acme"]
        return None

    def say(self, transport: FakeTransport, data: bytes) -> None:
        """Delivered as a loop delivers it."""
        self.loop.call_soon(transport.deliver, data)
        self.run()

    def call(self, data: bytes) -> FakeTransport:
        caller = self.client()
        self.say(caller, data)
        return caller

    def arrive(self) -> FakeTransport:
        """The upstream's connection, once it was asked for and the ledger has been told."""
        self.loop.call_soon(self.pool.connect)
        self.run()
        return self.pool.made[-1]

    @property
    def states(self) -> list[int]:
        return [record.state for record in self.ledger.book.standing().values()]

    @property
    def moves(self) -> list[tuple[str, int]]:
        return [(name, state) for name, _, _, state in self.ledger.moves]


def answer(caller: FakeTransport) -> tuple[int, dict[str, str], bytes]:
    head, _, body = caller.take().partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    return int(lines[0].split()[1]), fields, body


def problem(caller: FakeTransport) -> tuple[int, str, str, str]:
    status, _, body = answer(caller)
    told = json.loads(body)
    return status, told["code"], told.get("outcome", "refused"), told["retry"]


def pay(world: Claimed, key: str, said: bytes = PAID) -> FakeTransport:
    caller = world.call(request(key))
    there = world.arrive() if world.pool.asked else world.pool.made[-1]
    there.take()
    world.loop.call_soon(there.deliver, said)
    world.run()
    return caller
