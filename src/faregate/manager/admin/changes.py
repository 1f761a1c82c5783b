"""Change requests and break-glass over HTTP."""

from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Response, status
from pydantic import Field

from faregate.manager.admin.context import READS, House, Offset, Size, Who, problems, time_text
from faregate.manager.admin.schemas import Body, DifferenceRead, Sent
from faregate.manager.admin.sign_in import SessionMade, opened
from faregate.manager.cases.break_glass import MINUTES_MAX, REVIEW_MS
from faregate.manager.cases.changes import Shown
from faregate.manager.database.changes import Request
from faregate.manager.database.people import Glass

DIFFERENCES_SHOWN_MAX: Final = 10_000
_SEES: Final[dict[str, Any]] = {"x-faregate-need": "see"}
_WRITES: Final[dict[str, Any]] = {"x-faregate-need": "write"}
_DECIDES: Final[dict[str, Any]] = {"x-faregate-need": "decide"}
_SELF: Final[dict[str, Any]] = {"x-faregate-need": "self"}
ACTS: Final = problems(400, 403, 404, 409, 412, 413, 415, 422)

State = Literal["draft", "proposed", "approved", "applied", "rejected", "expired", "withdrawn", "rolled_back"]
ChangeName = Annotated[str, Path(pattern=r"^chg_[0-9a-f]{10,40}$", description="The change request's id.")]
GlassName = Annotated[str, Path(pattern=r"^bg_[0-9a-f]{16}$", description="The act's id.")]


class HeldRead(Body):
    """What a write answers that waits. `secret`, `code`: shown here and nowhere else; they work once it is
    applied.
    """

    change_request: str
    state: State
    risk: Literal["plain", "guarded", "grave"]
    hash: str
    approvals_needed: int
    activate_at: str | None = None
    expires: str
    secret: str | None = None
    code: str | None = None


class DecisionRead(Body):
    person: str
    verdict: Literal["approved", "rejected"]
    hash: str
    reason: str
    time: str


class ChangeRead(Body):
    """A change request."""

    id: str
    author: str
    reason: str
    kind: str
    subject: Literal["config", "people"]
    risk: Literal["plain", "guarded", "grave"]
    state: State
    base: int = Field(description="The newest revision when it was filed.")
    hash: str = Field(description="What an approval binds.")
    approvals_needed: int
    created: str
    expires: str
    activate_at: str | None = None
    revision: int | None = None
    failure: str = Field(default="", description="Why it could not be brought about.")
    failure_code: str = Field(
        default="",
        description="The same for programs: author_not_permitted, approvals_missing, stale, "
        "validation_failed, conflict or another code of a refusal.",
    )
    replaced_by: str | None = None


class ChangeShown(ChangeRead):
    differences: list[DifferenceRead]
    decisions: list[DecisionRead]


class ChangePage(Body):
    data: list[ChangeRead]
    offset: str | None = None
    next: str | None = None


class DecisionWrite(Body):
    """`hash`: of what was read; another one is refused."""

    verdict: Literal["approved", "rejected"]
    hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    reason: str = Field(default="", max_length=1000)


class GlassWrite(Sent):
    reason: str = Field(min_length=1, max_length=1000)
    minutes: int = Field(default=MINUTES_MAX, ge=1, le=MINUTES_MAX)


class GlassRead(Body):
    """An act of break-glass. `reviewer` absent: the review is open."""

    id: str
    person: str
    reason: str
    opened: str
    until: str
    address: str
    review_due: str
    reviewer: str | None = None
    reviewed: str | None = None
    finding: str = ""


class GlassMade(Body):
    break_glass: GlassRead
    session: SessionMade


class GlassPage(Body):
    data: list[GlassRead]


class ReviewWrite(Body):
    finding: str = Field(min_length=1, max_length=1000)


def _members(one: Request) -> dict[str, Any]:
    return {
        "id": one.id,
        "author": one.author,
        "reason": one.reason,
        "kind": one.kind,
        "subject": one.subject,
        "risk": one.risk,
        "state": one.state,
        "base": one.base,
        "hash": one.hash,
        "approvals_needed": one.approvals,
        "created": time_text(one.created_ms),
        "expires": time_text(one.expires_ms),
        "activate_at": time_text(one.activate_ms) if one.activate_ms else None,
        "revision": one.revision,
        "failure": one.failure,
        "failure_code": one.failure_code,
        "replaced_by": one.replaced_by,
    }


def _shown(shown: Shown, response: Response) -> ChangeShown:
    response.headers["ETag"] = f'"{shown.request.hash}"'
    return ChangeShown(
        **_members(shown.request),
        differences=[DifferenceRead.model_validate(one) for one in shown.differences[:DIFFERENCES_SHOWN_MAX]],
        decisions=[
            DecisionRead(
                person=one.person,
                verdict=one.verdict,
                hash=one.hash,
                reason=one.reason,
                time=time_text(one.at_ms),
            )
            for one in shown.decisions
        ],
    )


def _glass(one: Glass) -> GlassRead:
    return GlassRead(
        id=one.id,
        person=one.person,
        reason=one.reason,
        opened=time_text(one.opened_ms),
        until=time_text(one.until_ms),
        address=one.address,
        review_due=time_text(one.opened_ms + REVIEW_MS),
        reviewer=one.reviewer or None,
        reviewed=time_text(one.reviewed_ms) if one.reviewed_ms else None,
        finding=one.finding,
    )


def make_router() -> APIRouter:
    router = APIRouter()
    _changes(router)
    _break_glass(router)
    return router


def _changes(router: APIRouter) -> None:
    @router.get(
        "/changes", operation_id="change_list", tags=["changes"], responses=READS,
        summary="Change requests, the newest first", openapi_extra=_SEES, response_model_exclude_none=True,
    )  # fmt: skip
    async def change_list(
        house: House,
        who: Who,
        size: Size = 100,
        offset: Offset = "",
        state: Annotated[State | None, Query(description="Only those in this state.")] = None,
    ) -> ChangePage:
        found, after = await house.changes.change_list(who, state=state or "", before=offset, size=size)
        more = {"offset": after, "size": str(size), **({"state": state} if state else {})}
        return ChangePage(
            data=[ChangeRead(**_members(one)) for one in found],
            offset=after or None,
            next=f"/changes?{urlencode(more)}" if after else None,
        )

    @router.get(
        "/changes/{change}", operation_id="change_get", tags=["changes"], responses=READS,
        summary="One change request: what it would do, and what was said of it", openapi_extra=_SEES,
    )  # fmt: skip
    async def change_get(house: House, who: Who, change: ChangeName, response: Response) -> ChangeShown:
        return _shown(await house.changes.change_get(who, change), response)

    @router.post(
        "/changes/{change}/propose", operation_id="change_propose", tags=["changes"], responses=ACTS,
        summary="Make a token's draft one's own, for another to approve", openapi_extra=_WRITES,
    )  # fmt: skip
    async def change_propose(house: House, who: Who, change: ChangeName, response: Response) -> ChangeShown:
        return _shown(await house.changes.change_propose(who, change), response)

    @router.post(
        "/changes/{change}/decisions", operation_id="change_decide", tags=["changes"], responses=ACTS,
        summary="Approve or reject; needs a fresh second factor", openapi_extra=_DECIDES,
    )  # fmt: skip
    async def change_decide(
        house: House, who: Who, change: ChangeName, body: DecisionWrite, response: Response
    ) -> ChangeShown:
        shown = await house.changes.change_decide(
            who, change, body.verdict, bound=body.hash, reason=body.reason
        )
        return _shown(shown, response)

    @router.post(
        "/changes/{change}/withdraw", operation_id="change_withdraw", tags=["changes"], responses=ACTS,
        summary="Take a change request back", openapi_extra=_WRITES,
    )  # fmt: skip
    async def change_withdraw(house: House, who: Who, change: ChangeName, response: Response) -> ChangeShown:
        return _shown(await house.changes.change_withdraw(who, change), response)


def _break_glass(router: APIRouter) -> None:
    @router.post(
        "/break-glass", operation_id="break_glass", tags=["break-glass"], responses=ACTS,
        summary="Own the gateway for an hour without a second person; everybody learns of it",
        status_code=status.HTTP_201_CREATED, openapi_extra=_SELF,
    )  # fmt: skip
    async def break_glass(house: House, who: Who, body: GlassWrite, response: Response) -> GlassMade:
        one, session = await house.break_glass.break_glass(who, body.reason, body.minutes)
        return GlassMade(break_glass=_glass(one), session=opened(session, response))

    @router.get(
        "/break-glass", operation_id="break_glass_list", tags=["break-glass"], responses=READS,
        summary="Acts of break-glass, the newest first", openapi_extra=_SEES,
        response_model_exclude_none=True,
    )  # fmt: skip
    async def break_glass_list(
        house: House,
        who: Who,
        unreviewed: Annotated[bool, Query(description="Only those whose review is open.")] = False,  # noqa: FBT002
    ) -> GlassPage:
        found = await house.break_glass.break_glass_list(who, unreviewed=unreviewed)
        return GlassPage(data=[_glass(one) for one in found])

    @router.post(
        "/break-glass/{act}/end", operation_id="break_glass_end", tags=["break-glass"], responses=ACTS,
        summary="End it before its time", openapi_extra=_SELF,
    )  # fmt: skip
    async def break_glass_end(house: House, who: Who, act: GlassName) -> GlassRead:
        return _glass(await house.break_glass.break_glass_end(who, act))

    @router.post(
        "/break-glass/{act}/review", operation_id="break_glass_review", tags=["break-glass"], responses=ACTS,
        summary="Close the review of what another did; needs a fresh second factor", openapi_extra=_DECIDES,
    )  # fmt: skip
    async def break_glass_review(house: House, who: Who, act: GlassName, body: ReviewWrite) -> GlassRead:
        return _glass(await house.break_glass.break_glass_review(who, act, body.finding))
