"""The scenario `peers`: Faregate, nginx bare, HAProxy and Envoy, the same calls, two series of tokens."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from benchmarks.calls import get_call, payment_calls
from benchmarks.contenders.base import Contender, Ground
from benchmarks.contenders.envoy import Envoy, EnvoyCached
from benchmarks.contenders.faregate import Faregate
from benchmarks.contenders.haproxy import HAProxy
from benchmarks.contenders.nginx import NginxBare, start_upstream
from benchmarks.processes import free_ports
from benchmarks.proofs import Proof, bearer, prove
from benchmarks.rounds import LatencyRound, Round, interleave, measure_latency, warm_up
from benchmarks.tokens import token_slice

CONTENDERS: Final[dict[str, type[Contender]]] = {
    kind.name: kind for kind in (Faregate, NginxBare, HAProxy, Envoy, EnvoyCached)
}
SERIES: Final = ("repeated", "unique")


@dataclass(frozen=True)
class PeersPlan:
    """How much to measure. ``calls`` per round; the fixed rates in calls a second."""

    contenders: tuple[str, ...] = tuple(CONTENDERS)
    rounds: int = 5
    calls: int = 30_000
    warm_calls: int = 5_000
    rates: tuple[int, ...] = (1_000, 3_000)
    latency_rounds: int = 5
    latency_seconds: float = 4.0

    @property
    def unique_tokens(self) -> int:
        """Unique tokens needed: each round its own, the same ones for every contender."""
        return self.rounds * self.calls


@dataclass
class PeersResult:
    """Everything the scenario saw."""

    proofs: dict[str, list[Proof]] = field(default_factory=dict)
    start_seconds: dict[str, float] = field(default_factory=dict)
    rounds: list[Round] = field(default_factory=list)
    latency: list[LatencyRound] = field(default_factory=list)


def start_contenders(
    stack: ExitStack, ground: Ground, kinds: Sequence[type[Contender]], first_call: bytes
) -> list[Contender]:
    """Starts the upstream and each contender; ``stack`` stops them, the last first. Raises StartError."""
    stack.callback(start_upstream(ground).stop)
    contenders = []
    ports = free_ports(2 * len(kinds))
    for index, kind in enumerate(kinds):
        contender = kind(ground, ports[2 * index], ports[2 * index + 1])
        stack.callback(contender.stop)
        contender.start(first_call)
        contenders.append(contender)
    return contenders


def run_peers(ground: Ground, plan: PeersPlan) -> PeersResult:
    """Starts, proves, measures. Raises StartError, ProofError, LoadError; everything is stopped
    either way.
    """
    result = PeersResult()
    series = ground.series
    with ExitStack() as stack:
        kinds = [CONTENDERS[name] for name in plan.contenders]
        first = get_call("/v2/payments/start", bearer(series.proof["valid"]))
        contenders = start_contenders(stack, ground, kinds, first)
        for contender in contenders:
            result.start_seconds[contender.name] = contender.start_seconds
            result.proofs[contender.name] = prove(contender, series.proof)
            print(f"  {contender.title}: {len(result.proofs[contender.name])} proofs hold", flush=True)
        warm_up(contenders, payment_calls(series.repeated, plan.warm_calls, 0), ground.work)

        def make_calls(_: Contender, name: str, number: int) -> list[bytes]:
            tokens = series.repeated if name == "repeated" else token_slice(series.unique, number, plan.calls)
            return payment_calls(tokens, plan.calls, number * plan.calls)

        result.rounds = interleave(contenders, SERIES, plan.rounds, make_calls, ground.work)
        result.latency = measure_latency(
            contenders,
            ground,
            plan.rates,
            plan.latency_rounds,
            plan.latency_seconds,
            payment_calls(series.repeated, 2_000, 0),
        )
    return result
