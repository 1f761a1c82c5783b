"""A resolver on a stage: the ledger in memory, one target on 127.0.0.1, and a clock that stands."""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import msgspec

from faregate.gateway.assembly import ReadyUpstream
from faregate.gateway.balance import make_balancer
from faregate.gateway.keeping import Keeping, Recordkeeping
from faregate.gateway.resolving import Resolver
from faregate.snapshot.call import ReadyRoute
from faregate.snapshot.data import GatewayLimits, Route, Target, Upstream, Version
from faregate.snapshot.idempotency import Idempotency, Resolve
from faregate.stores.ledger.about import About, encode_about
from faregate.stores.ledger.protocol import RELEASED, UNKNOWN, Claim, Scope
from faregate.stores.ledger.sealing import Sealer
from faregate.stores.ledger.secrets import Secrets
from tests.gateway.test_health import PATIENCE_S, serving
from tests.support.model_ledger import ModelBook, ModelLedger

SECRETS = Secrets(b"l" * 32, [(b"0001", b"s" * 32)])
EVERY = Resolve("/v2/payments/{id}/refunds?key={key}", "payments", settling=10.0)
LABEL = "POST /payments/{id}/refunds"
JSON_OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: now\r\nContent-Length: 14\r\n\r\n{"id":"pay_1"}'
GONE = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}"


class Stage:
    """A resolver, the ledger in memory, one target, and a clock that stands."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.ledger = ModelLedger(ModelBook(lambda: self.now))
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.requests: list[bytes] = []
        self.came = asyncio.Event()
        self.answer = GONE
        self.hold: asyncio.Event | None = None
        self.upstream: ReadyUpstream | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(request)
        self.came.set()
        if self.hold is not None:
            await self.hold.wait()
        writer.write(self.answer)
        await writer.drain()

    def resolver(self) -> Resolver:
        return Resolver(
            lambda name, labels: self.counts.update([(name.removeprefix("faregate_ledger_"), *labels)]),
            wall=lambda: self.now,
            random=Random(1),
        )

    def route(self, resolve: Resolve | None = EVERY) -> ReadyRoute:
        idempotency = Idempotency(resolve=resolve, keeps_headers=(b"x-fee",))
        data = Route(
            "payments", 0, "POST", "/v2/payments/{id}/refunds", LABEL, "payments", idempotency=idempotency
        )
        version = Version("v2", "/v2")
        ready = ReadyRoute(data, version, None)
        ready.keeping = Keeping(idempotency, data, version, Recordkeeping(self.ledger, SECRETS))
        return ready

    async def unknown(self, key: bytes = b"k 1", **changes: object) -> bytes:
        """A record that was sent and never answered; its key."""
        found = SECRETS.locate(Scope("acme", "payments", LABEL, key))
        attempt = os.urandom(16)
        about = About(
            "acme", "payments", "v2", LABEL, "req-1", "POST", "/v2/payments/pay%201/refunds", self.now,
            Sealer(SECRETS).seal(found, attempt, key),
        )  # fmt: skip
        about = msgspec.structs.replace(about, **changes)
        claim = Claim(found, attempt, b"f" * 32, 3600, encode_about(about), sends=True, resolves=True)
        book = self.ledger.book
        book.claim(claim, self.ledger._owner)
        book.settle(found, attempt, UNKNOWN, b"")
        return found

    async def round(self, resolver: Resolver) -> int:
        async with asyncio.timeout(PATIENCE_S):
            begun = await resolver.look()
            await resolver.settled()
        return begun

    async def asked(self, count: int) -> None:
        """Waits until the target has had so many queries."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.requests) < count:
                self.came.clear()
                await self.came.wait()

    def state(self, key: bytes) -> int:
        record = self.ledger.book.find(key)
        return RELEASED if record is None else record.state

    def verdicts(self) -> dict[str, int]:
        return {labels[-1]: count for labels, count in self.counts.items()}


@asynccontextmanager
async def on_stage(resolve: Resolve | None = EVERY) -> AsyncIterator[tuple[Stage, Resolver]]:
    stage = Stage()
    async with serving(stage.serve) as target:
        upstream = ready_upstream(target)
        stage.upstream = upstream
        resolver = stage.resolver()
        resolver.follow([stage.route(resolve)], {"payments": upstream})
        try:
            yield stage, resolver
        finally:
            await resolver.close()
            upstream.end()


def ready_upstream(*targets: Target, protocol: str = "http1") -> ReadyUpstream:
    data = Upstream("payments", targets, protocol=protocol)
    balancer = make_balancer(data, None, time.monotonic())
    return ReadyUpstream(data, balancer, asyncio.get_running_loop(), GatewayLimits())
