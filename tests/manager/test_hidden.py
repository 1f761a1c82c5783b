"""The digest of a key is shown to nobody, wherever an entry is: read, listed, written out, compared, waiting or audited."""

import json

import pytest

from faregate.manager.cases.differences import masked, unmasked
from faregate.manager.cases.domain import Content, Json
from tests.manager.conftest import AtDesk
from tests.manager.desk import Desk

DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
OTHER = "1b4f0e9851971998e732078544c96b36c3d01cedf7caa332359d6f1d83567014"
PRINT = "aa" * 32


def key(name: str, digest: str) -> Content:
    return {"api_key": {"id": name, "sha256": digest}}


def consumer(*credentials: Content) -> Content:
    listed: list[Json] = [*credentials]
    return {"credentials": listed}


def test_a_digest_is_nowhere(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        vera, ann, bob = (
            await desk.user("vera", "viewer", "auditor"),
            await desk.user("ann", "operator"),
            await desk.user("bob", "approver"),
        )
        cert: Content = {"mtls": {"sha256": PRINT}}
        first, second = consumer(key("k1", DIGEST), cert), consumer(key("k1", OTHER), cert)
        told = [
            await ann.put("/consumers/acme", {"spec": first}, ""),
            await ann.put("/consumers/acme", {"spec": second}, "0"),
            await ann.post("/config/plan", {"sections": {"consumers": {"acme": second}}}),
        ]
        desk.approval = "guarded"
        waits = await ann.put("/consumers/acme", {"spec": second})
        assert waits.status_code == 202
        name = waits.json()["change_request"]
        told += [waits, await vera.get(f"/changes/{name}"), await bob.decide(name)]
        assert told[-1].json()["state"] == "applied"
        told += [
            await vera.get(path)
            for path in ("/consumers/acme", "/consumers", "/config", "/revisions/1", "/revisions/2", "/audit")
        ]  # fmt: skip
        assert [one.status_code for one in told[:2]] == [201, 412]
        for one in told:
            assert one.status_code in {200, 201, 202, 412}, one.request.url
            assert DIGEST not in one.text, one.request.url
            assert OTHER not in one.text, one.request.url
        assert not desk.holds(DIGEST)
        assert not desk.holds(OTHER)
        shown = (await vera.get("/consumers/acme")).json()["spec"]["credentials"]
        assert shown == [{"api_key": {"id": "k1", "sha256": "***"}}, {"mtls": {"sha256": PRINT}}]
        (changed,) = (await vera.get("/revisions/2")).json()["differences"]
        assert changed["path"].endswith("sha256")
        assert changed["before"] != changed["after"]  # that it changed is seen
        assert desk.tree.managed["consumers", "acme"] == second

    at_desk(test)


def test_who_reads_and_writes_again_keeps_every_key(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await desk.user("ann", "operator")
        whole = consumer(key("k1", DIGEST), key("k2", OTHER), {"mtls": {"sha256": PRINT}})
        assert (await ann.put("/consumers/acme", {"spec": whole}, "")).status_code == 201
        shown = (await ann.get("/consumers/acme")).json()["spec"]
        del shown["credentials"][0]
        assert (await ann.put("/consumers/acme", {"spec": shown})).status_code == 200
        assert desk.tree.managed["consumers", "acme"] == consumer(
            key("k2", OTHER), {"mtls": {"sha256": PRINT}}
        )

    at_desk(test)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ([key("k2", "***"), key("k1", "***")], [key("k2", OTHER), key("k1", DIGEST)]),
        ([key("k2", "***")], [key("k2", OTHER)]),
        ([{"mtls": {}}, key("k2", "***")], [{"mtls": {}}, key("k2", OTHER)]),
        # under another name it is another key: what is not known stays as it is, and is refused as no digest
        ([key("k3", "***"), key("k2", "***")], [key("k3", "***"), key("k2", OTHER)]),
        ([key("k1", PRINT)], [key("k1", PRINT)]),
    ],
)
def test_a_key_goes_over_to_no_other_name(written: list[Content], kept: list[Content]) -> None:
    present = consumer(key("k1", DIGEST), key("k2", OTHER))
    assert unmasked(consumer(*written), present) == consumer(*kept)
    assert unmasked(masked(present), present) == present


def test_two_of_one_name_give_nothing_over() -> None:
    present = consumer(key("k1", DIGEST), key("k1", OTHER))
    assert DIGEST not in json.dumps(unmasked(masked(present), present))
