"""Whose right a canary runs and is promoted by: that of the one who began it as it is now, or of the promoter."""

from collections.abc import Mapping

import pytest

from tests.manager.conftest import AtDesk
from tests.manager.desk import Desk, Person
from tests.manager.test_canary import WISH, Gateway

HOUR = {**WISH, "for_s": 3600, "promote": True}


async def begun(person: Person, wish: Mapping[str, object] = HOUR) -> None:
    answer = await person.client.put("/canary", json=wish)
    assert answer.status_code == 200, answer.text


async def last(desk: Desk) -> tuple[str, str]:
    told = (await desk.machine.get("/canary")).json()
    return told["state"], told["reason"]


async def plans(desk: Desk) -> int:
    return len((await desk.machine.get("/plans")).json()["data"])


def test_one_that_began_under_break_glass_ends_with_it(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        gateway = Gateway(desk)
        ann = await desk.user("ann", "operator")
        desk.approval = "all"
        assert (await ann.client.put("/canary", json=HOUR)).status_code == 409
        await ann.again()
        assert (await ann.post("/break-glass", {"reason": "down", "minutes": 10})).status_code == 201
        await begun(ann)
        assert (await gateway.look()).state == "running"
        desk.pass_s(601)
        await gateway.look()
        assert await last(desk) == ("abandoned", "The break-glass under which it began has ended.")
        assert gateway.told[-1] == ("end", "The break-glass under which it began has ended.")
        assert await plans(desk) == 0

    at_desk(test)


def test_what_began_under_break_glass_waits_for_a_second_person_where_it_promotes_itself(
    at_desk: AtDesk,
) -> None:
    async def test(desk: Desk) -> None:
        gateway = Gateway(desk)
        ann = await desk.user("ann", "operator")
        desk.approval = "all"
        await ann.again()
        assert (await ann.post("/break-glass", {"reason": "down", "minutes": 60})).status_code == 201
        await begun(ann, {**HOUR, "for_s": 60})
        with pytest.raises(Exception, match="waits as change request"):
            await gateway.look(61.0)
        state, reason = await last(desk)
        assert (state, "change request" in reason) == ("abandoned", True)
        assert await plans(desk) == 0
        (waits,) = (await desk.machine.get("/changes")).json()["data"]
        assert (waits["author"], waits["state"]) == ("ann", "proposed")

    at_desk(test)


def test_who_is_disabled_or_lost_the_role_promotes_nothing(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        gateway = Gateway(desk)
        ann = await desk.user("ann", "operator")
        await begun(ann)
        assert (await desk.grant("ann", "viewer")).status_code == 200
        assert (await gateway.look()).state == "running"
        with pytest.raises(Exception, match="operator"):
            await gateway.look(3601.0)
        state, reason = await last(desk)
        assert (state, reason[:26]) == ("abandoned", "It could not be promoted: ")
        await desk.grant("ann", "operator")
        await ann.again()
        await begun(ann)
        body = {"state": "disabled"}
        await desk.machine.patch("/users/ann", json=body, headers={"If-Match": "*"})
        await gateway.look()
        assert await last(desk) == ("abandoned", "ann, who began it, is no user any more.")
        assert await plans(desk) == 0

    at_desk(test)


def test_who_may_still_promotes_without_a_session(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        gateway = Gateway(desk)
        ann = await desk.user("ann", "operator")
        await begun(ann)
        desk.pass_s(40 * 60)
        assert (await ann.get("/session")).status_code == 401
        assert (await gateway.look(3601.0)).state == "promoted"
        assert await plans(desk) == 1

    at_desk(test)


def test_a_token_that_is_revoked_ends_what_it_began(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        gateway = Gateway(desk)
        ann = await desk.user("ann", "operator")
        made = (await ann.post("/users/ann/tokens", {})).json()
        answer = await desk.browser(f"Bearer {made['secret']}").put("/canary", json=HOUR)
        assert answer.status_code == 200, answer.text
        assert (await gateway.look()).state == "running"
        gone = await ann.client.delete(f"/tokens/{made['token']['id']}", headers={"If-Match": "*"})
        assert gone.status_code == 204, gone.text
        await gateway.look()
        assert await last(desk) == ("abandoned", "The token that began it has ended.")

    at_desk(test)


def test_promoted_by_hand_it_is_planned_with_the_rights_of_who_promotes(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        gateway = Gateway(desk)
        seen: list[str] = []
        applying = desk.management.canary._applying
        plan = applying.applying

        def noted(actor: object, *rest: object) -> object:
            seen.append(actor.person)  # type: ignore[attr-defined]
            return plan(actor, *rest)  # type: ignore[arg-type]

        applying.applying = noted  # type: ignore[method-assign, assignment]
        ann, bob = await desk.user("ann", "operator"), await desk.user("bob", "operator")
        await begun(ann)
        assert (await bob.post("/canary/promote", {})).json()["revision"] == 1
        assert seen[-1] == "bob"
        assert gateway.told[-1] == ("begin", 1, 5, [])
        assert (await desk.machine.get("/revisions/1")).json()["author"] == "bob"

    at_desk(test)
