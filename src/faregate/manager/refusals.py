"""The one form in which the manager says no: a problem document (RFC 9457), with the request's id."""

from collections.abc import Mapping
from typing import Final

from starlette.responses import JSONResponse
from starlette.types import Scope

from faregate.kernel.problems import Problem

MEDIA_TYPE: Final = "application/problem+json"


def refusal(  # noqa: PLR0913, PLR0917 - a problem has as many members
    scope: Scope,
    code: str,
    status: int,
    title: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, object] | None = None,
) -> JSONResponse:
    """``members``: further ones, as JSON; ``detail``: for whoever asked, without a secret."""
    content = {
        "type": f"urn:faregate:problem:{code}",
        "title": title,
        "status": status,
        "code": code,
        "detail": detail,
        "request_id": str(scope.get("request_id", "")),
        **(members or {}),
    }
    return JSONResponse(content, status, headers, media_type=MEDIA_TYPE)


def refusal_of(
    scope: Scope, problem: Problem, *, headers: Mapping[str, str] | None = None, detail: str = ""
) -> JSONResponse:
    """A row of the closed table; ``detail`` in place of the row's."""
    return refusal(scope, problem.code, problem.status, problem.title, detail or problem.detail, headers)
