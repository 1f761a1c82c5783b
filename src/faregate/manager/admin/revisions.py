"""Revisions: what was, what changed it, and the way back; and the whole configuration in one step."""

from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Header, Path, Query, Response

from faregate.manager.admin.context import (
    READS,
    WRITES,
    House,
    Offset,
    Size,
    Who,
    published,
    tag,
    time_text,
)
from faregate.manager.admin.schemas import (
    Applied,
    ConfigRead,
    ConfigWrite,
    DiagnosticRead,
    DifferenceRead,
    PlanRead,
    Reason,
    RevisionPage,
    RevisionRead,
    RevisionShown,
)
from faregate.manager.cases.committing import Committing, Judgement
from faregate.manager.cases.configuration import difference_of
from faregate.manager.cases.domain import Revision
from faregate.manager.cases.errors import Invalid

DIFFERENCES_SHOWN_MAX: Final = 10_000

_SEES: Final[dict[str, Any]] = {"x-faregate-need": "see"}
_WRITES: Final[dict[str, Any]] = {"x-faregate-need": "write"}

Force = Annotated[bool, Query(description="Also what guards callers: used versions, contracts.")]
Base = Annotated[int | None, Query(ge=0, description="Refuse when it is not the newest revision.")]
IfMatch = Annotated[str, Header(description="The ETag of `GET /config`, or `*`; as `base`.", max_length=200)]
Number = Annotated[int, Path(ge=0, le=1 << 53, description="The revision's number.")]


def _members(revision: Revision) -> dict[str, Any]:
    return {
        "number": revision.number,
        "time": time_text(revision.at_ms),
        "kind": revision.kind,
        "author": revision.author,
        "reason": revision.reason,
        "changes": revision.changes,
        "digest": revision.digest,
        "rolled_back_to": revision.rolled_back_to,
        "change_request": revision.change_request,
        "audit_seq": revision.audit_seq,
    }


def plan_read(judgement: Judgement, committing: Committing) -> PlanRead:
    acts = [change.act for change in judgement.changes]
    found = difference_of(judgement.changes, committing)[:DIFFERENCES_SHOWN_MAX]
    return PlanRead(
        creates=acts.count("create"),
        updates=acts.count("update"),
        deletes=acts.count("delete"),
        differences=[DifferenceRead.model_validate(one) for one in found],
        diagnostics=[
            DiagnosticRead.model_validate(
                {key: one[key] for key in DiagnosticRead.model_fields if key in one}
            )
            for one in judgement.diagnostics
        ],
    )


def make_router() -> APIRouter:
    router = APIRouter()

    @router.get(
        "/revisions", operation_id="revision_list", tags=["revisions"], responses=READS,
        summary="The newest revisions first", openapi_extra=_SEES, response_model_exclude_none=True,
    )  # fmt: skip
    async def revision_list(house: House, who: Who, size: Size = 100, offset: Offset = "") -> RevisionPage:
        if offset and not (offset.isascii() and offset.isdigit() and len(offset) < 16):
            raise Invalid("offset: it is that of the page before.")
        before = int(offset or 0)
        found = await house.history.revision_list(who, before=before, size=size)
        last = found[-1].number if len(found) == size and found[-1].number > 1 else 0
        more = urlencode({"offset": last, "size": size})
        return RevisionPage(
            data=[RevisionRead(**_members(one)) for one in found],
            offset=str(last) if last else None,
            next=f"/revisions?{more}" if last else None,
        )

    @router.get(
        "/revisions/{number}", operation_id="revision_get", tags=["revisions"], responses=READS,
        summary="One revision and what it changed", openapi_extra=_SEES,
    )  # fmt: skip
    async def revision_get(house: House, who: Who, number: Number) -> RevisionShown:
        shown = await house.history.revision_get(who, number)
        differences = [
            DifferenceRead.model_validate(one) for one in shown.differences[:DIFFERENCES_SHOWN_MAX]
        ]
        return RevisionShown(**_members(shown.revision), differences=differences)

    @router.post(
        "/revisions/{number}/plan", operation_id="rollback_plan", tags=["revisions"], responses=READS,
        summary="What a rollback to it would change", openapi_extra=_SEES,
    )  # fmt: skip
    async def rollback_plan(house: House, who: Who, number: Number) -> PlanRead:
        return plan_read(await house.history.rollback_plan(who, number), house.committing)

    @router.post(
        "/revisions/{number}/rollback", operation_id="revision_rollback", tags=["revisions"],
        responses=WRITES, summary="Make the configuration what it was", openapi_extra=_WRITES,
    )  # fmt: skip
    async def revision_rollback(  # noqa: PLR0913, PLR0917 - one a part of the request
        house: House,
        who: Who,
        number: Number,
        body: Reason,
        response: Response,
        base: Base = None,
        *,
        force: Force = False,
    ) -> Applied:
        revision = await house.history.rollback(who, number, reason=body.reason, force=force, base=base)
        return await _applied(house, revision, response)

    @router.get(
        "/config", operation_id="config_get", tags=["config"], responses=READS,
        summary="Everything that may be seen, as a file would have it", openapi_extra=_SEES,
    )  # fmt: skip
    async def config_get(house: House, who: Who, response: Response) -> ConfigRead:
        revision = house.committing.seen  # first: what is read is of this one or a later
        sections = await house.applying.whole(who)
        tag(response, str(revision))
        return ConfigRead(sections=sections, revision=revision)

    @router.post(
        "/config/plan", operation_id="config_plan", tags=["config"], responses={**READS, **WRITES},
        summary="What applying it would change", openapi_extra=_SEES,
    )  # fmt: skip
    async def config_plan(house: House, who: Who, body: ConfigWrite) -> PlanRead:
        judged = await house.applying.plan(who, _sections(body), team=body.team)
        return plan_read(judged, house.committing)

    @router.put(
        "/config", operation_id="config_apply", tags=["config"], responses=WRITES,
        summary="Make the named sections what is said here", openapi_extra=_WRITES,
    )  # fmt: skip
    async def config_apply(  # noqa: PLR0913, PLR0917 - likewise
        house: House,
        who: Who,
        body: ConfigWrite,
        response: Response,
        base: Base = None,
        if_match: IfMatch = "",
        *,
        force: Force = False,
    ) -> Applied:
        if if_match and base is None:
            base = _revision_of(if_match)
        revision = await house.applying.apply(
            who, _sections(body), team=body.team, reason=body.reason, base=base, force=force
        )
        return await _applied(house, revision, response)

    return router


def _revision_of(if_match: str) -> int | None:
    """The newest revision that ``if_match`` admits, None for any. Raises Invalid."""
    text = if_match.strip().removeprefix("W/").strip('"')
    if text == "*":
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise Invalid("If-Match: it is the ETag of GET /config, or `*`.")
    return int(text)


def _sections(body: ConfigWrite) -> dict[str, dict[str, dict[str, Any]]]:
    return {str(section): entries for section, entries in body.sections.items()}


async def _applied(house: House, revision: Revision | None, response: Response) -> Applied:
    number = None if revision is None else revision.number
    return Applied(revision=number, published=await published(house, number, response))
