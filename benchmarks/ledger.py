"""The scenario `ledger`: what it costs that no payment runs twice.

One Faregate for each store. The same payments, byte for byte but for the path, go to two routes, one of
which keeps a ledger: `plain`, `claimed` (a key never used before: claimed, sent, settled, each durable) and
`replay` (the keys of the round's claims once more); none of these is put into the audit tree, which is
another promise. Beside them, to see what such a route costs in all: `audited`, claimed with the audit tree
that a route with idempotency has by default, and `keyless`, plain without the caller's key. CPU is that of
all processes of the gateway, kernel time in their calls included; a store's server is told apart. Kernel
threads that write the disk's journal are charged to nobody. Both shared stores are set to lose nothing that
they told: `appendfsync always`, `synchronous_commit on`.
"""

import hashlib
import json
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks import tokens
from benchmarks.calls import payment_body, post_call, write_calls
from benchmarks.contenders.base import Contender, Ground
from benchmarks.contenders.faregate import Faregate, consumer_tree
from benchmarks.figures import Spread, paired_ratio
from benchmarks.load import LoadResult, run_load
from benchmarks.peers import start_contenders
from benchmarks.processes import Program, StartError, free_ports
from benchmarks.proofs import bearer
from benchmarks.rounds import LatencyRound, Round, charge, measure_latency, warm_up
from benchmarks.summary import cpu_by_number

SERIES: Final = ("plain", "claimed", "replay", "keyless", "audited")
_PATHS: Final = {"plain": "/v2/plain", "keyless": "/v2/plain", "audited": "/v2/audited"}
RATE: Final = 500
"""Calls a second of the latency runs: within what a disk syncs in each store."""
_FAR: Final = 100_000_000
CLAIMED_MOST: Final = 2.0
REPLAY_MOST: Final = 1.0
"""Of a call that the same route forwards."""
RATIOS: Final = (
    ("claimed", "plain", CLAIMED_MOST),
    ("replay", "claimed", REPLAY_MOST),
    ("replay", "plain", 0.0),
    ("claimed", "keyless", 0.0),
    ("audited", "plain", 0.0),
    ("audited", "keyless", 0.0),
)
_STORE: Final = "store"
_START_S: Final = 20.0


@dataclass(frozen=True)
class LedgerRatio:
    """CPU per call of ``series`` against that of ``base``, of one store; ``most`` is the promise, 0: none."""

    store: str
    series: str
    base: str
    ratio: Spread
    most: float

    @property
    def verdict(self) -> str:
        """``kept`` or ``broken``; of a shared store nothing was promised."""
        if self.store != "embedded" or not self.most:
            return "-"
        return "kept" if self.ratio.median <= self.most else "broken"


@dataclass
class LedgerResult:
    """Rounds of every store and series; ``p99_us``: of wrk's 64 connections, as fast as answers come;
    ``latency``: at a fixed rate, with the series measured; ``missing``: stores whose programs are not here.
    """

    rounds: list[Round] = field(default_factory=list)
    p99_us: dict[str, list[int]] = field(default_factory=dict)
    latency: list[tuple[str, LatencyRound]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def ratios(self) -> list[LedgerRatio]:
        """``RATIOS``, round by round; a store's server is left out."""
        gateway = [_without_store(each) for each in self.rounds]
        stores = dict.fromkeys(each.contender for each in self.rounds)
        return [
            LedgerRatio(
                store,
                series,
                base,
                paired_ratio(cpu_by_number(gateway, store, series), cpu_by_number(gateway, store, base)),
                most,
            )
            for store in stores
            for series, base, most in RATIOS
        ]


def _without_store(each: Round) -> Round:
    roles = {role: value for role, value in each.cpu_us_by_role.items() if role != _STORE}
    return Round(**(vars(each) | {"cpu_us": sum(roles.values()), "cpu_us_by_role": roles}))


# -- stores --


@dataclass(frozen=True)
class Store:
    """A store's server. ``command`` gets folder and port."""

    name: str
    url: str
    command: Callable[[Path, int], list[str]]


def redis_command(folder: Path, port: int) -> list[str]:
    """Redis that syncs before it answers."""
    return [
        "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "",
        "--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction",
    ]  # fmt: skip


def postgres_folder() -> Path | None:
    """Where PostgreSQL's programs lie, the newest; None: it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda one: int(one.parts[4]))
    return found[-1].parent if found else None


def _unprivileged() -> list[str]:
    """What PostgreSQL is started through where we are root, which it refuses to be."""
    if os.geteuid():
        return []
    known = {entry.pw_name for entry in pwd.getpwall()}
    user = "postgres" if "postgres" in known else "nobody"
    return ["setpriv", f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}", "--clear-groups"]


def postgres_command(folder: Path, port: int) -> list[str]:
    """Makes the database in ``folder``. Raises StartError."""
    tools = postgres_folder()
    assert tools is not None
    base = folder / "base"
    if not os.geteuid():
        shutil.chown(folder, _unprivileged()[1].removeprefix("--reuid="))
    made = subprocess.run(
        [*_unprivileged(), str(tools / "initdb"), "-D", str(base), "-U", "faregate", "-A", "trust"],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    if made.returncode:
        raise StartError(f"initdb: {made.stderr[-1000:]}")
    settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "",
                "shared_buffers": "128MB", "fsync": "on", "synchronous_commit": "on"}  # fmt: skip
    options = [f"-c{name}={value}" for name, value in settings.items()]
    return [*_unprivileged(), str(tools / "postgres"), "-D", str(base), *options]


REDIS: Final = Store("redis", "redis://127.0.0.1:{port}/0", redis_command)
POSTGRESQL: Final = Store("postgresql", "postgresql://faregate@127.0.0.1:{port}/postgres", postgres_command)


def stores_here() -> tuple[list[Store], list[str]]:
    """The shared stores whose programs are installed, and the names of the others."""
    here = {"redis": shutil.which("redis-server"), "postgresql": postgres_folder()}
    found = [store for store in (REDIS, POSTGRESQL) if here[store.name]]
    return found, [store.name for store in (REDIS, POSTGRESQL) if not here[store.name]]


@contextmanager
def running(store: Store, work: Path, core: int | None = None) -> Iterator[tuple[str, Program]]:
    """The store's server on ``core``, what it says in ``work``; its URL and process. Raises StartError."""
    folder = (
        Path("/tmp") / f"faregate-bench-{store.name}-{os.getpid()}"
    )  # not below what others may not enter
    folder.mkdir(mode=0o700)
    port = free_ports(1)[0]
    try:
        output = work / f"{store.name}-server.out"
        output.write_bytes(b"")
        server = Program(store.command(folder, port), output, core)
        try:
            _wait_for(port, store.name)
            yield store.url.format(port=port), server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(port: int, name: str) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise StartError(f"{name} does not listen on {port}")


# -- the gateway --


class LedgerFaregate(Faregate):
    """Faregate with one payment on three routes, two of which keep a ledger in ``name``."""

    url: str = ""
    server: Program | None = None

    def command(self) -> list[str]:
        data = self.ground.work / f"{self.name}-data"
        shutil.rmtree(data, ignore_errors=True)
        self.log = data / "access.jsonl"
        path = self.ground.work / f"{self.name}.json"
        path.write_text(json.dumps(self._tree(data)))
        return [self.ground.python, "-m", "faregate", "run", str(path)]

    def _tree(self, data: Path) -> dict[str, object]:
        gateway: dict[str, object] = {
            "listen": [{"address": f"127.0.0.1:{self.port}"}],
            "manager": {"address": f"127.0.0.1:{self.manager_port}"},
            "workers": 1,
            "data": str(data),
        }
        if self.url:
            keys = [{"id": "bench", "secret": _key("seal")}]
            gateway["ledger"] = {"store": self.url, "lookup_key": _key("lookup"), "keys": keys}
        issuer = {
            "issuer": tokens.ISSUER,
            "jwks": str(self.ground.series.key_set),
            "audience": tokens.AUDIENCE,
            "algorithms": ["RS256"],
            "consumer_claim": "sub",
        }
        routes = [
            {"match": "POST /plain", "require": "payments:write", "idempotency": "off"},
            {"match": "POST /kept", "require": "payments:write", "idempotency": "required", "audit": "off"},
            {"match": "POST /audited", "require": "payments:write", "idempotency": "required"},
        ]
        api = {
            "upstream": "payments",
            "authenticate": ["jwt"],
            "versions": {"v2": {"path": "/v2"}},
            "routes": routes,
        }
        plan = {"limits": [f"{_FAR}/second", f"{_FAR}/minute"], "concurrency": 1000}
        targets = [f"http://127.0.0.1:{port}" for port in self.ground.targets]
        return {
            "gateway": gateway,
            "issuers": {"bench": issuer},
            "upstreams": {"payments": {"targets": targets, "balance": "adaptive"}},
            "plans": {"standard": plan, "small": plan},
            "consumers": consumer_tree(),
            "apis": {"payments": api},
        }

    def roles(self) -> dict[str, list[int]]:
        return super().roles() | ({_STORE: self.server.pids()} if self.server is not None else {})


def _key(use: str) -> str:
    """Key material of this benchmark, worth nothing."""
    return hashlib.sha256(f"bench {use}".encode()).hexdigest()


def variant(name: str, url: str, server: Program | None) -> type[LedgerFaregate]:
    """The contender of one store."""
    attributes = {"name": name, "title": f"Faregate, ledger {name}", "url": url, "server": server}
    return type(f"LedgerFaregate_{name}", (LedgerFaregate,), attributes)


# -- what is sent --


def calls_of(series: str, all_tokens: Sequence[str], count: int, first: int) -> list[bytes]:
    """``count`` payments from serial ``first`` on; a replay's are the bytes of these claims."""
    path = _PATHS.get(series, "/v2/kept")
    made = []
    for serial in range(first, first + count):
        lines = bearer(all_tokens[serial % len(all_tokens)])
        if series != "keyless":
            lines += (
                f"\r\nIdempotency-Key: order-{serial:09d}-{hashlib.sha256(b'%d' % serial).hexdigest()[:16]}"
            )
        made.append(post_call(path, lines, payment_body(serial)))
    return made


def run_ledger(ground: Ground, rounds: int, calls: int, latency_seconds: float = 4.0) -> LedgerResult:
    """Measures every store that is here. Raises StartError, LoadError; everything is stopped either way."""
    result = LedgerResult()
    shared, result.missing = stores_here()
    series = ground.series.repeated
    with ExitStack() as stack:
        kinds: list[type[Contender]] = [variant("embedded", "", None)]
        for store in shared:
            server = running(store, ground.work, ground.load_core)
            kinds.append(variant(store.name, *stack.enter_context(server)))
        first = post_call("/v2/plain", bearer(series[0]), payment_body(0))
        contenders = start_contenders(stack, ground, kinds, first)
        serial = 1
        for name in SERIES[:2]:
            warm_up(contenders, calls_of(name, series, calls // 4, serial), ground.work)
        serial += calls
        for number in range(rounds):
            for name in SERIES:
                for contender in contenders:
                    _one(result, contender, name, number, calls_of(name, series, calls, serial))
            serial += calls
        many = int(RATE * latency_seconds * 1.5)
        for name in SERIES[:2]:
            for contender in contenders:
                sent = calls_of(name, series, many, serial)
                found = measure_latency([contender], ground, (RATE,), 1, latency_seconds, sent)
                result.latency += [(name, each) for each in found]
        return result


def _one(result: LedgerResult, contender: Contender, series: str, number: int, calls: list[bytes]) -> None:
    ground = contender.ground
    path = ground.work / "round.calls"
    write_calls(path, calls)
    loads: list[LoadResult] = []

    def load() -> LoadResult:
        loads.append(run_load(ground.programs["wrk"], contender.port, path, ground.load_core))
        return loads[-1]

    done = charge(contender, series, number, load)
    result.rounds.append(done)
    result.p99_us.setdefault(f"{contender.name} {series}", []).append(loads[-1].p99_us)
    print(
        f"  round {number + 1} {series:8} {contender.name:11} {done.cpu_us:7.1f} us CPU a call"
        f" {done.calls_per_second:9.0f} calls/s p99 {loads[-1].p99_us / 1000:.1f} ms",
        flush=True,
    )
