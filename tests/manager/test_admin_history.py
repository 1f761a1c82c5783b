"""Revisions by the admin API, and keys."""

from datetime import datetime

import pytest

from faregate.kernel import api_keys
from tests.manager.conftest import InHouse
from tests.manager.house import House


def test_history_says_who_did_what_and_why(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        await house.put("/plans/gold", {"concurrency": 1})
        told = await house.client.patch(
            "/plans/gold",
            json={"spec": {"concurrency": 2}},
            headers={"If-Match": "*", "X-Faregate-Reason": "ticket 7"},
        )
        assert told.headers["faregate-revision"] == "2"
        listed = (await house.client.get("/revisions")).json()["data"]
        assert [(one["number"], one["kind"], one["author"], one["reason"]) for one in listed] == [
            (2, "edit", "local", "ticket 7"),
            (1, "edit", "local", ""),
        ]
        shown = (await house.client.get("/revisions/2")).json()
        assert shown["differences"] == [{"path": "plans.gold.concurrency", "before": 1, "after": 2}]
        assert shown["audit_seq"] == 1
        assert shown["digest"] == house.leaves.records[1][3]["digest"]

    in_house(test)


def test_a_rollback_is_one_step_and_a_revision(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        await house.put("/plans/gold", {"concurrency": 1})
        await house.put("/plans/silver", {})
        await house.client.delete("/plans/gold", headers={"If-Match": "*"})
        planned = (await house.client.post("/revisions/1/plan")).json()
        assert (planned["creates"], planned["updates"], planned["deletes"]) == (1, 0, 1)
        told = await house.client.post("/revisions/1/rollback", json={"reason": "wrong"})
        assert told.json()["revision"] == 4
        whole = (await house.client.get("/config")).json()
        assert whole["sections"] == {"plans": {"gold": {"concurrency": 1}}}
        assert (await house.client.get("/revisions/4")).json()["rolled_back_to"] == 1
        again = await house.client.post("/revisions/1/rollback", json={})
        assert again.json() == {"revision": None, "published": True}

    in_house(test)


def test_the_whole_configuration_has_an_etag_and_a_write_its_condition(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        await house.put("/plans/gold", {})
        read = (await house.client.get("/config")).headers["etag"]
        assert read == '"1"'
        await house.put("/plans/silver", {})
        body = {"sections": {"plans": {"gold": {}}}}
        late = await house.client.put("/config", json=body, headers={"If-Match": read})
        assert (late.status_code, late.json()["code"]) == (412, "stale")
        wrong = await house.client.put("/config", json=body, headers={"If-Match": '"ab"'})
        assert wrong.status_code == 422
        read = (await house.client.get("/config")).headers["etag"]
        done = await house.client.put("/config", json=body, headers={"If-Match": read})
        assert done.json()["revision"] == 3
        body["sections"]["plans"] = {}
        assert (await house.client.put("/config", json=body, headers={"If-Match": "*"})).status_code == 200

    in_house(test)


def test_a_key_is_shown_once_rolled_with_overlap_and_stays_revoked(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        await house.put("/consumers/acme", {})
        made = await house.client.post("/consumers/acme/keys", json={"mode": "test", "note": "till 4"})
        assert made.status_code == 201
        secret, name = made.json()["secret"], made.json()["credential"]["name"]
        assert api_keys.checksum_ok(secret.encode())
        listed = (await house.client.get("/credentials?consumer=acme")).text
        assert secret not in listed
        assert "hmac" not in listed
        rolled = await house.client.post(f"/credentials/{name}/roll", json={"overlap_s": 3600})
        assert rolled.json()["secret"] != secret
        old = (await house.client.get(f"/credentials/{name}")).json()["spec"]
        assert old["replaced_by"] == rolled.json()["credential"]["name"]
        assert old["api_key"]["expires"].endswith("Z")
        assert (await house.client.delete(f"/credentials/{name}")).status_code == 204
        assert (await house.client.post("/revisions/2/rollback", json={})).status_code == 200
        assert (await house.client.get(f"/credentials/{name}")).status_code == 404
        for file in house.management.data.glob("manager.db*"):
            assert secret.encode() not in file.read_bytes()

    in_house(test)


@pytest.mark.parametrize(
    ("given", "wish", "lives"),
    [(7200, None, 7200), (7200, 0, None), (7200, 600, 600), (None, None, None), (None, 600, 600)],
)
def test_a_rolled_key_lives_as_long_as_the_old_one_unless_told(
    in_house: InHouse, given: int | None, wish: int | None, lives: int | None
) -> None:
    async def test(house: House) -> None:
        await house.put("/consumers/acme", {})
        made = await house.client.post("/consumers/acme/keys", json={"life_s": given})
        name = made.json()["credential"]["name"]
        rolled = await house.client.post(f"/credentials/{name}/roll", json={"life_s": wish})
        spec = rolled.json()["credential"]["spec"]
        if lives is None:
            assert "expires" not in spec["api_key"]
        else:
            ends, began = (
                datetime.fromisoformat(one) for one in (spec["api_key"]["expires"], spec["created"])
            )
            assert (ends - began).total_seconds() == lives
        short = await house.client.post(f"/credentials/{spec['api_key']['id']}/roll", json={"life_s": 1})
        assert (short.status_code, "60" in short.json()["detail"]) == (422, True)

    in_house(test)


def test_a_consumer_goes_with_its_keys(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        await house.put("/consumers/acme", {})
        await house.client.post("/consumers/acme/keys", json={})
        await house.client.delete("/consumers/acme", headers={"If-Match": "*"})
        assert (await house.client.get("/credentials")).json()["data"] == []

    in_house(test)


def test_a_page_begins_where_one_ended_or_is_refused(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        for count in (1, 2, 3):
            await house.put(f"/plans/p{count}", {})
        page = (await house.client.get("/revisions?size=2")).json()
        assert [one["number"] for one in page["data"]] == [3, 2]
        assert [one["number"] for one in (await house.client.get(page["next"])).json()["data"]] == [1]
        told = await house.client.get("/revisions?offset=abc")
        assert (told.status_code, told.json()["code"]) == (422, "validation_failed")

    in_house(test)


def test_a_number_in_quotes_is_none(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        await house.put("/consumers/acme", {})
        for path, body in (
            ("/consumers/acme/keys", {"life_s": "3600"}),
            ("/users", {"name": "bot", "service": "yes"}),
        ):
            told = await house.client.post(path, json=body)
            assert (told.status_code, told.json()["code"]) == (422, "validation_failed"), told.text

    in_house(test)
