"""The scenario `front`: what callers' connections cost. TLS, HTTP/2, idle connections, large bodies, reloads.

The same contenders as `peers`, listening in clear or by TLS, the same repeated tokens. Each series changes
one thing of the common call, so that it is read against `clear` of the same run.
"""

import datetime as dt
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.calls import HOST, get_call, payment_calls, post_call, write_calls
from benchmarks.contenders.base import Contender, Ground
from benchmarks.load import run_h2_load
from benchmarks.open_loop import run_fixed_rate
from benchmarks.peers import CONTENDERS, start_contenders
from benchmarks.processes import exchange
from benchmarks.proofs import bearer, prove
from benchmarks.rounds import LatencyRound, Round, charge, measure, warm_up

IDLE_CONNECTIONS: Final = 1_000
BODY_BYTES: Final = 64 << 10
RELOAD_EVERY_S: Final = 1.0
RELOAD_RATE: Final = 1_000
_FAR: Final = 100_000_000
"""A limit that one consumer alone cannot reach: h2load sends one token."""
CLEAR: Final = ("clear", "idle", "body_up", "body_down")
BY_TLS: Final = ("tls", "tls_new", "h2")


@dataclass
class FrontResult:
    """Rounds of every series; ``idle_bytes``: resident memory that an idle connection costs; ``reload``:
    latency at a fixed rate, calm and while the configuration is loaded again every second.
    """

    rounds: list[Round] = field(default_factory=list)
    idle_bytes: dict[str, float] = field(default_factory=dict)
    reload: list[tuple[str, LatencyRound]] = field(default_factory=list)


def make_certificate(path: Path) -> Path:
    """A P-256 certificate for 127.0.0.1 of our own making, with its key, as everybody here reads it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.touch(mode=0o600)
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    return path


def variants(names: Sequence[str], *, tls: bool) -> list[type[Contender]]:
    """The contenders of ``names`` with far limits, in clear or by TLS."""
    return [
        type(
            CONTENDERS[name].__name__ + ("Tls" if tls else "Clear"),
            (CONTENDERS[name],),
            {"tls": tls, "limit_second": _FAR, "limit_minute": _FAR},
        )
        for name in names
    ]


def body_calls(tokens: Sequence[str], count: int, *, up: bool) -> list[bytes]:
    """``count`` calls with a large body in the request, or asking for one in the answer."""
    body = b'{"data":"' + b"x" * (BODY_BYTES - 11) + b'"}'
    calls = []
    for number in range(count):
        credential = bearer(tokens[number % len(tokens)])
        calls.append(
            post_call("/v2/payments", credential, body) if up else get_call("/v2/payments/large", credential)
        )
    return calls


def closing(calls: Sequence[bytes]) -> list[bytes]:
    """The same calls, each the only one of its connection."""
    return [call.replace(b"\r\nHost:", b"\r\nConnection: close\r\nHost:", 1) for call in calls]


@contextmanager
def idle_connections(contender: Contender, call: bytes) -> Iterator[float]:
    """Holds many idle connections open, each after one call; gives what one costs in resident bytes."""
    before = sum(contender.resident_bytes().values())
    with ExitStack() as stack:
        for _ in range(IDLE_CONNECTIONS):
            connection = stack.enter_context(
                socket.create_connection(("127.0.0.1", contender.port), timeout=5)
            )
            connection.sendall(call)
            connection.recv(65536)
        yield (sum(contender.resident_bytes().values()) - before) / IDLE_CONNECTIONS


def run_front(ground: Ground, names: Sequence[str], rounds: int, calls: int) -> FrontResult:
    """Measures all series. Raises StartError, ProofError, LoadError; everything is stopped either way."""
    result = FrontResult()
    for tls in (False, True):
        with ExitStack() as stack:
            first = get_call("/v2/payments/start", bearer(ground.series.proof["valid"]))
            contenders = start_contenders(stack, ground, variants(names, tls=tls), first)
            for contender in contenders:
                prove(contender, ground.series.proof)
            warm_up(contenders, payment_calls(ground.series.repeated, 3_000, 0), ground.work)
            for number in range(rounds):
                for series in BY_TLS if tls else CLEAR:
                    for contender in contenders:
                        _one(result, contender, series, number, calls)
            if not tls:
                _reloads(result, ground, contenders, rounds)
    return result


def _one(result: FrontResult, contender: Contender, series: str, number: int, calls: int) -> None:
    ground = contender.ground
    tokens = ground.series.repeated
    path = ground.work / "round.calls"
    common = payment_calls(tokens, calls, number * calls)
    if series == "h2":
        headers = [f"authorization: Bearer {tokens[0]}", "accept: application/json"]
        done = charge(
            contender,
            series,
            number,
            lambda: run_h2_load(ground.programs["h2load"], contender.port, calls, headers, ground.load_core),
        )
    elif series == "idle":
        write_calls(path, common)
        with idle_connections(contender, get_call("/v2/payments/idle", bearer(tokens[0]))) as cost:
            result.idle_bytes.setdefault(contender.name, cost)
            done = measure(contender, series, number, path)
    else:
        few = max(1_000, calls // 5)
        made: dict[str, Callable[[], list[bytes]]] = {
            "clear": lambda: common,
            "tls": lambda: common,
            "tls_new": lambda: closing(common[:few]),
            "body_up": lambda: body_calls(tokens, few, up=True),
            "body_down": lambda: body_calls(tokens, few, up=False),
        }
        write_calls(path, made[series]())
        done = measure(contender, series, number, path)
    result.rounds.append(done)
    print(
        f"  round {number + 1} {series:9} {contender.name:13} {done.cpu_us:7.1f} us CPU a call"
        f" {done.calls_per_second:9.0f} calls/s",
        flush=True,
    )


def _reloads(result: FrontResult, ground: Ground, contenders: Sequence[Contender], rounds: int) -> None:
    """Latency calm and while Faregate loads its configuration again.

    Nobody beside it: nginx closes the kept connections of its old workers, so that calls under way on them
    fail; HAProxy starts another process; Envoy reads such a file once.
    """
    path = ground.work / "latency.calls"
    write_calls(path, payment_calls(ground.series.repeated, 2_000, 0))
    for number in range(rounds):
        for contender in contenders:
            if contender.name != "faregate":
                continue
            for what in ("calm", "reload"):
                stop = Event()
                hup = Thread(target=_hup, args=(contender, stop)) if what == "reload" else None
                if hup is not None:
                    hup.start()
                try:
                    got = run_fixed_rate(contender.port, path, RELOAD_RATE, 4.0, ground.load_core)
                finally:
                    stop.set()
                    if hup is not None:
                        hup.join()
                result.reload.append((what, LatencyRound(contender.name, number, got)))
                print(
                    f"  round {number + 1} {what:7} {contender.name:13} p50 {got.p50_us:6.0f} us"
                    f" p99 {got.p99_us:7.0f} us",
                    flush=True,
                )
                _settle(contender, ground)


def _hup(contender: Contender, stop: Event) -> None:
    """SIGHUP to the program's first process every second."""
    while not stop.is_set():
        os.kill(contender.pids()[0], signal.SIGHUP)
        stop.wait(RELOAD_EVERY_S)


def _settle(contender: Contender, ground: Ground) -> None:
    call = get_call("/v2/payments/settle", bearer(ground.series.repeated[0]))
    for _ in range(50):
        if exchange(contender.port, call, tls=contender.tls).status == 200:
            return
        time.sleep(0.1)
