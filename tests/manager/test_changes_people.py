"""Roles, recovery and break-glass while a second person is asked for."""

import logging

import pytest

from tests.manager.conftest import AtDesk
from tests.manager.desk import PASSWORD, Desk

MINUTE_S = 60


def test_the_machine_makes_the_first_two_who_decide_and_no_third(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        desk.approval = "guarded"
        await desk.user("ann", "owner")
        await desk.user("bob", "approver")
        await desk.user("eve", second=False)
        told = await desk.grant("eve", "approver")
        assert (told.status_code, told.json()["state"]) == (202, "draft")
        await desk.machine.patch("/users/bob", json={"state": "disabled"}, headers={"If-Match": "*"})
        assert (await desk.grant("eve", "approver")).status_code == 202  # a disabled one counts

    at_desk(test)


def test_roles_wait_for_two_others(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, bob, eve = (
            await desk.user("ann", "owner"),
            await desk.user("bob", "owner"),
            await desk.user("eve", "owner"),
        )
        await desk.user("carl", second=False)
        desk.approval = "guarded"
        told = await desk.grant("carl", "approver", client=ann.client)
        assert (told.status_code, told.json()["approvals_needed"], told.json()["risk"]) == (202, 2, "grave")
        name = told.json()["change_request"]
        shown = (await bob.get(f"/changes/{name}")).json()
        assert shown["subject"] == "people"
        assert shown["differences"][0]["path"] == "users.carl.grants"
        assert (await ann.decide(name)).status_code == 403
        assert (await bob.decide(name)).json()["state"] == "proposed"
        assert (await desk.machine.get("/users/carl")).json()["grants"] == []
        assert (await eve.decide(name)).json()["state"] == "applied"
        assert (await desk.machine.get("/users/carl")).json()["grants"] == [
            {"role": "approver", "scope": "*"}
        ]

    at_desk(test)


def test_a_code_of_recovery_works_when_two_others_have_approved(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, bob, eve = (
            await desk.user("ann", "owner"),
            await desk.user("bob", "owner"),
            await desk.user("eve", "owner"),
        )
        carl = await desk.user("carl", "approver")
        desk.approval = "all"
        told = await ann.post("/users/carl/recover")
        assert told.status_code == 202
        enrol = {"user": "carl", "code": told.json()["code"], "password": PASSWORD}
        nobody = desk.browser()
        assert (await nobody.post("/enrolment", json=enrol)).status_code == 401
        assert (await carl.get("/session")).status_code == 200
        await bob.decide(told.json()["change_request"])
        await eve.decide(told.json()["change_request"])
        assert (await carl.get("/session")).status_code == 401
        assert (await nobody.post("/enrolment", json=enrol)).status_code == 204
        assert not desk.holds(told.json()["code"])

    at_desk(test)


def test_disabling_is_at_once_and_enabling_waits(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, bob, eve = (
            await desk.user("ann", "owner"),
            await desk.user("bob", "owner"),
            await desk.user("eve", "owner"),
        )
        carl = await desk.user("carl", "approver")
        desk.approval = "guarded"
        match = {"If-Match": "*"}
        told = await ann.client.patch("/users/carl", json={"state": "disabled"}, headers=match)
        assert told.status_code == 200
        assert (await carl.get("/session")).status_code == 401
        told = await ann.client.patch("/users/carl", json={"state": "active"}, headers=match)
        assert told.status_code == 202
        await bob.decide(told.json()["change_request"])
        assert (await desk.machine.get("/users/carl")).json()["state"] == "disabled"
        await eve.decide(told.json()["change_request"])
        assert (await desk.machine.get("/users/carl")).json()["state"] == "active"

    at_desk(test)


def test_break_glass_is_loud_ends_by_itself_and_is_reviewed_by_another(
    at_desk: AtDesk, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(desk: Desk) -> None:
        ann, bob = await desk.user("ann", "operator"), await desk.user("bob", "approver")
        desk.approval = "all"
        former = ann.client.cookies["__Host-faregate"]
        with caplog.at_level(logging.ERROR):
            told = await ann.post("/break-glass", {"reason": "payments stand still", "minutes": 60})
        assert told.status_code == 201, told.text
        assert "ann owns the gateway for 60 minutes" in caplog.text
        assert caplog.records[-1].levelname == "ERROR"
        assert ann.client.cookies["__Host-faregate"] != former
        act = told.json()["break_glass"]["id"]
        assert desk.acts()[-1] == "break_glass.opened"
        assert (await ann.put("/plans/gold", {"spec": {}}, "")).status_code == 201
        assert f"break-glass:{act}" in str(desk.leaves.records[-1][3]["credential"])
        for refused in (
            await ann.post("/users", {"name": "carl"}),
            await desk.grant("ann", "owner", client=ann.client),
            await ann.post("/users/bob/recover"),
        ):
            assert refused.status_code == 403
        open_ones = (await bob.get("/break-glass?unreviewed=true")).json()["data"]
        assert [one["id"] for one in open_ones] == [act]
        assert (await bob.post(f"/break-glass/{act}/review", {"finding": "fine"})).status_code == 409
        desk.pass_s(29 * MINUTE_S)
        await ann.get("/session")
        await desk.management.authenticator.close()
        desk.pass_s(29 * MINUTE_S)
        assert (await ann.put("/plans/two", {"spec": {}}, "")).status_code == 201
        desk.pass_s(2 * MINUTE_S)
        assert (await ann.put("/plans/three", {"spec": {}}, "")).status_code == 202
        await bob.again()
        await ann.again()
        assert (await ann.post(f"/break-glass/{act}/review", {"finding": "fine"})).status_code == 403
        done = await bob.post(f"/break-glass/{act}/review", {"finding": "justified"})
        assert (done.status_code, done.json()["reviewer"]) == (200, "bob")
        assert (await bob.get("/break-glass?unreviewed=true")).json()["data"] == []

    at_desk(test)


def test_break_glass_reaches_no_further_than_the_roles_do(
    at_desk: AtDesk, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(desk: Desk) -> None:
        await desk.machine.put("/plans/gold", json={"spec": {}})
        cara = await desk.user("cara", "operator@team:cards", "viewer@*")
        await desk.user("bob", "approver")
        desk.approval = "all"
        own: dict[str, object] = {"spec": {}, "team": "cards"}
        assert (await cara.put("/plans/cards", own, "")).status_code == 202
        assert (await cara.put("/plans/gold", {"spec": {"concurrency": 1}})).status_code == 403
        with caplog.at_level(logging.ERROR):
            told = await cara.post("/break-glass", {"reason": "night"})
        assert told.status_code == 201
        assert "cara owns team:cards for 60 minutes" in caplog.text
        assert desk.leaves.records[-1][3]["scopes"] == ["team:cards"]
        assert {"role": "owner", "scope": "team:cards"} in (await cara.get("/session")).json()["grants"]
        assert (await cara.put("/plans/cards", own, "")).status_code == 201
        assert (await cara.put("/plans/gold", {"spec": {"concurrency": 1}})).status_code == 403

    at_desk(test)


def test_nobody_decides_while_they_need_no_approval(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, bob = await desk.user("ann", "operator"), await desk.user("bob", "approver")
        desk.approval = "guarded"
        name = (await ann.put("/plans/gold", {"spec": {}}, "")).json()["change_request"]
        act = (await bob.post("/break-glass", {"reason": "fire"})).json()["break_glass"]["id"]
        assert (await bob.decide(name)).status_code == 403
        assert (await bob.post(f"/break-glass/{act}/end")).status_code == 200
        assert (await bob.decide(name)).json()["state"] == "applied"

    at_desk(test)


@pytest.mark.parametrize("grants", [(), ("viewer",), ("auditor",)])
def test_who_has_no_part_in_changes_breaks_no_glass(at_desk: AtDesk, grants: tuple[str, ...]) -> None:
    async def test(desk: Desk) -> None:
        ann = await desk.user("ann", *grants)
        assert (await ann.post("/break-glass", {"reason": "fire"})).status_code == 403
        assert (await desk.machine.post("/break-glass", json={"reason": "fire"})).status_code == 403

    at_desk(test)
