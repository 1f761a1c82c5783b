"""Canaries as use cases: prepared and not committed, judged, taken back, promoted under their own number."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from faregate.manager.arms import Arm
from faregate.manager.cases import canary as cases
from faregate.manager.cases.canary import Run
from faregate.manager.cases.domain import Actor, Grant
from faregate.manager.cases.errors import Conflict, Forbidden, NotFound
from faregate.manager.cases.ports import Diagnostic
from tests.manager.conftest import InHouse
from tests.manager.desk import Desk
from tests.manager.house import House

TREE = {"plans": {"gold": {"concurrency": 5}}}
WISH = {"sections": TREE, "percent": 5, "for_s": 60}


class Gateway:
    """A gateway that runs what it is given. ``told``: in order."""

    def __init__(self, house: House | Desk) -> None:
        self._house = house
        self.told: list[object] = []
        self.sums = (Arm(), Arm())
        self.runs = True
        self.refuses = False
        self.now = 100.0
        house.management.canary.trial = self
        house.management.canary._monotonic = lambda: self.now

    async def prepare(self, changes: Sequence[Mapping[str, object]], number: int) -> list[Diagnostic]:
        self.told.append(("prepare", number, [one["name"] for one in changes]))
        return await self._house.tree.check(changes)

    async def begin(self, number: int, percent: int, consumers: Sequence[str], lease_s: float) -> int:
        assert lease_s == 30.0
        if self.refuses:
            raise Conflict("The gateway does not take it.")
        self.told.append(("begin", number, percent, list(consumers)))
        return number

    async def keep(self, number: int) -> bool:
        self.told.append(("keep", number))
        return self.runs

    async def end(self, reason: str) -> None:
        self.told.append(("end", reason))

    def arms(self) -> tuple[Arm, Arm]:
        return self.sums

    async def look(self, seconds: float = 1.0) -> Run:
        """Time goes on; what is seen then is judged."""
        self.now += seconds
        canary = self._house.management.canary
        run = canary._run
        assert run is not None
        await canary.look(run)
        return run


def leaves(house: House) -> list[str]:
    return [record[0] for record in house.leaves.records]


async def started(house: House, **more: object) -> tuple[Gateway, dict[str, Any]]:
    gateway = Gateway(house)
    answer = await house.client.put("/canary", json={**WISH, **more})
    assert answer.status_code == 200, answer.text
    return gateway, answer.json()


def test_what_some_calls_meet_is_compiled_and_not_committed(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        assert (await house.client.get("/canary")).status_code == 404
        gateway, told = await started(house, consumers=["acme", "acme"])
        assert gateway.told == [("prepare", 1, ["gold"]), ("begin", 1, 5, ["acme"])]
        assert (told["state"], told["revision"], told["base"], told["consumers"]) == (
            "running",
            1,
            0,
            ["acme"],
        )
        assert leaves(house) == ["canary.started"]
        assert (await house.client.get("/plans/gold")).status_code == 404
        assert (await house.client.get("/revisions")).json()["data"] == []
        second = await house.client.put("/canary", json=WISH)
        assert (second.status_code, second.json()["code"]) == (409, "conflict")

    in_house(test)


def test_one_that_is_worse_is_taken_back_by_itself_with_the_numbers(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        gateway, _ = await started(house)
        for second in range(1, 4):
            gateway.sums = Arm(450 * second, 5 * second), Arm(25 * second, 12 * second)
            run = await gateway.look()
        assert run.state == "stopped"
        reason = (await house.client.get("/canary")).json()["reason"]
        assert reason.startswith(
            "It is worse: 48.00% of its calls fail, 1.11% of the running revision's (evidence"
        )
        assert gateway.told[-1] == ("end", reason)
        kind, actor, thing, detail = house.leaves.records[-1]
        assert (kind, actor, thing, detail["state"]) == ("canary.ended", "manager", "canary/1", "stopped")
        assert detail["new"] == {"calls": run.judge.new.calls, "failures": run.judge.new.failures}
        put = await house.put("/plans/silver", {"concurrency": 1})
        assert put.headers["faregate-revision"] == "2", "its number is nobody else's"

    in_house(test)


@pytest.mark.parametrize("by_itself", [True, False])
def test_a_good_one_becomes_the_revision_under_its_number(in_house: InHouse, *, by_itself: bool) -> None:
    async def test(house: House) -> None:
        gateway, told = await started(house, promote=by_itself, reason="faster")
        gateway.sums = Arm(9000, 9), Arm(1000, 1)
        assert (await gateway.look()).state == "running"
        if by_itself:
            run = await gateway.look(60.0)
            assert run.state == "promoted"
        else:
            promoted = await house.client.post("/canary/promote", json={})
            assert promoted.json() == {"revision": 1, "published": True}
        revision = (await house.client.get("/revisions/1")).json()
        assert (revision["reason"], revision["number"]) == ("faster", told["revision"])
        assert (await house.client.get("/plans/gold")).json()["spec"] == {"concurrency": 5}
        assert leaves(house) == ["canary.started", "revision.committed", "canary.ended"]
        assert not any(one[0] == "end" for one in gateway.told), (
            "the gateway ends it when it publishes the revision"
        )
        assert (await house.client.post("/canary/promote", json={})).status_code == 409

    in_house(test)


def test_its_time_ends_it_where_nobody_promotes(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        gateway, _ = await started(house)
        assert (await gateway.look(59.0)).state == "running"
        run = await gateway.look(1.0)
        assert (run.state, run.reason) == ("abandoned", "Its time is over, and nothing speaks against it.")
        assert (await house.client.get("/plans/gold")).status_code == 404

    in_house(test)


def test_another_change_ends_it_and_it_cannot_be_promoted_over_that(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        gateway, _ = await started(house)
        assert (await house.put("/plans/silver", {"concurrency": 1})).headers["faregate-revision"] == "2"
        stale = await house.client.post("/canary/promote", json={})
        assert (stale.status_code, stale.json()["code"]) == (412, "stale")
        assert (await house.client.get("/canary")).json()["state"] == "abandoned"
        gateway, _ = await started(house, sections={"consumers": {"acme": {}}})
        assert (await house.put("/plans/bronze", {"concurrency": 1})).headers["faregate-revision"] == "4"
        run = await gateway.look()
        assert (run.state, run.reason) == ("abandoned", "Revision 4 came meanwhile.")

    in_house(test)


def test_what_cannot_run_is_refused_before_any_call_meets_it(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        assert (await house.client.put("/canary", json=WISH)).status_code == 503, "no gateway is here"
        gateway = Gateway(house)
        for body, status in (
            ({**WISH, "percent": 0}, 422),
            ({**WISH, "percent": 100}, 422),
            ({**WISH, "for_s": 0.5}, 422),
            ({**WISH, "sections": {"consumers": {"acme": {"plan": "none"}}}}, 422),
            ({**WISH, "sections": {"plans": {}}}, 409),
        ):
            refused = await house.client.put("/canary", json=body)
            assert (refused.status_code, gateway.told) == (status, []), refused.text
        assert (await house.client.put("/canary?base=7", json=WISH)).status_code == 412
        house.leaves.fails = True
        assert (await house.client.put("/canary", json=WISH)).status_code == 503
        house.leaves.fails = False
        assert [one[0] for one in gateway.told] == ["prepare"], "what is not recorded does not begin"  # type: ignore[index]
        gateway.refuses = True
        assert (await house.client.put("/canary", json=WISH)).status_code == 409
        assert leaves(house) == ["canary.started", "canary.ended"]
        assert (await house.client.get("/canary")).status_code == 404

    in_house(test)


def test_what_needs_a_second_person_meets_no_call_before(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        gateway = Gateway(house)
        house.management.approving = lambda: "all"
        refused = await house.client.put("/canary", json=WISH)
        assert (refused.status_code, gateway.told) == (409, [])
        assert "second person" in refused.json()["detail"]
        assert (await house.client.get("/changes")).json()["data"] == []
        assert leaves(house) == []

    in_house(test)


def test_only_who_may_write_what_it_changes_begins_or_ends_it(in_house: InHouse) -> None:
    async def test(house: House) -> None:
        canary = house.management.canary
        viewer = Actor("vera", (Grant("viewer"),))
        other = Actor("otto", (Grant("operator", "team:other"),))
        await started(house)
        with pytest.raises(Forbidden):
            await canary.abandon(viewer)
        with pytest.raises(Forbidden):
            await canary.promote(viewer)
        with pytest.raises(NotFound):
            await canary.abandon(other)
        with pytest.raises(NotFound):
            canary.status(other)
        assert canary.status(viewer).state == "running"
        await canary.abandon(Actor("olga", (Grant("operator"),)), reason="enough")
        assert canary.status(viewer).reason == "enough"
        for actor in (viewer, other):
            with pytest.raises((Forbidden, NotFound)):
                await canary.start(actor, {"plans": {"gold": {}}}, cases.Wish(5))

    in_house(test)


def test_it_ends_when_the_gateway_says_so_and_with_its_manager(
    in_house: InHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cases, "LOOK_S", 0.001)
    monkeypatch.setattr(cases, "KEEP_S", 0.0)

    async def test(house: House) -> None:
        gateway, _ = await started(house)
        canary = house.management.canary
        while ("keep", 1) not in gateway.told:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)
        assert canary._run is not None
        assert canary._run.state == "running"
        gateway.runs = False
        while canary._run.state == "running":  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)
        assert canary._run.reason == cases._OVERTAKEN
        gateway, _ = await started(house)
        house.leaves.fails = True  # calls come before records of them
        await canary.close()
        assert (canary._run.state, gateway.told[-1]) == ("abandoned", ("end", "The manager ends."))

    in_house(test)


def test_a_gateway_that_does_not_answer_loses_it_after_its_lease(
    in_house: InHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cases, "LOOK_S", 0.001)

    async def test(house: House) -> None:
        gateway, _ = await started(house, for_s=600)
        asked: list[float] = []

        async def silent(_: int) -> bool:
            asked.append(gateway.now)
            raise OSError("no answer")

        gateway.keep = silent  # type: ignore[method-assign]
        run = house.management.canary._run
        assert run is not None
        for _ in range(29):
            gateway.now += 1.0
            await asyncio.sleep(0.01)
        assert (run.state, bool(asked)) == ("running", True)
        gateway.now += 2.0
        while run.state == "running":  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)
        assert run.reason == "The gateway does not answer."

    in_house(test)
