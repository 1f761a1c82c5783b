"""How things stand: the gateways and what they run, who calls what, the forms of entries."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query

from faregate.manager.admin.context import READS, House, Who, time_text
from faregate.manager.admin.schemas import Body, Spec
from faregate.manager.cases import standing

_SEES: Final[dict[str, Any]] = {"x-faregate-need": "see"}


class GatewayRead(Body):
    """One machine. `current`: it runs the newest revision."""

    id: str
    host: str
    revision: int
    current: bool
    acknowledged: str
    seen: str
    workers: int
    failure: str


class StatusRead(Body):
    """`revision`: the newest; `pending`: gateways that do not run it yet."""

    revision: int
    pending: int
    gateways: list[GatewayRead]


class CallerRead(Body):
    """Calls with one credential to one version. `share`: of all calls to that version, 0 to 1."""

    consumer: str
    credential: str
    api: str
    version: str
    calls: int
    errors: int
    share: float
    last_seen: str


class UsageRead(Body):
    data: list[CallerRead]


def make_router() -> APIRouter:
    router = APIRouter(tags=["standing"])

    @router.get(
        "/status", operation_id="status_get", responses=READS, openapi_extra=_SEES,
        summary="Gateways, and what they run",
    )  # fmt: skip
    async def status_get(house: House, who: Who) -> StatusRead:
        found = await standing.status_get(house.committing, who)
        return StatusRead(
            revision=found.revision,
            pending=sum(one.revision < found.revision for one in found.gateways),
            gateways=[
                GatewayRead(
                    id=one.id,
                    host=one.host,
                    revision=one.revision,
                    current=one.revision >= found.revision,
                    acknowledged=time_text(one.acknowledged_ms),
                    seen=time_text(one.seen_ms),
                    workers=one.workers,
                    failure=one.failure,
                )
                for one in found.gateways
            ],
        )

    @router.get(
        "/usage", operation_id="usage_list", responses=READS, openapi_extra=_SEES,
        summary="Who calls what: consumer, credential, share, last seen",
    )  # fmt: skip
    async def usage_list(  # noqa: PLR0913, PLR0917 - one a parameter of the request
        house: House,
        who: Who,
        api: Annotated[str, Query(max_length=128)] = "",
        version: Annotated[str, Query(max_length=128)] = "",
        consumer: Annotated[str, Query(max_length=128)] = "",
        credential: Annotated[str, Query(max_length=128)] = "",
        hours: Annotated[int, Query(ge=1, le=24 * 400, description="How far back.")] = 24 * 7,
    ) -> UsageRead:
        found = await standing.usage_list(
            house.committing, who, hours, api=api, version=version, consumer=consumer, credential=credential
        )
        return UsageRead(
            data=[
                CallerRead(
                    consumer=one.consumer,
                    credential=one.credential,
                    api=one.api,
                    version=one.version,
                    calls=one.calls,
                    errors=one.errors,
                    share=share,
                    last_seen=time_text(one.last_ms),
                )
                for one, share in found
            ]
        )

    @router.get(
        "/schemas/{section}", operation_id="schema_get", responses=READS, openapi_extra=_SEES,
        summary="The JSON Schema of an entry's `spec`",
    )  # fmt: skip
    async def schema_get(
        who: Who,
        section: Annotated[
            Literal["issuers", "upstreams", "plans", "groups", "consumers", "apis"],
            Path(description="Section."),
        ],
    ) -> Spec:
        return standing.schema_get(who, section)

    return router
