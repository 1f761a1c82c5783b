"""From a snapshot to a runtime: the steps in their one order, what outlives a revision, what ends with it."""

import asyncio
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from faregate.gateway.assembly import Runtime, assemble, retire
from faregate.kernel.clock import SystemClock
from faregate.kernel.problems import Refusal
from faregate.snapshot.call import Call
from faregate.snapshot.data import (
    FORMAT,
    ApiKeyCredential,
    Consumer,
    Gateway,
    Route,
    Snapshot,
    Target,
    Upstream,
    Version,
)
from faregate.stores.keysets import KeySets
from tests.gateway.fakes import FakePool, FakeTransport

KEY, PREVIEW_KEY, FAR_KEY = "fg_acme_secret", "fg_preview_secret", "fg_far_secret"


def credential(name: str, key: str) -> tuple[ApiKeyCredential, ...]:
    return (ApiKeyCredential(name, sha256(key.encode()).digest()),)


def upstream(*ports: int, name: str = "payments", **changes: object) -> Upstream:
    return Upstream(name, tuple(Target(f"127.0.0.1:{port}", "127.0.0.1", port) for port in ports), **changes)  # type: ignore[arg-type]


def snapshot(*upstreams: Upstream, revision: int = 1) -> Snapshot:
    versions = (
        Version(
            "v1", "/v1", "deprecated", deprecated_at=1_790_812_800, sunset_at=1_814_313_600, successor="/v2"
        ),
        Version("v2", "/v2"),
        Version("v3", "/v3", "draft", preview=("preview",)),
        Version("v0", "/v0", "retired", successor="/v2"),
    )
    routes = tuple(
        Route("payments", index, "GET", f"{version.path}/payments/{{id}}", "GET /payments/{id}", "payments", authenticate=("api_key",),
              require=("payments:read",))
        for index, version in enumerate(versions)
    )  # fmt: skip
    consumers = (
        Consumer("acme", permissions=("payments:read",), credentials=credential("k1", KEY)),
        Consumer("preview", permissions=("payments:read",), credentials=credential("k2", PREVIEW_KEY)),
        Consumer("far", credentials=credential("k3", FAR_KEY), allow_ips=("198.51.100.0/24",)),
    )
    return Snapshot(
        FORMAT,
        revision,
        Gateway((), None, 1, ""),
        (),
        upstreams or (upstream(9001, 9002),),
        (),
        consumers,
        versions,
        routes,
    )


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


def decide(runtime: Runtime, path: bytes, key: str | None, ip: str = "203.0.113.9") -> tuple[str, str]:
    """Code and reason of the first step that refuses, or two empty words."""
    endpoint = runtime.router.find(path)
    assert endpoint is not None
    route = endpoint.methods[b"GET"]
    call = Call(0.0, 1_795_400_000.0)
    call.client_ip, call.route, call.api_key = ip, route, None if key is None else key.encode()
    for step in route.steps:
        verdict = step(call)
        if verdict is not None:
            assert isinstance(verdict, Refusal)
            return verdict.code, verdict.reason
    return "", ""


def test_each_step_refuses_in_the_one_written_order(build) -> None:
    runtime = build(snapshot())
    assert decide(runtime, b"/v2/payments/p1", KEY) == ("", "")
    assert decide(runtime, b"/v2/payments/p1", None)[0] == "credential_missing"
    assert decide(runtime, b"/v2/payments/p1", "fg_wrong")[0] == "credential_invalid"
    # identity before the address list, the address list before permission
    assert decide(runtime, b"/v2/payments/p1", FAR_KEY)[0] == "address_denied"
    assert decide(runtime, b"/v2/payments/p1", FAR_KEY, "198.51.100.7")[0] == "permission_denied"


def test_a_draft_exists_for_its_previewers_only_and_tells_strangers_about_credentials_first(build) -> None:
    runtime = build(snapshot())
    assert decide(runtime, b"/v3/payments/p1", PREVIEW_KEY) == ("", "")
    assert decide(runtime, b"/v3/payments/p1", KEY) == ("no_route", "draft_version")
    assert decide(runtime, b"/v3/payments/p1", FAR_KEY) == ("no_route", "draft_version")


def test_a_retired_version_says_so_to_anyone_before_all_else(build) -> None:
    runtime = build(snapshot())
    assert decide(runtime, b"/v0/payments/p1", None) == ("version_retired", "version_retired")
    route = runtime.router.find(b"/v0/payments/p1").methods[b"GET"]
    assert route.answer_headers == b'Link: </v2>; rel="successor-version"\r\n'


def test_lifecycle_headers_and_constant_parts(build) -> None:
    runtime = build(snapshot())
    old = runtime.router.find(b"/v1/payments/p1").methods[b"GET"]
    assert old.answer_headers == (
        b'Deprecation: @1790812800\r\nSunset: Wed, 30 Jun 2027 00:00:00 GMT\r\nLink: </v2>; rel="successor-version"\r\n'
    )
    new = runtime.router.find(b"/v2/payments/p1").methods[b"GET"]
    assert new.answer_headers == b""
    assert new.upstream_headers == b"X-Api-Version: v2\r\n"
    assert msgspec.json.decode("{" + new.log_fields + "}") == {
        "api": "payments",
        "version": "v2",
        "route": "GET /payments/{id}",
    }


def test_balancing_and_connections_outlive_a_revision_by_target_name(build) -> None:
    first = build(snapshot(upstream(9001, 9002)))
    kept, gone = first.upstreams["payments"].pools
    before = {state.name: state for state in first.upstreams["payments"].balancer.targets}
    second = build(snapshot(upstream(9002, 9003, idle=3, connect_timeout=0.5), revision=2), first)
    pools = {state.name: state.pool for state in second.upstreams["payments"].balancer.targets}
    assert pools["127.0.0.1:9002"] is gone
    assert second.upstreams["payments"].balancer.targets[0] is before["127.0.0.1:9002"]
    assert (gone.connect_timeout, gone._idle_max) == (0.5, 3)
    assert pools["127.0.0.1:9003"] not in (kept, gone)
    retire(first, second)
    assert (kept.closed, gone.closed, pools["127.0.0.1:9003"].closed) == (True, False, False)


def test_retiring_closes_the_idle_connections_of_an_upstream_that_is_gone(
    build, loop: asyncio.AbstractEventLoop
) -> None:
    first = build(snapshot(upstream(9001), upstream(9009, name="cards")))
    state = first.upstreams["cards"].balancer.targets[0]
    state.pool = pool = FakePool(state.data, first.upstreams["cards"].data, loop, lambda: 0.0)  # type: ignore[arg-type]
    pool.open_count += 1
    transport: FakeTransport = pool.new_connection()
    pool.give_back(transport.protocol, 0.0)  # type: ignore[arg-type]
    second = build(snapshot(upstream(9001), revision=2), first)
    retire(first, second)
    assert transport.closing
    assert not first.upstreams["payments"].pools[0].closed
    loop.call_soon(loop.stop)
    loop.run_forever()
