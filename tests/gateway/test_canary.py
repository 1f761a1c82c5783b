"""A revision beside another in one worker: which calls it has, that none is judged twice, and what is counted of them."""

import asyncio
import os
from collections.abc import Callable, Iterator
from itertools import pairwise
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faregate.gateway import canary_worker
from faregate.gateway.assembly import Runtime, assemble, assembling, finish, retire
from faregate.gateway.canary import Arm, Canary, _looking, bucket_of
from faregate.gateway.router import Router
from faregate.kernel.clock import SystemClock
from faregate.kernel.problems import Refusal
from faregate.manager.arms import seconds_of
from faregate.snapshot.call import Call, Identity, ReadyConsumer, ReadyRoute
from faregate.snapshot.data import FORMAT, Gateway, Snapshot, Version
from faregate.snapshot.encoded import encode, open_sections
from faregate.stores.keysets import KeySets
from tests.gateway.fakes import OK, World, make_route
from tests.gateway.test_reusing import snapshots, verdicts
from tests.stores import table

GET = b"GET /v1/payments/p1 HTTP/1.1\r\nHost: a\r\nX-API-Key: %b\r\n\r\n"
CHUNKED = (
    b"POST /v1/payments HTTP/1.1\r\nHost: a\r\nX-API-Key: beta\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
)


class Seen:
    """Steps of one revision that write down whom they met."""

    def __init__(self, name: str, *, knows: tuple[str, ...] = ("acme", "beta"), waits: bool = False) -> None:
        self.name = name
        self.met: list[tuple[str, str]] = []
        self._knows = knows
        self._waits = waits

    def authenticate(self, call: Call) -> object:
        key = (call.api_key or b"").decode()
        self.met.append(("authenticate", key))
        if key not in self._knows:
            return Refusal("credential_invalid", reason="unknown")
        call.identity = Identity(ReadyConsumer(key), f"key-{key}")
        return self._later() if self._waits else None

    async def _later(self) -> None:
        await asyncio.sleep(0)

    def count(self, call: Call) -> None:
        assert call.identity is not None
        self.met.append(("count", call.identity.consumer.name))


class _Steps:
    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    def authenticate(self, _: object) -> object:
        return self._seen.authenticate


class Beside:
    """A world with a canary in it. Both revisions send to the same upstream."""

    def __init__(self, old: Seen, new: Seen, percent: int, *consumers: str, **changes: object) -> None:
        self.old, self.new = old, new
        self.world = World(lambda upstream: self._routes(upstream, old))
        world = self.world
        old.authenticate = old.authenticate  # type: ignore[method-assign]  # one object, as a snapshot's step is
        world.runtime.steps = _Steps(old)  # type: ignore[assignment]
        gateway = Gateway((), None, 1, "")
        snapshot = Snapshot(FORMAT, 2, gateway, (), (world.upstream.data,), (), (), (), ())
        routes = self._routes(world.upstream, new, **changes)
        router = Router((one.data.method, one.data.template, one) for one in routes)
        self.runtime = Runtime(snapshot, router, {"payments": world.upstream}, world.runtime.tunnels)
        self.canary = Canary(
            self.runtime,
            world.records.record,
            percent=percent,
            consumers=frozenset(consumers),
            random=Random(3),
        )
        world.plane.divide(self.canary)

    @staticmethod
    def _routes(upstream: object, seen: Seen, **changes: object) -> list[ReadyRoute]:
        steps = (seen.authenticate, seen.count)
        seen.authenticate = steps[0]  # type: ignore[method-assign]
        return [
            make_route("GET", "/v1/payments/{id}", upstream, *steps),
            make_route("POST", "/v1/payments", upstream, *steps, **changes),
        ]


@pytest.fixture
def beside() -> Iterator[Callable[..., Beside]]:
    made: list[Beside] = []

    def make(*arguments: object, **changes: object) -> Beside:
        made.append(Beside(*arguments, **changes))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.world.loop.close()


def test_of_each_hundred_calls_it_has_exactly_its_share_and_no_rhythm() -> None:
    old, new = object(), Runtime.__new__(Runtime)
    new.revision = 2
    for percent in (1, 5, 50, 99, 100):
        canary = Canary(new, lambda call: None, percent=percent, random=Random(1))
        chosen = [canary.choose(old) is new for _ in range(1000)]  # type: ignore[arg-type]
        assert {sum(chosen[at : at + 100]) for at in range(0, 1000, 100)} == {percent}
    half = Canary(new, lambda call: None, percent=50, random=Random(1))
    chosen = [half.choose(old) is new for _ in range(10_000)]  # type: ignore[arg-type]
    alternating = sum(chosen[::2])
    assert 2300 < alternating < 2700, "callers that take turns meet both alike"
    assert any(one == other for one, other in pairwise(chosen))


def test_a_share_of_the_calls_runs_in_the_canary_whole(beside: Callable[..., Beside]) -> None:
    stage = beside(Seen("old"), Seen("new"), 20)
    for _ in range(100):
        stage.world.exchange_bytes(GET % b"acme")
    revisions = [call.revision for call in stage.world.calls]
    assert (revisions.count(1), revisions.count(2)) == (80, 20)
    assert len(stage.new.met) == 40
    assert len(stage.old.met) == 160
    assert (stage.canary.old.calls, stage.canary.new.calls) == (80, 20)


@pytest.mark.parametrize("waits", [False, True])
def test_a_named_consumer_goes_over_before_anything_is_counted(
    beside: Callable[..., Beside], *, waits: bool
) -> None:
    stage = beside(Seen("old", waits=waits), Seen("new"), 0, "beta")
    world = stage.world
    for key in (b"acme", b"beta", b"nobody"):
        sent, answer = world.exchange_bytes(GET % key)
        assert answer.startswith(b"HTTP/1.1 401" if key == b"nobody" else b"HTTP/1.1 200")
        assert bool(sent) == (key != b"nobody")
    assert [call.revision for call in world.calls] == [1, 2, 1]
    asked = [
        ("authenticate", "acme"),
        ("count", "acme"),
        ("authenticate", "beta"),
        ("authenticate", "nobody"),
    ]
    assert stage.old.met == asked
    assert stage.new.met == [("authenticate", "beta"), ("count", "beta")]
    assert world.calls[1].identity is not None
    assert world.plane.in_flight == 0
    # consumers are compared with consumers: who proved nothing is in neither arm
    assert (stage.canary.old.calls, stage.canary.new.calls) == (1, 1)


def test_what_the_canary_refuses_is_refused_there(beside: Callable[..., Beside]) -> None:
    stage = beside(Seen("old"), Seen("new", knows=()), 0, "beta")
    _, answer = stage.world.exchange_bytes(GET % b"beta")
    assert answer.startswith(b"HTTP/1.1 401")
    assert stage.world.calls[0].revision == 2
    gone = beside(Seen("old"), Seen("new"), 0, "beta")
    gone.runtime.router = Router(())
    _, answer = gone.world.exchange_bytes(GET % b"beta")
    assert answer.startswith(b"HTTP/1.1 404")
    assert gone.world.calls[0].revision == 2


@pytest.mark.parametrize("pieces", [1, 2, 50])
def test_a_body_goes_over_with_its_call(beside: Callable[..., Beside], pieces: int) -> None:
    stage = beside(Seen("old"), Seen("new"), 0, "beta")
    world = stage.world
    client = world.client()
    step = max(1, len(CHUNKED) // pieces)
    sent = b""
    for at in range(0, len(CHUNKED), step):
        client.deliver(CHUNKED[at : at + step])
        world.run()
        if world.pool.asked:
            world.pool.connect()
    sent = world.pool.made[0].take()
    _, _, body = sent.partition(b"\r\n\r\n")
    plain = b"".join(part for part in body.split(b"\r\n")[1::2] if part)
    assert (plain, body.endswith(b"0\r\n\r\n")) == (b"abcde", True)
    world.pool.made[0].deliver(OK)
    world.run()
    assert client.take().startswith(b"HTTP/1.1 200")
    assert [(call.revision, call.request_bytes) for call in world.calls] == [(2, 5)]


def test_a_body_that_the_canary_finds_too_large_is_refused_there(beside: Callable[..., Beside]) -> None:
    stage = beside(Seen("old"), Seen("new"), 0, "beta", body_bytes=3)
    request = b"POST /v1/payments HTTP/1.1\r\nHost: a\r\nX-API-Key: beta\r\nContent-Length: 4\r\n\r\nabcd"
    _, answer = stage.world.exchange_bytes(request)
    assert answer.startswith(b"HTTP/1.1 413")
    assert [(call.revision, call.refusal) for call in stage.world.calls] == [(2, "body_too_large")]


def test_behind_its_end_all_calls_are_the_running_revisions_and_no_record_is_lost(
    beside: Callable[..., Beside],
) -> None:
    stage = beside(Seen("old"), Seen("new"), 100, "beta")
    world = stage.world
    client = world.client()
    client.deliver(GET % b"acme")
    assert canary_worker.end(world.plane) is stage.runtime
    assert canary_worker.end(world.plane) is None
    world.pool.connect().deliver(OK)
    world.run()
    world.exchange_bytes(GET % b"beta")
    assert [call.revision for call in world.calls] == [2, 1], "a call keeps the revision that it began with"
    assert world.plane.calls_least == world.plane.admission.least


def test_no_place_of_a_route_is_forgotten_in_its_copy() -> None:
    slots = ReadyRoute.__slots__
    route = make_route("GET", "/a", object(), print, repr)
    for number, name in enumerate(slots):
        if name not in {"steps", "holds"}:
            setattr(route, name, number)
    route.data = make_route("GET", "/a", None).data
    route.version = Version("v9", "/v9")
    copy = _looking(route, print, len)
    assert copy.steps == (print, len, repr)
    assert copy.holds
    differing = [name for name in slots if getattr(copy, name) != getattr(route, name)]
    assert set(differing) == {"steps", "holds"}


def call(status: int, outcome: str, seconds: float = 0.01) -> Call:
    made = Call(0.0, 0.0)
    made.status, made.outcome, made.duration = status, outcome, seconds
    return made


def test_a_failure_is_a_5xx_or_an_unknown_outcome_and_who_left_says_nothing() -> None:
    arm = Arm()
    for one in (
        call(200, "answered"), call(404, "answered"), call(429, "refused"), call(500, "answered"),
        call(502, "refused"), call(200, "unknown"), call(0, "client_gone"),
    ):  # fmt: skip
        arm.count(one)
    assert (arm.calls, arm.failures) == (6, 3)
    websocket = call(101, "answered", 3600.0)
    websocket.upgrade = object()
    arm.count(websocket)
    assert arm.calls == 7
    assert sum(arm.buckets.values()) == 6


@given(st.floats(1e-6, 200.0))
def test_a_bucket_ends_at_most_9_percent_above_what_is_in_it(seconds: float) -> None:
    end = seconds_of(bucket_of(seconds))
    assert seconds <= end * (1 + 1e-9)
    assert end <= max(seconds, 1e-6) * 1.0906


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Runtime]]:
    folder = tmp_path_factory.mktemp("beside")
    loop = asyncio.new_event_loop()
    keysets = KeySets(lambda authority: None, SystemClock(), folder)  # type: ignore[arg-type, return-value]
    memory = table.make(folder)
    counters = table.join(memory)

    def one(of: Snapshot, previous: Runtime | None = None, beside: Runtime | None = None) -> Runtime:
        if beside is not None:
            return finish(assembling(open_sections(encode(of)), counters, keysets, loop, beside=beside))
        made = assemble(of, counters, keysets, loop, previous)
        if previous is not None:
            retire(previous, made)
        return made

    yield one
    counters.close()
    os.close(memory)
    loop.close()


@given(st.lists(snapshots(), min_size=2, max_size=4))
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_each_decides_as_it_would_alone_and_the_next_revision_too(
    build: Callable[..., Runtime], chain: list[Snapshot]
) -> None:
    running = build(chain[0])
    for snapshot in chain[1:]:
        before = verdicts(running)
        tried = build(snapshot, beside=running)
        alone = verdicts(build(snapshot))
        assert verdicts(tried) == alone
        assert verdicts(running) == before, "what runs does not change"
        assert verdicts(tried) == alone, "nor by what the other remembers"
        shared = {id(one) for one in running.large}
        assert not any(id(one) in shared for one in tried.large), "what runs is not freed with it"
        running = build(snapshot, running)
        assert verdicts(running) == alone


def test_an_upstream_that_is_otherwise_has_health_and_connections_of_its_own(
    build: Callable[..., Runtime],
) -> None:
    from tests.gateway.test_assembly import snapshot as declared
    from tests.gateway.test_assembly import upstream

    running = build(declared(upstream(1), upstream(2, name="other")))
    tried = build(declared(upstream(1, 9), upstream(2, name="other")), beside=running)
    assert tried.upstreams["other"] is running.upstreams["other"]
    ours, theirs = tried.upstreams["payments"], running.upstreams["payments"]
    assert not {*ours.pools} & {*theirs.pools}
    assert (ours.name, ours.balancer.upstream.name) == ("payments", "payments (canary)")
    assert theirs.balancer.upstream.name == "payments"
