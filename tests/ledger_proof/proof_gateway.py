"""The gateway of the proof: its processes known by what they run, and its configuration.

Two APIs over one upstream. ``alpha`` has two routes with keys of their own; ``beta`` waits for the first answer and has a query that settles
what is unknown. The upstream's deadlines are short, so that a run meets them.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from faregate.gateway.commands import Request, ask
from tests.ledger_proof.plan import CONSUMERS
from tests.support.configuration import Tree, base, consumer, with_payments
from tests.support.gateway import ROOT, fetch
from tests.support.live import LiveGateway

WORKER: Final = b"faregate.gateway.worker"
KEEPER: Final = b"faregate.stores.ledger.embedded.program"
LOOKUP_KEY: Final = hashlib.sha256(b"lookup key of the proof").hexdigest()
SEAL_KEY: Final = hashlib.sha256(b"seal key of the proof").hexdigest()
COMMAND_S: Final = 60.0


class ProofGateway(LiveGateway):
    """Knows its processes by what they run, also after upgrades. ``environment``: added to ours."""

    environment: Mapping[str, str] = {}

    def launch(self) -> None:
        with self._stderr_path.open("ab") as err, self._stdout_path.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "faregate", "run", str(self.file)], cwd=ROOT, stdin=subprocess.DEVNULL,
                stdout=out, stderr=err, start_new_session=True, env={**os.environ, **self.environment},
            )  # fmt: skip

    def running(self, program: bytes) -> list[int]:
        """Process ids of the gateway's processes that run this module."""
        assert self.process is not None
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, ProcessLookupError):
                if (
                    program in (entry / "cmdline").read_bytes().split(b"\0")
                    and os.getpgid(int(entry.name)) == self.process.pid
                ):
                    found.append(int(entry.name))
        return sorted(found)

    def answer(self, command: str, program: str = "") -> dict[str, object]:
        """What the running gateway says to a command, good or bad."""
        return ask(self.folder / "data", Request(command, program=program), COMMAND_S)

    def is_ready(self) -> bool:
        return self.process is not None and fetch(self.manager_port, "/readyz")[0] == 200


def configuration(port: int, manager_port: int, upstream: str, store: str, url: str) -> Tree:
    tree = with_payments(base(port, manager_port, upstream, workers=2))
    gateway, upstreams = tree["gateway"], tree["upstreams"]
    assert isinstance(gateway, dict)
    assert isinstance(upstreams, dict)
    if store != "embedded":
        gateway["ledger"] = {
            "store": url,
            "lookup_key": LOOKUP_KEY,
            "keys": [{"id": "one", "secret": SEAL_KEY}],
        }
    upstreams["main"] = {
        "targets": [upstream], "health": {"breaker": "off", "passive": "off"}, "connections": {"idle": 32, "max": 256},
        "timeouts": {"connect": "1s", "first_byte": "1500ms", "idle": "1500ms", "total": "4s"},
    }  # fmt: skip
    tree["consumers"] = {name: consumer(name, "pay", plan="roomy") for name in CONSUMERS}
    kept: Tree = {"required": True, "keep": "24h"}
    query: Tree = {"query": "GET /payments?key={key}", "done": {"status": [201]}, "answer": "query"}
    routes = {
        "alpha": [
            {"match": "POST /payments", "require": "pay", "idempotency": kept},
            {"match": "POST /refunds", "require": "pay", "idempotency": "required"},
        ],
        "beta": [
            {
                "match": "POST /payments",
                "require": "pay",
                "idempotency": {**kept, "wait": "700ms", "resolve": query},
            },
        ],
    }
    tree["apis"] = {
        name: {"upstream": "main", "authenticate": ["api_key"], "versions": {"v1": {"path": f"/{name}/v1"}}, "routes": list(some)}
        for name, some in routes.items()
    }  # fmt: skip
    return tree
