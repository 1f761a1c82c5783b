"""Records of idempotent calls, as `faregate ledger` shows and settles them."""

from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query
from pydantic import Field

from faregate.manager.admin.context import READS, House, Size, Who, problems
from faregate.manager.admin.schemas import Body, Spec
from faregate.manager.cases.ledger import Shown
from faregate.manager.ledger.shown import answer_object, as_object
from faregate.manager.ledger.verdicts import REASON_CHARACTERS_MAX
from faregate.stores.ledger.protocol import Entry

_SEES: Final[dict[str, Any]] = {"x-faregate-need": "see"}
_SETTLES: Final[dict[str, Any]] = {"x-faregate-need": "write"}
_SETTLED: Final = {**READS, **problems(409, 413, 415)}

RecordId = Annotated[str, Path(pattern=r"^[0-9a-fA-F]{32}$", description="The record's id.")]


class LedgerRecord(Body):
    """Times are seconds since the epoch; what does not apply is null."""

    id: str
    state: str
    since: float
    age_s: float
    expires: float | None
    consumer: str
    api: str
    version: str
    route: str
    method: str
    path: str
    request_id: str
    called: float | None
    resolves: bool
    tries: int
    by: str | None
    note: str | None


class LedgerPage(Body):
    data: list[LedgerRecord]
    offset: str | None = None
    next: str | None = None


class LedgerShown(LedgerRecord):
    """`answer`: what is stored of the answer, masked; null while the call is not completed."""

    answer: Spec | None


class VerdictWrite(Body):
    """`completed`: the payment was made. `released`: it was not and cannot be any more; a repeat is sent."""

    verdict: Literal["completed", "released"]
    reason: str = Field(min_length=1, max_length=REASON_CHARACTERS_MAX, description="Why; kept with it.")


def _read(entry: Entry, now: float) -> LedgerRecord:
    return LedgerRecord.model_validate(as_object(entry, now))


def _shown(shown: Shown, *, answer: bool) -> LedgerShown:
    kept = None if shown.answer is None else answer_object(shown.answer, shown=answer)
    return LedgerShown.model_validate({**as_object(shown.entry, shown.now), "answer": kept})


def make_router() -> APIRouter:
    router = APIRouter(tags=["ledger"])

    @router.get(
        "/ledger/records", operation_id="record_list", responses=READS, openapi_extra=_SEES,
        summary="Records of idempotent calls", response_model_exclude_none=True,
    )  # fmt: skip
    async def record_list(  # noqa: PLR0913, PLR0917 - one a parameter of the request
        house: House,
        who: Who,
        state: Literal["claimed", "sent", "unknown", "completed", "all"] = "unknown",
        consumer: Annotated[str, Query(max_length=128)] = "",
        size: Size = 100,
        offset: Annotated[
            str, Query(pattern=r"^([0-9a-fA-F]{32})?$", description="As in the page before.")
        ] = "",
    ) -> LedgerPage:
        found = await house.ledger.record_list(who, state=state, consumer=consumer, offset=offset, size=size)
        more = {"state": state, "consumer": consumer, "size": size, "offset": found.after}
        return LedgerPage(
            data=[_read(entry, found.now) for entry in found.entries],
            offset=found.after or None,
            next=f"/ledger/records?{urlencode(more)}" if found.after else None,
        )

    @router.get(
        "/ledger/records/{record}", operation_id="record_get", responses=READS, openapi_extra=_SEES,
        summary="One record",
    )  # fmt: skip
    async def record_get(
        house: House,
        who: Who,
        record: RecordId,
        *,
        answer: Annotated[
            bool, Query(description="Also the stored answer's fields and body, masked.")
        ] = False,
    ) -> LedgerShown:
        return _shown(await house.ledger.record_get(who, record), answer=answer)

    @router.post(
        "/ledger/records/{record}/settle", operation_id="record_settle", responses=_SETTLED,
        openapi_extra=_SETTLES, summary="Settle a call of unknown outcome",
    )  # fmt: skip
    async def record_settle(house: House, who: Who, record: RecordId, body: VerdictWrite) -> LedgerShown:
        shown = await house.ledger.record_settle(who, record, body.verdict, body.reason)
        return _shown(shown, answer=False)

    return router
