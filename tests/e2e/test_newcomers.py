"""Callers who come on a new connection each time, while workers come and go and a new version takes over: none is turned away."""

import http.client
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.configuration import Tree, base, changed
from tests.support.configuration import write as write_configuration
from tests.support.gateway import until
from tests.support.ledger import LedgerUpstream
from tests.support.live import LiveGateway
from tests.support.tls_client import TlsCaller

CALLERS = 6
PAUSE_S = 0.05
"""Between handshake and request in every other call: longer than the event loop is away."""


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[LiveGateway]:
    Authority().issue("CN=api", dns=("api.test",), client=False).write(tmp_path / "certs", "api")

    def make(port: int, manager: int) -> Tree:
        tls: Tree = {"certificates": [{"chain": "certs/api.pem", "key": "certs/api.key"}]}
        tree = base(port, manager, upstream.url, workers=2)
        return changed(tree, "gateway", "listen", to=[{"address": f"127.0.0.1:{port}", "tls": tls}])

    with LedgerUpstream() as upstream:
        made = LiveGateway(tmp_path, make)
        made.launch()
        try:
            made.wait_ready()
            until((tmp_path / "data" / "control").exists, "the control socket")
            yield made
        finally:
            made.kill()


class Newcomer(threading.Thread):
    """Calls until told to stop; ``faults``: what came in place of an answer."""

    def __init__(self, port: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._over = stop
        self.calls = 0
        self.faults: list[str] = []

    def run(self) -> None:
        while not self._over.is_set():
            self.calls += 1
            try:
                with TlsCaller(self._port) as caller:
                    if self.calls % 2:
                        time.sleep(PAUSE_S)
                    status = caller.ask("/open/v1/live").status
            except (OSError, ssl.SSLError, http.client.HTTPException) as error:
                self.faults.append(repr(error))
            else:
                if status != 200:
                    self.faults.append(str(status))


@pytest.mark.proof
@pytest.mark.paired
def test_new_connections_lose_no_call_while_workers_and_versions_change(gateway: LiveGateway) -> None:
    stop = threading.Event()
    newcomers = [Newcomer(gateway.port, stop) for _ in range(CALLERS)]
    for newcomer in newcomers:
        newcomer.start()
    try:
        for workers in (1, 2):
            write_configuration(gateway.folder, changed(gateway.tree, "gateway", "workers", to=workers))
            gateway.told("reload")
        gateway.told("upgrade")
    finally:
        stop.set()
    for newcomer in newcomers:
        newcomer.join(10)
    assert [fault for newcomer in newcomers for fault in newcomer.faults] == []
    assert sum(newcomer.calls for newcomer in newcomers) > 20
