"""A second person: what is guarded waits, is approved as it was shown, and takes effect by no other way."""

from tests.manager.conftest import AtDesk
from tests.manager.desk import Desk
from tests.manager.second_person import MONEY, limits, present, state, with_people

HOUR_S = 3600


def test_a_guarded_write_waits_until_another_approves(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, bob, _ = await with_people(desk)
        told = await limits(ann, "10/second", match="", **{"X-Faregate-Reason": "launch"})
        assert told.status_code == 202, told.text
        held = told.json()
        assert (held["state"], held["risk"], held["approvals_needed"]) == ("proposed", "guarded", 1)
        assert told.headers["location"] == f"/changes/{held['change_request']}"
        assert await present(desk) is None
        assert desk.tree.managed == {}
        shown = (await bob.get(told.headers["location"])).json()
        assert shown["differences"] == [
            {"path": "plans.gold", "before": None, "after": {"limits": ["10/second"]}}
        ]
        assert (shown["author"], shown["reason"]) == ("ann", "launch")
        done = await bob.decide(held["change_request"], reason="as agreed")
        assert done.status_code == 200, done.text
        assert (done.json()["state"], done.json()["revision"]) == ("applied", 1)
        assert await present(desk) == ["10/second"]
        revision = (await desk.machine.get("/revisions/1")).json()
        assert (revision["author"], revision["change_request"]) == ("ann", held["change_request"])
        acts = [act for act in desk.acts() if act.startswith(("change", "revision"))]
        assert acts == ["change.proposed", "change.approved", "revision.committed"]

    at_desk(test)


def test_nobody_approves_what_is_theirs_or_twice_or_by_a_token(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, bob, eve = await with_people(desk)
        desk.approval = "off"
        await desk.grant("ann", "owner")
        await desk.grant("eve", "owner")
        await limits(ann, "10/second", match="")
        await ann.again()
        await eve.again()
        await limits(ann, "10/second", match="")
        token = (await eve.post("/users/eve/tokens", {})).json()["secret"]
        desk.approval = "guarded"
        held = (await limits(ann, "20/second")).json()
        name = held["change_request"]
        assert held["approvals_needed"] == 2  # upwards
        assert (await ann.decide(name)).status_code == 403
        for client in (desk.browser(f"Bearer {token}"), desk.machine):
            told = {"verdict": "approved", "hash": held["hash"]}
            assert (await client.post(f"/changes/{name}/decisions", json=told)).status_code == 403
        await bob.again()
        assert (await bob.decide(name)).json()["state"] == "proposed"
        assert (await bob.decide(name)).status_code == 409
        assert (await eve.decide(name)).json()["state"] == "applied"
        assert await present(desk) == ["20/second"]

    at_desk(test)


def test_an_approval_binds_what_was_shown(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, bob, _ = await with_people(desk)
        first = (await limits(ann, "10/second", match="")).json()
        second = (await limits(ann, "20/second", match="")).json()
        told = {"verdict": "approved", "hash": first["hash"]}
        refused = await bob.post(f"/changes/{second['change_request']}/decisions", told)
        assert (refused.status_code, refused.json()["code"]) == (412, "stale")
        assert await state(desk, second["change_request"]) == "proposed"

    at_desk(test)


def test_a_decision_needs_a_fresh_second_factor(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, bob, _ = await with_people(desk)
        name = (await limits(ann, "10/second", match="")).json()["change_request"]
        desk.pass_s(301)
        assert (await bob.decide(name)).json()["code"] == "second_factor_required"
        assert (await bob.post("/session/second-factor", {"code": bob.code()})).status_code == 200
        assert (await bob.decide(name)).json()["state"] == "applied"

    at_desk(test)


def test_one_rejection_ends_it(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, bob, eve = await with_people(desk)
        name = (await limits(ann, "10/second", match="")).json()["change_request"]
        assert (await bob.decide(name, "rejected")).json()["state"] == "rejected"
        assert (await eve.decide(name)).status_code == 409
        assert await present(desk) is None

    at_desk(test)


def test_its_author_takes_it_back(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, bob, _ = await with_people(desk)
        name = (await limits(ann, "10/second", match="")).json()["change_request"]
        assert (await bob.post(f"/changes/{name}/withdraw")).status_code == 403
        assert (await ann.post(f"/changes/{name}/withdraw")).json()["state"] == "withdrawn"
        assert (await bob.decide(name)).status_code == 409

    at_desk(test)


def test_what_nobody_approves_in_time_expires(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, bob, _ = await with_people(desk)
        name = (await limits(ann, "10/second", match="")).json()["change_request"]
        desk.pass_s(7 * 24 * HOUR_S)
        await bob.again()
        assert (await bob.decide(name)).status_code == 409
        await desk.management.changes.run_due()
        assert await state(desk, name) == "expired"

    at_desk(test)


def test_what_is_plain_needs_nobody_unless_everything_does(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, *_ = await with_people(desk, "off")
        await ann.put("/upstreams/web", {"spec": {"targets": ["http://127.0.0.1:9"]}}, "")
        desk.approval = "guarded"
        plain = {**MONEY, "routes": [{"match": "GET /news"}]}
        assert (await ann.put("/apis/news", {"spec": plain}, "")).status_code == 201
        assert (await ann.put("/apis/payments", {"spec": MONEY}, "")).status_code == 202
        desk.approval = "all"
        assert (await ann.put("/apis/other", {"spec": plain}, "")).status_code == 202

    at_desk(test)


def test_a_way_to_where_the_money_is_is_guarded_too(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, *_ = await with_people(desk)
        around = {**MONEY, "routes": [{"match": "POST /payments"}]}
        assert (await ann.put("/apis/around", {"spec": around}, "")).status_code == 202

    at_desk(test, file={"upstreams": {"web": {}}, "apis": {"payments": MONEY}})


def test_what_is_wrong_is_told_at_once_and_not_filed(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, *_ = await with_people(desk)
        told = await ann.put("/consumers/acme", {"spec": {"plan": "none"}}, "")
        assert (told.status_code, told.json()["code"]) == (422, "validation_failed")
        assert (await ann.get("/changes")).json()["data"] == []

    at_desk(test)


def test_what_is_stale_is_judged_anew_and_shown_again_if_it_would_do_something_else(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, bob, eve = await with_people(desk, "off")
        await limits(ann, "10/second", match="")
        desk.approval = "guarded"
        other = (await ann.put("/plans/other", {"spec": {}}, "")).json()["change_request"]
        lower = (await limits(ann, "5/second")).json()["change_request"]
        lowest = (await limits(ann, "1/second")).json()["change_request"]
        assert (await bob.decide(other)).json()["state"] == "applied"
        assert (await bob.decide(lower)).json()["state"] == "applied"  # another base, the same change
        told = (await eve.decide(lowest)).json()
        assert (told["state"], told["revision"]) == ("expired", None)
        assert await present(desk) == ["5/second"]
        again = (await eve.get(f"/changes/{told['replaced_by']}")).json()
        assert again["state"] == "proposed"
        assert again["decisions"] == []
        assert {one["before"] for one in again["differences"]} == {"5/second", None}
        assert (await eve.decide(again["id"])).json()["state"] == "applied"
        assert await present(desk) == ["1/second"]

    at_desk(test)


def test_what_comes_back_changed_into_something_graver_needs_as_many_as_that(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, bob, eve = await with_people(desk, "off")
        await limits(ann, "10/second", match="")
        desk.approval = "guarded"
        lower = (await limits(ann, "5/second")).json()
        lowest = (await limits(ann, "1/second")).json()
        assert lower["approvals_needed"] == lowest["approvals_needed"] == 1
        await bob.decide(lowest["change_request"])
        assert await present(desk) == ["1/second"]
        again = (await bob.decide(lower["change_request"])).json()["replaced_by"]  # upwards by now
        assert (await bob.decide(again)).json()["state"] == "proposed"
        assert await present(desk) == ["1/second"]
        shown = (await bob.get(f"/changes/{again}")).json()
        assert (shown["risk"], shown["approvals_needed"]) == ("grave", 2)
        assert (await eve.decide(again)).json()["state"] == "applied"

    at_desk(test)


def test_an_approver_who_lost_the_role_counts_no_more(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, bob, eve = await with_people(desk, "off")
        await limits(ann, "10/second", match="")
        desk.approval = "guarded"
        name = (await limits(ann, "20/second")).json()["change_request"]
        await bob.decide(name)
        await desk.machine.patch("/users/bob", json={"state": "disabled"}, headers={"If-Match": "*"})
        assert (await eve.decide(name)).json()["state"] == "proposed"
        assert await present(desk) == ["10/second"]

    at_desk(test)


def test_an_author_who_may_not_any_more_brings_nothing_about(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, bob, _ = await with_people(desk)
        name = (await limits(ann, "10/second", match="")).json()["change_request"]
        await desk.machine.patch("/users/ann", json={"state": "disabled"}, headers={"If-Match": "*"})
        told = (await bob.decide(name)).json()
        assert told["state"] == "expired"
        assert "may not do this any more" in told["failure"]
        assert await present(desk) is None

    at_desk(test)


def test_what_a_token_asks_for_is_a_draft_until_a_person_makes_it_theirs(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, bob, _ = await with_people(desk)
        told = await desk.machine.put("/plans/gold", json={"spec": {}}, headers={"If-None-Match": "*"})
        name = told.json()["change_request"]
        assert told.json()["state"] == "draft"
        assert (await bob.decide(name)).status_code == 409
        assert (await desk.machine.post(f"/changes/{name}/propose")).status_code == 403
        assert (await bob.post(f"/changes/{name}/propose")).status_code == 403  # may not write
        proposed = (await ann.post(f"/changes/{name}/propose")).json()
        assert (proposed["state"], proposed["author"]) == ("proposed", "ann")
        assert (await bob.decide(name)).json()["state"] == "applied"

    at_desk(test)


def test_a_key_that_waits_is_shown_once_and_works_when_it_is_approved(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, bob, _ = await with_people(desk, "off")
        await ann.put("/consumers/acme", {"spec": {}}, "")
        desk.approval = "guarded"
        told = await ann.post("/consumers/acme/keys", {})
        assert told.status_code == 202
        secret = told.json()["secret"]
        assert secret.startswith("fg_live_")
        name = told.json()["change_request"]
        assert secret not in (await bob.get(f"/changes/{name}")).text
        assert (await ann.get("/credentials")).json()["data"] == []
        assert (await bob.decide(name)).json()["state"] == "applied"
        assert len((await ann.get("/credentials")).json()["data"]) == 1
        assert not desk.holds(secret)

    at_desk(test)


def test_secrets_in_a_request_are_shown_to_nobody(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, bob, eve = await with_people(desk)
        told = await ann.put("/issuers/id", {"spec": {"issuer": "x", "secret": "hunter22"}}, "")
        assert told.json()["risk"] == "grave"
        name = told.json()["change_request"]
        shown = await bob.get(f"/changes/{name}")
        assert "hunter22" not in shown.text
        assert not desk.holds("hunter22")
        await bob.decide(name)
        assert (await eve.decide(name)).json()["state"] == "applied"
        assert desk.tree.managed["issuers", "id"] == {"issuer": "x", "secret": "hunter22"}

    at_desk(test)


def test_a_rollback_takes_one_approval_and_never_none(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, bob, eve = await with_people(desk, "off")
        await limits(ann, "20/second", match="")
        desk.approval = "guarded"
        name = (await limits(ann, "10/second")).json()["change_request"]
        await bob.decide(name)
        assert await present(desk) == ["10/second"]
        told = await ann.post("/revisions/1/rollback", {"reason": "too low"})
        assert (told.status_code, told.json()["approvals_needed"]) == (202, 1)
        assert (await eve.decide(told.json()["change_request"])).json()["state"] == "applied"
        assert await present(desk) == ["20/second"]
        assert await state(desk, name) == "rolled_back"

    at_desk(test)


def test_an_apply_waits_whole(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann, bob, _ = await with_people(desk)
        tree = {"sections": {"plans": {"gold": {"limits": ["1/second"]}, "free": {}}}, "reason": "both"}
        told = await ann.client.put("/config", json=tree)
        assert told.status_code == 202
        assert (await bob.decide(told.json()["change_request"])).json()["revision"] == 1
        assert sorted(name for _, name in desk.tree.managed) == ["free", "gold"]

    at_desk(test)
