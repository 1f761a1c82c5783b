"""The place of a soak: a gateway that speaks everything, its upstreams behind chaos proxies, and what faults leave on record.

``main`` has two targets, one behind a proxy and one reached directly, so that the gateway must tell a sick target from a well one; ``lone`` has only
the first, so that there are calls that cannot be sent. ``rpc`` is the same over HTTP/2; ``echo`` and ``rough`` take WebSockets, without
and with faults between.
"""

import contextlib
import os
import signal
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from faregate.gateway.commands import Request, ask
from tests.soak.log_index import LogIndex
from tests.soak.small_disk import SmallDisk
from tests.soak.tunnels import EchoLedger
from tests.support.certificates import Authority, Issued
from tests.support.chaos import Faults
from tests.support.chaos_process import ChaosProcess
from tests.support.configuration import (
    Tree,
    base,
    changed,
    consumer,
    key_line,
    public_api,
    with_payments,
    write,
)
from tests.support.gateway import fetch, until
from tests.support.ledger import LedgerUpstream
from tests.support.ledger_http2 import Http2Ledger
from tests.support.live import LiveGateway
from tests.support.live_accounts import Kill
from tests.support.load_keyed import Caller, Told
from tests.support.ports import free_ports
from tests.support.tls_client import plain_context

COMMAND_S: Final = 60.0
WORKERS: Final = 2
PLACES: Final = 64
"""Of the consumer ``acme``: more than the callers of a soak ever fill while the upstream is well."""
HOST: Final = "api.test"


@dataclass(frozen=True)
class Window:
    """When a fault held, by the monotonic clock."""

    name: str
    begin: float
    end: float


@dataclass
class Proxies:
    """Several proxies that misbehave alike."""

    all: list[ChaosProcess]

    def set(self, *, up: Faults | None = None, down: Faults | None = None, mute: bool = False) -> None:
        for proxy in self.all:
            proxy.set(up=up, down=down, mute=mute)

    def heal(self) -> None:
        for proxy in self.all:
            proxy.heal()

    def refuse(self) -> None:
        for proxy in self.all:
            proxy.refuse()

    def listen(self) -> None:
        for proxy in self.all:
            proxy.listen()

    def reset_all(self) -> None:
        for proxy in self.all:
            proxy.reset_all()


class SoakGateway(LiveGateway):
    """Knows the processes of the gateway by what they are, also after upgrades."""

    now: int = 0
    """The supervisor."""

    def look(self) -> int:
        self.now = self.supervisor
        return self.now

    def children(self) -> list[int]:
        with contextlib.suppress(OSError):
            return [
                int(pid) for pid in Path(f"/proc/{self.now}/task/{self.now}/children").read_text().split()
            ]
        return []

    def worker_pids(self) -> list[int]:
        return sorted(pid for pid in self.children() if self._is_worker(pid))

    def manager_pid(self) -> int:
        for pid in self.children():
            with contextlib.suppress(OSError):
                if b"faregate.manager" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
        return 0

    def stop(self, by: signal.Signals = signal.SIGTERM) -> None:
        """As its parent does, but tracebacks are left to ``tracebacks``: the summary is wanted all the more."""
        assert self.process is not None
        try:
            os.kill(self.look(), by)
            until(lambda: not self.group_alive(), "the last process of the group to end", 40)
            code = self.process.wait(5)
            assert code == 0, f"exit {code}: {self.stderr[-2000:]}"
        finally:
            self.kill()

    def tracebacks(self) -> list[str]:
        """What no process of a gateway may ever say, with the lines around it."""
        said = self.stderr.splitlines()
        return [
            "\n".join(said[max(0, at - 3) : at + 40]) for at, line in enumerate(said) if "Traceback" in line
        ]

    def answer(self, command: str, program: str = "") -> dict[str, object]:
        """What the running gateway says to a command, good or bad."""
        return ask(self.folder / "data", Request(command, program=program), COMMAND_S)


@dataclass
class World:
    """All that a fault may touch, and what it leaves for the judges: windows, kills, complaints."""

    gateway: SoakGateway
    tls_port: int
    spare_port: int
    """Nobody listens there, but for a listener that comes and goes."""
    proxies: Proxies
    ledger: LedgerUpstream
    rpc: Http2Ledger
    log: LogIndex
    disk: SmallDisk
    authority: Authority
    served: Issued
    hold_s: float
    original: Tree
    windows: list[Window] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    veteran: int = 0
    """The worker that is killed by nothing but an upgrade: its memory is followed."""
    changes: int = 0
    refusals: int = 0
    upgrades: int = 0
    lines_lost: float = 0
    """By the gateway's own count, in the faults that cost lines."""
    stalls: int = 0
    strangers: list[Told] = field(default_factory=list)
    """Calls that faults themselves began and left."""
    complaints: list[str] = field(default_factory=list)
    """Promises of a fault's own that were not kept, as of a reload that should have been refused."""

    def restore(self) -> None:
        """The configuration of the begin, so that what it holds open can be compared."""
        self.gateway.tree = self.original
        write(self.gateway.folder, self.original)
        told = self.gateway.answer("reload")
        if told["ok"] is not True:
            self.complaints.append(f"the first configuration was refused at the end: {told}")

    def choose_veteran(self) -> None:
        self.gateway.look()
        self.veteran = self.gateway.worker_pids()[0]

    def victims(self) -> list[int]:
        return [pid for pid in self.gateway.worker_pids() if pid != self.veteran]

    def ready(self) -> bool:
        return fetch(self.gateway.manager_port, "/readyz")[0] == 200


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What callers by HTTP/1.1 and by HTTP/2 offer."""
    one, two = plain_context(), plain_context()
    one.set_alpn_protocols(["http/1.1"])
    two.set_alpn_protocols(["h2", "http/1.1"])
    return one, two


CALLERS: Final = (
    Caller("acme", key_line("acme"), "/v2/payments"),
    Caller("bare", key_line("bare"), "/v2/payments"),
    Caller("-", "", "/lone/v1/pay"),
    Caller("-", "", "/rpc/v1/pay"),
)
TALKERS: Final = (
    Caller("talker", key_line("talker"), "/echo/v1/talk"),
    Caller("talker", key_line("talker"), "/rough/v1/talk"),
)
RUDE_PATH: Final = "/open/v1"


def listeners(port: int, tls_port: int) -> list[Tree]:
    tls: Tree = {"certificates": [{"chain": "certs/api.pem", "key": "certs/api.key"}]}
    return [{"address": f"127.0.0.1:{port}"}, {"address": f"127.0.0.1:{tls_port}", "tls": tls}]


def configuration(port: int, manager_port: int, tls_port: int, urls: dict[str, list[str]]) -> Tree:
    """``urls``: the targets of each upstream."""
    tree = with_payments(base(port, manager_port, urls["main"][0], workers=WORKERS))
    tree = changed(tree, "gateway", "listen", to=listeners(port, tls_port))  # type: ignore[arg-type]
    tree = changed(tree, "plans", "roomy", "concurrency", to=PLACES)
    tree = changed(tree, "consumers", "talker", to=consumer("talker", "talk"))
    for name, targets in urls.items():
        upstream = {
            "targets": targets,
            "balance": "round_robin",
            "timeouts": {"connect": "1s", "first_byte": "1500ms", "idle": "1500ms", "total": "4s"},
            "health": {"passive": {"failures": 5, "within": "2s", "eject_for": "500ms", "max_ejected": "50%"}
                       if len(targets) > 1 else "off"},
        }  # fmt: skip
        if name == "rpc":
            upstream["protocol"] = "h2"
        else:
            upstream["connections"] = {"idle": 32, "max": 256}
        tree = changed(tree, "upstreams", name, to=upstream)  # type: ignore[arg-type]
    tree = changed(tree, "apis", "lone", to=public_api("lone", "/lone/v1"))
    tree = changed(tree, "apis", "rpc", to=public_api("rpc", "/rpc/v1"))
    for name in ("echo", "rough"):
        talk = {
            "upstream": name,
            "authenticate": ["api_key"],
            "versions": {"v1": {"path": f"/{name}/v1"}},
            "routes": [{"match": "GET /talk", "require": "talk", "upgrade": "websocket"}],
        }
        tree = changed(tree, "apis", name, to=talk)  # type: ignore[arg-type]
    return tree


@contextlib.contextmanager
def built(folder: Path, seed: int, hold_s: float) -> Iterator[World]:
    """A world whose gateway is ready; what is left of it at the end is killed."""
    with ExitStack() as stack:
        ledger = stack.enter_context(LedgerUpstream())
        rpc = stack.enter_context(Http2Ledger(ledger.entries))
        echo = stack.enter_context(EchoLedger(ledger.entries))
        addresses = (ledger.address, rpc.address, echo.address)
        proxies = [ChaosProcess(address, seed + at) for at, address in enumerate(addresses)]
        for proxy in proxies:
            stack.enter_context(proxy)
        urls = {
            "main": [proxies[0].url, ledger.url],
            "lone": [proxies[0].url],
            "rpc": [proxies[1].url, rpc.url],
            "echo": [echo.url],
            "rough": [proxies[2].url],
        }
        tls_port, spare = free_ports(2)
        authority = Authority()
        served = authority.issue("CN=api", dns=(HOST,), client=False)
        served.write(folder / "certs", "api")
        disk = stack.enter_context(SmallDisk(folder / "data"))
        gateway = SoakGateway(folder, lambda port, manager: configuration(port, manager, tls_port, urls))
        log = LogIndex(folder / "data" / "access.jsonl")
        stack.callback(log.close)
        stack.callback(gateway.kill)
        gateway.launch()
        gateway.wait_ready()
        world = World(
            gateway, tls_port, spare, Proxies(proxies), ledger, rpc, log, disk, authority, served,
            hold_s, gateway.tree,
        )  # fmt: skip
        world.choose_veteran()
        yield world
