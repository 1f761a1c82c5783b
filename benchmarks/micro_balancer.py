"""What one balancing decision costs: ``pick`` + ``finished``, per method and number of targets.

Run: ``python -m benchmarks.micro_balancer`` (a few seconds). Prints the best of five rounds in nanoseconds,
the empty loop subtracted; time moves on by 1 ms a call, so refreshes are part of the figure. Budget for
``adaptive`` with 2 to 8 targets: 1,200 ns.
"""

import time

from faregate.gateway.balance import make_balancer
from faregate.snapshot.data import Target, Upstream

CALLS = 50_000
ROUNDS = 5
METHODS = ("adaptive", "least_requests", "round_robin", "random", "hash")
TARGETS = (1, 2, 4, 8, 32)


def upstream(method: str, targets: int) -> Upstream:
    return Upstream(
        name="bench",
        balance=method,
        targets=tuple(Target(name=f"10.0.0.{n}:80", host=f"10.0.0.{n}", port=80) for n in range(targets)),
    )


def loop(method: str, targets: int) -> float:
    """Seconds for CALLS calls with about four in flight, as an exchange would make them."""
    balancer = make_balancer(upstream(method, targets), None, 0.0)
    pick, finished = balancer.pick, balancer.finished
    held = [pick(0.0, b"consumer-%d" % n, ()) for n in range(4)]
    keys = [b"consumer-%d" % (n % 100) for n in range(CALLS)]
    now = 0.0
    started = time.perf_counter()
    for key in keys:
        now += 0.001
        target = held.pop()
        finished(target, now, 0.005, False)
        held.append(pick(now, key, ()))
    return time.perf_counter() - started


def empty() -> float:
    """The same loop without the two calls."""
    held = [None] * 4
    keys = [b"consumer"] * CALLS
    now = 0.0
    started = time.perf_counter()
    for key in keys:
        now += 0.001
        target = held.pop()
        held.append(target)
        _ = key
    return time.perf_counter() - started


def main() -> None:
    base = min(empty() for _ in range(ROUNDS))
    print(f"{'ns per pick + finished':24}" + "".join(f"{count:>8}" for count in TARGETS) + "  targets")
    for method in METHODS:
        figures = [
            (min(loop(method, count) for _ in range(ROUNDS)) - base) / CALLS * 1e9 for count in TARGETS
        ]
        print(f"{method:24}" + "".join(f"{figure:8.0f}" for figure in figures))


if __name__ == "__main__":
    main()
