"""People who need each other: an operator, two approvers, and a plan that they change."""

from typing import Any

from tests.manager.desk import Desk, Person

MONEY = {
    "upstream": "web",
    "authenticate": ["api_key"],
    "versions": {"v1": {"path": "/v1"}},
    "routes": [{"match": "POST /payments", "idempotency": "required"}],
}


async def with_people(desk: Desk, approval: str = "guarded") -> tuple[Person, Person, Person]:
    """An operator and two approvers, and from then on a second person is asked for."""
    people = (
        await desk.user("ann", "operator"),
        await desk.user("bob", "approver"),
        await desk.user("eve", "approver"),
    )
    desk.approval = approval
    return people


async def limits(person: Person, *listed: str, match: str = "*", **headers: str) -> Any:
    return await person.put("/plans/gold", {"spec": {"limits": listed}}, match, **headers)


async def present(desk: Desk) -> Any:
    told = await desk.machine.get("/plans/gold")
    return told.json()["spec"]["limits"] if told.status_code == 200 else None


async def state(desk: Desk, request: str) -> str:
    return str((await desk.machine.get(f"/changes/{request}")).json()["state"])


async def revisions(desk: Desk) -> int:
    return len((await desk.machine.get("/revisions")).json()["data"])
