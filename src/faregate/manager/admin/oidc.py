"""Signing in by a provider, over HTTP: two addresses that browsers are sent to.

The cookie between the two, ``__Host-faregate-oidc``, is SameSite=Lax, since the browser comes back from the
provider's site; the session's own stays Strict. A page that moves on follows the sign-in, since browsers send
no Strict cookie along a redirect that another site began.
"""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response, status
from fastapi.responses import HTMLResponse, RedirectResponse

from faregate.manager.admin.context import House, problems
from faregate.manager.admin.sign_in import NOBODY, from_of, opened
from faregate.manager.cases.errors import Unauthenticated
from faregate.manager.cases.oidc import FLOW_MS, Answer

COOKIE: Final = "__Host-faregate-oidc"
_ACTS: Final = problems(400, 404, 422, 429)
_PARAMETERS: Final = ("state", "code", "error", "iss")
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
_PAGE: Final = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Signed in</title>
<p>You are signed in. <a href="../../session">What you may do</a>
</html>
"""

State = Annotated[str, Query(max_length=200, description="As it was sent to the provider.")]
Code = Annotated[str, Query(max_length=2048, description="For a token.")]
Failure = Annotated[str, Query(max_length=200, description="Why there is no code.")]
Iss = Annotated[str, Query(max_length=2048, description="The provider (RFC 9207).")]


def make_router() -> APIRouter:
    router = APIRouter(tags=["sign-in"])

    @router.get(
        "/sign-in/oidc", operation_id="oidc_begin", responses=_ACTS,
        summary="Go to the provider to sign in; `fresh`: prove it anew there",
        status_code=status.HTTP_303_SEE_OTHER, response_class=RedirectResponse, openapi_extra=NOBODY,
    )  # fmt: skip
    async def oidc_begin(house: House, fresh: bool = False) -> Response:  # noqa: FBT001, FBT002 - as a query has it
        begun = await house.oidc.begin(fresh=fresh)
        answer = RedirectResponse(
            begun.location, status.HTTP_303_SEE_OTHER, {"Referrer-Policy": "no-referrer"}
        )
        answer.set_cookie(
            COOKIE,
            begun.flow.reveal().decode(),
            max_age=FLOW_MS // 1000,
            path="/",
            secure=True,
            httponly=True,
            samesite="lax",
        )
        return answer

    # The one GET that changes something: the provider sends the browser here with a GET (RFC 6749 section
    # 4.1.2). No other page can have it done: state fits the cookie of the browser that began, and works once.
    @router.get(
        "/sign-in/oidc/callback", operation_id="oidc_callback", responses=_ACTS,
        summary="Come back from the provider, signed in", response_class=HTMLResponse, openapi_extra=NOBODY,
    )  # fmt: skip
    async def oidc_callback(  # noqa: PLR0913, PLR0917 - one a part of the request
        house: House, request: Request, state: State = "", code: Code = "", error: Failure = "", iss: Iss = ""
    ) -> Response:
        if any(len(request.query_params.getlist(name)) > 1 for name in _PARAMETERS):
            raise Unauthenticated("Each parameter stands once.")  # RFC 6749 section 3.1
        address, request_id = from_of(request)
        brought = Answer(request.cookies.get(COOKIE, ""), state, code, error, iss)
        session = await house.oidc.finish(brought, address=address, request_id=request_id)
        answer = HTMLResponse(_PAGE, headers=_HEADERS)
        opened(session, answer)
        answer.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")
        return answer

    return router
