"""The admin API as an ASGI application over a ``Management``: routers together, refusals worded once.

Refusals are problem+json as everywhere. What FastAPI refuses by itself (a body that is no JSON, a parameter
that does not fit) is said in the same form, naming the place and never repeating what was sent.
"""

import functools
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from faregate import VERSION
from faregate.kernel.problems import PROBLEMS
from faregate.manager.admin import (
    audit,
    calls,
    canary,
    changes,
    credentials,
    entries,
    ledger,
    lifecycle,
    oidc,
    parts,
    people,
    revisions,
    secrets,
    sign_in,
    standing,
    tools,
    unconditional,
    unfit,
)
from faregate.manager.admin.bounds import Bounds
from faregate.manager.admin.changes import HeldRead
from faregate.manager.admin.repeating import held_answer
from faregate.manager.admin.schemas import ProblemRead
from faregate.manager.cases.errors import CaseError, Held, TooMany, Unauthenticated, Unavailable
from faregate.manager.management import Management
from faregate.manager.refusals import refusal

_CONFIGURATION: Final = (entries, lifecycle, parts, credentials, revisions, standing)
_RETRY_S: Final = {429: "1", 503: "1"}

DESCRIPTION: Final = """\
Everything that the command line does, and the reverse. Writes need `If-Match` with the ETag that was read, or
`If-None-Match: *` for something new; each is one revision. Errors are problem documents (RFC 9457).
"""


def problem(
    request: Request, code: str, status: int, title: str, detail: str, **members: Any
) -> JSONResponse:
    """A refusal in the one form."""
    retry_s = members.pop("retry_after_s", None) or _RETRY_S.get(status)
    headers = {"Retry-After": str(retry_s)} if retry_s else {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="faregate manager"'
    return refusal(request.scope, code, status, title, detail, headers, members)


async def _case(request: Request, error: Exception) -> Response:
    assert isinstance(error, CaseError)
    members = dict(error.members)
    if isinstance(error, TooMany | Unavailable | Unauthenticated):
        members.setdefault("retry", "never" if isinstance(error, Unauthenticated) else "after")
    return problem(request, error.code, error.status, error.title, error.detail, **members)


async def _held(_: Request, error: Exception) -> Response:
    assert isinstance(error, Held)
    content, headers = held_answer(error)
    return JSONResponse(content, 202, dict(headers))


async def _unfit(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if any(one["type"] == "json_invalid" for one in error.errors()):
        return problem(request, "malformed_request", 400, "Malformed request", "The body is not JSON.")
    field = getattr(request.scope.get("route"), "body_field", None)
    found = unfit.diagnostics(
        error.errors(), error.body, None if field is None else field.field_info.annotation
    )
    return problem(
        request, "validation_failed", 422, "Validation failed", unfit.sentence(found), diagnostics=found
    )


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        row = PROBLEMS["method_not_allowed"]
        answer = problem(request, row.code, row.status, row.title, row.detail)
        answer.headers["Allow"] = dict(error.headers or {}).get("Allow", "")
        return answer
    if error.status_code == 404:
        return problem(request, "not_found", 404, "Not found", "There is nothing at this path.")
    return problem(
        request, "malformed_request", error.status_code, "Malformed request", "Not a request for us."
    )


async def _defect(request: Request, _: Exception) -> Response:
    row = PROBLEMS["internal_error"]
    return problem(request, row.code, row.status, row.title, row.detail)


@functools.cache
def _routes() -> tuple[BaseRoute, ...]:
    """Every route, made once a process, since making one compiles what it takes and answers. They know no
    house. They lie flat: FastAPI compiles the routes of a router that is included once more.
    """
    people_modules = (people, sign_in, oidc, changes)
    modules = (*_CONFIGURATION, audit, calls, ledger, tools, secrets, *people_modules, canary)
    return tuple(route for module in modules for route in module.make_router().routes)


def create_admin(house: Management | None) -> FastAPI:
    """The application; ``house`` None: only its document is wanted."""
    app = FastAPI(
        title="Faregate admin API",
        version=VERSION,
        description=DESCRIPTION,
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        routes=list(_routes()),
    )
    app.state.management = house
    for kind, handler in (
        (CaseError, _case),
        (Held, _held),
        (RequestValidationError, _unfit),
        (HTTPException, _http),
        (Exception, _defect),
    ):
        app.add_exception_handler(kind, handler)
    app.add_middleware(Bounds)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]  # FastAPI's documented way
    return app


def _document(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema:
        return app.openapi_schema
    found = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    unconditional.explain(found["paths"])
    parts = found.setdefault("components", {})
    parts.setdefault("schemas", {})["ProblemRead"] = ProblemRead.model_json_schema()
    parts["schemas"]["HeldRead"] = HeldRead.model_json_schema()
    cookie = {"type": "apiKey", "in": "cookie", "name": sign_in.COOKIE}
    parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}, "session": cookie}
    found["security"] = [{"token": []}, {"session": []}]
    app.openapi_schema = found
    return found
