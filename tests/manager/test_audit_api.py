"""The audit tree by the admin API: pages, proofs that hold with the public key alone, and each look a record of its own."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from faregate.records.audit import browsing
from faregate.records.audit.browsing import Wanted, newest, record_at
from faregate.records.audit.note import Verifier
from faregate.records.audit.proving import check
from tests.manager.house import House, open_house
from tests.records.audit.trees import Made, event, made, opened


def _in_house(data: Path, test) -> None:
    async def run() -> None:
        async with open_house(data) as house:
            await test(house)

    asyncio.run(run())


@pytest.fixture
def tree(tmp_path: Path) -> Made:
    return made(tmp_path / "audit", 25, signed=[7, 20], rotated=(10, 15))


def test_pages_lead_from_the_newest_record_to_the_first(tmp_path: Path, tree: Made) -> None:
    async def test(house: House) -> None:
        seen: list[int] = []
        path = "/audit?size=4"
        while path:
            page = (await house.client.get(path)).json()
            seen += [one["seq"] for one in page["data"]]
            path = page.get("next")
        assert seen == list(range(24, -1, -1))

    _in_house(tmp_path, test)


def test_a_page_that_finds_little_ends_early_and_goes_on(tree: Made) -> None:
    wanted, place, found, pages = Wanted(object="thing:3"), "", [], 0
    while True:
        page = newest(tree.folder, wanted, place=place, size=10, bytes_max=1)
        found += [record.leaf.seq for record in page.records]
        pages, place = pages + 1, page.next
        if not place:
            break
    assert (found, pages > 1) == ([3], True)


@pytest.mark.parametrize(
    ("query", "count"),
    [("type=test", 25), ("type=test.event", 25), ("type=tes", 0), ("actor=user:one", 25), ("actor=user", 0),
     ("object=thing:12", 1), ("object=thing:1&type=test", 1)],
)  # fmt: skip
def test_records_are_found_by_type_actor_and_object(
    tmp_path: Path, tree: Made, query: str, count: int
) -> None:
    async def test(house: House) -> None:
        assert len((await house.client.get(f"/audit?{query}")).json()["data"]) == count

    _in_house(tmp_path, test)


def test_a_proof_holds_with_the_public_key_alone(tmp_path: Path, tree: Made) -> None:
    async def test(house: House) -> None:
        told = (await house.client.get("/audit/3")).json()
        checkpoint = (await house.client.get("/audit/checkpoint")).json()
        consistency = (await house.client.get("/audit/consistency?old=7")).json()
        verifier = Verifier.read(checkpoint["key"])
        for proof in (told["proof"], consistency):
            check(json.dumps(proof).encode(), verifier)
        assert (checkpoint["size"], consistency["size"]) == (20, 20)
        assert told["record"]["seq"] == told["proof"]["index"] == 3
        assert told["record"]["object"] == "thing:3"
        unsigned = (await house.client.get("/audit/22")).json()
        assert (unsigned["record"]["seq"], unsigned["proof"]) == (22, None)
        assert (await house.client.get("/audit/25")).status_code == 404
        assert (await house.client.get("/audit/consistency?old=30&new=20")).status_code == 422

    _in_house(tmp_path, test)


def test_each_look_is_a_record_before_anything_is_shown(tmp_path: Path, tree: Made) -> None:
    async def test(house: House) -> None:
        paths = ("/audit?actor=x", "/audit/3", "/audit/checkpoint", "/audit/consistency?old=7")
        for path in paths:
            await house.client.get(path)
        looks = [record[:3] for record in house.leaves.records]
        names = ("audit", "audit/3", "audit/checkpoint", "audit/consistency")
        assert looks == [("audit.read", "local", name) for name in names]
        house.leaves.fails = True
        for path in paths:
            told = await house.client.get(path)
            assert told.status_code == 503
            assert "thing:" not in told.text

    _in_house(tmp_path, test)


def test_a_tree_that_was_altered_gives_no_proof(tmp_path: Path, tree: Made) -> None:
    lines = tree.lines()
    lines[5] = lines[5].replace(b"thing:5", b"thing:6")
    tree.write(lines)

    async def test(house: House) -> None:
        told = await house.client.get("/audit/3")
        assert (told.status_code, told.json()["code"]) == (409, "conflict")
        assert "audit verify" in told.json()["detail"]

    _in_house(tmp_path, test)


@pytest.mark.parametrize("offset", ["x", "5.1", "999999.0", "-1.0"])
def test_a_place_that_is_none_is_refused(tmp_path: Path, tree: Made, offset: str) -> None:
    async def test(house: House) -> None:
        assert (await house.client.get("/audit", params={"offset": offset})).status_code == 422

    _in_house(tmp_path, test)


def test_without_a_tree_there_is_nothing_to_see(tmp_path: Path) -> None:
    async def test(house: House) -> None:
        assert (await house.client.get("/audit")).json() == {"data": []}
        assert (await house.client.get("/audit/checkpoint")).status_code == 404
        assert (await house.client.get("/audit/0")).status_code == 404

    _in_house(tmp_path, test)


def test_pages_stay_while_the_tree_grows(tmp_path: Path, tree: Made) -> None:
    first = newest(tree.folder, Wanted(), size=5)
    writer = opened(tree.folder)
    writer.tree.append([event(number) for number in range(25, 40)])
    writer.tree.close()
    following = newest(tree.folder, Wanted(), place=first.next, size=5)
    assert [one.leaf.seq for one in following.records] == [19, 18, 17, 16, 15]


def test_one_record_is_found_in_its_segment(tree: Made) -> None:
    for seq in (0, 9, 10, 14, 15, 24):
        record = record_at(tree.folder, seq)
        assert record is not None
        assert record.leaf.seq == seq
    assert record_at(tree.folder, 25) is None
    shutil.rmtree(tree.folder / "log")
    assert record_at(tree.folder, 0) is None
    assert browsing.newest(tree.folder, Wanted(), size=1).records == []
