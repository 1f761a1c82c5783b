"""A shop that takes payments with the official Stripe SDK, through the gateway, and never gives up on an order.

The SDK makes the keys and repeats by its own rules (``max_network_retries``); where it gives up, the shop repeats with the same key,
as Stripe tells its users to. What was paid is counted where it was paid, not where it was told.
"""

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import stripe

from tests.ledger_proof.histories import read_seen
from tests.ledger_proof.upstream_process import UpstreamProcess
from tests.support.gateway import ROOT, fetch, until
from tests.support.ports import free_ports

RETRIES: Final = 5
GIVES_UP_S: Final = 240.0
AGAIN_S: Final = 0.5
CALLERS: Final = 6


class Service(Protocol):
    """A payment service behind the gateway. ``query``: the gateway's, to settle what is unknown."""

    url: str
    path: str
    route: str
    query: str

    def pay(self, client: stripe.StripeClient, order: int, options: Mapping[str, str]) -> str:
        """Pays an order by the SDK; the id of the payment as the caller is told."""

    def paid(self) -> Counter[str]:
        """How many payments were made under each key."""


class ExampleService:
    """The example payment service of the demo, JSON as the SDK sends it to ``/v2``."""

    path, route, query = "/v2", "POST /payments", "GET /payments?key={key}"

    def __init__(self, folder: Path) -> None:
        port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{port}"
        self.database = folder / "payments.db"
        self.port = port

    @contextmanager
    def running(self) -> Iterator[None]:
        command = [
            sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{self.port}", "--worker-class", "gthread", "--workers", "1",
            "--threads", "16", "--keep-alive", "75", "--graceful-timeout", "1", "--no-control-socket", "--log-level", "warning",
            "faregate.demo.payment_service.app:application()",
        ]  # fmt: skip
        environment = {**os.environ, "PAYMENTS_DATABASE": str(self.database), "PAYMENTS_DELAY_MS": "40"}
        with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
            try:
                until(lambda: fetch(self.port, "/healthz")[0] == 200, "the payment service", 20)
                yield
            finally:
                process.terminate()

    @staticmethod
    def pay(client: stripe.StripeClient, order: int, options: Mapping[str, str]) -> str:
        card = {"token": "tok_visa"}
        wanted = {
            "amount_minor": 1000 + order,
            "currency": "EUR",
            "reference": f"order-{order}",
            "card": card,
        }
        answer = client.raw_request("post", "/v2/payments", **wanted, **options)
        return str(answer.data["id"])

    def paid(self) -> Counter[str]:
        with closing(sqlite3.connect(self.database)) as connection:
            keyed = Counter(dict(connection.execute("SELECT key, count(*) FROM keys GROUP BY key")))
            (payments,) = connection.execute("SELECT count(*) FROM payments").fetchone()
        assert payments == keyed.total(), "payments without a key"
        return keyed


class FormService:
    """Stripe's own shape: ``POST /v1/payment_intents``, a form. It executes whatever it receives."""

    path, route = "/stripe/v1", "POST /payment_intents"
    query = "GET /payment_intents?key={key}"

    def __init__(self, folder: Path) -> None:
        self._upstream = UpstreamProcess(folder, free_ports(1)[0])
        self.url = f"http://127.0.0.1:{self._upstream.port}"

    @contextmanager
    def running(self) -> Iterator[None]:
        with self._upstream:
            yield

    @staticmethod
    def pay(client: stripe.StripeClient, order: int, options: Mapping[str, str]) -> str:
        wanted = {"amount": 1000 + order, "currency": "eur", "metadata": {"order": str(order)}}
        intent = client.v1.payment_intents.create(wanted, dict(options))  # type: ignore[arg-type]  # their typed dicts
        return str(intent["execution"])

    def paid(self) -> Counter[str]:
        return Counter(line.scope.key for line in read_seen(self._upstream.file) if line.what == "executed")


class KeyNoting(stripe.RequestsClient):
    """The SDK's own client, which also notes the key it sent last, by thread."""

    sent = threading.local()

    def request(self, method, url, headers, post_data=None):  # type: ignore[no-untyped-def]  # theirs
        self.sent.key = headers["Idempotency-Key"]
        self.sent.tries = getattr(self.sent, "tries", 0) + 1
        return super().request(method, url, headers, post_data)


@dataclass
class Shop:
    """``told``: the payment's id by key, of every order that was answered."""

    service: Service
    port: int
    token: str
    told: dict[str, str] = field(default_factory=dict)
    tries: int = 0
    gave_up: list[str] = field(default_factory=list)
    begun: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, meanwhile: Callable[[], None]) -> None:
        """Orders, several at a time, for as long as ``meanwhile`` runs."""
        over = threading.Event()
        with ThreadPoolExecutor(CALLERS) as pool:
            callers = [pool.submit(self._caller, over) for _ in range(CALLERS)]
            try:
                meanwhile()
            finally:
                over.set()
            for caller in callers:
                caller.result()

    def _caller(self, over: threading.Event) -> None:
        while not over.is_set():
            with self._lock:
                self.begun += 1
                number = self.begun
            self._order(number)

    def _order(self, number: int) -> None:
        base = f"http://127.0.0.1:{self.port}" + self.service.path.removesuffix("/v1").removesuffix("/v2")
        http = KeyNoting(timeout=20, verify_ssl_certs=False)
        client = stripe.StripeClient(
            self.token, base_addresses={"api": base}, max_network_retries=RETRIES, http_client=http
        )
        KeyNoting.sent.tries = 0
        options: dict[str, str] = {}
        ends = time.monotonic() + GIVES_UP_S
        try:
            while True:
                try:
                    told = self.service.pay(client, number, options)
                except stripe.StripeError as error:
                    options = {"idempotency_key": KeyNoting.sent.key}
                    if time.monotonic() > ends:
                        with self._lock:
                            self.gave_up.append(f"{KeyNoting.sent.key}: {error!r}")
                        return
                    time.sleep(AGAIN_S)
                else:
                    break
        finally:
            http.close()
        with self._lock:
            self.told[KeyNoting.sent.key] = told
            self.tries += KeyNoting.sent.tries
