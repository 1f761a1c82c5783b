"""The life of a version: its state, with dates, and who still calls it."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from faregate.manager.admin.context import WRITES, Condition, House, Name, Who, Why, published
from faregate.manager.admin.schemas import Applied, Body

Date = Annotated[
    str | None,
    Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", description="A day, from its beginning in UTC."),
]


class StateWrite(Body):
    """A version's next state. Dates and successor that are left out stay as they are; a version that is
    deprecated without `deprecated_at` gets the day of that.
    """

    state: Literal["draft", "active", "deprecated", "retired"]
    deprecated_at: Date = None
    sunset_at: Date = None
    successor: str | None = Field(default=None, max_length=128)


def make_router() -> APIRouter:
    router = APIRouter(tags=["versions"])

    @router.put(
        "/apis/{name}/versions/{version}/state", operation_id="version_state", responses=WRITES,
        openapi_extra={"x-faregate-need": "write"},
        summary="Move a version on; not while it is still called, unless forced",
    )  # fmt: skip
    async def version_state(  # noqa: PLR0913, PLR0917 - one a part of the request
        house: House,
        who: Who,
        name: Name,
        version: Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")],
        body: StateWrite,
        condition: Condition,
        why: Why,
        response: Response,
        *,
        force: Annotated[bool, Query(description="Also while callers use it.")] = False,
    ) -> Applied:
        members = body.model_dump(exclude={"state"})
        revision = await house.lifecycle.version_state(
            who, name, version, body.state, members=members, condition=condition, force=force, reason=why
        )
        number = None if revision is None else revision.number
        return Applied(revision=number, published=await published(house, number, response))

    return router
