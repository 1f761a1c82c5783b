"""Versions over reloads: what a revision takes from the one before leads to the right routes, upstreams and pins."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from faregate.gateway.assembly import Runtime, assemble
from faregate.gateway.choosing import ReadyChoice, ReadySplit
from faregate.kernel.clock import SystemClock
from faregate.snapshot.call import Call, ReadyRoute
from faregate.snapshot.data import FORMAT, Consumer, Gateway, Route, Snapshot, Version
from faregate.snapshot.versions import Choice, Split
from faregate.stores.keysets import KeySets
from tests.gateway.test_assembly import KEY, credential, upstream

NAMES = ("a", "b")


@pytest.fixture
def loop():
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture
def build(loop: asyncio.AbstractEventLoop, tmp_path: Path):
    keysets = KeySets(lambda authority: None, SystemClock(), tmp_path)  # type: ignore[arg-type, return-value]

    def one(of: Snapshot, previous: Runtime | None = None) -> Runtime:
        return assemble(of, None, keysets, loop, previous)  # type: ignore[arg-type]  # no route here is limited

    return one


def snapshot(pin: str, *, percent: int = 100, before: int = 0) -> Snapshot:
    """An API by header and one that shares its calls; ``before``: versions of other APIs ahead of them."""
    versions = [Version(f"x{number}", f"/x{number}") for number in range(before)]
    versions += [
        Version(name, "/api", choice=Choice("payments", "V", name == "a", pinned=True)) for name in NAMES
    ]
    versions += [Version("v2", "/v2", splits=(Split(before + 3, percent),)), Version("v3", "/v3")]
    places = [*((number, f"/x{number}") for number in range(before)), (before, "/api"), (before + 1, "/api")]
    places += [(before + 2, "/v2"), (before + 3, "/v3")]
    routes = tuple(
        Route(
            "payments", version, "GET", f"{path}/things", "GET /things", "payments", authenticate=("api_key",)
        )
        for version, path in places
    )
    consumers = (Consumer("acme", credentials=credential("k1", KEY), pins=(("payments", pin),)),)
    return Snapshot(
        FORMAT, 1, Gateway((), None, 1, ""), (), (upstream(9001),), (), consumers, tuple(versions), routes
    )


def settled(runtime: Runtime, path: bytes) -> ReadyRoute:
    """The route of a call by the one consumer, who names no version."""
    endpoint = runtime.router.find(path)
    assert endpoint is not None
    call = Call(0.0, 1_795_400_000.0)
    call.client_ip, call.api_key = "203.0.113.9", KEY.encode()
    choice = endpoint.choices.get(b"GET")
    front = choice.undecided if isinstance(choice, ReadyChoice) else endpoint.methods[b"GET"]
    assert front is not None
    assert [step(call) for step in front.steps] == [None]
    assert call.identity is not None
    if isinstance(choice, ReadyChoice):
        chosen = choice.table.chooser.choose(None, call.identity.consumer)
        found = choice.table.routers[chosen.name].find(path)
        assert found is not None
        return found.methods[b"GET"]
    split = front.deciding
    assert isinstance(split, ReadySplit)
    return next(iter(split.others.values()), split.own)


@pytest.mark.parametrize(
    "later",
    [
        snapshot("b"),  # only a consumer is another
        snapshot("b", percent=50),
        snapshot("b", before=1),  # all numbers are others
        msgspec.structs.replace(snapshot("b"), upstreams=(upstream(9002),)),
    ],
)
def test_a_revision_leads_where_it_says_whatever_it_has_from_the_one_before(build, later: Snapshot) -> None:
    first = build(snapshot("a"))
    assert settled(first, b"/api/things").version.name == "a"
    assert settled(first, b"/v2/things").version.name == "v3"
    second = build(later, first)
    for runtime in (second, build(later, second), build(later)):
        pinned, shared = settled(runtime, b"/api/things"), settled(runtime, b"/v2/things")
        assert pinned.version.name == "b"
        assert shared.version.name == "v3"
        assert pinned.upstream is shared.upstream is runtime.upstreams["payments"]
        found = runtime.router.find(b"/v2/things")
        assert found is not None
        split = found.methods[b"GET"].deciding
        assert isinstance(split, ReadySplit)
        assert set(split.others) == {one.version for one in later.versions[-2].splits}
        assert split.own.version == later.versions[-2]
    names = [target.name for target in second.upstreams["payments"].balancer.targets]
    assert names == [target.name for target in later.upstreams[0].targets]
