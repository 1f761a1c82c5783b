"""What a real gateway did, by its admin API: calls, audit tree, ledger, tools, and its secrets rotated under traffic."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from faregate.records.audit.note import Verifier
from faregate.records.audit.proving import check
from tests.support.gateway import GatewayProcess, until
from tests.support.live import LiveGateway
from tests.support.managed import Owner, bare, call
from tests.support.upstream import RecordingUpstream

pytestmark = pytest.mark.apart


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as made:
        yield made


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[LiveGateway]:
    one = LiveGateway(tmp_path, bare)
    with one:
        yield one


@pytest.fixture
def owner(gateway: GatewayProcess) -> Owner:
    made = Owner(gateway.manager_port, gateway.folder / "data")
    made.open()
    return made


def test_what_happened_is_found_explained_and_proven(
    gateway: LiveGateway, owner: Owner, upstream: RecordingUpstream
) -> None:
    key = owner.publish_web(upstream.url)
    assert call(gateway, "/v1/things", key) == 200
    assert call(gateway, "/v1/things", key[:-1]) == 401
    until(lambda: len(owner.ask("GET", "/calls").body["data"]) >= 2, "two calls in the log")
    calls = owner.ask("GET", "/calls?refusal=credential_invalid").body["data"]
    assert [one["status"] for one in calls] == [401]
    told = owner.ask("GET", f"/calls/{calls[0]['request_id']}/explanation").body
    assert "credential_invalid" in told["headline"]
    assert any("api_key" in sentence for sentence in told["because"])

    records = owner.ask("GET", "/audit?type=revision").body["data"]
    newest = owner.ask("GET", "/status").body["revision"]
    assert records[0]["object"] == f"revision/{newest}"
    looks = owner.ask("GET", "/audit?type=audit.read").body["data"]
    assert {one["actor"] for one in looks} == {"local"}
    seq = records[0]["seq"]

    def is_proven() -> bool:
        told = owner.ask("GET", f"/audit/{seq}")
        assert told.status in {200, 503}, told  # 503: a look that cannot be recorded in time is not given
        return told.status == 200 and told.body["proof"] is not None

    until(is_proven, "a checkpoint", 30.0)
    verifier = Verifier.read(owner.ask("GET", "/audit/checkpoint").body["key"])
    check(json.dumps(owner.ask("GET", f"/audit/{seq}").body["proof"]).encode(), verifier)

    tried = owner.ask("POST", "/tools/try", {"method": "GET", "path": "/v1/things", "consumer": "acme"})
    assert (tried.status, tried.body["refusal"]) == (200, ""), tried
    checked = owner.ask("POST", "/tools/check", {"text": "plans: {a: {concurrency: none}}"})
    assert (checked.status, checked.body["ok"]) == (200, False)


def test_everything_is_rotated_and_every_key_works_on(
    gateway: LiveGateway, owner: Owner, upstream: RecordingUpstream
) -> None:
    key = owner.publish_web(upstream.url)
    for what in ("pepper", "data_key", "master_key"):
        told = owner.ask("POST", "/secrets/rotate", {"what": what})
        assert told.status == 200, told
        assert call(gateway, "/v1/things", key) == 200
    made = owner.ask("POST", "/consumers/acme/keys", {}, Idempotency_Key="again")
    again = owner.ask("POST", "/consumers/acme/keys", {}, Idempotency_Key="again")
    assert made.body["secret"] == again.body["secret"]
    assert again.headers["idempotent-replayed"] == "true"
    fresh = str(made.body["secret"])
    assert {call(gateway, "/v1/things", one) for one in (key, fresh)} == {200}
    assert len(owner.ask("GET", "/secrets").body["peppers"]) == 2
    gateway.stop()
    gateway.launch()
    gateway.wait_ready()
    assert {call(gateway, "/v1/things", one) for one in (key, fresh)} == {200}
    until(lambda: _answers(owner), "the manager")
    assert owner.ask("GET", "/secrets").body["resealing"] == 0


def _answers(owner: Owner) -> bool:
    try:
        return owner.ask("GET", "/secrets").status == 200
    except OSError:
        return False
