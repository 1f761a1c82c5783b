"""Keys of our own making, groups and places, through the real gateway: who passes, who does not, and what is told."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Final

import pytest

from faregate.kernel.api_keys import digest, make
from faregate.snapshot.peppers import Pepper, write_peppers
from tests.support.client import Answer, ask, request
from tests.support.configuration import Tree, Value, bearer, changed, consumer, key_line, with_payments
from tests.support.configuration import base as plain
from tests.support.gateway import GatewayProcess, until
from tests.support.upstream import RecordingUpstream

OLD, NEW = Pepper("p1", b"o" * 32), Pepper("p2", b"n" * 32)
KEYS: Final = {name: make("live").reveal() for name in ("old", "new", "later", "ended", "soon")}


def kept(name: str, pepper: Pepper, **more: Value) -> Value:
    hashed: Value = {"pepper": pepper.id, "digest": digest(pepper.key, KEYS[name]).hex()}
    return {"api_key": {"id": f"key_{name}", "hmac": hashed, "mode": "live", **more}}


def in_days(days: float) -> str:
    return datetime.fromtimestamp(time.time() + days * 86_400, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def tree(port: int, manager_port: int, url: str) -> Tree:
    made = with_payments(plain(port, manager_port, url))
    made["groups"] = {
        "readers": {"permissions": ["payments:read"], "plan": "roomy", "apis": ["payments/v2"]},
        "elsewhere": {"apis": ["open"]},
    }
    shop: Tree = {
        "plan": "roomy",
        "permissions": ["payments:read"],
        "credentials": [
            kept("old", OLD),
            kept("new", NEW),
            kept("later", NEW, not_before=in_days(1)),
            kept("ended", NEW, expires=in_days(-0.5)),
            kept("soon", NEW, expires=in_days(3)),
        ],
    }
    for name, settings in {
        "shop": shop,
        "grouped": consumer("grouped", groups=["readers"]),
        "away": consumer("away", "payments:read", groups=["elsewhere"]),
        "placed": consumer("placed", "payments:read@payments/v2", plan="roomy"),
    }.items():
        made = changed(made, "consumers", name, to=settings)
    return made


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with ExitStack() as stack:
        upstream = stack.enter_context(RecordingUpstream())
        folder = tmp_path_factory.mktemp("keys")
        (folder / "data").mkdir()
        write_peppers(folder / "data", (NEW, OLD))
        made = GatewayProcess(folder, lambda port, manager: tree(port, manager, upstream.url))
        yield stack.enter_context(made)


def get(gateway: GatewayProcess, path: str, *lines: str) -> Answer:
    return asyncio.run(ask(gateway.address, request("GET", path, *lines)))


def reason(gateway: GatewayProcess, answer: Answer) -> object:
    return gateway.log.of(answer.request_id).get("reason")


@pytest.mark.parametrize("name", ["old", "new", "soon"])
@pytest.mark.parametrize("line", ["X-API-Key: {}", "Authorization: Bearer {}"])
def test_a_key_of_ours_passes_under_either_pepper(gateway: GatewayProcess, name: str, line: str) -> None:
    answer = get(gateway, "/v2/payments/1", line.format(KEYS[name].decode()))
    assert answer.status == 200
    assert gateway.log.of(answer.request_id)["credential"] == f"key_{name}"


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (KEYS["later"], "not_yet_valid"),
        (KEYS["ended"], "expired"),
        (KEYS["new"][:-1] + bytes([KEYS["new"][-1] ^ 1]), "bad_checksum"),
        (make("live").reveal(), "unknown_api_key"),
    ],
    ids=["later", "ended", "mistyped", "unknown"],
)
def test_all_others_get_the_same_401(gateway: GatewayProcess, key: bytes, why: str) -> None:
    answer = get(gateway, "/v2/payments/1", f"X-API-Key: {key.decode('latin-1')}")
    assert (answer.status, answer.code) == (401, "credential_invalid")
    assert reason(gateway, answer) == why


@pytest.mark.parametrize(
    ("name", "path", "status", "why"),
    [
        ("grouped", "/v2/payments/1", 200, None),
        ("grouped", "/v1/payments/1", 403, "api_not_granted"),
        ("away", "/v2/payments/1", 403, "api_not_granted"),
        ("placed", "/v2/payments/1", 200, None),
        ("placed", "/v1/payments/1", 403, "consumer_lacks_permission"),
        ("reader", "/v1/payments/1", 200, None),
    ],
)
@pytest.mark.parametrize("credential", [key_line, bearer])
def test_groups_and_places_decide_where_a_consumer_may_call(
    gateway: GatewayProcess, credential, name: str, path: str, status: int, why: str | None
) -> None:
    answer = get(gateway, path, credential(name))
    assert answer.status == status
    if status == 403:
        assert answer.code == "permission_denied"
    assert reason(gateway, answer) == why


def test_a_group_gives_its_plan(gateway: GatewayProcess) -> None:
    answer = get(gateway, "/v2/payments/1", key_line("grouped"))
    assert "plan.roomy" in (answer.header("RateLimit-Policy") or "")


def test_a_scope_narrows_a_grant_for_a_place_by_its_permission(gateway: GatewayProcess) -> None:
    assert get(gateway, "/v2/payments/1", bearer("placed", scope="payments:read")).status == 200
    narrowed = get(gateway, "/v2/payments/1", bearer("placed", scope="payments:write"))
    assert (narrowed.status, reason(gateway, narrowed)) == (403, "scope_lacks_permission")


def test_what_ends_soon_is_in_the_metrics(gateway: GatewayProcess) -> None:
    until(lambda: gateway.metric("faregate_credentials_expiring", days="7") == 1, "the gauge of a week")
    assert gateway.metric("faregate_credentials_expiring", days="1") == 0


def test_no_pepper_and_no_key_reaches_output_or_log(gateway: GatewayProcess) -> None:
    told = gateway.stderr + gateway.stdout + (gateway.folder / "data" / "access.jsonl").read_text()
    for key in KEYS.values():
        assert key.decode() not in told
    assert "n" * 32 not in told


def test_a_reload_bounds_a_consumer_and_frees_it_again(gateway: GatewayProcess) -> None:
    """Also from a configuration where nobody was bounded, whose routes' steps knew of no places."""
    before = gateway.tree
    free = before
    for name, settings in {
        "grouped": consumer("grouped", "payments:read"),
        "away": consumer("away", "payments:read"),
        "placed": consumer("placed", "payments:read"),
    }.items():
        free = changed(free, "consumers", name, to=settings)
    try:
        gateway.reload_and_wait(free)
        assert get(gateway, "/v1/payments/1", key_line("grouped")).status == 200
        bound = changed(free, "consumers", "grouped", to=consumer("grouped", "payments:read", apis=["open"]))
        gateway.reload_and_wait(bound)
        refused = get(gateway, "/v1/payments/1", key_line("grouped"))
        assert (refused.status, reason(gateway, refused)) == (403, "api_not_granted")
        assert get(gateway, "/v1/payments/1", key_line("away")).status == 200
        gateway.reload_and_wait(free)
        assert get(gateway, "/v1/payments/1", key_line("grouped")).status == 200
    finally:
        gateway.reload_and_wait(before)


def test_a_reload_takes_a_new_pepper_and_lets_an_old_one_go(gateway: GatewayProcess) -> None:
    """And the keys and ends that came with them."""
    before, key = gateway.tree, make("live").reveal()
    newest = Pepper("p3", b"3" * 32)
    hashed: Value = {"pepper": "p3", "digest": digest(newest.key, key).hex()}
    made: Tree = {
        "plan": "roomy",
        "permissions": ["payments:read"],
        "credentials": [
            {"api_key": {"id": "key_made", "hmac": hashed}},
            {"jwt": {"issuer": "acme-id", "subject": "made", "id": "tok_1", "expires": in_days(0.5)}},
        ],
    }
    try:
        write_peppers(gateway.folder / "data", (newest, NEW, OLD))
        gateway.reload_and_wait(changed(before, "consumers", "made", to=made))
        assert get(gateway, "/v2/payments/1", f"X-API-Key: {key.decode()}").status == 200
        assert get(gateway, "/v2/payments/1", f"X-API-Key: {KEYS['old'].decode()}").status == 200
        answer = get(gateway, "/v2/payments/1", bearer("made"))
        assert (answer.status, gateway.log.of(answer.request_id)["credential"]) == (200, "tok_1")
        until(lambda: gateway.metric("faregate_credentials_expiring", days="1") == 1, "the gauge of a day")
    finally:
        write_peppers(gateway.folder / "data", (NEW, OLD))
        gateway.reload_and_wait(before)
    gone = get(gateway, "/v2/payments/1", f"X-API-Key: {key.decode()}")
    assert (gone.status, reason(gateway, gone)) == (401, "unknown_api_key")
    until(lambda: gateway.metric("faregate_credentials_expiring", days="1") == 0, "the gauge of a day")
