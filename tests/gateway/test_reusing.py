"""What a revision takes over from the one before behaves as if it were made anew: who is let in, by which limits, on which route."""

import asyncio
import hashlib
import hmac
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faregate.gateway import reusing
from faregate.gateway.assembly import Runtime, assemble, assembling, finish, retire
from faregate.kernel import base64url
from faregate.kernel.clock import SystemClock
from faregate.kernel.problems import Refusal
from faregate.snapshot.call import Call, PeerCertificate
from faregate.snapshot.data import (
    FORMAT,
    ApiKeyCredential,
    Consumer,
    Gateway,
    GatewayLimits,
    Issuer,
    JwtCredential,
    MtlsCredential,
    Plan,
    Rate,
    Route,
    Snapshot,
    Target,
    Upstream,
    Version,
)
from faregate.snapshot.encoded import encode, open_sections
from faregate.stores.keysets import KeySets
from tests.stores import table

SECRET = b"0123456789abcdef0123456789abcdef"
WALL = 1_795_400_000
NAMES = ("acme", "beta", "globex", "initech")
KEYS = tuple(f"fg_key_{number}" for number in range(4))
PATHS = (b"/a/v1/things", b"/a/v2/things", b"/b/v1/things", b"/b/v1/more")
Build = Callable[..., Runtime]


def token(subject: str) -> bytes:
    def part(value: object) -> bytes:
        return base64url.encode(json.dumps(value).encode())

    claims = {"iss": "https://i", "aud": "a", "sub": subject, "exp": WALL + 3600, "iat": WALL - 10}
    signed = part({"alg": "HS256", "typ": "JWT"}) + b"." + part(claims)
    return b"Bearer " + signed + b"." + base64url.encode(hmac.digest(SECRET, signed, "sha256"))


TOKENS = {name: token(name) for name in NAMES}


def plan(name: str, count: int, places: int = 0) -> Plan:
    limits = (Rate(f"plan.{name}.{count}/minute", "plan", count, 60_000),) if count else ()
    return Plan(name, limits, concurrency=places)


def certificate(number: int) -> PeerCertificate:
    return PeerCertificate(
        sha256=bytes([number]) * 32, thumbprint=b"t", subject=(), chain=(), issuer=b"", serial=1, ends=float(WALL + 99)
    )  # fmt: skip


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Neighbours differ in little: that is where much is taken over."""
    keys = draw(st.permutations(KEYS))
    consumers = []
    for name, key in zip(NAMES, keys, strict=True):
        if draw(st.integers(0, 9)) == 0:
            continue
        credentials: list[ApiKeyCredential | JwtCredential | MtlsCredential] = []
        if draw(st.integers(0, 4)):
            credentials.append(ApiKeyCredential(f"id-{name}", hashlib.sha256(key.encode()).digest()))
        if draw(st.booleans()):
            credentials.append(JwtCredential("i", name))
        if draw(st.integers(0, 5)) == 0:
            credentials.append(MtlsCredential(f"c-{name}", sha256=bytes([NAMES.index(name)]) * 32))
        consumers.append(
            Consumer(
                name,
                plan=draw(st.sampled_from(("gold", "gold", None))),
                permissions=draw(st.sampled_from((("x:read",), ("x:read",), ("x:read@b",), ()))),
                credentials=tuple(credentials),
                allow_ips=draw(st.sampled_from(((), (), (), ("10.0.0.0/8",)))),
                suspended=draw(st.integers(0, 6)) == 0,
                apis=draw(st.sampled_from((None, None, None, ("a",)))),
            )
        )
    versions = [
        Version("v1", "/a/v1"),
        Version("v2", "/a/v2", draw(st.sampled_from(("active", "retired")))),
        Version("v1", "/b/v1"),
    ]
    kinds = draw(st.sampled_from((("api_key", "jwt"), ("api_key", "jwt", "mtls"))))
    routes = [
        Route("ab"[number // 2], number, "GET", f"{version.path}/things", "GET /things", "main", authenticate=kinds, require=("x:read",))
        for number, version in zip((0, 1, 2), versions, strict=True)
    ]  # fmt: skip
    if draw(st.booleans()):
        routes.append(
            msgspec.structs.replace(
                routes[2], template="/b/v1/more", label="GET /more", priority=draw(st.sampled_from((1, 1, 2)))
            )
        )
    return Snapshot(
        FORMAT,
        1,
        Gateway((), None, 1, "", limits=GatewayLimits(headers=draw(st.sampled_from((128, 128, 100))))),
        (Issuer("i", "https://i", ("a",), ("HS256",), secret=SECRET),),
        (Upstream("main", (Target("t:1", "t", draw(st.sampled_from((1, 1, 2)))),)),),
        (plan("gold", draw(st.sampled_from((100_000, 100_000, 50_000, 0))), draw(st.sampled_from((0, 7)))),),
        tuple(consumers),
        tuple(versions),
        tuple(routes),
    )


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Build]:
    folder = tmp_path_factory.mktemp("reusing")
    loop = asyncio.new_event_loop()
    keysets = KeySets(lambda authority: None, SystemClock(), folder)  # type: ignore[arg-type, return-value]
    memory = table.make(folder)
    counters = table.join(memory)

    def one(of: Snapshot, previous: Runtime | None = None) -> Runtime:
        made = assemble(of, counters, keysets, loop, previous)
        if previous is not None:
            retire(previous, made)
        return made

    yield one
    counters.close()
    os.close(memory)
    loop.close()


def verdicts(runtime: Runtime) -> list[tuple[object, ...]]:
    """What becomes of every kind of call: refusal or consumer, plan and limit, and the upstream."""
    found: list[tuple[object, ...]] = []
    senders = (
        [("key", key) for key in KEYS]
        + [("token", name) for name in NAMES]
        + [("cert", number) for number in range(len(NAMES))]
    )
    for path in PATHS:
        endpoint = runtime.router.find(path)
        for kind, what in senders if endpoint is not None else ():
            route = endpoint.methods[b"GET"]  # type: ignore[union-attr]
            call = Call(0.0, float(WALL))
            call.client_ip, call.route = "203.0.113.9", route
            if kind == "key":
                call.api_key = str(what).encode()
            elif kind == "token":
                call.authorization = TOKENS[str(what)]
            else:
                call.certificate = certificate(int(what))
            verdict = None
            for step in route.steps:
                verdict = step(call)
                if verdict is not None:
                    break
            if call.release is not None:
                call.release()
            assert verdict is None or isinstance(verdict, Refusal)
            who = call.identity and (
                call.identity.consumer.name,
                call.identity.credential,
                call.identity.consumer.plan,
            )
            limit = call.limit_headers.partition(b"r=")[0]
            port = route.upstream.data.targets[0].port  # type: ignore[attr-defined]
            found.append(
                (
                    path,
                    kind,
                    what,
                    verdict and (verdict.code, verdict.reason),
                    who,
                    limit,
                    port,
                    route.version.state,
                )
            )
    return found


@given(st.lists(snapshots(), min_size=2, max_size=5))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_chain_of_revisions_decides_as_each_would_alone(build: Build, chain: list[Snapshot]) -> None:
    runtime: Runtime | None = None
    for snapshot in chain:
        runtime = build(snapshot, runtime)
        alone = build(snapshot)
        assert verdicts(runtime) == verdicts(alone)
        assert verdicts(runtime) == verdicts(alone), "what was remembered of the first calls holds"
        assert runtime.ends == alone.ends
        assert len(runtime.router.nodes) == len(alone.router.nodes)


def base() -> Snapshot:
    consumers = tuple(
        Consumer(f"c{number}", plan="gold", permissions=("x:read",), credentials=(
            ApiKeyCredential(f"k{number}", hashlib.sha256(f"key {number}".encode()).digest()), JwtCredential("i", f"c{number}")))
        for number in range(200)
    )  # fmt: skip
    versions = tuple(Version("v1", f"/api{number}") for number in range(40))
    routes = tuple(
        Route(f"api{number}", number, "GET", f"/api{number}/r{route}", f"GET /r{route}", "main", authenticate=("api_key", "jwt"))
        for number in range(40)
        for route in range(5)
    )  # fmt: skip
    return Snapshot(
        FORMAT, 1, Gateway((), None, 1, ""), (Issuer("i", "https://i", ("a",), ("HS256",), secret=SECRET),),
        (Upstream("main", (Target("t:1", "t", 1),)),), (plan("gold", 100),), consumers, versions, routes,
    )  # fmt: skip


def changed(snapshot: Snapshot, at: int, **members: object) -> Snapshot:
    consumers = list(snapshot.consumers)
    consumers[at] = msgspec.structs.replace(consumers[at], **members)
    return msgspec.structs.replace(snapshot, consumers=tuple(consumers))


def test_a_changed_consumer_or_plan_makes_no_route_anew(build: Build) -> None:
    before = build(base())
    for snapshot in (
        changed(base(), 7, permissions=("y:write",)),
        changed(base(), 7, credentials=()),
        msgspec.structs.replace(base(), plans=(plan("gold", 5),)),
    ):
        after = build(snapshot, before)
        assert after.router is before.router
        assert after.routes is before.routes
        assert after.upstreams["main"] is before.upstreams["main"]
        assert after.index.keys is before.index.keys, "nor 100,000 keys gathered again"
        assert not any(one is shared for one in before.large for shared in after.large), (
            "what serves is not freed"
        )
        before = after


def test_a_changed_upstream_makes_no_route_anew_and_all_follow_it_when_it_is_put_to_work(
    build: Build,
) -> None:
    before = build(base())
    former = before.upstreams["main"]
    moved = Upstream("main", (Target("t:2", "t", 2),))
    after = build(msgspec.structs.replace(base(), upstreams=(moved, Upstream("new", moved.targets))), before)
    assert after.routes is before.routes
    assert set(after.upstreams) == {"main", "new"}
    assert {route.upstream for route in after.routes} == {after.upstreams["main"]} != {former}
    assert [target.data.port for target in after.upstreams["main"].balancer.targets] == [2]


def test_a_changed_route_makes_its_section_anew_and_leaves_the_others(build: Build) -> None:
    before = build(base())
    routes = list(base().routes)
    routes[100] = msgspec.structs.replace(routes[100], require=("x:read",))
    after = build(msgspec.structs.replace(base(), routes=tuple(routes)), before)
    kept = sum(now is former for now, former in zip(after.routes, before.routes, strict=True))
    assert 0 < len(after.routes) - kept <= 128
    assert after.routes[100] is not before.routes[100]
    versions = list(base().versions)
    versions[3] = msgspec.structs.replace(versions[3], state="deprecated", deprecated_at=1)
    again = build(msgspec.structs.replace(base(), versions=tuple(versions)), before)
    assert again.routes[15] is not before.routes[15]
    assert again.routes[15].answer_headers.startswith(b"Deprecation")


def test_until_it_is_put_to_work_the_former_revision_answers_as_it_did(build: Build, tmp_path: Path) -> None:
    loop = asyncio.new_event_loop()
    keysets = KeySets(lambda authority: None, SystemClock(), tmp_path)  # type: ignore[arg-type, return-value]
    snapshot = base()
    before = build(snapshot)
    revoked = encode(changed(snapshot, 7, credentials=(), suspended=True))
    made = finish(assembling(open_sections(revoked), None, keysets, loop, before))  # type: ignore[arg-type]  # every route keeps its steps
    digest = hashlib.sha256(b"key 7").digest()
    assert digest in before.index.keys
    made.swap()
    assert digest not in made.index.keys
    assert hashlib.sha256(b"key 8").digest() in made.index.keys
    loop.close()


def test_a_key_that_two_consumers_own_is_refused_and_nothing_has_changed(build: Build) -> None:
    before = build(base())
    keys = dict(before.index.keys)
    twice = changed(base(), 7, credentials=base().consumers[150].credentials)
    with pytest.raises(ValueError, match="two consumers own the same credential"):
        build(twice, before)
    assert before.index.keys == keys
    swapped = changed(
        changed(base(), 7, credentials=base().consumers[150].credentials),
        150,
        credentials=base().consumers[7].credentials,
    )
    after = build(swapped, before)
    assert after.index.keys[hashlib.sha256(b"key 7").digest()].consumer.name == "c150"


def test_many_changes_at_once_are_gathered_in_slices(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reusing, "PATCHED_MAX", 2)
    before = build(base())
    consumers = tuple(msgspec.structs.replace(one, permissions=("z",)) for one in base().consumers)
    after = build(msgspec.structs.replace(base(), consumers=consumers), before)
    assert after.index.keys is not before.index.keys
    assert after.router is before.router
    assert after.index.keys[hashlib.sha256(b"key 7").digest()].consumer.permissions == {"z"}
    assert any(one is before.index.keys for one in before.large), "the former keys are freed"
