"""What every operation needs of a request: who asks, on which condition, for what reason; and how answers say
what state they show.
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeAlias

from fastapi import Depends, Header, Path, Query, Request
from starlette.responses import Response

from faregate.manager.admin.schemas import NAME_PATTERN, ProblemRead
from faregate.manager.cases.configuration import Precondition
from faregate.manager.cases.domain import Actor
from faregate.manager.cases.errors import Invalid
from faregate.manager.management import Management
from faregate.manager.people.callers import address_behind

WINDOW_MAX_S: Final = 7 * 86_400
_DIGITS_MAX: Final = 16
PUBLISHED_S: Final = 2.0
"""How long the answer to a write waits for the workers; it says whether they have it."""


def management(request: Request) -> Management:
    found = request.app.state.management
    assert isinstance(found, Management)
    return found


def address_of(request: Request) -> str:
    """Where a request comes from, behind the proxies that the gateway trusts."""
    client = request.client
    peer = "" if client is None else client.host
    told = ",".join(request.headers.getlist("x-forwarded-for"))
    return address_behind(told, peer, management(request).trusted())


async def actor(request: Request, house: Annotated[Management, Depends(management)]) -> Actor:
    """Who asks. Raises Unauthenticated."""
    found = await house.authenticator.authenticate(
        authorization=request.headers.get("authorization", ""),
        cookie=request.cookies.get("__Host-faregate", ""),
        unsafe=request.method not in {"GET", "HEAD"},
        csrf=request.headers.get("x-faregate-csrf", ""),
        address=address_of(request),
        request_id=str(request.scope.get("request_id", "")),
    )
    return _wishing(found, request)


def _wishing(who: Actor, request: Request) -> Actor:
    """``who`` with how a write shall come about: ``X-Faregate-Propose: true`` for a second person,
    ``X-Faregate-Activate-At`` (RFC 3339) and ``X-Faregate-Window`` (seconds) for a later hour. Raises
    Invalid.
    """
    propose = request.headers.get("x-faregate-propose", "")
    at = request.headers.get("x-faregate-activate-at", "")
    window = request.headers.get("x-faregate-window", "")
    if not (propose or at or window):
        return who
    if propose not in {"", "true"}:
        raise Invalid("X-Faregate-Propose is `true` or absent.")
    moment = _moment(at) if at else None
    if at and moment is None:
        raise Invalid(
            "X-Faregate-Activate-At is a time with its offset: 2026-12-01T22:00:00+01:00 (RFC 3339)."
        )
    window_s = int(window) if window.isascii() and window.isdigit() and len(window) < _DIGITS_MAX else -1
    if window and not 0 <= window_s <= WINDOW_MAX_S:
        raise Invalid(f"X-Faregate-Window is a whole number of seconds, {WINDOW_MAX_S} at most.")
    if window and moment is None:
        raise Invalid("X-Faregate-Window goes with X-Faregate-Activate-At, which is missing.")
    window_s = max(window_s, 0)
    activate_ms = 0 if moment is None else int(moment.timestamp() * 1000)
    return replace(who, propose=bool(propose), activate_ms=activate_ms, window_ms=window_s * 1000)


def _moment(text: str) -> datetime | None:
    """None for what is no time, or has no offset."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if found.tzinfo is None else found


def precondition(
    if_match: Annotated[str, Header(description="The ETag that was read, or `*`.", max_length=200)] = "",
    if_none_match: Annotated[str, Header(description="`*`: there must be none yet.", max_length=8)] = "",
) -> Precondition:
    if if_none_match and if_none_match.strip() != "*":
        raise Invalid("If-None-Match is `*` or absent.")
    return Precondition(if_match.strip().removeprefix("W/").strip('"'), bool(if_none_match))


def reason(
    x_faregate_reason: Annotated[
        str, Header(description="Why: it stands in the revision and in the audit tree.", max_length=1000)
    ] = "",
) -> str:
    try:
        return x_faregate_reason.encode("latin-1").decode()  # sent as UTF-8, read as HTTP reads fields
    except UnicodeError:
        return x_faregate_reason


House: TypeAlias = Annotated[Management, Depends(management)]
Who: TypeAlias = Annotated[Actor, Depends(actor)]
Condition: TypeAlias = Annotated[Precondition, Depends(precondition)]
Why: TypeAlias = Annotated[str, Depends(reason)]
Name: TypeAlias = Annotated[str, Path(pattern=NAME_PATTERN, description="Its name.")]
Size: TypeAlias = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]
Offset: TypeAlias = Annotated[str, Query(max_length=200, description="`offset` of the page before.")]


def tag(response: Response, digest: str) -> None:
    response.headers["ETag"] = f'"{digest}"'


async def published(house: Management, number: int | None, response: Response) -> bool:
    """Waits a moment for the workers; says in the headers which revision holds, and whether they have it."""
    if number is None:
        return True
    there = await house.publisher.published(number, PUBLISHED_S)
    response.headers["Faregate-Revision"] = str(number)
    response.headers["Faregate-Published"] = "true" if there else "false"
    return there


def time_text(milliseconds: int) -> str:
    """RFC 3339, UTC, milliseconds."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


_TITLES: Final = {
    400: "Not a request that this API knows",
    401: "Who asks is not proven",
    403: "Not allowed",
    404: "There is none, or none that may be seen",
    409: "The state of things does not admit it",
    412: "Somebody else changed it; `diff` shows what",
    413: "Too large",
    415: "Not JSON",
    422: "Not valid; `diagnostics` names everything that is wrong",
    428: "If-Match is missing",
    429: "Too many",
    503: "A part is not available; nothing was changed",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals of an operation, for its documentation."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemRead"}}}
    return {status: {"description": _TITLES[status], "content": content} for status in (401, *statuses, 503)}


READS: Final = problems(400, 403, 404, 422)
HELD: Final[dict[int | str, dict[str, Any]]] = {
    202: {
        "description": "It waits as a change request: for a second person, or for its hour",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/HeldRead"}}},
    }
}
WRITES: Final = {**HELD, **problems(400, 403, 404, 409, 412, 413, 415, 422, 428, 429)}
__all__ = ["ProblemRead"]
