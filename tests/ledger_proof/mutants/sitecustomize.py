"""Plants a bug in the processes of a gateway, for tests of the judge; Python imports this at each start when the proof says so.

Nothing of it is in the product: ``FAREGATE_PROOF_MUTANT`` names the bug, ``FAREGATE_PROOF_LEASE_S`` shortens leases, and both work on the
sources as they run (``FAREGATE_COMPILED=off``). Without either this file does nothing.
"""

import os
import sys
import threading
import time

LATE_S = 1.0


def short_leases(lease_s: float, store: str) -> None:
    """The store's leases last so many seconds and are renewed three times in each; what others take leases for stays."""
    from importlib import import_module

    from faregate.stores.ledger import moves, protocol

    before = protocol.LEASE_S, protocol.RENEW_S
    for place in (moves, protocol):  # one passes on what the other says
        place.LEASE_S, place.RENEW_S = lease_s, lease_s / 3  # type: ignore[misc]
    for module in MODULES[store]:
        import_module(f"faregate.stores.ledger.{module}")
    for place in (moves, protocol):
        place.LEASE_S, place.RENEW_S = before  # type: ignore[misc]


def claim_after_send() -> None:
    """Workers do not wait for the claim: the call is sent while it is made."""
    import asyncio

    from faregate.stores.ledger.embedded.link import Link
    from faregate.stores.ledger.protocol import GRANTED, Standing, Teller

    ask = Link.claim

    class Nobody(Teller):
        def ledger_told(self, standing: Standing) -> None:
            """It was told as granted long ago."""

    def claim(self, asked, teller):  # type: ignore[no-untyped-def]
        asyncio.get_running_loop().call_soon(teller.ledger_told, Standing(GRANTED))
        ask(self, asked, Nobody())

    Link.claim = claim  # type: ignore[method-assign]


def claim_not_durable() -> None:
    """The ledger's process tells before it writes: what came in the last second is lost with it."""
    from faregate.stores.ledger.embedded.disk import Disk

    waiting: list[tuple[float, int, bytes, int]] = []
    lock = threading.Lock()
    write, read, cut = Disk.write, Disk.read, Disk.cut
    disk = Disk()

    def flush(older_than: float) -> None:
        with lock:
            while waiting and waiting[0][0] <= older_than:
                _, descriptor, data, at = waiting.pop(0)
                write(disk, descriptor, data, at)

    def always() -> None:
        while True:
            time.sleep(0.02)
            flush(time.monotonic() - LATE_S)

    def later(self, descriptor, data, at):  # type: ignore[no-untyped-def]
        with lock:
            waiting.append((time.monotonic(), descriptor, data, at))

    def written_first(call):  # type: ignore[no-untyped-def]
        def wrapped(self, *arguments):  # type: ignore[no-untyped-def]
            flush(float("inf"))
            return call(self, *arguments)

        return wrapped

    Disk.write = later  # type: ignore[method-assign]
    Disk.read, Disk.cut = written_first(read), written_first(cut)  # type: ignore[method-assign]
    Disk.sync = lambda self, descriptor: None  # type: ignore[method-assign]
    threading.Thread(target=always, daemon=True).start()


def sent_reclaimed() -> None:
    """What an owner that is gone had sent is set free, as what it had only claimed."""
    from faregate.stores.ledger.embedded.book import Book
    from faregate.stores.ledger.protocol import CLAIMED

    settle = Book.settle_gone

    def settle_gone(self):  # type: ignore[no-untyped-def]
        for owner in self.owners.values():
            if 0 < owner.gone_ms <= self.now_ms:
                for record in owner.holds.values():
                    record.state = CLAIMED
        settle(self)

    Book.settle_gone = settle_gone  # type: ignore[method-assign]


def fail_open() -> None:
    """A call is sent although its ledger is away."""
    from faregate.stores.ledger.embedded.link import Link
    from faregate.stores.ledger.protocol import GRANTED, UNAVAILABLE, Standing, Teller

    ask = Link.claim

    class Optimist(Teller):
        def __init__(self, teller: Teller) -> None:
            self.teller = teller

        def ledger_told(self, standing: Standing) -> None:
            self.teller.ledger_told(Standing(GRANTED) if standing.kind == UNAVAILABLE else standing)

    Link.claim = lambda self, claim, teller: ask(self, claim, Optimist(teller))  # type: ignore[method-assign]


MUTANTS = {
    "fail_open": fail_open,
    "claim_after_send": claim_after_send,
    "claim_not_durable": claim_not_durable,
    "sent_reclaimed": sent_reclaimed,
}

MODULES = {
    "embedded": ("embedded.book",),
    "redis": ("remote", "redis_scripts"),
    "postgresql": ("remote", "postgres_sql"),
}
"""Where a store reads how long leases last."""

lease = os.environ.get("FAREGATE_PROOF_LEASE_S", "")
mutant = os.environ.get("FAREGATE_PROOF_MUTANT", "")
if any("faregate" in word for word in sys.orig_argv):
    if lease:
        short_leases(float(lease), os.environ["FAREGATE_PROOF_STORE"])
    if mutant:
        MUTANTS[mutant]()
