"""A gateway between an upstream that keeps accounts and the chaos proxy, one for each file of this folder."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import pytest

from tests.support.chaos import ChaosProxy
from tests.support.client import Answer, ask, request
from tests.support.configuration import Tree, base, changed, public_api
from tests.support.gateway import GatewayProcess
from tests.support.ledger import ID, LedgerUpstream

SEED: Final = 20261123
FIRST_BYTE_S: Final = 0.7
TOTAL_S: Final = 2


@dataclass
class Rig:
    """``/open/v1`` leads to the ledger through the proxy, ``/direct/v1`` without it."""

    gateway: GatewayProcess
    proxy: ChaosProxy
    ledger: LedgerUpstream

    def post(self, name: str, path: str = "/open/v1/pay", body: bytes = b"{}", *lines: str) -> Answer:
        """One call on a connection of its own."""
        return asyncio.run(ask(self.gateway.address, self.call(name, path, body, *lines)))

    @staticmethod
    def call(name: str, path: str = "/open/v1/pay", body: bytes = b"{}", *lines: str) -> bytes:
        return request("POST", path, f"{ID}: {name}", *lines, body=body)

    def seen(self, name: str) -> tuple[int, int]:
        """How often the ledger saw the head, and the whole, of a call."""
        entry = self.ledger.entries.get(name)
        return (0, 0) if entry is None else (entry.heads + entry.fragments, entry.complete)


def tree(
    port: int, manager_port: int, proxy: ChaosProxy, ledger: LedgerUpstream, *, workers: int = 1
) -> Tree:
    """What the rigs run: no passive ejection, so that each fault is seen by itself."""
    timeouts = {
        "connect": "500ms",
        "first_byte": f"{FIRST_BYTE_S * 1000:.0f}ms",
        "idle": "700ms",
        "total": f"{TOTAL_S}s",
    }
    made = base(port, manager_port, proxy.url, workers=workers)
    for name, url in (("main", proxy.url), ("direct", ledger.url)):
        upstream = {"targets": [url], "timeouts": timeouts, "health": {"passive": "off"}}
        made = changed(made, "upstreams", name, to=upstream)  # type: ignore[arg-type]
    made = changed(made, "apis", "open", to=public_api("main", "/open/v1", body="32MiB"))
    return changed(made, "apis", "direct", to=public_api("direct", "/direct/v1"))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with ExitStack() as stack:
        ledger = stack.enter_context(LedgerUpstream())
        proxy = stack.enter_context(ChaosProxy(ledger.address, SEED))
        folder = tmp_path_factory.mktemp("faults")
        gateway = stack.enter_context(
            GatewayProcess(folder, lambda port, manager: tree(port, manager, proxy, ledger))
        )
        yield Rig(gateway, proxy, ledger)


@pytest.fixture
def rig(running: Rig) -> Iterator[Rig]:
    """The file's rig without faults; they are taken away afterwards."""
    yield running
    running.ledger.mode = "echo"
    running.proxy.heal()
    running.proxy.reset_all()
