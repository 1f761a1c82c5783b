"""Ended calls: listed, shown, explained."""

from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query

from faregate.manager.admin.context import READS, House, Size, Who
from faregate.manager.admin.schemas import Body, Spec
from faregate.manager.cases.errors import Invalid
from faregate.records.searching import Wanted, time_text

_SEES: Final[dict[str, Any]] = {"x-faregate-need": "see"}

Text = Annotated[str, Query(max_length=512)]
Moment = Annotated[str, Query(max_length=40, description="RFC 3339, with its time zone.")]
RequestId = Annotated[str, Path(pattern=r"^[\x21-\x2e\x30-\x7e]{1,128}$", description="As in X-Request-Id.")]


class CallPage(Body):
    """Lines of the access log, the newest first. `early`: the page ended because enough of the log was looked
    at; `offset` goes on. `looked_bytes`: how much that was.
    """

    data: list[Spec]
    early: bool
    looked_bytes: int
    offset: str | None = None
    next: str | None = None


class CallRead(Body):
    """The newest call with the id. `others`: further ones that carried it, for callers choose it."""

    call: Spec
    others: int


class CallExplained(CallRead):
    """Why it ended so: in a line, then each reason as a sentence, who and what by name, and what to do."""

    headline: str
    because: list[str]
    facts: dict[str, str]
    advice: list[str]


def _moment(name: str, text: str) -> str:
    try:
        return time_text(text) if text else ""
    except ValueError as error:
        raise Invalid(f"{name}: an RFC 3339 time is expected, such as 2026-03-02T02:15:30Z.") from error


def make_router() -> APIRouter:
    router = APIRouter(tags=["calls"])

    @router.get(
        "/calls", operation_id="call_list", responses=READS, openapi_extra=_SEES,
        summary="Ended calls, the newest first", response_model_exclude_none=True,
    )  # fmt: skip
    async def call_list(  # noqa: PLR0913, PLR0917 - one a parameter of the request
        house: House,
        who: Who,
        size: Size = 100,
        offset: Annotated[str, Query(max_length=40, description="`offset` of the page before.")] = "",
        consumer: Text = "",
        credential: Text = "",
        api: Text = "",
        version: Text = "",
        route: Text = "",
        outcome: Text = "",
        refusal: Text = "",
        request_id: Text = "",
        status: Annotated[str, Query(pattern=r"^$|^[1-5]([0-9][0-9]|xx)$", description="503, or 5xx.")] = "",
        since: Moment = "",
        until: Moment = "",
    ) -> CallPage:
        texts = {
            "consumer": consumer,
            "credential": credential,
            "api": api,
            "version": version,
            "route": route,
            "outcome": outcome,
            "refusal": refusal,
            "request_id": request_id,
        }
        texts = {name: value for name, value in texts.items() if value}
        wanted = Wanted(texts, status, _moment("since", since), _moment("until", until))
        found = await house.calls.call_list(who, wanted, offset=offset, size=size)
        rest = {"status": status, "since": since, "until": until}
        more = {"offset": found.next, "size": str(size), **texts, **{k: v for k, v in rest.items() if v}}
        return CallPage(
            data=found.calls,
            early=found.early,
            looked_bytes=found.looked,
            offset=found.next or None,
            next=f"/calls?{urlencode(more)}" if found.next else None,
        )

    @router.get(
        "/calls/{request_id}", operation_id="call_get", responses=READS, openapi_extra=_SEES,
        summary="One ended call",
    )  # fmt: skip
    async def call_get(house: House, who: Who, request_id: RequestId) -> CallRead:
        ended = await house.calls.call_get(who, request_id)
        return CallRead(call=ended.call, others=ended.others)

    @router.get(
        "/calls/{request_id}/explanation", operation_id="call_explain", responses=READS, openapi_extra=_SEES,
        summary="Why a call ended as it did",
    )  # fmt: skip
    async def call_explain(house: House, who: Who, request_id: RequestId) -> CallExplained:
        ended, told = await house.calls.call_explain(who, request_id)
        return CallExplained(
            call=ended.call,
            others=ended.others,
            headline=told.headline,
            because=list(told.because),
            facts=dict(told.facts),
            advice=list(told.advice),
        )

    return router
