"""The real gateway as a bench: two workers, upstream and store of its own, chaos proxies between, and an operator.

``faults`` are what a round may bring; each breaks something, holds and mends it. Where a fault makes sure that no claim can be
stored meanwhile, it says so (``store_away``), and the judge then insists that nothing begun in that time was sent.
"""

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from faregate.stores.ledger.protocol import LEASE_S
from tests.ledger_proof.driver import Deed
from tests.ledger_proof.histories import History, Scope, Window, read_seen
from tests.ledger_proof.operator import Operator
from tests.ledger_proof.proof_gateway import KEEPER, LOOKUP_KEY, WORKER, ProofGateway, configuration
from tests.ledger_proof.store_servers import SERVERS, StoreServer
from tests.ledger_proof.upstream_process import UpstreamProcess
from tests.support.chaos import Faults
from tests.support.chaos_process import ChaosProcess
from tests.support.client import Address
from tests.support.configuration import write
from tests.support.gateway import until
from tests.support.ports import free_ports

STORES: Final = ("embedded", "redis", "postgresql")
QUIET_S: Final = 40.0
"""How long calls and records in flight may take to come to rest: a lease of an owner that is gone, and some."""
STALLED_S: Final = 2.2
"""More than a call waits for its ledger before it is told that there is none."""


_COMMON: Final = (
    "cut_up", "cut_down", "reset_up", "reset_down", "upstream_refuses", "upstream_silent", "upstream_killed",
    "worker_killed", "workers_killed", "worker_paused", "gateway_killed", "reloaded", "upgraded",
)  # fmt: skip
_EMBEDDED: Final = ("ledger_killed", "ledger_paused", "ledger_stalled", "ledger_and_workers_killed")
_SHARED: Final = (
    "store_killed", "store_paused", "store_cut_up", "store_cut_down", "store_refuses", "store_slow", "store_stalled",
    "worker_stalled",
)  # fmt: skip


def fault_names(store: str) -> tuple[str, ...]:
    """What may be done to a world with this store."""
    return (*_COMMON, *(_EMBEDDED if store == "embedded" else _SHARED))


@dataclass
class World:
    """All that a fault may touch."""

    store: str
    gateway: ProofGateway
    upstream: UpstreamProcess
    proxy: ChaosProcess
    server: StoreServer | None
    store_proxy: ChaosProcess | None
    operator: Operator
    history: History = field(default_factory=History)
    revisions: int = 0
    quiet_s: float = QUIET_S
    lease_s: float = LEASE_S

    @property
    def address(self) -> Address:
        return self.gateway.address

    @property
    def faults(self) -> Mapping[str, Deed]:
        networks = {
            "cut_up": self._network("up", cut=True),
            "cut_down": self._network("down", cut=True),
            "reset_up": self._network("up", cut=False),
            "reset_down": self._network("down", cut=False),
            "store_cut_up": self._store_cut("up"),
            "store_cut_down": self._store_cut("down"),
        }
        return {name: networks.get(name) or getattr(self, f"_{name}") for name in fault_names(self.store)}

    # networks and upstream

    def _network(self, direction: str, *, cut: bool) -> Deed:
        async def deed(dice: random.Random, hold_s: float) -> None:
            after = dice.randrange(700)
            faults = Faults(cut_after=after) if cut else Faults(reset_after=after)
            await asyncio.to_thread(self.proxy.set, **{direction: faults})
            await asyncio.sleep(hold_s)
            await asyncio.to_thread(self.proxy.heal)
            await asyncio.to_thread(self.proxy.reset_all)

        return deed

    async def _upstream_refuses(self, _: random.Random, hold_s: float) -> None:
        await asyncio.to_thread(self.proxy.refuse)
        await asyncio.sleep(hold_s)
        await asyncio.to_thread(self.proxy.listen)

    async def _upstream_silent(self, dice: random.Random, hold_s: float) -> None:
        way = dice.choice(("up", "down", "mute"))
        await asyncio.to_thread(
            self.proxy.set, **({"mute": True} if way == "mute" else {way: Faults(silent=True)})
        )  # type: ignore[arg-type]
        await asyncio.sleep(hold_s)
        await asyncio.to_thread(self.proxy.heal)

    async def _upstream_killed(self, _: random.Random, hold_s: float) -> None:
        await asyncio.to_thread(self.upstream.kill)
        await asyncio.sleep(hold_s)
        await asyncio.to_thread(self.upstream.start)

    # the gateway's processes

    async def _worker_killed(self, dice: random.Random, hold_s: float) -> None:
        for pid in self.gateway.running(WORKER)[dice.randrange(2) :][:1]:
            os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(hold_s)

    async def _workers_killed(self, _: random.Random, hold_s: float) -> None:
        for pid in self.gateway.running(WORKER):
            os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(hold_s)

    async def _worker_paused(self, dice: random.Random, hold_s: float) -> None:
        await self._paused(self.gateway.running(WORKER)[dice.randrange(2) :][:1], hold_s)

    async def _paused(self, pids: list[int], hold_s: float) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(hold_s)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    async def _worker_stalled(self, dice: random.Random, hold_s: float) -> None:
        """For longer than its leases: what it claimed is another's when it wakes, and what it sent is unknown."""
        await self._paused(self.gateway.running(WORKER)[dice.randrange(2) :][:1], self.lease_s + hold_s)

    async def _gateway_killed(self, _: random.Random, hold_s: float) -> None:
        await asyncio.to_thread(self.gateway.kill)
        await asyncio.sleep(hold_s / 2)
        await asyncio.to_thread(self._start)

    def _start(self) -> None:
        self.gateway.launch()
        self.gateway.wait_ready()

    async def _reloaded(self, _: random.Random, hold_s: float) -> None:
        self.revisions += 1
        tree = self.gateway.tree
        upstreams = tree["upstreams"]
        assert isinstance(upstreams, dict)
        main = upstreams["main"]
        assert isinstance(main, dict)
        main["connections"] = {"idle": 32 + self.revisions % 7, "max": 256}
        await asyncio.to_thread(write, self.gateway.folder, tree)
        told = await asyncio.to_thread(self.gateway.answer, "reload")
        assert told["ok"] is True, told
        await asyncio.sleep(hold_s)

    async def _upgraded(self, _: random.Random, hold_s: float) -> None:
        told = await asyncio.to_thread(self.gateway.answer, "upgrade", sys.executable)
        assert told["ok"] is True, told
        await asyncio.sleep(hold_s)

    # the ledger

    async def _ledger_killed(self, _: random.Random, hold_s: float) -> None:
        for pid in self.gateway.running(KEEPER):
            os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(hold_s)

    async def _ledger_paused(self, _: random.Random, hold_s: float) -> None:
        pids = self.gateway.running(KEEPER)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        with self._away("ledger_paused"):
            await asyncio.sleep(hold_s)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    async def _ledger_stalled(self, dice: random.Random, hold_s: float) -> None:
        """For so long that callers are told."""
        await self._ledger_paused(dice, STALLED_S + hold_s)

    async def _ledger_and_workers_killed(self, _: random.Random, hold_s: float) -> None:
        for pid in (*self.gateway.running(KEEPER), *self.gateway.running(WORKER)):
            os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(hold_s)

    async def _store_killed(self, _: random.Random, hold_s: float) -> None:
        assert self.server is not None
        await asyncio.to_thread(self.server.kill)
        with self._away("store_killed"):
            await asyncio.sleep(hold_s)
        await asyncio.to_thread(self.server.start)

    async def _store_paused(self, _: random.Random, hold_s: float) -> None:
        assert self.server is not None
        self.server.signal("pause")
        with self._away("store_paused"):
            await asyncio.sleep(hold_s)
        self.server.signal("go_on")

    async def _store_stalled(self, dice: random.Random, hold_s: float) -> None:
        """For so long that callers are told."""
        await self._store_paused(dice, STALLED_S + hold_s)

    def _store_cut(self, direction: str) -> Deed:
        async def deed(dice: random.Random, hold_s: float) -> None:
            assert self.store_proxy is not None
            await asyncio.to_thread(
                self.store_proxy.set, **{direction: Faults(cut_after=dice.randrange(900))}
            )
            await asyncio.sleep(hold_s)
            await asyncio.to_thread(self.store_proxy.heal)

        return deed

    async def _store_refuses(self, _: random.Random, hold_s: float) -> None:
        assert self.store_proxy is not None
        await asyncio.to_thread(self.store_proxy.refuse)
        with self._away("store_refuses"):
            await asyncio.sleep(hold_s)
        await asyncio.to_thread(self.store_proxy.listen)

    async def _store_slow(self, dice: random.Random, hold_s: float) -> None:
        assert self.store_proxy is not None
        slow = Faults(delay_ms=dice.randrange(20, 400), jitter_ms=100)
        await asyncio.to_thread(self.store_proxy.set, up=slow)
        await asyncio.sleep(hold_s)
        await asyncio.to_thread(self.store_proxy.heal)

    @contextmanager
    def _away(self, name: str) -> Iterator[None]:
        begin = time.monotonic()
        yield
        self.history.windows.append(Window(name, begin, time.monotonic(), store_away=True))

    # the end

    def recorded(self) -> History:
        """Both histories as they are now."""
        self.history.seen = read_seen(self.upstream.file)
        return self.history

    async def settle(self) -> None:
        """Waits until nothing is on its way, then decides every unknown by the upstream's own ledger."""
        await asyncio.to_thread(self._come_to_rest)
        executed = {line.scope for line in self.recorded().seen if line.what == "executed"}
        asked: dict[Scope, bool] = {one.scope: one.scope in executed for one in self.history.attempts}
        self.history.verdicts.update(await asyncio.to_thread(self.operator.settle, asked, self.quiet_s))
        self.history.complaints += self.operator.complaints

    def _come_to_rest(self) -> None:
        self.proxy.heal()
        self.proxy.reset_all()
        if self.store_proxy is not None:
            self.store_proxy.heal()
        until(
            lambda: self.gateway.is_ready() and len(self.gateway.running(WORKER)) == 2, "two workers", QUIET_S
        )
        until(lambda: self.gateway.metric("faregate_calls_in_flight") == 0, "no more calls", QUIET_S)
        for _ in range(2):
            self.upstream.wait_idle()
            time.sleep(0.1)

    def stop(self) -> None:
        """Ends the gateway as an operator does. What it says badly is a complaint of the bench."""
        try:
            self.gateway.stop()
        except (AssertionError, OSError) as error:
            self.history.complaints.append(f"the gateway's end: {error}")
        said = self.gateway.stderr.splitlines()
        for at, line in enumerate(said):
            if "Traceback" in line:
                self.history.complaints.append("\n".join(said[max(0, at - 3) : at + 40]))


@contextmanager
def built(
    folder: Path, store: str, environment: Mapping[str, str] | None = None, seed: int = 1
) -> Iterator[World]:
    """A world whose gateway is ready; what is left of it at the end is killed."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        upstream = stack.enter_context(UpstreamProcess(folder, free_ports(1)[0]))
        proxy = stack.enter_context(ChaosProcess(upstream.address, seed))
        server = store_proxy = None
        url = direct = ""
        if store != "embedded":
            server = stack.enter_context(SERVERS[store](folder / "store"))
            store_proxy = stack.enter_context(ChaosProcess(("127.0.0.1", server.port), seed))
            url, direct = server.url(store_proxy.port), server.url(server.port)
        gateway = ProofGateway(
            folder, lambda port, manager: configuration(port, manager, proxy.url, store, url)
        )
        gateway.environment = environment or {}
        stack.callback(gateway.kill)
        gateway.launch()
        gateway.wait_ready()
        yield World(
            store,
            gateway,
            upstream,
            proxy,
            server,
            store_proxy,
            Operator(gateway.file, store, direct, LOOKUP_KEY),
        )
