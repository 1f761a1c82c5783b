"""What one call's limits cost: ``python -m benchmarks.micro_counters``.

Times the limit step by itself, in one process, over a file in a temporary folder: the counters alone, the
whole step with its headers, with and without the lock between workers, a refusal, and the first call of an
unknown address. Prints the best of seven rounds, in ns a call, because the machine's other work only ever
adds.
"""

import tempfile
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

from faregate.policies.limit_sets import Ready
from faregate.policies.limits import LimitStep
from faregate.snapshot import data
from faregate.snapshot.call import Call, Identity, ReadyConsumer
from faregate.stores.counters import Counters
from faregate.stores.counters_prepare import Capacity, prepare

ROUNDS = 7
CALLS = 20_000
PLAN = data.Plan(
    "standard",
    limits=(
        data.Rate("plan.standard.1000000/second", "plan", 1_000_000, 1_000),
        data.Rate("plan.standard.50000000/minute", "plan", 50_000_000, 60_000),
    ),
    concurrency=1_000_000,
)
SMALL = data.Plan("small", limits=(data.Rate("plan.small.1/hour", "plan", 1, 3_600_000),))
PUBLIC = (data.Rate("route.5/minute", "route payments GET /status", 5, 60_000),)


def best(act: Callable[[float], object]) -> float:
    """Nanoseconds a call, the best of all rounds; ``act`` gets the time in s, 10 us further each call."""
    now = time.monotonic()
    least = float("inf")
    for _ in range(ROUNDS):
        started = time.thread_time_ns()
        for _ in range(CALLS):
            now += 1e-5
            act(now)
        least = min(least, (time.thread_time_ns() - started) / CALLS)
    return least


def report(counters: Counters, label: str) -> None:
    step = LimitStep((), {"standard": PLAN, "small": SMALL}, counters)
    identity = Identity(ReadyConsumer(f"acme-{label}", plan="standard"), "key_1")
    refused = Identity(ReadyConsumer(f"small-{label}", plan="small"), "key_2")
    wall = time.time()

    def call(now: float, who: Identity | None = identity, client_ip: str = "") -> Call:
        made = Call(now, wall)
        made.identity = who
        made.client_ip = client_ip
        return made

    def whole(now: float) -> None:
        one = call(now)
        step(one)
        assert one.release is not None
        one.release()

    step(call(time.monotonic()))
    ready = identity.consumer.kept
    assert isinstance(ready, Ready)
    counted = ready.counted

    def bare(now: float) -> None:
        moment = counters.locks.lock(0, int(now * 1e9))
        for counter in counted:
            counter.check(moment, wall)
        for counter in counted:
            counter.take()
        counters.locks.unlock(0)

    public = LimitStep(PUBLIC, {}, counters)
    addresses = iter(range(1 << 30))
    empty = best(lambda _: None)
    made = best(call)
    print(f"{label}")
    print(f"  counters alone (2 windows, 1 concurrency)  {best(bare) - empty:8.0f} ns")
    print(f"  whole step with headers and release        {best(whole) - made:8.0f} ns")
    refusal = best(lambda now: step(call(now, refused))) - made
    print(f"  refusal                                    {refusal:8.0f} ns")
    print(
        "  first call of an unknown address           "
        f"{best(lambda now: public(call(now, None, str(IPv4Address(next(addresses)))))) - made:8.0f} ns"
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "counters.bin"
        memory = prepare(path, Capacity(0, 32_768), now=time.monotonic_ns(), wall=time.time()).memory
        for workers, label in ((1, "one worker, no lock"), (4, "several workers, one lock a call")):
            counters = Counters.open(memory, 0, workers)
            report(counters, label)
            seen = {name: getattr(counters.stats, name) for name in counters.stats.__slots__}
            print(f"  stats: {seen}")
            counters.close()


if __name__ == "__main__":
    main()
