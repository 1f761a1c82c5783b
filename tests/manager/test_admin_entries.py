"""Entries by the admin API: made, read, changed, removed, by stable name and under the reader's condition."""

import pytest

from faregate.manager.admin import examples
from faregate.manager.cases.domain import APPLIED
from tests.manager.conftest import InHouse
from tests.manager.house import House


def test_every_example_goes_in_and_comes_out_as_it_was(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        for section in APPLIED:
            path = f"/{section}/{examples.NAMES[section]}"
            made = await house.put(path, examples.ENTRIES[section])
            assert made.status_code == 201, made.text
            read = await house.client.get(path)
            assert read.json()["spec"] == examples.ENTRIES[section]
            assert read.headers["etag"] == made.headers["etag"] == f'"{read.json()["etag"]}"'
            assert made.headers["faregate-published"] == "true"

    in_house(test)


def test_the_second_of_two_editors_gets_412_with_what_the_first_did(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        await house.put("/plans/standard", {"limits": ["10/second"], "concurrency": 5})
        etag = (await house.client.get("/plans/standard")).json()["etag"]
        first = await house.put("/plans/standard", {"limits": ["20/second"], "concurrency": 5}, etag)
        assert first.status_code == 200
        second = await house.put("/plans/standard", {"limits": ["10/second"], "concurrency": 9}, etag)
        assert (second.status_code, second.json()["code"]) == (412, "stale")
        assert second.json()["diff"] == [
            {"path": "plans.standard.limits[10/second]", "before": "10/second", "after": None},
            {"path": "plans.standard.limits[20/second]", "before": None, "after": "20/second"},
        ]
        again = await house.put("/plans/standard", {"limits": ["20/second"]}, second.json()["etag"])
        assert again.status_code == 200

    in_house(test)


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 428), ({"If-None-Match": "*"}, 412), ({"If-Match": '"0"'}, 412), ({"If-Match": "*"}, 200)],
)
def test_a_write_says_which_state_it_means(in_house: InHouse, headers: dict[str, str], status: int) -> None:
    async def test(house: House) -> None:
        await house.put("/plans/standard", {"limits": ["10/second"]})
        told = await house.client.put("/plans/standard", json={"spec": {"limits": []}}, headers=headers)
        assert told.status_code == status

    in_house(test)


def test_what_does_not_hold_together_is_refused_and_nothing_is_changed(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        told = await house.put("/consumers/acme", {"plan": "gold"})
        assert (told.status_code, told.json()["code"]) == (422, "validation_failed")
        assert told.json()["diagnostics"][0]["path"] == "consumers.acme.plan"
        assert (await house.client.get("/consumers/acme")).status_code == 404
        assert (await house.client.get("/revisions")).json()["data"] == []
        assert house.leaves.records == []

    in_house(test)


def test_what_others_refer_to_stays(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        await house.put("/plans/gold", {})
        await house.put("/consumers/acme", {"plan": "gold"})
        told = await house.client.delete("/plans/gold", headers={"If-Match": "*"})
        assert (told.status_code, told.json()["code"]) == (409, "referenced")
        assert "consumers.acme.plan" in told.json()["detail"]
        assert (await house.client.delete("/consumers/acme", headers={"If-Match": "*"})).status_code == 204
        assert (await house.client.delete("/plans/gold", headers={"If-Match": "*"})).status_code == 204

    in_house(test)


def test_what_cannot_be_audited_does_not_happen(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        house.leaves.fails = True
        told = await house.put("/plans/gold", {})
        assert (told.status_code, told.json()["retry"]) == (503, "after")
        house.leaves.fails = False
        assert (await house.client.get("/plans/gold")).status_code == 404
        assert house.tree.managed == {}
        assert (await house.put("/plans/gold", {})).status_code == 201
        kinds = [record[0] for record in house.leaves.records]
        assert kinds == [
            "revision.void",
            "revision.committed",
        ]  # the first may have been recorded all the same

    in_house(test)


def test_what_the_file_owns_is_shown_and_not_written(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        shown = (await house.client.get("/plans/standard")).json()
        assert (shown["owner"], shown["spec"]) == ("file", {"limits": ["1/second"]})
        await house.put("/plans/gold", {})
        listed = (await house.client.get("/plans")).json()
        assert [(one["name"], one["owner"]) for one in listed["data"]] == [
            ("gold", "database"),
            ("standard", "file"),
        ]
        for told in (
            await house.client.put("/plans/standard", json={"spec": {}}, headers={"If-Match": "*"}),
            await house.client.delete("/plans/standard", headers={"If-Match": "*"}),
        ):
            assert (told.status_code, told.json()["code"]) == (409, "owned_by_file")

    in_house(test, file={"plans": {"standard": {"limits": ["1/second"]}}})


def test_a_patch_merges(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        await house.put("/plans/standard", {"limits": ["10/second"], "concurrency": 5}, team="cards")
        told = await house.client.patch(
            "/plans/standard",
            json={"spec": {"concurrency": None, "quota": "9/month"}},
            headers={"If-Match": "*"},
        )
        assert told.json()["spec"] == {"limits": ["10/second"], "quota": "9/month"}
        assert told.json()["team"] == "cards"

    in_house(test)


def test_pages_follow_each_other(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        sections = {"plans": {f"p{number:02}": {} for number in range(25)}}
        applied = await house.client.put("/config", json={"sections": sections})
        assert applied.json() == {"revision": 1, "published": True}
        names: list[str] = []
        path = "/plans?size=10"
        while path:
            page = (await house.client.get(path)).json()
            names += [one["name"] for one in page["data"]]
            path = page.get("next")
        assert names == sorted(sections["plans"])

    in_house(test)


def test_a_secret_is_never_shown_and_survives_an_edit(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        spec = {"issuer": "https://id", "secret": "hush-hush-hush", "audience": "a", "algorithms": ["HS256"]}
        await house.put("/issuers/id", spec)
        shown = (await house.client.get("/issuers/id")).json()
        assert shown["spec"]["secret"] == "***"
        edited = await house.put("/issuers/id", {**shown["spec"], "audience": "b"}, shown["etag"])
        assert edited.status_code == 200
        assert house.tree.managed["issuers", "id"] == {**spec, "audience": "b"}
        everything = (await house.client.get("/config")).text + (await house.client.get("/revisions/1")).text
        assert "hush" not in everything
        for file in house.management.data.glob("manager.db*"):
            assert b"hush" not in file.read_bytes()
        assert "hush" not in str(house.leaves.records)

    in_house(test)


def test_nobody_unknown_gets_in(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        for headers, code in (
            ({}, "credential_missing"),
            ({"Authorization": "Bearer fgm_guess"}, "credential_invalid"),
            ({"Authorization": "Basic Zm9vOmJhcg=="}, "credential_invalid"),
            ({"Cookie": "__Host-faregate=fgs_guess"}, "credential_invalid"),
        ):
            told = await house.anybody.get("/plans", headers=headers)
            assert (told.status_code, told.json()["code"]) == (401, code)
            assert told.headers["www-authenticate"].startswith("Bearer")

    in_house(test)
