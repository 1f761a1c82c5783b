"""Random histories: whatever is applied, rolled back, refused or broken off, what stands is what was said last."""

import asyncio
import os
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.manager.conftest import STORES, new_database
from tests.manager.house import House, open_house

STEPS = 1000 if os.environ.get("FAREGATE_PROOF") == "long" else 40

Whole = dict[str, dict[str, dict[str, Any]]]


def a_tree(chance: random.Random) -> Whole:
    """Plans and consumers of them; one in five refers to a plan that is not there."""
    plans = {f"p{number}": {"concurrency": chance.randrange(1, 9)} for number in range(chance.randrange(5))}
    names = [*plans, "missing"] if chance.random() < 0.2 else list(plans)
    consumers: dict[str, dict[str, Any]] = {}
    for number in range(chance.randrange(6)):
        plan = chance.choice([*names, None])
        consumers[f"c{number}"] = {} if plan is None else {"plan": plan}
    return {"plans": plans, "consumers": consumers}


def is_whole(tree: Whole) -> bool:
    return all(one.get("plan") in {None, *tree["plans"]} for one in tree["consumers"].values())


def present(tree: Whole) -> Whole:
    return {section: entries for section, entries in tree.items() if entries}


async def play(house: House, chance: random.Random) -> None:
    """Every answer is checked against a model: a list of the wholes that were, by revision."""
    wholes: dict[int, Whole] = {0: {"plans": {}, "consumers": {}}}
    head = 0
    for _ in range(STEPS):
        act = chance.choice(("apply", "apply", "rollback", "refused by audit", "refused by compiler"))
        before = wholes[head]
        if act == "rollback":
            to = chance.choice(list(wholes))
            told = await house.client.post(f"/revisions/{to}/rollback", json={})
            wanted = wholes[to]
        else:
            house.leaves.fails, house.tree.fails = act == "refused by audit", act == "refused by compiler"
            wanted = a_tree(chance)
            told = await house.client.put("/config", json={"sections": wanted})
            fine = is_whole(wanted)
            broken = house.leaves.fails or house.tree.fails
            house.leaves.fails = house.tree.fails = False
            if wanted != before and (broken or not fine):
                assert told.status_code == (
                    503 if house.tree.fails or (broken and fine) else told.status_code
                )
                assert told.status_code in {422, 503}
                wanted = before
        if wanted != before:
            assert told.status_code == 200, told.text
            head = told.json()["revision"]
            wholes[head] = wanted
        elif told.status_code == 200:
            assert told.json()["revision"] is None
        assert (await house.client.get("/config")).json()["sections"] == present(wanted)
        assert house.tree.managed == {
            (section, name): one for section, entries in wanted.items() for name, one in entries.items()
        }
    numbers = [one["number"] for one in (await house.client.get("/revisions?size=1000")).json()["data"]]
    assert numbers == sorted(set(wholes) - {0}, reverse=True)
    acts = [record[3]["act"] for record in house.leaves.records if record[0] == "revision.committed"]
    assert len(acts) == len(numbers)


@pytest.mark.proof
@pytest.mark.beside
@pytest.mark.timeout(1800 if STEPS > 40 else 120)
@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("seed", [1, 2])
def test_what_stands_is_what_was_said_last(kind: str, seed: int, request: pytest.FixtureRequest) -> None:
    async def run(folder: str, store: str) -> None:
        async with open_house(Path(folder), store) as house:
            await play(house, random.Random(seed))

    store = kind if kind == "embedded" else new_database(request.getfixturevalue("manager_postgres"))
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(folder, store))


def test_of_twenty_editors_at_once_one_wins_each_round(in_house: Any) -> None:
    async def test(house: House) -> None:
        await house.put("/plans/gold", {"concurrency": 0})
        for _ in range(5):
            etag = (await house.client.get("/plans/gold")).json()["etag"]
            told = await asyncio.gather(
                *(house.put("/plans/gold", {"concurrency": 1 + editor}, etag) for editor in range(20))
            )
            codes = sorted(one.status_code for one in told)
            assert codes == [200] + [412] * 19
            winner = next(editor for editor, one in enumerate(told) if one.status_code == 200)
            for one in told:
                if one.status_code == 412:
                    assert one.json()["diff"][-1]["after"] == 1 + winner
            assert (await house.client.get("/plans/gold")).json()["spec"] == {"concurrency": 1 + winner}
            await house.put("/plans/gold", {"concurrency": 99}, "*")

    in_house(test)
