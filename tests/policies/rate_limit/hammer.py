"""A worker that asks the limit step as fast as it can, for the proof over processes in ``test_workers``.

``python -m tests.policies.rate_limit.hammer MEMORY INDEX WORKERS LOG SECONDS``: writes ``before after`` in ns of
CLOCK_MONOTONIC for each admitted call, at once, so that kill -9 loses no line of a call that was answered. Every third
call keeps its concurrency place to the end. ``... count MEMORY INDEX WORKERS CALLS`` makes so many calls under limits
that none reaches, for the proof that none goes uncounted. MEMORY: the inherited descriptor of the counters.
"""

import os
import sys
import time

from faregate.policies.limits import LimitStep
from faregate.snapshot import data
from faregate.snapshot.call import Call, Identity, ReadyConsumer
from faregate.stores.counters import Counters

LIMIT = 100
PLAN = data.Plan(
    "proof",
    limits=(data.Rate("plan.proof.100/second", "plan", LIMIT, 1_000),),
    quota=data.Rate("quota.proof", "quota", 1_000_000, 0),
    concurrency=100_000,
)


AMPLE = data.Plan(
    "ample",
    limits=(
        data.Rate("plan.ample.1000000000/day", "plan", 10**9, 86_400_000),
        data.Rate("plan.ample.1000000000/second", "plan", 10**9, 1_000),
    ),
    quota=data.Rate("quota.ample", "quota", 10**9, 0),
)


def count(memory: str, index: str, workers: str, calls: str) -> None:
    counters = Counters.open(int(memory), int(index), int(workers))
    step = LimitStep((), {AMPLE.name: AMPLE}, counters)
    identity = Identity(ReadyConsumer("acme", plan=AMPLE.name), "key_1")
    left = int(calls)
    while left:
        call = Call(time.monotonic(), time.time())
        call.identity = identity
        left -= step(call) is None  # a lock not got in time is a refusal and counts nothing
    counters.close()


def main(memory: str, index: str, workers: str, log: str, seconds: str) -> None:
    counters = Counters.open(int(memory), int(index), int(workers))
    step = LimitStep((), {PLAN.name: PLAN}, counters)
    identity = Identity(ReadyConsumer("acme", plan=PLAN.name), "key_1")
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    wall = time.time()
    end = time.monotonic_ns() + int(float(seconds) * 1e9)
    admitted = 0
    while (before := time.monotonic_ns()) < end:
        call = Call(before / 1e9, wall)
        call.identity = identity
        if step(call) is None:
            os.write(out, b"%d %d\n" % (before, time.monotonic_ns()))
            admitted += 1
            if admitted % 3 and call.release is not None:
                call.release()
    os.write(out, b"# waits %d timeouts %d\n" % (counters.stats.waits, counters.stats.timeouts))
    counters.close()


if __name__ == "__main__":
    count(*sys.argv[2:]) if sys.argv[1] == "count" else main(*sys.argv[1:])
