"""A revision that runs beside another for some of the calls: which calls, what came of them, and the way from
one revision into the other.

One ``Canary`` a worker, where there is one; without it a call pays one look at ``plane.canary``. By share: of
each hundred calls begun, so many, in an order that changes from hundred to hundred, so that callers with a
rhythm do not always meet the same arm. By name: a call begins in the running revision; as soon as that knows
who calls, and before anything is counted, claimed or sent, it begins again in the canary's. Counts are kept
per arm and reported with the metrics.
"""

from collections.abc import Awaitable, Callable, Generator
from math import gcd, log2
from random import Random
from typing import TYPE_CHECKING, Final

from faregate.kernel.problems import Outcome, Refusal
from faregate.records.frames import BUCKET_MAX, ArmCounts
from faregate.snapshot.call import Call, ReadyRoute, Step

if TYPE_CHECKING:
    from faregate.gateway.assembly import ReadyUpstream, Runtime

HUNDRED: Final = 100
_STEPS: Final = tuple(step for step in range(1, HUNDRED) if gcd(step, HUNDRED) == 1)
BUCKETS_PER_OCTAVE: Final = 8
"""A bucket is 9 % wide."""
_CLIENT_GONE: Final = Outcome.CLIENT_GONE.value
_UNKNOWN: Final = Outcome.UNKNOWN.value


def bucket_of(seconds: float) -> int:
    """The number of the bucket of a duration; bucket ``n`` ends at ``2 ** (n / 8)`` microseconds."""
    micros = seconds * 1e6
    return 0 if micros <= 1.0 else min(BUCKET_MAX, int(log2(micros) * BUCKETS_PER_OCTAVE) + 1)


class Arm:
    """What came of the calls of one of the two revisions in this worker, since the canary began.

    ``failures``: answered by 5xx, ours or the upstream's, or of unknown outcome. Calls whose callers left are
    no calls here: they say nothing about the revision. ``buckets``: how many took how long, gateway and
    upstream together; not of WebSockets, which take as long as their callers like.
    """

    __slots__ = ("buckets", "calls", "failures")

    def __init__(self) -> None:
        self.calls = 0
        self.failures = 0
        self.buckets: dict[int, int] = {}

    def count(self, call: Call) -> None:
        outcome = call.outcome
        if outcome == _CLIENT_GONE:
            return
        self.calls += 1
        if call.status >= 500 or outcome == _UNKNOWN:
            self.failures += 1
        if call.upgrade is None:
            bucket = bucket_of(call.duration)
            self.buckets[bucket] = self.buckets.get(bucket, 0) + 1


class Diverted(Awaitable[Refusal | None]):
    """What the step behind authentication says of a call that is the canary's. Never awaited."""

    __slots__ = ("canary",)

    def __init__(self, canary: "Canary") -> None:
        self.canary = canary

    def __await__(self) -> Generator[None, None, Refusal | None]:
        raise AssertionError("a diverted call begins again, it does not wait")


class Canary:
    """``percent``: of all calls; ``consumers``: whose calls besides. ``own``: upstreams that the running
    revision has otherwise, or not at all.
    """

    __slots__ = (
        "_diverted",
        "_in_hundred",
        "_offset",
        "_random",
        "_record",
        "_step",
        "_watched",
        "consumers",
        "new",
        "old",
        "own",
        "percent",
        "revision",
        "runtime",
    )

    def __init__(  # noqa: PLR0913 - what it is told
        self,
        runtime: "Runtime",
        record: Callable[[Call], None],
        *,
        percent: int,
        consumers: frozenset[str] = frozenset(),
        own: "tuple[ReadyUpstream, ...]" = (),
        random: Random | None = None,
    ) -> None:
        self.runtime = runtime
        self.revision = runtime.revision
        self.percent = percent
        self.consumers = consumers
        self.own = own
        self.old = Arm()
        self.new = Arm()
        self._record = record
        self._random = random or Random()  # noqa: S311 - spreads load, guards nothing
        self._diverted = Diverted(self)
        self._watched: dict[ReadyRoute, ReadyRoute] = {}
        self._in_hundred = HUNDRED
        self._step = 1
        self._offset = 0

    def choose(self, running: "Runtime") -> "Runtime":
        """What the next call begins with."""
        at = self._in_hundred
        if at >= HUNDRED:
            at = 0
            self._step = self._random.choice(_STEPS)
            self._offset = self._random.randrange(HUNDRED)
        self._in_hundred = at + 1
        return self.runtime if (at * self._step + self._offset) % HUNDRED < self.percent else running

    def record(self, call: Call) -> None:
        """Counts an ended call, and passes it on to who takes its record."""
        if call.revision == self.revision:
            self.new.count(call)
        elif self.percent or call.identity is not None:  # consumers are compared with consumers
            self.old.count(call)
        self._record(call)

    def counts(self) -> list[ArmCounts]:
        """Of both arms, the running revision's first."""
        return [
            ArmCounts(self.revision, arm.calls, arm.failures, dict(arm.buckets))
            for arm in (self.old, self.new)
        ]

    def watched(self, route: ReadyRoute, runtime: "Runtime") -> ReadyRoute:
        """What a call of the running revision runs in the place of ``route``: the same, with a look at who
        calls behind authentication.
        """
        if not self.consumers or runtime is self.runtime:
            return route
        made = self._watched.get(route)
        if made is None:
            steps = runtime.steps
            authenticate = None if steps is None else steps.authenticate(route.data)
            made = route
            if authenticate is not None and authenticate in route.steps:
                made = _looking(route, authenticate, self._look)
            self._watched[route] = made
        return made

    def _look(self, call: Call) -> Awaitable[Refusal | None] | None:
        identity = call.identity
        if identity is not None and identity.consumer.name in self.consumers:
            return self._diverted
        return None

    def end(self) -> None:
        """Lets go of what would keep it alive."""
        self._watched = {}


def _looking(route: ReadyRoute, authenticate: Step, look: Step) -> ReadyRoute:
    """A copy of ``route`` with ``look`` behind ``authenticate``. Its body is collected where it is chunked:
    the revision that the call may go to may want all of it.
    """
    behind = route.steps.index(authenticate) + 1
    made = ReadyRoute(route.data, route.version, route.upstream)
    made.steps = (*route.steps[:behind], look, *route.steps[behind:])
    made.answer_headers = route.answer_headers
    made.upstream_headers = route.upstream_headers
    made.log_fields = route.log_fields
    made.metric_labels = route.metric_labels
    made.body_bytes = route.body_bytes
    made.priority = route.priority
    made.logs_answer = route.logs_answer
    made.upgrade = route.upgrade
    made.keeping = route.keeping
    made.changes = route.changes
    made.deciding = route.deciding
    made.checks = route.checks
    made.holds = True
    made.recorded = route.recorded
    return made
