"""``Idempotency-Key`` on requests that create: the first is done, its repeats get its answer."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final, TypeAlias, TypeVar

from fastapi import Depends, Header, Request
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from faregate.manager.admin.changes import HeldRead
from faregate.manager.admin.context import PUBLISHED_S, House, Who, time_text
from faregate.manager.cases import permits
from faregate.manager.cases.domain import Actor
from faregate.manager.cases.errors import BadKey, Held
from faregate.manager.cases.permits import Need
from faregate.manager.cases.repeats import Answer
from faregate.manager.management import Management

REPLAYED: Final = "Idempotent-Replayed"
_REVISION: Final = "Faregate-Revision"

_T = TypeVar("_T")


def held_answer(held: Held) -> tuple[dict[str, Any], Mapping[str, str]]:
    """What whoever asked is told of what waits, and the fields of that answer, whose status is 202."""
    told = dict(held.shown)
    activate_ms, expires_ms = told.pop("activate_ms"), told.pop("expires_ms")
    assert isinstance(activate_ms, int)
    assert isinstance(expires_ms, int)
    told |= {"activate_at": time_text(activate_ms) if activate_ms else None, "expires": time_text(expires_ms)}
    content = HeldRead.model_validate(told).model_dump(exclude_none=True)
    return content, {"Location": f"/changes/{held.request}"}


class Repeat:
    """What a request says of being a repeat. ``key`` empty: nothing."""

    def __init__(self, house: Management, who: Actor, key: str, fingerprint: str) -> None:
        self._house = house
        self._who = who
        self._key = key
        self._fingerprint = fingerprint

    async def answered(self, need: Need | None = None) -> Response | None:
        """The answer that the first request got; ``need``: what whoever asks must hold still, somewhere.
        Raises KeyReused, Forbidden, Unavailable.
        """
        if not self._key:
            return None
        found = await self._house.repeats.find(self._who, self._key, self._fingerprint)
        if found is None:
            return None
        if need is not None:
            permits.demand_anywhere(self._who, need)
        body = json.loads(found.body)
        headers = {**found.headers, REPLAYED: "true"}
        if _REVISION in headers:
            there = await self._house.publisher.published(int(headers[_REVISION]), PUBLISHED_S)
            headers["Faregate-Published"] = "true" if there else "false"
            if "published" in body:
                body["published"] = there
        again = json.dumps(body, ensure_ascii=False, separators=(",", ":"))  # as the first was written
        return Response(again, found.status, headers, media_type="application/json")

    def keeping(
        self, shown: Callable[[_T], tuple[BaseModel, Mapping[str, str]]]
    ) -> Callable[[AsyncConnection, _T | Held], Awaitable[None]] | None:
        """Keeps the answer, as ``shown`` makes it of what was made, within the transaction that makes it."""
        if not self._key:
            return None

        async def keep(connection: AsyncConnection, made: _T | Held) -> None:
            if isinstance(made, Held):
                told, headers = held_answer(made)
                answer = Answer(202, headers, json.dumps(told).encode())
            else:
                body, headers = shown(made)
                answer = Answer(201, headers, body.model_dump_json().encode())
            await self._house.repeats.keep(connection, self._who, self._key, self._fingerprint, answer)

        return keep


async def repeat(
    request: Request,
    house: House,
    who: Who,
    idempotency_key: Annotated[
        str, Header(description="1 to 255 visible ASCII characters, bare or quoted.")
    ] = "",
) -> Repeat:
    key = idempotency_key.strip()
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if idempotency_key and not (0 < len(key) <= 255 and all("!" <= letter <= "~" for letter in key)):
        raise BadKey("Idempotency-Key: 1 to 255 visible ASCII characters are expected.")
    if not key:
        return Repeat(house, who, "", "")
    url = request.url
    target = f"{url.path}?{url.query}"
    return Repeat(house, who, key, house.repeats.fingerprint(request.method, target, await request.body()))


Repeated: TypeAlias = Annotated[Repeat, Depends(repeat)]
