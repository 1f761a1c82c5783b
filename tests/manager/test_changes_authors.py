"""Who filed a change must still be allowed to make it when it comes about: every demand of a write is made again, then."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from faregate.manager.cases.domain import Content
from tests.manager.conftest import AtDesk
from tests.manager.desk import Desk, Person
from tests.manager.test_other_teams import api, lay, two_teams

AT = {"X-Faregate-Activate-At": "2026-05-28T20:30:00Z"}
Later = Callable[[Desk], Awaitable[object]]


async def _state(desk: Desk, name: str, **values: object) -> None:
    told = await desk.machine.patch(f"/users/{name}", json=values, headers={"If-Match": "*"})
    assert told.status_code == 200, told.text


async def disabled(desk: Desk) -> None:
    await _state(desk, "ann", state="disabled")


async def viewer(desk: Desk) -> None:
    await desk.grant("ann", "viewer@team:a")


async def other_team(desk: Desk) -> None:
    await desk.grant("ann", "operator@team:b")


async def of_one_api(desk: Desk) -> None:
    """Who may write this API alone puts none into a team."""
    await desk.grant("ann", "operator@api:a", "viewer@team:a")


async def moved(path: str, spec: Content, team: str, desk: Desk) -> None:
    told = await desk.machine.put(path, json={"spec": spec, "team": team}, headers={"If-Match": "*"})
    assert told.status_code == 200, told.text


async def filed(desk: Desk, ann: Person, path: str, spec: Content, *, hours: bool) -> str:
    match, more = ("", AT if hours else {"X-Faregate-Propose": "true"})
    told = await ann.put(path, {"spec": spec, "team": "a"}, match, **more)
    assert told.status_code == 202, told.text
    return str(told.json()["change_request"])


async def brought_about(desk: Desk, name: str, *, hours: bool) -> dict[str, Any]:
    """At its hour, or by the approval of another."""
    if hours:
        desk.now = 1_780_000_200_000
        await desk.management.changes.run_due()
    else:
        bob = await desk.user("bob", "approver")
        assert (await bob.decide(name)).status_code == 200
    return dict((await desk.machine.get(f"/changes/{name}")).json())


PLAN: tuple[str, Content] = ("/plans/a-gold", {"limits": ["1/second"]})
API: tuple[str, Content] = ("/apis/a", api())
SHARED: tuple[str, Content] = ("/apis/a", api(upstream="shared"))


@pytest.mark.parametrize("hours", [True, False], ids=["at its hour", "approved"])
@pytest.mark.parametrize(
    ("what", "later", "said"),
    [
        (PLAN, disabled, "the user is disabled"),
        (PLAN, viewer, "lies where they may not write"),
        (PLAN, other_team, "lies where they may not write"),
        (API, of_one_api, "operator in the team"),
        (SHARED, lambda desk: moved("/upstreams/shared", {"targets": ["http://127.0.0.1:9"]}, "b", desk),
         "apis.a.upstream: no upstream is named `shared`"),
    ],
    ids=["disabled", "viewer", "another team", "one API", "what it names"],
)  # fmt: skip
def test_who_lost_the_right_brings_nothing_about(
    at_desk: AtDesk, what: tuple[str, Content], later: Later, said: str, hours: bool
) -> None:
    async def test(desk: Desk) -> None:
        ann = await two_teams(desk)
        name = await filed(desk, ann, *what, hours=hours)
        await later(desk)
        before = dict(desk.tree.managed)
        revisions = (await desk.machine.get("/revisions")).json()["data"]
        told = await brought_about(desk, name, hours=hours)
        assert (told["state"], told["failure_code"]) == ("expired", "author_not_permitted"), told
        assert told["failure"].startswith("Its author ann may not do this any more")
        assert said in told["failure"]
        assert (await desk.machine.get(what[0])).status_code == 404
        assert desk.tree.managed == before
        assert (await desk.machine.get("/revisions")).json()["data"] == revisions
        kind, _, about, detail = desk.leaves.records[-1]
        assert (kind, about, detail["code"]) == ("change.expired", f"change/{name}", "author_not_permitted")

    at_desk(test)


def test_who_has_it_still_brings_it_about(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await two_teams(desk)
        for path, spec in (PLAN, SHARED):
            name = await filed(desk, ann, path, spec, hours=True)
            desk.now = 1_780_000_200_000
            await desk.management.changes.run_due()
            told = (await desk.machine.get(f"/changes/{name}")).json()
            assert (told["state"], told["failure_code"]) == ("applied", ""), told
            desk.now = 1_780_000_000_000

    at_desk(test)


def test_a_path_that_another_team_took_meanwhile_is_taken(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await two_teams(desk)
        name = await filed(desk, ann, "/apis/a", api("/late", upstream="a-bank"), hours=True)
        await lay(desk, "/apis/b-late", api("/late", "GET /other", "b-bank"), "b")
        told = await brought_about(desk, name, hours=True)
        assert (told["state"], told["failure_code"], told["failure"]) == (
            "expired", "conflict", "The path /late/x is taken.",
        )  # fmt: skip

    at_desk(test)


def test_a_credential_is_judged_by_the_team_that_its_consumer_is_in_by_then(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await two_teams(desk)
        await lay(desk, "/consumers/shop", {}, "a")
        told = await ann.post("/consumers/shop/keys", {}, **AT)
        assert told.status_code == 202, told.text
        await moved("/consumers/shop", {}, "b", desk)
        shown = await brought_about(desk, told.json()["change_request"], hours=True)
        assert (shown["state"], shown["failure_code"]) == ("expired", "author_not_permitted")
        assert (await desk.machine.get("/credentials")).json()["data"] == []

    at_desk(test)


def test_a_rollback_needs_the_whole_when_it_comes_about(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await desk.user("ann", "operator")
        await lay(desk, "/plans/gold", {"limits": ["1/second"]}, "a")
        await lay(desk, "/plans/silver", {"limits": ["1/second"]}, "a")
        told = await ann.post("/revisions/1/rollback", {}, **AT)
        assert told.status_code == 202, told.text
        await desk.grant("ann", "operator@team:a")
        shown = await brought_about(desk, told.json()["change_request"], hours=True)
        assert (shown["state"], shown["failure_code"]) == ("expired", "author_not_permitted")
        assert "rollback" in shown["failure"]
        assert (await desk.machine.get("/plans/silver")).status_code == 200

    at_desk(test)


def test_an_approver_who_may_decide_no_more_does_not_count_at_its_hour(at_desk: AtDesk) -> None:
    async def test(desk: Desk) -> None:
        ann = await two_teams(desk)
        bob = await desk.user("bob", "approver")
        told = await ann.put(
            PLAN[0], {"spec": PLAN[1], "team": "a"}, "", **AT, **{"X-Faregate-Propose": "true"}
        )
        name = str(told.json()["change_request"])
        assert (await bob.decide(name)).json()["state"] == "approved"
        await desk.grant("bob", "viewer")
        shown = await brought_about(desk, name, hours=True)
        assert (shown["state"], shown["failure_code"]) == ("expired", "approvals_missing")
        assert desk.leaves.records[-1][3]["code"] == "approvals_missing"

    at_desk(test)
