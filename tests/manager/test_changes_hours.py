"""Change requests that wait for their hour, and who sees which."""

import pytest

from tests.manager.conftest import AtDesk
from tests.manager.desk import Desk
from tests.manager.second_person import limits, present, state, with_people


@pytest.mark.parametrize("approval", ["off", "guarded"])
def test_what_is_set_for_an_hour_comes_about_within_its_window(at_desk: AtDesk, approval: str) -> None:
    async def test(desk: Desk) -> None:
        ann, bob, _ = await with_people(desk, approval)
        headers = {
            "X-Faregate-Activate-At": "2026-05-28T22:00:00+02:00",
            "X-Faregate-Window": "600",
        }
        desk.now = 1_779_990_000_000  # 2026-05-28T17:40:00Z
        await ann.sign_in()
        await bob.sign_in()
        early = (await limits(ann, "1/second", match="", **headers)).json()
        other = (await ann.put("/plans/late", {"spec": {}}, "", **headers)).json()
        assert early["activate_at"] == "2026-05-28T20:00:00.000Z"
        assert early["state"] == ("approved" if approval == "off" else "proposed")
        if approval == "guarded":
            assert (await bob.decide(early["change_request"])).json()["state"] == "approved"
        desk.now = 1_779_998_399_999
        await desk.management.changes.run_due()
        assert await present(desk) is None
        desk.now += 1
        desk.leaves.fails = True
        with pytest.raises(Exception, match="audited"):
            await desk.management.changes.run_due()
        desk.leaves.fails = False
        await desk.management.changes.run_due()
        assert await present(desk) == ["1/second"]
        if approval == "guarded":
            desk.pass_s(600)
            await desk.management.changes.run_due()
            assert await state(desk, other["change_request"]) == "expired"
            assert (await desk.machine.get("/plans/late")).status_code == 404

    at_desk(test)


LATE = {"X-Faregate-Activate-At": "2026-05-28T22:00:00Z"}


@pytest.mark.parametrize(
    ("said", "headers"),
    [
        ("X-Faregate-Activate-At", {"X-Faregate-Activate-At": "2026-05-28T22:00:00"}),
        ("X-Faregate-Activate-At", {"X-Faregate-Activate-At": "soon"}),
        ("", {"X-Faregate-Activate-At": "2020-01-01T00:00:00Z"}),
        ("", {"X-Faregate-Activate-At": "2036-01-01T00:00:00Z"}),
        ("X-Faregate-Window", {"X-Faregate-Window": "60"}),
        ("X-Faregate-Window", {"X-Faregate-Window": "-1", **LATE}),
        ("X-Faregate-Window", {"X-Faregate-Window": "999999999", **LATE}),
        ("X-Faregate-Propose", {"X-Faregate-Propose": "maybe"}),
    ],
)
def test_an_hour_that_is_none_is_refused_by_its_name(
    at_desk: AtDesk, said: str, headers: dict[str, str]
) -> None:
    async def test(desk: Desk) -> None:
        told = await desk.machine.put(
            "/plans/gold", json={"spec": {}}, headers={"If-None-Match": "*", **headers}
        )
        assert (told.status_code, told.json()["code"]) == (422, "validation_failed")
        assert told.json()["detail"].startswith(said)

    at_desk(test)


def test_a_person_may_ask_for_a_second_one_where_none_is_needed(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, bob, _ = await with_people(desk, "off")
        told = await limits(ann, "1/second", match="", **{"X-Faregate-Propose": "true"})
        assert (told.status_code, told.json()["approvals_needed"]) == (202, 1)
        assert (await bob.decide(told.json()["change_request"])).json()["state"] == "applied"

    at_desk(test)


def test_requests_of_another_team_are_as_if_they_were_not(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, *_ = await with_people(desk, "off")
        carl = await desk.user("carl", "owner@team:cards")
        desk.approval = "guarded"
        theirs = (await ann.put("/plans/loans", {"spec": {}, "team": "loans"}, "")).json()["change_request"]
        mine = (await ann.put("/plans/cards", {"spec": {}, "team": "cards"}, "")).json()["change_request"]
        unknown = "chg_" + "0" * 23
        for path in ("", "/propose", "/withdraw"):
            ask = carl.post if path else carl.get
            assert (await ask(f"/changes/{theirs}{path}")).status_code == 404
            assert (await ask(f"/changes/{unknown}{path}")).status_code == 404
        assert (await carl.decide(theirs)).status_code == 404
        assert [one["id"] for one in (await carl.get("/changes")).json()["data"]] == [mine]
        assert (await carl.decide(mine)).json()["state"] == "applied"

    at_desk(test)


def test_requests_are_listed_page_by_page(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, *_ = await with_people(desk)
        made = []
        for at in range(5):
            desk.pass_s(1)
            made.append((await ann.put(f"/plans/p{at}", {"spec": {}}, "")).json()["change_request"])
        listed, path = [], "/changes?size=2&state=proposed"
        while path:
            page = (await ann.get(path)).json()
            listed += [one["id"] for one in page["data"]]
            path = page.get("next")
        assert listed == made[::-1]

    at_desk(test)


def test_what_cannot_be_audited_is_neither_filed_nor_decided(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, bob, _ = await with_people(desk)
        desk.leaves.fails = True
        assert (await limits(ann, "1/second", match="")).status_code == 503
        desk.leaves.fails = False
        assert (await ann.get("/changes")).json()["data"] == []
        name = (await limits(ann, "1/second", match="")).json()["change_request"]
        desk.leaves.fails = True
        assert (await bob.decide(name)).status_code == 503
        desk.leaves.fails = False
        assert (await bob.get(f"/changes/{name}")).json()["decisions"] == []

    at_desk(test)
