"""Adaptive concurrency against simulated servers: servers with so many places, a line before them, time that is counted.

One worker sends at random times; a refused call is not sent again. Each scenario states what callers would feel.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest

from faregate.gateway.gradient import LIMIT_MIN, Gate

CEILING = 512


@dataclass
class Server:
    """``places`` calls at once, ``service_s(now, random)`` each, the others wait in line."""

    places: int
    service_s: Callable[[float, Random], float]
    busy: list[float] = field(default_factory=list)

    def answer_at(self, now: float, random: Random) -> float:
        """When a call sent now is answered."""
        busy = self.busy
        while busy and busy[0] <= now:
            heapq.heappop(busy)
        taken = self.service_s(now, random)
        start = now if len(busy) < self.places else heapq.heappop(busy)
        heapq.heappush(busy, start + taken)
        return start + taken


@dataclass
class Run:
    """What was seen, second by second of sending."""

    sent: dict[int, int] = field(default_factory=dict)
    refused: dict[int, int] = field(default_factory=dict)
    latencies: dict[int, list[float]] = field(default_factory=dict)
    limits: list[tuple[float, int]] = field(default_factory=list)
    most_in_flight: int = 0

    def share_refused(self, begin: int, end: int) -> float:
        refused = sum(self.refused.get(second, 0) for second in range(begin, end))
        return refused / max(1, refused + sum(self.sent.get(second, 0) for second in range(begin, end)))

    def good(self, begin: int, end: int, within_s: float) -> float:
        """Answers a second that came within ``within_s``, of calls sent in that time."""
        return sum(
            sum(one <= within_s for one in self.latencies.get(second, [])) for second in range(begin, end)
        ) / (end - begin)

    def median(self, begin: int, end: int) -> float:
        ordered = sorted(one for second in range(begin, end) for one in self.latencies.get(second, []))
        return ordered[len(ordered) // 2]


def simulate(
    server: Server, rate: Callable[[float], float], seconds: float, gate: Gate | None = None, seed: int = 1
) -> Run:
    """``rate(now)``: calls a second."""
    random = Random(seed)
    gate = gate or Gate(CEILING, 0.0, adaptive=True)
    run = Run()
    in_flight = 0
    looked_at = 0.0
    answers: list[tuple[float, float]] = []
    now = 0.0
    while True:
        now += random.expovariate(rate(now))
        while answers and answers[0][0] <= min(now, seconds):
            at, sent_at = heapq.heappop(answers)
            gate.answered(at, at - sent_at, in_flight)
            in_flight -= 1
            run.latencies.setdefault(int(sent_at), []).append(at - sent_at)
        if now >= seconds:
            return run
        while looked_at + 1.0 <= now:
            looked_at += 1.0
            gate.look(looked_at, in_flight)
            run.limits.append((looked_at, gate.limit))
        second = int(now)
        if gate.admits(1, in_flight + 1):
            in_flight += 1
            run.most_in_flight = max(run.most_in_flight, in_flight)
            heapq.heappush(answers, (server.answer_at(now, random), now))
            run.sent[second] = run.sent.get(second, 0) + 1
        else:
            run.refused[second] = run.refused.get(second, 0) + 1


def spread(mean_s: float) -> Callable[[float, Random], float]:
    """Service times around a mean, with a tail."""
    return lambda now, random: mean_s * (0.5 + random.expovariate(2.0))


SEEDS = (1, 2, 3)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mean_s", [0.005, 0.05, 0.5])
def test_three_times_the_capacity_keeps_the_goodput_and_the_line_short(mean_s: float, seed: int) -> None:
    places = 20
    capacity = places / mean_s
    seconds = 60 if capacity < 1000 else 30  # at 12,000 calls a second half a minute shows as much
    run = simulate(
        Server(places, spread(mean_s)), lambda now: capacity * (0.6 if now < 10 else 3.0), seconds, seed=seed
    )
    patience_s = 4 * mean_s + 0.2
    begin = 14 + int(30 * mean_s)  # what stood in line when it was noticed must first be served
    assert run.share_refused(0, 10) < 0.01
    assert run.good(begin, seconds - 3, patience_s) > 0.8 * capacity
    assert run.median(begin, seconds - 3) < 3 * mean_s + 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_without_a_limit_the_same_load_serves_nobody_in_time(seed: int) -> None:
    """The scenario can fail: with the ceiling alone the line is 512 long."""
    gate = Gate(CEILING, 0.0, adaptive=False)
    run = simulate(Server(20, spread(0.05)), lambda now: 240.0 if now < 10 else 1200.0, 40, gate, seed)
    assert run.good(14, 38, 0.4) < 0.2 * 400


@pytest.mark.parametrize("seed", SEEDS)
def test_after_the_overload_nothing_is_refused(seed: int) -> None:
    run = simulate(Server(20, spread(0.05)), lambda now: 1200.0 if 10 <= now < 20 else 240.0, 40, seed=seed)
    assert run.share_refused(25, 40) < 0.005


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("before_s", "after_s"), [(0.05, 0.25), (0.05, 1.0), (0.02, 2.0)])
def test_a_service_that_becomes_slower_without_a_line_is_not_cut_off(
    before_s: float, after_s: float, seed: int
) -> None:
    """A step in latency that is the service's own: room enough, so that to refuse would be our outage."""
    server = Server(10_000, lambda now, random: spread(before_s if now < 20 else after_s)(now, random))
    run = simulate(server, lambda now: 200.0, 60, seed=seed)
    lost = sum(run.refused.values())
    assert lost < 200 * (2.0 + 3 * after_s), "at most a few windows"
    assert run.share_refused(35, 60) < 0.01


@pytest.mark.parametrize("seed", SEEDS)
def test_a_service_that_grows_slower_bit_by_bit_is_followed(seed: int) -> None:
    server = Server(10_000, lambda now, random: spread(0.05 * (1 + now / 10))(now, random))
    run = simulate(server, lambda now: 200.0, 100, seed=seed)
    assert run.share_refused(0, 100) < 0.01


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cold_start_does_not_set_the_measure(seed: int) -> None:
    """The first seconds are ten times slower; later overload is still noticed."""
    server = Server(20, lambda now, random: spread(0.5 if now < 3 else 0.05)(now, random))
    run = simulate(server, lambda now: 30.0 if now < 15 else 1200.0, 45, seed=seed)
    assert run.share_refused(0, 15) < 0.02
    assert run.good(20, 43, 0.4) > 0.8 * 400


@pytest.mark.parametrize("seed", SEEDS)
def test_bursts_that_the_target_bears_are_not_refused(seed: int) -> None:
    """Ten times the usual for 200 ms in every two seconds; the places suffice."""
    run = simulate(Server(300, spread(0.05)), lambda now: 1000.0 if now % 2.0 < 0.2 else 100.0, 60, seed=seed)
    assert run.share_refused(0, 60) < 0.002


@pytest.mark.parametrize("seed", SEEDS)
def test_a_mix_of_quick_reads_and_slow_payments_that_shifts_is_borne(seed: int) -> None:
    def mixed(now: float, random: Random) -> float:
        slow = random.random() < (0.1 if now % 40 < 20 else 0.9)
        return spread(0.8 if slow else 0.01)(now, random)

    run = simulate(Server(10_000, mixed), lambda now: 100.0, 120, seed=seed)
    assert run.share_refused(0, 120) < 0.05


@pytest.mark.parametrize("seed", SEEDS)
def test_a_target_that_hangs_holds_less_and_less_and_comes_back(seed: int) -> None:
    def hangs(now: float, random: Random) -> float:
        return spread(0.05)(now, random) if not 20 <= now < 30 else 30.0 - now + 0.05

    run = simulate(Server(10_000, hangs), lambda now: 100.0, 60, seed=seed)
    assert run.most_in_flight < 400, "not the ten seconds' thousand"
    assert run.share_refused(36, 60) < 0.01


def test_there_is_always_a_floor() -> None:
    run = simulate(Server(1, spread(0.5)), lambda now: 1.0 if now < 20 else 20.0, 300)
    assert LIMIT_MIN <= min(limit for _, limit in run.limits) <= 2 * LIMIT_MIN
    assert run.good(200, 280, 10.0) > 1.6, "the one place is kept busy"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_slow_target_among_three_does_not_take_the_others_room(seed: int) -> None:
    """Each target has its own gate: the slow one's shrinks, and calls that it refuses find room elsewhere."""
    random = Random(seed)
    servers = [Server(20, spread(0.05)), Server(20, spread(0.05)), Server(2, spread(0.05))]
    gates = [Gate(CEILING, 0.0, adaptive=True) for _ in servers]
    in_flight = [0, 0, 0]
    answers: list[tuple[float, float, int]] = []
    now, refused, done = 0.0, 0, 0
    while now < 60:
        now += random.expovariate(450.0)
        while answers and answers[0][0] <= now:
            at, sent_at, which = heapq.heappop(answers)
            gates[which].answered(at, at - sent_at, in_flight[which])
            in_flight[which] -= 1
            done += at - sent_at < 0.5 and at > 10
        order = random.sample(range(3), 3)
        chosen = next((one for one in order if gates[one].admits(1, in_flight[one] + 1)), None)
        if chosen is None:
            refused += now > 10
            continue
        in_flight[chosen] += 1
        heapq.heappush(answers, (servers[chosen].answer_at(now, random), now, chosen))
    assert refused / (450 * 50) < 0.01
    assert done / (450 * 50) > 0.85
