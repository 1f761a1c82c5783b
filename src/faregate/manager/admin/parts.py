"""Versions and routes of APIs, and targets of upstreams, by their own names."""

from enum import Enum
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Response, status

from faregate.manager.admin.context import (
    READS,
    WRITES,
    Condition,
    House,
    Name,
    Who,
    Why,
    published,
    tag,
)
from faregate.manager.admin.schemas import PartPage, PartRead, PartWrite
from faregate.manager.cases.parts import NOUNS, Kind, Part, Place

_SEES: Final[dict[str, Any]] = {"x-faregate-need": "see"}
_WRITES: Final[dict[str, Any]] = {"x-faregate-need": "write"}

PartName = Annotated[
    str,
    Path(pattern=r"^[^/\x00-\x20\x7f]{1,512}$", description="`v2`, `POST.payments.{id}`, `10.0.0.1:9001`."),
]
Version = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", description="The version.")]


def _read(part: Part) -> PartRead:
    return PartRead(name=part.name, owner=part.owner, etag=part.digest, spec=part.content)


def make_router() -> APIRouter:
    router = APIRouter()
    _add(router, "/apis/{name}", "versions", "version")
    _add(router, "/apis/{name}", "routes", "route")
    _add_versioned(router)
    _add(router, "/upstreams/{name}", "targets", "target")
    return router


async def _listed(house: House, who: Who, place: Place) -> PartPage:
    return PartPage(data=[_read(part) for part in await house.parts.part_list(who, place)])


async def _got(house: House, who: Who, place: Place, name: str, response: Response) -> PartRead:
    part = await house.parts.part_get(who, place, name)
    tag(response, part.digest)
    return _read(part)


async def _put(  # noqa: PLR0913, PLR0917 - one a part of the request
    house: House,
    who: Who,
    place: Place,
    name: str,
    body: PartWrite,
    condition: Condition,
    why: Why,
    response: Response,
) -> PartRead:
    part, revision = await house.parts.part_put(who, place, name, body.spec, condition=condition, reason=why)
    tag(response, part.digest)
    if revision is not None and not condition.match:
        response.status_code = status.HTTP_201_CREATED
    await published(house, None if revision is None else revision.number, response)
    return _read(part)


async def _deleted(  # noqa: PLR0913, PLR0917
    house: House, who: Who, place: Place, name: str, condition: Condition, why: Why, response: Response
) -> None:
    revision = await house.parts.part_delete(who, place, name, condition=condition, reason=why)
    await published(house, None if revision is None else revision.number, response)


def _register(  # noqa: PLR0913, PLR0917 - what an operation is made of
    router: APIRouter,
    several: str,
    stem: str,
    noun: str,
    several_of: str,
    tags: list[str | Enum],
    functions: tuple[Any, Any, Any, Any],
) -> None:
    listed, got, put, deleted = functions
    one = f"{several}/{{part}}"
    router.add_api_route(
        several, listed, methods=["GET"], operation_id=f"{stem}_list", summary=f"List {several_of}",
        tags=tags, responses=READS, openapi_extra=_SEES,
    )  # fmt: skip
    router.add_api_route(
        one, got, methods=["GET"], operation_id=f"{stem}_get", summary=f"One {noun}", tags=tags,
        responses=READS, openapi_extra=_SEES,
    )  # fmt: skip
    router.add_api_route(
        one, put, methods=["PUT"], operation_id=f"{stem}_put", summary=f"Make or replace one {noun}",
        tags=tags, openapi_extra=_WRITES,
        responses={**WRITES, 201: {"model": PartRead, "description": "Made"}},
    )  # fmt: skip
    router.add_api_route(
        one, deleted, methods=["DELETE"], operation_id=f"{stem}_delete", summary=f"Remove one {noun}",
        tags=tags, responses=WRITES, openapi_extra=_WRITES, status_code=status.HTTP_204_NO_CONTENT,
    )  # fmt: skip


def _add(router: APIRouter, holder: str, kind: Kind, stem: str) -> None:
    async def part_list(house: House, who: Who, name: Name) -> PartPage:
        return await _listed(house, who, Place(kind, name))

    async def part_get(house: House, who: Who, name: Name, part: PartName, response: Response) -> PartRead:
        return await _got(house, who, Place(kind, name), part, response)

    async def part_put(  # noqa: PLR0913, PLR0917
        house: House,
        who: Who,
        name: Name,
        part: PartName,
        body: PartWrite,
        condition: Condition,
        why: Why,
        response: Response,
    ) -> PartRead:
        return await _put(house, who, Place(kind, name), part, body, condition, why, response)

    async def part_delete(  # noqa: PLR0913, PLR0917
        house: House,
        who: Who,
        name: Name,
        part: PartName,
        condition: Condition,
        why: Why,
        response: Response,
    ) -> None:
        await _deleted(house, who, Place(kind, name), part, condition, why, response)

    functions = (part_list, part_get, part_put, part_delete)
    _register(router, f"{holder}/{kind}", stem, NOUNS[kind], f"{NOUNS[kind]}s", [kind], functions)


def _add_versioned(router: APIRouter) -> None:
    """Routes of one version alone."""

    async def part_list(house: House, who: Who, name: Name, version: Version) -> PartPage:
        return await _listed(house, who, Place("routes", name, version))

    async def part_get(  # noqa: PLR0913, PLR0917
        house: House, who: Who, name: Name, version: Version, part: PartName, response: Response
    ) -> PartRead:
        return await _got(house, who, Place("routes", name, version), part, response)

    async def part_put(  # noqa: PLR0913, PLR0917
        house: House,
        who: Who,
        name: Name,
        version: Version,
        part: PartName,
        body: PartWrite,
        condition: Condition,
        why: Why,
        response: Response,
    ) -> PartRead:
        return await _put(house, who, Place("routes", name, version), part, body, condition, why, response)

    async def part_delete(  # noqa: PLR0913, PLR0917
        house: House,
        who: Who,
        name: Name,
        version: Version,
        part: PartName,
        condition: Condition,
        why: Why,
        response: Response,
    ) -> None:
        await _deleted(house, who, Place("routes", name, version), part, condition, why, response)

    functions = (part_list, part_get, part_put, part_delete)
    _register(
        router,
        "/apis/{name}/versions/{version}/routes",
        "version_route",
        "route of a version",
        "routes of a version",
        ["routes"],
        functions,
    )
