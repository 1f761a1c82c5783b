"""Entries of every section: the same five operations for each, by stable name."""

from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Response, status

from faregate.manager.admin import examples
from faregate.manager.admin.context import (
    READS,
    WRITES,
    Condition,
    House,
    Name,
    Offset,
    Size,
    Who,
    Why,
    published,
    tag,
)
from faregate.manager.admin.schemas import EntryPage, EntryPatch, EntryRead, EntryWrite, TeamName
from faregate.manager.cases.domain import APPLIED, Entry, Section
from faregate.manager.cases.permits import NOUNS

_SEES: Final[dict[str, Any]] = {"x-faregate-need": "see"}
_WRITES: Final[dict[str, Any]] = {"x-faregate-need": "write"}


def read_of(entry: Entry) -> EntryRead:
    return EntryRead(
        name=entry.name,
        owner=entry.owner,
        team=entry.team,
        revision=entry.revision,
        etag=entry.digest,
        spec=entry.content,
    )


def make_router() -> APIRouter:
    router = APIRouter()
    for section in APPLIED:
        _add(router, section)
    return router


def _add(router: APIRouter, section: Section) -> None:
    noun = NOUNS[section]
    stem = noun.lower()
    example = examples.ENTRIES[section]

    async def entry_list(
        house: House,
        who: Who,
        size: Size = 100,
        offset: Offset = "",
        team: Annotated[TeamName | None, Query(description="Only this team's.")] = None,
    ) -> EntryPage:
        page = await house.configuration.entry_list(who, section, after=offset, size=size, team=team)
        following = None
        if page.after:
            more = {"offset": page.after, "size": str(size), **({"team": team} if team else {})}
            following = f"/{section}?{urlencode(more)}"
        return EntryPage(
            data=[read_of(entry) for entry in page.entries], offset=page.after or None, next=following
        )

    async def entry_get(house: House, who: Who, name: Name, response: Response) -> EntryRead:
        entry = await house.configuration.entry_get(who, section, name)
        tag(response, entry.digest)
        return read_of(entry)

    async def entry_put(  # noqa: PLR0913, PLR0917
        house: House,
        who: Who,
        name: Name,
        body: EntryWrite,
        condition: Condition,
        why: Why,
        response: Response,
    ) -> EntryRead:
        entry, revision = await house.configuration.entry_put(
            who, section, name, body.spec, team=body.team, condition=condition, reason=why
        )
        tag(response, entry.digest)
        if revision is not None and entry.revision == revision.number and not condition.match:
            response.status_code = status.HTTP_201_CREATED
        await published(house, None if revision is None else revision.number, response)
        return read_of(entry)

    async def entry_patch(  # noqa: PLR0913, PLR0917
        house: House,
        who: Who,
        name: Name,
        body: EntryPatch,
        condition: Condition,
        why: Why,
        response: Response,
    ) -> EntryRead:
        patch = body.model_dump(exclude_unset=True)
        entry, revision = await house.configuration.entry_patch(
            who, section, name, patch, condition=condition, reason=why
        )
        tag(response, entry.digest)
        await published(house, None if revision is None else revision.number, response)
        return read_of(entry)

    async def entry_delete(  # noqa: PLR0913, PLR0917
        house: House,
        who: Who,
        name: Name,
        condition: Condition,
        why: Why,
        response: Response,
        *,
        force: Annotated[bool, Query(description="Also when it is still used.")] = False,
    ) -> None:
        revision = await house.configuration.entry_delete(
            who, section, name, condition=condition, force=force, reason=why
        )
        await published(house, None if revision is None else revision.number, response)

    one, several = f"/{section}/{{name}}", f"/{section}"
    shown: dict[int | str, dict[str, Any]] = {
        200: {"content": {"application/json": {"example": examples.shown(section)}}}
    }
    body_example = {
        "requestBody": {"content": {"application/json": {"example": {"spec": example, "team": ""}}}}
    }
    router.add_api_route(
        several, entry_list, methods=["GET"], operation_id=f"{stem}_list", tags=[section],
        summary=f"List {section}", responses=READS, openapi_extra=_SEES, response_model_exclude_none=True,
    )  # fmt: skip
    router.add_api_route(
        one, entry_get, methods=["GET"], operation_id=f"{stem}_get", tags=[section],
        summary=f"One {noun}", responses={**READS, **shown}, openapi_extra=_SEES,
    )  # fmt: skip
    router.add_api_route(
        one, entry_put, methods=["PUT"], operation_id=f"{stem}_put", tags=[section],
        summary=f"Make or replace one {noun}", openapi_extra={**_WRITES, **body_example},
        responses={**WRITES, **shown, 201: {"model": EntryRead, "description": "Made"}},
    )  # fmt: skip
    router.add_api_route(
        one, entry_patch, methods=["PATCH"], operation_id=f"{stem}_patch", tags=[section],
        summary=f"Change fields of one {noun}", responses={**WRITES, **shown}, openapi_extra=_WRITES,
    )  # fmt: skip
    router.add_api_route(
        one, entry_delete, methods=["DELETE"], operation_id=f"{stem}_delete", tags=[section],
        summary=f"Remove one {noun}", responses=WRITES, openapi_extra=_WRITES,
        status_code=status.HTTP_204_NO_CONTENT,
    )  # fmt: skip
